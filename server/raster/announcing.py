"""Which bytes of remote rasters will be read, announced so that they come in few requests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from rasterio.enums import Interleaving

from server.raster.composite import own_layer, resolution_groups
from server.raster.dataset import Dataset
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.pixels import overview_step
from server.raster.reading import READ_CELLS
from server.raster.sources import Sources
from server.remote.files import is_remote


def announce(sources: Sources, layer: Layer, grid: Grid, boxes: list[Box]) -> None:
    """Tell which boxes of cells will be read, so that the bytes of a remote raster come in few requests.

    Only native pixels on the target's lattice are announced, where the requests for blocks add up.
    """
    boxes = [box.align(READ_CELLS).clip(grid.shape) for box in boxes]
    for ratio, positions in resolution_groups(layer, grid.factor).items():
        own, factor = (layer if ratio == 1 else own_layer(layer, ratio, positions)), grid.factor // ratio
        shift = own.dataset.same_grid(own.target)
        if shift is None or overview_step(factor, shift) > 1:
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
