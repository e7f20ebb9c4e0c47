"""Cells and pixels from one reading: the same bits whichever is asked for first, each piece decoded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rasterio.transform import from_origin

import server.raster.cache
from algorithms.cells import Cells, cell_means
from server.raster.cache import RasterCache
from server.raster.grid import Box, Grid, fine_grid
from server.raster.layer import Layer
from server.work.cache import TileCache
from tests.helpers.scenes import write_bare
from tests.helpers.service import sources_by

SHAPE = (1031, 777)
"""Odd, so that the lower and right border cut cells."""

SOURCES = sources_by("")
"""For local files, which nobody has to admit."""


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    rng = np.random.default_rng(5)
    values = rng.integers(1, 9000, (3, *SHAPE), dtype=np.uint16)
    values[:, 500:520, 300:700] = 0
    values[1, rng.random(SHAPE) < 0.01] = 0  # dark in one band, not missing
    return values


@pytest.fixture(scope="module")
def layer(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Layer:
    path = write_bare(
        tmp_path_factory.mktemp("odd") / "odd.tif", values, transform=from_origin(3e5, 5e6, 10, 10), nodata=0
    )
    dataset = SOURCES.dataset(str(path))
    return Layer(dataset, dataset, dataset.indexes)


@pytest.fixture
def rasters() -> RasterCache:
    return RasterCache(SOURCES, TileCache(256 << 20))


def same(a: Cells, b: Cells) -> None:
    for name in ("values", "valid", "full"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def whole(grid: Grid) -> Box:
    return Box(0, grid.rows, 0, grid.cols)


def test_cells_are_those_of_the_whole_array(layer: Layer, values: np.ndarray, rasters: RasterCache) -> None:
    grid = fine_grid(layer.dataset)
    assert grid.factor == 2
    expected = cell_means(values, (values != 0).any(axis=0), 2)
    same(rasters.cells(layer, grid, whole(grid)), expected)
    assert expected.full[-1].any()
    assert expected.full[:, -1].any()


@pytest.mark.parametrize("box", [Box(0, 516, 0, 389), Box(250, 260, 100, 389), Box(511, 516, 380, 389)])
def test_cells_from_kept_pixels_are_those_read_alone(layer: Layer, rasters: RasterCache, box: Box) -> None:
    grid = fine_grid(layer.dataset)
    alone = RasterCache(SOURCES, TileCache(256 << 20)).cells(layer, grid, box)
    rasters.expect_pixels(layer, box.times(2))
    same(rasters.cells(layer, grid, box), alone)


@pytest.mark.parametrize(
    ("cache_bytes", "then"),
    [(256 << 20, ("read_pixels", Box(512, 1024, 0, 512))), (4 << 20, ("read_cells", Box(256, 512, 0, 256)))],
)
def test_a_piece_that_is_expected_is_read_once_for_both(
    cache_bytes: int, then: tuple[str, Box], layer: Layer, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rasters = RasterCache(SOURCES, TileCache(cache_bytes))
    reads: list[tuple[str, Box]] = []

    def noting(name: str) -> Callable[..., Any]:
        real = getattr(server.raster.cache, name)

        def noted(*args: Any) -> Any:
            reads.append((name, args[-1]))
            return real(*args)

        return noted

    for name in ("read_cells", "read_pixels"):
        monkeypatch.setattr(server.raster.cache, name, noting(name))
    grid, inner = fine_grid(layer.dataset), Box(10, 50, 10, 50)
    rasters.expect_pixels(layer, inner.times(2))
    rasters.cells(layer, grid, inner)
    pixels = rasters.pixels(layer, inner.times(2))
    assert reads == [("read_pixels", Box(0, 512, 0, 512))]
    np.testing.assert_array_equal(pixels.values, values[:, 20:100, 20:100])
    rasters.cells(layer, grid, Box(300, 310, 10, 50))  # nobody wants pixels there: kept while there is room
    assert reads[1:] == [then]
