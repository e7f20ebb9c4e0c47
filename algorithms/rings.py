"""Fill one cloud ring by ring: the inner loop of `algorithms.stepwise`."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .growing_sums import FloatArray, GrowingSums

BoolArray = NDArray[np.bool_]

LARGEST = float(np.finfo(np.float32).max)
"""Largest value a result can hold."""
_NOISE = 2.0**-44
"""Sums of squared differences below this share of the image's sum of squares are rounding and count as zero."""
_TINY = 1e-200
"""So do those below this, which could overflow as divisors."""


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
    count = len(target)
    t_zero, t_known = _centred(target, known)
    r_zero, r_known = _centred(replacement, known if pool is None else pool)
    # A pixel holds values, their squares and a count of one. The values are those of the target and, if both share
    # their pixels, of the replacement. Bands come last here, so that a pixel's numbers lie together.
    values = np.concatenate((t_known, r_known)) if pool is None else t_known
    width = len(values)
    sums = _sums(values, known)

    y, x = np.nonzero(fill)
    order = sums.order(y, x)
    order = order[np.argsort(rings[y[order], x[order]].astype(np.uint16), kind="stable")]
    y, x = y[order], x[order]
    corners = sums.corners(y, x, window)
    r_fill = replacement[:, y, x].T - r_zero
    noise = _noise(values)
    if pool is not None:
        r_mean, r_var, r_count = _moments(_sums(r_known, pool).window(corners), _noise(r_known))

    filled, adjusted = np.empty((len(y), count)), np.empty(len(y), dtype=bool)
    new = np.ones((len(y), 2 * width + 1))
    if pool is None:
        new[:, count:width] = r_fill
    for a, b in pairwise(np.cumsum(np.bincount(rings[y, x])).tolist()):
        mean, var, n = _moments(sums.window(corners[a:b]), noise)
        if pool is None:
            mean_r, var_r = mean[:, count:], var[:, count:]
        else:
            mean_r, var_r, n = r_mean[a:b], r_var[a:b], np.minimum(n, r_count[a:b])
        constant = var_r == 0
        gain = np.sqrt(var[:, :count] / (var_r + constant))
        gain[constant] = 1
        ring = new[a:b]
        ring[:, :count] = np.clip(gain * (r_fill[a:b] - mean_r) + mean[:, :count], -LARGEST, LARGEST)
        filled[a:b], adjusted[a:b] = ring[:, :count], n > 0
        np.square(ring[:, :width], out=ring[:, width : 2 * width])
        ring[n == 0] = 0
        sums.add(y[a:b], x[a:b], ring)
        noise += _NOISE * ring[:, width : 2 * width].sum(axis=0)
    y, x = y[adjusted], x[adjusted]
    result[:, y, x] = np.clip(filled[adjusted] + t_zero, -LARGEST, LARGEST).T


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


def _noise(values: FloatArray) -> FloatArray:
    """Sums of squared differences that count as zero, for each of (V, H, W) values."""
    noise: FloatArray = _NOISE * np.square(values).sum(axis=(1, 2)) + _TINY
    return noise


def _moments(total: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means and population variances, both (n, V), and numbers of pixels (n,) from (n, 2 V + 1) sums."""
    n = total[:, -1]
    safe = np.maximum(n, 1)[:, None]
    moments = total[:, :-1] / safe
    mean, variance = moments[:, : len(noise)], moments[:, len(noise) :]
    variance -= mean * mean
    variance[variance * safe <= noise] = 0
    return mean, variance, n
