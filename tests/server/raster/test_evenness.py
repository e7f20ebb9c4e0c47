"""Where the pixels under an image have all of their bands or none, any band of the image shows which have data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rio_tiler.io import Reader

from server.raster.evenness import is_even
from server.raster.layer import Layer
from server.raster.sampling import OutputGrid
from tests.helpers.scenes import ORIGIN, write_raster
from tests.server.raster.test_gathered import cached

SIDE = 1100
"""Pixels, of three blocks along a side."""
MERCATOR = CRS.from_epsg(3857)


def raster(path: Path, nodata: float, gaps: list[tuple[int, int, int]], dtype: str = "uint16") -> str:
    """Three bands with an empty corner, and gaps in single bands: band, row, column."""
    values = np.random.default_rng(1).integers(10, 200, (3, SIDE, SIDE)).astype(dtype)
    values[:, :150, :400] = nodata
    for band, row, col in gaps:
        values[band, row : row + 4, col : col + 4] = nodata
    return write_raster(path, values, nodata=nodata)


def image(url: str, row: int, col: int, side: int = 300, pixels: int = 256) -> tuple[bool, bool]:
    """Whether an image over some of the raster's pixels is called even, and whether it is."""
    left, top = ORIGIN @ (col, row)
    with Reader(url) as reader:
        read = reader.part(
            (left, top - 10 * side, left + 10 * side, top),
            bounds_crs=reader.crs,
            dst_crs=MERCATOR,
            height=pixels,
            width=pixels,
        )
    missing = np.ma.getmaskarray(read.array)
    rasters = cached(url)
    dataset = rasters.sources.dataset(url)
    layer = Layer(dataset, dataset, dataset.indexes)
    grid = OutputGrid.from_bounds(MERCATOR.to_wkt(), tuple(read.bounds), pixels, pixels)
    called = is_even(rasters, layer, grid, MERCATOR, {"dst_crs": MERCATOR, "height": pixels})
    return called, bool((missing.any(axis=0) == missing.all(axis=0)).all())


@pytest.mark.parametrize(("nodata", "dtype"), [(7, "uint8"), (np.nan, "float32")])
@pytest.mark.parametrize("gap", [None, (0, 300, 300), (2, 599, 250)])
def test_what_is_called_even_is(tmp_path: Path, nodata: float, dtype: str, gap: tuple[int, int, int] | None) -> None:
    url = raster(tmp_path / "a.tif", nodata, [] if gap is None else [gap], dtype)
    for row, col in ((100, 200), (-100, -100), (500, 150), (700, 700), (2000, 2000)):
        called, even = image(url, row, col)
        assert even or not called
        if gap is None or row == col == 700:  # in blocks without the gap
            assert called
    if gap is not None:
        assert not image(url, gap[1] - 100, gap[2] - 100)[0]


def test_overviews_are_not_judged_by_the_pixels(tmp_path: Path) -> None:
    url = raster(tmp_path / "a.tif", 0, [])
    assert image(url, 100, 100, side=900, pixels=800)[0]
    assert not image(url, 100, 100, side=900, pixels=200)[0]
