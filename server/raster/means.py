"""Cells read from overviews: at fine levels from those that are found to hold the means of the pixels under them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import AVERAGED_FACTOR, Cells, cell_means
from algorithms.sample import sample_squares
from algorithms.shift import shift_patches
from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.layer import Layer
from server.raster.pixels import MissingData, Pixels, overview_step
from server.raster.stored import StoredPixels
from server.raster.storedpieces import StoredPieces, outline_of, stored_pieces
from server.work.cache import TileCache

COMPARED_PATCHES: Final = 3
"""Patches of native pixels that an overview is compared with."""
PATCH_ORDER: Final = (0, 3, 4, 1, 2, 5)
"""In which order the patches of the shift are tried: scattered, since part of a scene may be without data."""
LEAST_VARIED_CELLS: Final = 640
"""Cells of a patch whose pixels differ, in each band, below which it shows nothing: a tenth of it."""
FLOAT_ROUNDING: Final = 1e-6
"""Rounding of the mean of floating-point numbers, relative to the largest of them."""

VERDICT_BYTES: Final = 1 << 14
"""What remembered verdicts on overviews may take, some 30 bytes each without their keys of 2 kB."""

NativePixels = Callable[[Layer, Box], Pixels]
"""Reads native pixels of a layer over a box inside its target."""


@dataclass(frozen=True, slots=True)
class MeansKey:
    """The key of the verdict whether an overview holds means."""

    dataset: Dataset
    indexes: tuple[int, ...]
    step: int


@dataclass(frozen=True, slots=True)
class MeansLevel:
    """An overview on a target's lattice."""

    pieces: StoredPieces
    """Its pixels."""
    step: int
    """Native pixels per side of one of its pixels."""
    shift: tuple[int, int]
    """Rows and columns of its own from the target's first pixel to its."""

    def own(self, box: Box, factor: int) -> Box:
        """A box of cells of `factor` native pixels per side, in its pixels; may reach beyond them."""
        wide = box.times(factor // self.step)
        down, across = self.shift
        return Box(wide.top - down, wide.bottom - down, wide.left - across, wide.right - across)


class OverviewMeans:
    """Reads cells from overviews where these serve: a function of the raster and the place alone."""

    def __init__(self, stored: StoredPixels, native: NativePixels) -> None:
        self._stored = stored
        self._verdicts = TileCache(VERDICT_BYTES, name="overviews")
        self._native = native

    def cells(self, layer: Layer, factor: int, box: Box) -> Cells | None:
        """Cells of `factor` native pixels per side over a box inside the target; None: the pixels have to be read.

        At fine levels overviews do not tell where single pixels lack data: a box that is not all data is read from
        pixels.
        """
        if (level := self.level(layer, factor)) is None:
            return None
        own, size = level.own(box, factor), (level.pieces.level.height, level.pieces.level.width)
        inside = own.clip(size)
        if 0 in inside.shape or (level.step == factor and inside != own):
            return None
        values = np.asarray(level.pieces.over(inside)[0])
        missing = MissingData.of(layer.dataset, layer.indexes)
        valid, whole = missing.found(values)
        if level.step == factor and not whole.all():
            return None
        if not valid.all() or not whole.all():
            values = values.copy()
            missing.guess(values, valid & ~whole)
        if not layer.is_target:
            valid = whole
            values = values if (convert := layer.conversion) is None else convert(values)
        if level.step == factor:
            return Cells(values.astype(np.float32), valid, whole)
        if inside != own:
            values, valid, whole = (_placed(each, inside.within(own), own.shape) for each in (values, valid, whole))
        return cell_means(values, valid, factor // level.step, whole=whole)

    def level(self, layer: Layer, factor: int) -> MeansLevel | None:
        """The overview that cells of a layer are read from; None where they are read from pixels."""
        if (found := self._overview(layer, factor)) is None:
            return None
        key = MeansKey(layer.dataset, layer.indexes, found.step)
        if factor > AVERAGED_FACTOR:
            # The same as GDAL reads; in pieces that are kept only where fine cells may be made of them, too.
            return found if self._verdicts.peek(key) else None
        if sample_squares((found.pieces.level.height, found.pieces.level.width)) is None:
            return None  # scenes that are taken whole are read in pixels anyway
        return found if self._verdicts.get(key, lambda: self._holds_means(layer, found)) else None

    def _overview(self, layer: Layer, factor: int) -> MeansLevel | None:
        """The overview of as many pixels per cell as cells may be read from, whatever it holds."""
        dataset = layer.dataset
        shift = dataset.same_grid(layer.target)
        if shift is None:
            return None
        fine = 1 < factor <= AVERAGED_FACTOR and factor & (factor - 1) == 0
        step = factor if fine else overview_step(factor, shift)
        outline = outline_of(self._stored.sources, dataset)
        if (
            step not in outline.factors
            or any(length % step for length in (*shift, *dataset.shape))
            or not outline.plain
            or outline.masked
            or any(part.masked for part in dataset.parts)
            or repr(outline.nodata) != repr(dataset.nodata)
        ):
            return None
        number = outline.factors.index(step)
        pieces = stored_pieces(self._stored, dataset, layer.indexes, number)
        if pieces is None or not pieces.as_stored:
            return None
        if (pieces.level.height * step, pieces.level.width * step) != dataset.shape:
            return None
        return MeansLevel(pieces, step, (shift[0] // step, shift[1] // step))

    def _holds_means(self, layer: Layer, level: MeansLevel) -> bool:
        """Whether an overview is the mean of the pixels under it, in every band, at fixed places of the raster."""
        dataset = layer.dataset
        raw = layer.conversion is None and level.shift == (0, 0) and dataset.shape == layer.target.shape
        own = layer if raw else Layer(dataset, dataset, layer.indexes)
        patches = shift_patches((level.pieces.level.height, level.pieces.level.width), level.step)
        compared = 0
        for number in PATCH_ORDER:
            if number >= len(patches) or compared == COMPARED_PATCHES:
                break
            rows, cols = patches[number]
            box = Box(rows.start, rows.stop, cols.start, cols.stop)
            pixels = self._native(own, box)
            parts = box.parts(level.step)
            found = are_means(
                np.asarray(level.pieces.over(parts)[0]), pixels.values, pixels.whole, level.step, dataset.nodata
            )
            if found is False:
                return False
            compared += found is True
        return compared == COMPARED_PATCHES


def are_means(
    overview: npt.NDArray[Any],
    values: npt.NDArray[Any],
    whole: npt.NDArray[np.bool_],
    step: int,
    nodata: float | None,
) -> bool | None:
    """Whether an overview's pixels are the means of the pixels under them, but for rounding.

    Args:
        overview: (B, h, w).
        values: (B, h * step, w * step).
        whole: (h * step, w * step), pixels with a number in every band. Only cells of such pixels are compared, and of
            two pixels per side those that have nodata pixels, too, which tell whether these are left out.
        step: pixels per side of one of the overview's.
        nodata: value without data, which GDAL leaves out of its means.

    Returns:
        None where too few cells have pixels that differ.
    """
    squares = _squares(values.astype(np.float64), step)
    has = _squares(whole[None], step).all(axis=-1) & np.isfinite(squares).all(axis=-1)
    if nodata is not None and not math.isnan(nodata):
        has &= (squares != nodata).all(axis=-1)
    varied = has & (squares.max(axis=-1) > squares.min(axis=-1))
    if varied.sum(axis=(1, 2)).min() < LEAST_VARIED_CELLS:
        return None
    # Overviews of overviews are rounded once for each of them.
    whole_numbers = np.issubdtype(overview.dtype, np.integer)
    slack = 0.5 * math.log2(step) if whole_numbers else FLOAT_ROUNDING * np.abs(squares).max(axis=-1)[has]
    if not (np.abs(overview - squares.mean(axis=-1))[has] <= slack).all():
        return False
    if nodata is None or math.isnan(nodata) or step != 2 or not whole_numbers:
        return True
    # Overviews of a raster that was given its nodata value afterwards are means of these values, too.
    given, numbers = _squares(whole[None], step), squares != nodata
    cut = given.any(axis=-1) & (numbers == given).all(axis=(0, -1))
    means = np.where(numbers, squares, 0).sum(axis=-1) / np.maximum(numbers.sum(axis=-1), 1)
    return bool((np.abs(overview - means)[:, cut[0]] <= slack).all())


def _squares(planes: npt.NDArray[Any], step: int) -> npt.NDArray[Any]:
    """(B, h, w, step * step) pixels of each square of (B, h * step, w * step)."""
    bands, height, width = planes.shape
    cut = planes.reshape(bands, height // step, step, width // step, step)
    return np.moveaxis(cut, 2, 3).reshape(bands, height // step, width // step, step * step)


def _placed(planes: npt.NDArray[Any], place: tuple[slice, slice], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """(..., h, w) planes in a place of larger ones, of zeros elsewhere."""
    result = np.zeros((*planes.shape[:-2], *shape), planes.dtype)
    result[(..., *place)] = planes
    return result
