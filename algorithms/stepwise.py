"""Stepwise local radiometric adjustment (SLRA), the reference algorithm for whole arrays.

The method is the first step of Li, Shen, Cheng, Li, Zhang (2019), Remote Sensing 11(16):1925. The reading of it that
``statistics="esri"`` follows is Esri's raster function StepwiseLocalRadiometricAdjustment.py
(github.com/Esri/raster-functions, Apache-2.0); this is an independent implementation of the same rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from algorithms.errors import ParameterError, ShapeError
from algorithms.growing_sums import BoolArray
from algorithms.options import BUFFER_PIXELS, ESRI_BUFFER, OPTIONS, CloudOptions, Option
from algorithms.ring_limits import FLOAT32_MAX
from algorithms.rings import fill_rings

Statistics = Literal["colocated", "esri"]
STATISTICS: Final = Option("statistics", Statistics, "colocated", "Which pixels of a window count")
"""The option of this function alone."""

TABLE_VALUES: Final = 2**27
"""Upper bound of the values in the window sums (1 GiB): larger images are worked on few bands at a time."""


@dataclass(frozen=True)
class _Part:
    """Bands that share their valid pixels, and which pixels these are."""

    bands: list[int]
    """Indices of the bands."""
    seed: BoolArray
    """(H, W): the rings start from these pixels."""
    known: BoolArray
    """(H, W): the target's statistics start from these pixels."""
    pool: BoolArray | None
    """(H, W): the replacement's statistics are always taken here; None: where the target's are."""
    fill: BoolArray
    """(H, W): pixels to fill."""


def stepwise_adjustment(
    target: ArrayLike,
    replacement: ArrayLike,
    mask: ArrayLike,
    *,
    window: int = CloudOptions.window,
    buffer: int = ESRI_BUFFER,
    statistics: Statistics = STATISTICS.default,
) -> NDArray[np.float32]:
    """Fill clouds from another date, ring by ring from the cloud's border inward.

    The mask is dilated first. Then every pixel of the outermost ring of 2 px under it becomes, per band, ``g * r + o``
    with ``g = std(t) / std(r)`` and ``o = mean(t) - g * mean(r)``: means and population standard deviations over the
    square window of radius ``window`` round the pixel, clipped at the border of the image. The ring then counts as
    known, and the next one follows. All pixels of a ring see the state before the ring.

    ``statistics`` says which pixels of the window count:

    * ``"colocated"``: t and r over the same pixels, those valid in both and either not under the mask or filled
      already (t is then the filled value). Valid means finite, and not masked in a ``numpy.ma`` array; zero is a value
      like others.
    * ``"esri"``: what Esri's public code does. t over pixels not under the mask or filled already, r over the pixels
      under the mask, which is other ground; 0 is nodata in both. Pixels outside the bounding box of the target's
      non-zero values (over rows, columns and bands) stay as they are. A zero of the replacement under the mask is
      adjusted like any value.

    Defined results: outside the dilated mask the target comes back bit for bit (as float32), NaN included. Under it,
    where the replacement is not finite, the target stays too, and so does nodata of the target that only the buffer
    covers (``"colocated"``). A window in which r is constant has gain 1. Where a window holds nothing known, and thus
    everywhere if the mask covers everything, the replacement comes as it is and does not count as known. If bands
    differ in their valid pixels, each is filled from its own. Gains are not limited, as in the sources.

    Time and memory do not depend on ``window``. The same input gives the same bytes whatever number of threads numpy
    uses, and with or without numba (extra ``fast``), which makes it about three times as fast. Memory: up to about 180
    bytes per pixel and band, less for large images, whose bands are worked on in turn.

    Args:
        target: (B, H, W) cloudy image, any real number type.
        replacement: (B, H, W) image of another date on the same grid, in its own units.
        mask: (H, W), non-zero (NaN too) where the target is cloud or shadow.
        window: Radius W in pixels, as `CloudOptions.window`; 80 means 161 x 161.
        buffer: Dilation of the mask in steps of 2 px, as `CloudOptions.buffer`.
        statistics: ``"colocated"`` or ``"esri"``.

    Returns:
        (B, H, W) float32 in the target's units.

    Raises:
        ShapeError: The arrays are empty or their shapes do not fit.
        ParameterError: An option is out of range, or an array does not hold real numbers that fit float32.
    """
    window, buffer = OPTIONS["window"].check(window), OPTIONS["buffer"].check(buffer)
    STATISTICS.check(statistics)
    t, r = _numbers(target, "target"), _numbers(replacement, "replacement")
    cloud = _numbers(mask, "mask")
    if t.ndim != 3 or t.shape != r.shape or cloud.shape != t.shape[1:] or not t.size:
        msg = (
            f"target {t.shape}, replacement {r.shape} and mask {cloud.shape} do not fit: "
            "give two arrays (bands, rows, columns) of the same shape, not empty, and a mask (rows, columns)"
        )
        raise ShapeError(msg)
    result = t.astype(np.float32)
    box = _bounding_box(t) if statistics == "esri" else (slice(None),) * 3
    if box is None:
        return result
    t, r, cloud, view = t[box], r[box], cloud[box[1:]] != 0, result[box]
    grown = ndimage.maximum_filter(cloud, size=2 * BUFFER_PIXELS * buffer + 1, mode="constant") if buffer else cloud
    for part in _parts(t, r, cloud, grown, statistics):
        for b in part.bands:
            # Stays where no window holds anything known.
            np.copyto(view[b], r[b], where=part.fill, casting="unsafe")
        if part.known.any():
            _fill(view, t, r, part, window)
    return result


def _numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of real numbers that fit float32, masked pixels as NaN."""
    try:
        array: NDArray[Any] = np.asanyarray(values)
    except ValueError as error:
        msg = f"{name} is not an array: {error}"
        raise ShapeError(msg) from error
    if array.dtype.kind not in "biuf":
        msg = f"{name} has the type {array.dtype}: give an array of real numbers"
        raise ParameterError(msg)
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(np.float64), np.nan)
    if (
        array.dtype.kind == "f"
        and array.dtype.itemsize > 4
        and np.any(np.isfinite(array) & (np.abs(array) > FLOAT32_MAX))
    ):
        msg = (
            f"{name} has values beyond {FLOAT32_MAX:.3g}, more than the float32 result holds: "
            "scale it or set them to NaN"
        )
        raise ParameterError(msg)
    return array


def _bounding_box(t: NDArray[Any]) -> tuple[slice, slice, slice] | None:
    """Bounding box of the non-zero values over bands, rows and columns; None if there are none."""
    data = np.isfinite(t) & (t != 0)
    if not data.any():
        return None
    spans = []
    for axis in range(3):
        where = np.flatnonzero(data.any(axis=tuple({0, 1, 2} - {axis})))
        spans.append(slice(int(where[0]), int(where[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _parts(t: NDArray[Any], r: NDArray[Any], cloud: BoolArray, grown: BoolArray, statistics: Statistics) -> list[_Part]:
    """Group the bands by their valid pixels; nearly always there is one group."""
    parts: dict[tuple[bytes, ...], _Part] = {}
    for b in range(len(t)):
        valid_t, valid_r = np.isfinite(t[b]), np.isfinite(r[b])
        if statistics == "esri":
            known, pool = ~grown & valid_t & (t[b] != 0), grown & valid_r & (r[b] != 0)
            part = _Part([], ~grown, known, pool, grown & valid_r)
        else:
            known = ~grown & valid_t & valid_r
            # The buffer alone must not grow the image beyond its footprint.
            part = _Part([], known, known, None, grown & valid_r & (cloud | valid_t))
        key = tuple(a.tobytes() for a in (part.known, part.fill, part.pool) if a is not None)
        parts.setdefault(key, part).bands.append(b)
    return list(parts.values())


def _clusters(fill: BoolArray, window: int) -> Iterator[tuple[BoolArray, tuple[slice, slice]]]:
    """Split the pixels to fill into clusters further apart than a window reaches, which thus cannot see each other.

    Yields:
        The cluster's pixels within its box, and the box: its bounding box and a window round it.
    """
    # Squares of radius W / 2 (W is even) round two pixels touch if and only if the pixels are at most W + 1 apart.
    labels, _ = ndimage.label(ndimage.maximum_filter(fill, size=window + 1, mode="constant"), structure=np.ones((3, 3)))
    labels[~fill] = 0
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        box = (
            slice(max(rows.start - window, 0), rows.stop + window),
            slice(max(columns.start - window, 0), columns.stop + window),
        )
        yield labels[box] == i + 1, box


def _fill(result: NDArray[np.float32], t: NDArray[Any], r: NDArray[Any], part: _Part, window: int) -> None:
    """Fill the bands of a part in `result`, cluster by cluster."""
    # 5 x 5 dilations reach a pixel in half its chessboard distance, rounded up.
    rings = (ndimage.distance_transform_cdt(~part.seed, metric="chessboard") + 1) // 2
    for fill, box in _clusters(part.fill, window):
        known, pool = part.known[box], None if part.pool is None else part.pool[box]
        step = max(int((TABLE_VALUES / known.size - 1) / 4), 1)
        for i in range(0, len(part.bands), step):
            bands = part.bands[i : i + step]
            # A list of bands copies; the result goes back by assignment.
            some = result[bands][:, *box]
            fill_rings(
                some,
                t[:, *box][bands],
                r[:, *box][bands],
                fill=fill,
                rings=rings[box],
                known=known,
                pool=pool,
                window=window,
            )
            for band, values in zip(bands, some, strict=True):
                np.copyto(result[band][box], values, where=fill)
