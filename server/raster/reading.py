"""Reading rasters as analysis cells on the target's lattice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.enums import Interleaving, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as PixelWindow

from algorithms.cells import AVERAGED_FACTOR, Cells, cell_means
from algorithms.masks import NODATA
from server.raster.composite import own_layer, resolution_groups
from server.raster.dataset import Dataset, dataset_crs
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.sources import Sources
from server.raster.units import nodata_counts
from server.raster.upright import validity_options
from server.raster.warps import source_of_warp
from server.remote.files import is_remote

Bools = npt.NDArray[np.bool_]

READ_CELLS: Final = 256
"""Side in cells of the blocks in which rasters are read: 512 native pixels at factor 2, the tile of a common COG."""


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
        masks = {id(mask): mask.nbytes for mask in (self.valid, self.whole)}
        return self.values.nbytes + sum(masks.values())

    @property
    def clean(self) -> npt.NDArray[np.float32]:
        """(B, h, w) values, 0 where there is none."""
        return np.where(self.valid, self.values, 0).astype(np.float32)


def _step(factor: int, shift: tuple[int, int]) -> int:
    """Decimation left to GDAL (and so to overviews): the largest power of two in the factor, none at fine levels.

    Fine levels are averaged from native pixels, since overviews are rounded and made by any method.
    """
    step = factor & -factor if factor > AVERAGED_FACTOR else 1
    return 1 if shift[0] % step or shift[1] % step else step


@dataclass(frozen=True, slots=True)
class _Missing:
    """What stands for no data in a raster."""

    nodata: float | None
    """The value that does; numbers that are not finite do, too."""
    counts: tuple[bool, ...]
    """For each band whether that value is a number where other bands have data."""

    @classmethod
    def of(cls, dataset: Dataset, indexes: tuple[int, ...]) -> _Missing:
        """In some bands of a raster."""
        return cls(dataset.nodata, nodata_counts(dataset, indexes))

    def found(self, pixels: npt.NDArray[Any]) -> tuple[Bools, Bools]:
        """(H, W) pixels of (B, H, W) with data in any band, and those with a number in every band."""
        integers, nodata = np.issubdtype(pixels.dtype, np.integer), self.nodata
        # Compared in the pixels' own type, which is several times as fast; a value it cannot hold is nowhere.
        holds = nodata is not None and (not integers or _holds(pixels.dtype, nodata))
        if integers and not holds:
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
        y, x = np.nonzero(partial)
        if len(y) == 0:
            return
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


def _read(
    src: Any, indexes: tuple[int, ...], box: Box, factor: int, missing: _Missing, shift: tuple[int, int]
) -> tuple[Pixels, int]:
    """Read a dataset that lies on the target's lattice, `shift` rows and columns off, under a box of cells.

    Returns:
        The pixels, and how many of them make a cell along a side.
    """
    step = _step(factor, shift)
    top, left = box.top * factor - shift[0], box.left * factor - shift[1]
    bottom, right = box.bottom * factor - shift[0], box.right * factor - shift[1]
    rows, cols = (bottom - top) // step, (right - left) // step
    values: npt.NDArray[Any] = np.zeros((len(indexes), rows, cols), np.float32)
    valid = np.zeros((rows, cols), bool)
    whole = valid.copy()
    overviews = src.overviews(indexes[0])
    spans = (_spans(top, bottom, src.height, step), _spans(left, right, src.width, step))
    for (row, row_end, high), (col, col_end, wide) in product(*spans):
        window = PixelWindow(col, row, col_end - col, row_end - row)
        pixels = _read_window(src, indexes, window, (high, wide), missing, ready=step == 1 or step in overviews)
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
    missing: _Missing,
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


def announce(sources: Sources, layer: Layer, grid: Grid, boxes: list[Box]) -> None:
    """Tell which boxes of cells will be read, so that the bytes of a remote raster come in few requests.

    Only native pixels on the target's lattice are announced, where the requests for blocks add up.
    """
    boxes = [box.align(READ_CELLS).clip(grid.shape) for box in boxes]
    for ratio, positions in resolution_groups(layer, grid.factor).items():
        own, factor = (layer if ratio == 1 else own_layer(layer, ratio, positions)), grid.factor // ratio
        shift = own.dataset.same_grid(own.target)
        if shift is None or _step(factor, shift) > 1:
            continue
        pixels = [box.times(factor) for box in boxes]
        for url, version, bands in _remote_files(own.dataset):
            _announce_file(sources, url, version, bands, pixels, shift)


def _remote_files(dataset: Dataset) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """The remote files of a raster whose pixels are its own: address, state, numbers of the bands in them."""
    if not dataset.parts:
        if is_remote(dataset.url):
            yield dataset.url, dataset.version, dataset.indexes
        return
    bands: dict[tuple[str, str], list[int]] = {}
    for part in dataset.parts:
        if is_remote(part.url) and (part.height, part.width) == dataset.shape:
            bands.setdefault((part.url, part.version), []).append(part.index)
    for (url, version), numbers in bands.items():
        yield url, version, tuple(numbers)


def _announce_file(
    sources: Sources, url: str, version: str, bands: tuple[int, ...], boxes: list[Box], shift: tuple[int, int]
) -> None:
    """Announce boxes of pixels of a lattice that a file lies on, `shift` rows and columns off."""
    with sources.open(url, version) as src:
        if src.gcps[0]:  # its blocks do not lie on the lattice
            return
        spans = block_spans(src, bands, boxes, shift)
    sources.announce(url, version, spans)


def block_spans(
    src: Any, bands: tuple[int, ...], boxes: list[Box], shift: tuple[int, int] = (0, 0)
) -> list[tuple[int, int]]:
    """Where the bytes of boxes of pixels are in a file: first byte, and the one after the last.

    Args:
        src: the open file.
        bands: 1-based.
        boxes: on a lattice.
        shift: rows and columns by which the file lies off that.
    """
    height, width = src.block_shapes[0]
    blocks: set[tuple[int, int]] = set()
    for box in boxes:
        top, left = max(box.top - shift[0], 0), max(box.left - shift[1], 0)
        bottom, right = min(box.bottom - shift[0], src.height), min(box.right - shift[1], src.width)
        rows, cols = range(top // height, -(-bottom // height)), range(left // width, -(-right // width))
        blocks.update(product(rows, cols))
    spans = []
    for (row, col), band in product(blocks, (1,) if src.interleaving is Interleaving.pixel else bands):
        names = (f"BLOCK_{what}_{col}_{row}" for what in ("OFFSET", "SIZE"))
        start, size = (src.get_tag_item(name, "TIFF", bidx=band) for name in names)
        if start and size:  # absent where a sparse file has no block, and in other formats
            spans.append((int(start), int(start) + int(size)))
    return spans


def _read_layer(sources: Sources, layer: Layer, factor: int, box: Box) -> tuple[Pixels, int]:
    """`_read` for any layer, in the target's units."""
    pixels, size = _read_on_lattice(sources, layer, factor, box)
    if layer.is_target:
        return pixels, size
    values = pixels.values if (convert := layer.conversion) is None else convert(pixels.values)
    return Pixels(values, pixels.whole, pixels.whole), size


def _read_on_lattice(sources: Sources, layer: Layer, factor: int, box: Box) -> tuple[Pixels, int]:
    """`_read` for any layer, in its own units; warped bilinearly where it lies on another grid than its target."""
    dataset, target = layer.dataset, layer.target
    missing = _Missing.of(dataset, layer.indexes)
    with sources.open_described(dataset) as src:
        shift = dataset.same_grid(target)
        if shift is not None:
            return _read(src, layer.indexes, box, factor, missing, shift)
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine,
            "width": target.width,
            "height": target.height,
            "resampling": Resampling.bilinear,
        }
        options |= validity_options(src, dataset.nodata) | source_of_warp(dataset, target)
        if not all(missing.counts):
            options["UNIFIED_SRC_NODATA"] = "NO"  # or a band's nodata value is averaged with the numbers around it
        with WarpedVRT(src, **options) as warped:
            return _read(warped, layer.indexes, box, factor, missing, (0, 0))


def read_cells(sources: Sources, layer: Layer, grid: Grid, box: Box) -> Cells:
    """Read a layer on a box of its target's cells: of bands of several grids each from its own pixels."""
    groups = resolution_groups(layer, grid.factor)
    if groups.keys() == {1}:
        return _cells_of_one_grid(sources, layer, grid.factor, box)
    found = {
        positions: _cells_of_one_grid(sources, own_layer(layer, ratio, positions), grid.factor // ratio, box)
        for ratio, positions in groups.items()
    }
    values = np.empty((len(layer.indexes), *box.shape), np.float32)
    for positions, cells in found.items():
        values[list(positions)] = cells.values
    # Bands whose nodata value is a number where others have data take no cell away.
    strict = [positions for positions in found if not all(nodata_counts(layer.dataset, _picked(layer, positions)))]

    def joined(name: str) -> Bools:
        have = np.logical_or.reduce([getattr(cells, name) for cells in found.values()])
        return np.asarray(np.logical_and.reduce([have, *(getattr(found[positions], name) for positions in strict)]))

    return Cells(values, joined("valid"), joined("full"))


def _picked(layer: Layer, positions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(layer.indexes[position] for position in positions)


def _cells_of_one_grid(sources: Sources, layer: Layer, of: int, box: Box) -> Cells:
    """Cells of `of` pixels along a side of the layer's target."""
    pixels, factor = _read_layer(sources, layer, of, box)
    values, valid, whole = pixels.values, pixels.valid, pixels.whole
    if factor == of:  # native pixels: a cell that the scene's border cuts averages what it has
        rows, cols = box.times(factor).clip(layer.target.shape).shape
        values, valid, whole = values[:, :rows, :cols], valid[:rows, :cols], whole[:rows, :cols]
    return cell_means(values, valid, factor, whole=whole)


def read_pixels(sources: Sources, layer: Layer, box: Box) -> Pixels:
    """Read a layer on a box of its target's native pixels."""
    return _read_layer(sources, layer, 1, box)[0]


def read_classes(
    sources: Sources, dataset: Dataset, target: Dataset, grid: Grid, box: Box
) -> npt.NDArray[np.floating[Any]]:
    """Read a user's class raster on the target's native pixels under a box of cells.

    Returns:
        (rows * factor, cols * factor), NaN where there is no data.
    """
    return _classes(sources, dataset, target, box.times(grid.factor), 1)


def sample_classes(sources: Sources, dataset: Dataset, target: Dataset, step: int) -> npt.NDArray[np.floating[Any]]:
    """Read a user's class raster at the middle of squares of `step` native pixels of the target.

    Returns:
        (ceil(H / step), ceil(W / step)), NaN where there is no data.
    """
    return _classes(sources, dataset, target, Box(0, -(-target.height // step), 0, -(-target.width // step)), step)


def sample_validity(sources: Sources, dataset: Dataset, step: int) -> npt.NDArray[np.bool_]:
    """(ceil(H / step), ceil(W / step)), whether a raster has data about the middle of squares of `step` of its pixels.

    Everywhere, where telling would take reading all of a large raster: one without overviews.
    """
    shape = (-(-dataset.height // step), -(-dataset.width // step))
    with sources.open_described(dataset) as src:
        if step > 1 and not src.overviews(1):
            return np.ones(shape, bool)
        options = {"out_shape": shape, "resampling": Resampling.nearest}
        there, _ = _Missing.of(dataset, dataset.indexes).found(src.read(dataset.indexes, **options))
        if dataset.nodata is None:
            there = there & src.dataset_mask(out_shape=shape) > 0
    return there


def _classes(sources: Sources, dataset: Dataset, target: Dataset, box: Box, step: int) -> npt.NDArray[np.floating[Any]]:
    """The nearest class of every square of `step` native pixels in a box of such squares."""
    # float32 holds every number of 16 bits; bits packed into 32 need more.
    dtype = "float32" if np.dtype(dataset.dtype).itemsize <= 2 or dataset.dtype == "float32" else "float64"
    with sources.open_described(dataset) as src:
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine @ Affine.scale(step) @ Affine.translation(box.left, box.top),
            "width": box.shape[1],
            "height": box.shape[0],
            "resampling": Resampling.nearest,
            **validity_options(src, dataset.nodata),
            **source_of_warp(dataset, target),
        }
        with WarpedVRT(src, **options) as warped:
            there = warped.dataset_mask() > 0
            values: npt.NDArray[Any]
            if dataset.code is None:
                values = warped.read(1, out_dtype=dtype)
            else:
                values = dataset.code.classes(
                    warped.read(dataset.indexes if dataset.code.kind else dataset.indexes[:1])
                )
                there &= values != NODATA
                dtype = "float32"
    return np.where(there, values, np.array(np.nan, dtype))
