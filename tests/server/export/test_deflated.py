"""Tiles that ISA-L compresses: GDAL reads what was written, and stores its own in the same way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.io import MemoryFile

from server.export.deflated import deflated_tiles
from server.export.tiff import read_tags, spans_of, tags_alike
from server.export.tiles import stored_tiles, tile_options

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


@given(
    st.data(),
    st.sampled_from(INTEGERS),
    st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)),
)
def test_any_whole_numbers_come_back(data: st.DataObject, dtype: str, shape: tuple[int, int, int]) -> None:
    """In tiles of 32 pixels, whole and cut ones."""
    pixels = data.draw(arrays(dtype, shape))
    options = tile_options(dtype, "deflate") | {"blockxsize": 32, "blockysize": 32, "count": shape[0], "dtype": dtype}
    with MemoryFile() as memory:
        with memory.open(**options, height=shape[1], width=shape[2]) as file:
            file.write(pixels)
        (template,) = read_tags(bytes(memory.getbuffer()))
    content = deflated_tiles(pixels, template, 32)
    (tags,) = read_tags(content)
    assert tags_alike(tags, template)
    assert len(spans_of(tags)) == -(-shape[1] // 32) * -(-shape[2] // 32)
    with MemoryFile(content) as memory, memory.open() as file:
        np.testing.assert_array_equal(file.read(), pixels)


@pytest.mark.parametrize("compression", ["deflate", "lzw", None])
def test_pixels_in_any_order_of_axes_are_the_same_tiles(compression: str | None) -> None:
    pixels = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(2, 40, 30)
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)), -1, 0)
    assert stored_tiles(turned, compression) == stored_tiles(pixels, compression)
