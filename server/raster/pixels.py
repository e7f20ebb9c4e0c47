"""Native pixels of an open raster under a box of cells, and what stands for no data in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.windows import Window as PixelWindow

from algorithms.cells import AVERAGED_FACTOR
from server.raster.compact import compact_mask, mask_bytes
from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.units import nodata_counts

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Native pixels."""

    values: npt.NDArray[Any]
    """(B, h, w) in the target's units, in the type they are stored in unless they are converted."""
    valid: npt.NDArray[np.bool_]
    """(h, w), pixels with data; of a replacement those with a number in every band."""
    whole: npt.NDArray[np.bool_]
    """(h, w), pixels with a number in every band: they can be compared with another date's."""

    @property
    def nbytes(self) -> int:
        """Size in bytes; one array for both kinds of pixels counts once."""
        masks = {id(mask): mask_bytes(mask) for mask in (self.valid, self.whole)}
        return self.values.nbytes + sum(masks.values())

    @property
    def compact(self) -> Pixels:
        """The same with masks that take no memory where they are set everywhere."""
        whole = compact_mask(self.whole)
        return Pixels(self.values, whole if self.valid is self.whole else compact_mask(self.valid), whole)

    @property
    def clean(self) -> npt.NDArray[np.float32]:
        """(B, h, w) values, 0 where there is none."""
        return np.where(self.valid, self.values, 0).astype(np.float32)


def overview_step(factor: int, shift: tuple[int, int]) -> int:
    """Decimation left to GDAL (and so to overviews): the largest power of two in the factor, none at fine levels.

    Fine levels are averaged from native pixels, since overviews are made by any method; see `server.raster.means`.
    """
    step = factor & -factor if factor > AVERAGED_FACTOR else 1
    return 1 if shift[0] % step or shift[1] % step else step


@dataclass(frozen=True, slots=True)
class MissingData:
    """What stands for no data in a raster."""

    nodata: float | None
    """The value that does; numbers that are not finite do, too."""
    counts: tuple[bool, ...]
    """For each band whether that value is a number where other bands have data."""

    @classmethod
    def of(cls, dataset: Dataset, indexes: tuple[int, ...]) -> MissingData:
        """In some bands of a raster."""
        return cls(dataset.nodata, nodata_counts(dataset, indexes))

    def found(self, pixels: npt.NDArray[Any]) -> tuple[Bools, Bools]:
        """(H, W) pixels of (B, H, W) with data in any band, and those with a number in every band."""
        integers, nodata = np.issubdtype(pixels.dtype, np.integer), self.nodata
        # Compared in the pixels' own type, which is several times as fast; a value it cannot hold is nowhere.
        holds = nodata is not None and (not integers or _holds(pixels.dtype, nodata))
        if integers and not (holds and (pixels == pixels.dtype.type(nodata)).any()):
            everywhere = np.ones(pixels.shape[1:], bool)
            return everywhere, everywhere
        there, whole = np.zeros(pixels.shape[1:], bool), np.ones(pixels.shape[1:], bool)
        for band, counts in zip(pixels, self.counts, strict=True):
            finite = None if integers else np.isfinite(band)
            if holds:
                has = band != pixels.dtype.type(nodata)
                has = has if finite is None else has & finite
            else:
                assert finite is not None  # noqa: S101  (floats, if no nodata value)
                has = finite
            there |= has
            if not counts:
                whole &= has
            elif finite is not None:
                whole &= finite
        return there, whole & there

    def guess(self, pixels: npt.NDArray[Any], partial: Bools) -> None:
        """Give bands without a number the mean of the others, in place.

        Such pixels are compared with nothing: the guess serves the cloud model, and clouds are gray.

        Args:
            pixels: (B, H, W).
            partial: (H, W), pixels with numbers in some bands only.
        """
        if not partial.any():
            return
        y, x = np.nonzero(partial)
        values = pixels[:, y, x]
        known = np.isfinite(values)
        if self.nodata is not None:
            known &= (values != self.nodata) | np.array(self.counts)[:, None]
        mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(known.sum(axis=0), 1)
        pixels[:, y, x] = np.where(known, values, mean).astype(pixels.dtype)


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an integer type has a value."""
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def read_native(
    src: Any, indexes: tuple[int, ...], box: Box, factor: int, missing: MissingData, shift: tuple[int, int]
) -> tuple[Pixels, int]:
    """Read a dataset that lies on the target's lattice, `shift` rows and columns off, under a box of cells.

    Returns:
        The pixels, and how many of them make a cell along a side.
    """
    step = overview_step(factor, shift)
    top, left = box.top * factor - shift[0], box.left * factor - shift[1]
    bottom, right = box.bottom * factor - shift[0], box.right * factor - shift[1]
    rows, cols = (bottom - top) // step, (right - left) // step
    values: npt.NDArray[Any] = np.zeros((len(indexes), rows, cols), np.float32)
    valid = np.zeros((rows, cols), bool)
    whole = valid.copy()
    # Which overviews there are takes time to find out: each is opened.
    ready = step == 1 or step in src.overviews(indexes[0])
    spans = (_spans(top, bottom, src.height, step), _spans(left, right, src.width, step))
    for (row, row_end, high), (col, col_end, wide) in product(*spans):
        window = PixelWindow(col, row, col_end - col, row_end - row)
        pixels = _read_window(src, indexes, window, (high, wide), missing, ready=ready)
        if (high, wide) == valid.shape:
            return pixels, factor // step
        y, x = (row - top) // step, (col - left) // step
        place = slice(y, y + high), slice(x, x + wide)
        values[(slice(None), *place)] = np.where(pixels.valid, pixels.values, 0)
        valid[place], whole[place] = pixels.valid, pixels.whole
    return Pixels(values, valid, whole), factor // step


def _spans(start: int, stop: int, size: int, step: int) -> list[tuple[int, int, int]]:
    """The part of an axis of `size` pixels from `start` to `stop`: first and last pixel, and steps in between.

    What is left at the end, less than a step, is a span of its own: a stretched read would shift the last pixels.
    """
    start, stop = max(start, 0), min(stop, size)
    cut = max(start, min(stop, size // step * step))
    spans = [(start, cut, (cut - start) // step), (cut, stop, 1)]
    return [span for span in spans if span[0] < span[1]]


def _read_window(
    src: Any,
    indexes: tuple[int, ...],
    window: PixelWindow,
    shape: tuple[int, int],
    missing: MissingData,
    *,
    ready: bool,
) -> Pixels:
    """A window of a dataset as so many rows and columns; `ready`: whether it has overviews of that size."""
    pixels = src.read(
        indexes,
        window=window,
        out_shape=(len(indexes), *shape),
        resampling=Resampling.average,
        out_dtype=None if ready else "float32",  # averages of whole numbers are none
    )
    there, whole = missing.found(pixels)
    missing.guess(pixels, there & ~whole)
    if missing.nodata is None:
        masked = src.dataset_mask(window=window, out_shape=shape) > 0
        there, whole = there & masked, whole & masked
    return Pixels(pixels, there, whole)
