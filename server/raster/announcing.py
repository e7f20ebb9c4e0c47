"""Which bytes of remote rasters will be read, announced so that they come in few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from server.raster.composite import layers_by_grid
from server.raster.dataset import Dataset
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.means import MeansLevel
from server.raster.pixels import overview_step
from server.raster.reading import READ_CELLS
from server.raster.sources import Sources
from server.raster.spans import block_spans
from server.raster.storedpieces import FileLevel
from server.remote.files import is_remote


def announce(
    sources: Sources,
    layer: Layer,
    grid: Grid,
    boxes: list[Box],
    *,
    level_of: Callable[[Layer, int], MeansLevel | None] = lambda *_: None,
) -> None:
    """Tell which boxes of cells will be read, so that the bytes of a remote raster come in few requests.

    Only what lies on the target's lattice is announced, where the requests for blocks add up.

    Args:
        sources: what opens the rasters.
        layer: what will be read.
        grid: the level.
        boxes: the cells.
        level_of: gives the overview that cells of a layer, of so many pixels per side, are read from.
    """
    if not any(map(is_remote, files_read(layer.dataset))):
        return
    boxes = [box.align(READ_CELLS).clip(grid.shape) for box in boxes]
    for _, own, factor in layers_by_grid(layer, grid.factor):
        if (level := level_of(own, factor)) is not None:
            pixels = [level.own(box, factor) for box in boxes]
            for file in level.pieces.files:
                if is_remote(file.url):
                    _announce_file(sources, file, pixels, (0, 0))
            continue
        shift = own.dataset.same_grid(own.target)
        if shift is None or overview_step(factor, shift) > 1:
            continue
        pixels = [box.times(factor) for box in boxes]
        for file in _remote_files(own.dataset):
            _announce_file(sources, file, pixels, shift)


def files_read(dataset: Dataset) -> list[str]:
    """The files that a raster is read from."""
    return [part.url for part in dataset.parts] or [dataset.url]


def _remote_files(dataset: Dataset) -> Iterator[FileLevel]:
    """The remote files of a raster whose pixels are its own."""
    if not dataset.parts:
        if is_remote(dataset.url):
            yield FileLevel(dataset.url, dataset.version, dataset.indexes, None)
        return
    bands: dict[tuple[str, str], list[int]] = {}
    for part in dataset.parts:
        if is_remote(part.url) and (part.height, part.width) == dataset.shape:
            bands.setdefault((part.url, part.version), []).append(part.index)
    for (url, version), numbers in bands.items():
        yield FileLevel(url, version, tuple(numbers), None)


def _announce_file(sources: Sources, file: FileLevel, boxes: list[Box], shift: tuple[int, int]) -> None:
    """Announce boxes of pixels of a lattice that a file lies on, `shift` rows and columns off."""
    with sources.open(file.url, file.version, overview=file.overview) as src:
        if src.gcps[0]:  # its blocks do not lie on the lattice
            return
        spans = block_spans(src, file.bands, boxes, shift)
    sources.announce(file.url, file.version, spans)
