"""Misregistration: how far two dates are off each other, and moving one of them back.

Sentinel-2 dates are up to a pixel apart, and a pixel raises a fill's error by 6 to 50 % (docs/fidelity.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.cells import AVERAGED_FACTOR
from algorithms.products import median
from algorithms.sample import middle, sample_squares
from algorithms.scene import fit_scene

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
PixelNumbers = npt.NDArray[np.intp]
Shift = tuple[float, float]
"""Rows and columns in pixels."""
Patch = tuple[slice, slice]

NO_SHIFT: Final[Shift] = (0.0, 0.0)
MOVED_FACTORS: Final = range(1, AVERAGED_FACTOR + 1)
"""Pixels per side of cells for which dates are moved."""
LEAST_SHIFT: Final = 0.25
"""Shift in pixels from which a date is moved: below, resampling costs as much as it gains."""
HARDLY_SHIFTED: Final = LEAST_SHIFT / 4
"""First step below which the others are not made: they add up to four times the first, where little is seen."""
MOST_SHIFT: Final = 3.0
"""Longest shift that is believed."""
SHIFT_MARGIN: Final = math.ceil(MOST_SHIFT) + 2
"""Pixels around a place that the move of that place reads."""
FEWEST_PIXELS: Final = 500
"""Clear pixels below which no shift is estimated."""
SHIFT_PIXELS: Final = 20_000
"""Clear pixels that the shift is estimated from at most, evenly among them: neighbours say nearly the same."""
CLUSTER_PIXELS: Final = 32
"""Side in pixels of the squares that count as independent of each other where the shift's uncertainty is estimated."""
PATCH_PIXELS: Final = 160
"""Side in pixels of the patches that the shift is estimated on."""
PATCHES: Final = 2
"""Patches along each side of a scene too small for a sample of squares."""
ROUNDS: Final = 4
OUTLIER: Final = 3.0
"""Residuals beyond so many robust standard deviations do not count."""
SHIFT_STEPS: Final = 32
"""Shifts are whole multiples of one part in so many of a pixel."""


def shift_patches(shape: tuple[int, int], factor: int) -> list[Patch]:
    """Patches of pixels that the shift of a scene is estimated on, inside the sample of its scene stage.

    Args:
        shape: rows and columns of the scene in cells.
        factor: pixels per side of a cell.

    Returns:
        Rows and columns in pixels, whole cells.
    """
    squares = sample_squares(shape)
    if squares is None:
        rows, cols = (_spread(length, PATCH_PIXELS // factor) for length in shape)
        squares = [(y, x) for y in rows for x in cols]
    else:
        side = PATCH_PIXELS // factor
        squares = [(middle(y, side), middle(x, side)) for y, x in squares[::2]]
    return [(slice(y.start * factor, y.stop * factor), slice(x.start * factor, x.stop * factor)) for y, x in squares]


def _spread(length: int, side: int) -> list[slice]:
    """Stretches of `side` in the middle of equal parts of a length; all of it where it is short."""
    if length <= PATCHES * side:
        return [slice(0, length)]
    starts = [round((k + 0.5) * length / PATCHES - side / 2) for k in range(PATCHES)]
    return [slice(start, start + side) for start in starts]


def estimate_shift(patches: Sequence[tuple[Image, Image, Mask]]) -> Shift:
    """How far the replacement has to be moved to lie on the target.

    Least squares of the target on the adjusted replacement and its gradient over clear ground (Lucas and Kanade 1981,
    IJCAI), all bands together in units of their noise, outliers left out. The shift is shrunk by what is uncertain of
    it, so that one that little clear ground suggests moves little or nothing.

    Args:
        patches: target (B, h, w), replacement (B, h, w) and where both are clear (h, w), in pixels.

    Returns:
        `NO_SHIFT` where the shift is shorter than `LEAST_SHIFT`, longer than `MOST_SHIFT`, cannot be estimated, or does
        not bring the dates closer.
    """
    inner = [np.flatnonzero(_inner(clear)) for _, _, clear in patches]
    found = sum(map(len, inner))
    if found < FEWEST_PIXELS:
        return NO_SHIFT
    inner = [places[:: -(-found // SHIFT_PIXELS)] for places in inner]
    target, other = _picked([t for t, _, _ in patches], inner), _picked([r for _, r, _ in patches], inner)
    fit = fit_scene(target[:, None], other[:, None], np.ones((1, target.shape[1]), bool), bends=False)
    estimates = [fit.estimate(fit.standardise(r)) for _, r, _ in patches]
    noise = fit.noise.astype(np.float32)[:, None]
    clusters = np.tile(_clusters([clear.shape for _, _, clear in patches], inner), len(noise))
    shift = np.zeros(2)
    first = last = 0.0
    for k in range(ROUNDS):
        moved = [_moved(g, (shift[0], shift[1])) for g in estimates] if k else estimates
        left = ((target - _picked(moved, inner)) / noise).ravel()
        down, right = (-(_slopes(moved, inner, axis) / noise).ravel() for axis in (0, 1))
        last = float(median(np.abs(left)[None])[0])
        first = last if k == 0 else first
        near = np.abs(left) <= OUTLIER * 1.4826 * last
        slopes = np.stack([down[near], right[near]]).astype(np.float64)
        normal = slopes @ slopes.T
        if not np.linalg.det(normal) > 1e-6 * np.trace(normal) ** 2:
            return NO_SHIFT
        step = np.linalg.solve(normal, slopes @ left[near])
        if k == ROUNDS - 1:
            variance = _variance(slopes, left[near] - step @ slopes, normal, clusters[near])
            break
        shift += step
        if not HARDLY_SHIFTED <= np.hypot(*shift) <= MOST_SHIFT:
            return NO_SHIFT
    # Of what is seen, the share that is expected not to be noise (James and Stein 1961).
    shift *= max(0.0, 1 - variance / max(float(shift @ shift), 1e-9))
    if np.hypot(*shift) < LEAST_SHIFT or last >= first:
        return NO_SHIFT
    rows, cols = (round(float(v) * SHIFT_STEPS) / SHIFT_STEPS for v in shift)
    return rows, cols


def _clusters(shapes: Sequence[tuple[int, ...]], inner: Sequence[PixelNumbers]) -> PixelNumbers:
    """Number of the square that each pixel lies in."""
    numbers: list[PixelNumbers] = []
    count = 0
    for shape, places in zip(shapes, inner, strict=True):
        rows, cols = np.divmod(places, shape[1])
        height, width = (-(-length // CLUSTER_PIXELS) for length in shape)
        numbers.append(count + rows // CLUSTER_PIXELS * width + cols // CLUSTER_PIXELS)
        count += height * width
    return np.concatenate(numbers)


def _variance(slopes: Floats, left: Floats, normal: Floats, clusters: PixelNumbers) -> float:
    """Expected squared error of a shift, in pixels squared.

    What is left is alike in neighbouring pixels and in all bands, so squares count as independent, pixels do not
    (Liang and Zeger 1986, Biometrika 73(1)). On dates whose shift is known it is right within a fifth.
    """
    scores = np.stack([np.bincount(clusters, along * left) for along in slopes])
    inverse = np.linalg.inv(normal)
    count = len(np.unique(clusters))
    if count < 2:
        return float("inf")
    return float(np.trace(inverse @ (scores @ scores.T) @ inverse)) * count / (count - 1)


def _inner(clear: Mask) -> Mask:
    """Clear pixels whose surroundings are clear, away from the patch's edge."""
    inside = np.asarray(ndimage.binary_erosion(clear, iterations=2))
    inside[:SHIFT_MARGIN] = inside[-SHIFT_MARGIN:] = False
    inside[:, :SHIFT_MARGIN] = inside[:, -SHIFT_MARGIN:] = False
    return inside


def _picked(images: Sequence[Image], inner: Sequence[PixelNumbers]) -> Image:
    """(B, n) values of pixels of (B, h, w) images, by their numbers in each."""
    picked = [image.reshape(len(image), -1).take(places, axis=1) for image, places in zip(images, inner, strict=True)]
    return np.concatenate(picked, axis=1)


def _slopes(images: Sequence[Image], inner: Sequence[PixelNumbers], axis: int) -> Image:
    """(B, n) slopes there, down or to the right, from the pixels on both sides."""
    apart = [image.shape[2] if axis == 0 else 1 for image in images]
    after, before = (
        _picked(images, [places + way * step for places, step in zip(inner, apart, strict=True)]) for way in (1, -1)
    )
    return (after - before) / np.float32(2)


def move(values: Image, valid: Mask, shift: Shift) -> Image:
    """Move an image by cubic convolution (Keys 1981, IEEE TASSP 29(6), a = -1/2).

    A pixel depends on no pixel farther away than `SHIFT_MARGIN`, and always in the same way, so parts agree with the
    whole.

    Args:
        values: (B, H, W); finite.
        valid: (H, W).
        shift: rows and columns to move it by.

    Returns:
        (B, H, W). Pixels to which one without data, or beyond the image's edge, would contribute stay as they are.
    """
    if shift == NO_SHIFT:
        return values
    complete = valid
    for axis, along in enumerate(shift):
        first, weights = _taps(along)
        parts = [_shifted(complete, axis, first + i) for i, w in enumerate(weights) if w]
        complete = np.logical_and.reduce(parts)
    return np.where(complete, _moved(values, shift), values)


def _moved(values: Image, shift: Shift) -> Image:
    for axis, along in enumerate(shift, start=1):
        first, weights = _taps(along)
        total = np.zeros_like(values)
        for i, weight in enumerate(weights):
            if weight:
                total += np.float32(weight) * _shifted(values, axis, first + i)
        values = total
    return values


def _taps(along: float) -> tuple[int, list[float]]:
    """Offset of the first of four pixels that make one, and their weights."""
    whole = math.floor(-along)
    part = -along - whole
    distances = (1 + part, part, 1 - part, 2 - part)
    near = [1.5 * d**3 - 2.5 * d**2 + 1 for d in distances]
    far = [-0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 for d in distances]
    return whole - 1, [n if d <= 1 else f for d, n, f in zip(distances, near, far, strict=True)]


def _shifted(array: npt.NDArray[Scalar], axis: int, offset: int) -> npt.NDArray[Scalar]:
    """`result[k] = array[k + offset]` along an axis, zero beyond the ends."""
    result = np.zeros_like(array)
    length = array.shape[axis]
    here = [slice(None)] * array.ndim
    there = list(here)
    here[axis] = slice(max(0, -offset), max(0, min(length, length - offset)))
    there[axis] = slice(max(0, offset), max(0, min(length, length + offset)))
    result[tuple(here)] = array[tuple(there)]
    return result
