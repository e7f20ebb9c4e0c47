"""Fill one cloud ring by ring: the inner loop of `algorithms.stepwise`."""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.growing_sums import BoolArray, FloatArray, GrowingSums, IntArray, block_order
from algorithms.ring_limits import FLOAT32_MAX, ROUNDING_SHARE, rounding


def fill_rings(
    result: NDArray[np.float32],
    target: NDArray[Any],
    replacement: NDArray[Any],
    *,
    fill: BoolArray,
    rings: NDArray[np.int32],
    known: BoolArray,
    pool: BoolArray | None,
    window: int,
) -> None:
    """Fill pixels of some bands from the outermost ring inward, each ring from what was known before it.

    Per band ``f = g * r + mean(t) - g * mean(r)``, ``g = std(t) / std(r)``, from the window round the pixel.

    Args:
        result: (B, H, W) float32, written where a window holds known pixels.
        target: (B, H, W) values.
        replacement: (B, H, W) values, finite under `fill` and wherever its statistics are taken.
        fill: (H, W), the pixels to fill.
        rings: (H, W), number of each pixel's ring, from 1.
        known: (H, W), where the target's statistics start from; `fill` joins it ring by ring.
        pool: (H, W), where the replacement's statistics are always taken; None: on the target's pixels.
        window: Radius W in pixels.
    """
    t_zero, t_known = _centred(target, known)
    r_zero, r_known = _centred(replacement, known if pool is None else pool)
    y, x = np.nonzero(fill)
    order = block_order(y, x)
    order = order[np.argsort(rings[y[order], x[order]].astype(np.uint16), kind="stable")]
    y, x = y[order], x[order]
    ends = np.cumsum(np.bincount(rings[y, x]))
    at = y * fill.shape[1] + x
    r_fill = np.stack([band.ravel().take(at) - zero for band, zero in zip(replacement, r_zero, strict=True)])
    loop = _loop()
    filled, adjusted = loop(t_known, r_known, r_fill, known=known, pool=pool, y=y, x=x, ends=ends, window=window)
    where = np.zeros_like(fill)
    where.ravel()[at[adjusted]] = True
    values = np.empty(fill.size)
    for band, some, zero in zip(result, filled, t_zero, strict=True):
        values[at] = np.clip(some + zero, -FLOAT32_MAX, FLOAT32_MAX)
        np.copyto(band, values.reshape(fill.shape), where=where, casting="same_kind")


def _loop() -> Callable[..., tuple[FloatArray, BoolArray]]:
    """The loop over the rings: compiled where numba is installed, else in numpy. Both give the same bytes."""
    if find_spec("numba") is None:
        return numpy_rings
    # numba takes half a second to load, and nobody needs it before.
    from algorithms.compiled_rings import compiled_rings  # noqa: PLC0415

    return compiled_rings


def numpy_rings(
    target: FloatArray,
    replacement: FloatArray,
    r_fill: FloatArray,
    *,
    known: BoolArray,
    pool: BoolArray | None,
    y: IntArray,
    x: IntArray,
    ends: IntArray,
    window: int,
) -> tuple[FloatArray, BoolArray]:
    """Fill ring by ring, all bands at once.

    Args:
        target: (B, H, W), centred, zero where not known.
        replacement: (B, H, W), centred, zero outside of the pixels of its statistics.
        r_fill: (B, n), centred replacement at the pixels to fill.
        known: (H, W), where the target's statistics start from.
        pool: (H, W), where the replacement's statistics are always taken; None: on the target's pixels.
        y: (n,) rows of the pixels to fill, ring by ring, those of a ring as `block_order` sorts them.
        x: (n,) columns.
        ends: (rings + 1,) where each ring begins, and the end of the last.
        window: Radius W in pixels.

    Returns:
        (B, n) float64 results, and (n,) whether the pixel's windows held anything known; the others are undefined.
    """
    count = len(target)
    # A pixel holds values, their squares and a count of one. The values are those of the target and, if both share
    # their pixels, of the replacement. Bands come last here, so that a pixel's numbers lie together.
    values = np.concatenate((target, replacement)) if pool is None else target
    width = len(values)
    sums = _sums(values, known)
    corners = sums.corners(y, x, window)
    r_fill = np.ascontiguousarray(r_fill.T)
    noise = rounding(values)
    if pool is not None:
        r_mean, r_var, r_count = _moments(_sums(replacement, pool).window(corners), rounding(replacement))

    filled, adjusted = np.empty((len(y), count)), np.empty(len(y), dtype=bool)
    new = np.ones((len(y), 2 * width + 1))
    if pool is None:
        new[:, count:width] = r_fill
    for a, b in pairwise(ends.tolist()):
        if a == b:
            continue
        mean, var, n = _moments(sums.window(corners[a:b]), noise)
        if pool is None:
            mean_r, var_r = mean[:, count:], var[:, count:]
        else:
            mean_r, var_r, n = r_mean[a:b], r_var[a:b], np.minimum(n, r_count[a:b])
        constant = var_r == 0
        gain = np.sqrt(var[:, :count] / (var_r + constant))
        gain[constant] = 1
        ring = new[a:b]
        ring[:, :count] = np.clip(gain * (r_fill[a:b] - mean_r) + mean[:, :count], -FLOAT32_MAX, FLOAT32_MAX)
        filled[a:b], adjusted[a:b] = ring[:, :count], n > 0
        np.square(ring[:, :width], out=ring[:, width : 2 * width])
        ring[n == 0] = 0
        sums.add(y[a:b], x[a:b], ring)
        # One after the other, as the compiled loop sums them.
        noise += ROUNDING_SHARE * np.add.accumulate(ring[:, width : 2 * width])[-1]
    return filled.T, adjusted


def _centred(image: NDArray[Any], where: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Subtract every band's mean over some pixels, so that squares keep their precision; zero elsewhere.

    The mean is rounded: differences of whole numbers stay whole, and their sums exact.
    """
    zero = np.array([np.rint(band[where].mean(dtype=np.float64)) if where.any() else 0.0 for band in image])
    centred = np.zeros(image.shape)
    np.subtract(image, zero[:, None, None], out=centred, where=where)
    return zero, centred


def _sums(values: FloatArray, known: BoolArray) -> GrowingSums:
    """Sums of (V, H, W) values that are zero where not known, of their squares, and of the known pixels."""
    width = len(values)
    sums = GrowingSums(known.shape[0], known.shape[1], 2 * width + 1)
    for row, source, count in zip(sums.pixels, np.moveaxis(values, 1, 0), known, strict=True):
        row[:, :width] = source.T
        np.square(row[:, :width], out=row[:, width : 2 * width])
        row[:, -1] = count
    sums.build()
    return sums


def _moments(total: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means and population variances, both (n, V), and numbers of pixels (n,) from (n, 2 V + 1) sums."""
    n = total[:, -1]
    safe = np.maximum(n, 1)[:, None]
    moments = total[:, :-1] / safe
    mean, variance = moments[:, : len(noise)], moments[:, len(noise) :]
    variance -= mean * mean
    variance[variance * safe <= noise] = 0
    return mean, variance, n
