"""Where pixels are in a file: the bytes of the blocks that boxes of them touch."""

from __future__ import annotations

from itertools import product
from typing import Any

from rasterio.enums import Interleaving

from server.raster.grid import Box


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
