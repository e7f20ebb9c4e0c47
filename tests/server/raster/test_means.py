"""Cells from overviews: only from those that hold the means of their pixels, the same whatever is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

import server.raster.cache
import server.raster.reading
from algorithms.cells import Cells, cell_means
from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.grid import Box, Grid, coarse_grid, fine_grid
from server.raster.layer import Layer
from server.raster.means import are_means
from server.work.cache import TileCache
from tests.helpers.service import sources_by

SHAPE = (1536, 1504)
"""Rows and columns: more inference windows than a scene that is taken whole has."""
METHODS = ("average", "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "mode", "gauss", "rms")
"""How GDAL makes overviews."""
ROOM = 256 << 20
SOURCES = sources_by("")
"""For local files, which nobody has to admit."""


def ground(dtype: str = "uint16", bands: int = 1, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Numbers without any pattern."""
    rng = np.random.default_rng(5)
    return rng.integers(2, 250 if dtype == "uint8" else 9000, (bands, *shape)).astype(dtype)


def written(
    path: Path,
    values: np.ndarray,
    method: Resampling = Resampling.average,
    *,
    nodata: float | None = 0,
    metres: float = 10,
    corner: tuple[float, float] = (500_000, 4_600_000),
    later: Callable[[np.ndarray], None] | None = None,
    **creation: Any,
) -> Path:
    """A raster with overviews; `later` changes its pixels once these are made."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(*corner, metres, metres), "nodata": nodata}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512} | creation
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2, 4], method)
    if later is not None:
        later(values)
        with rasterio.open(path, "r+") as dst:
            dst.write(values)
    return path


def layer_of(path: Path, target: Path | None = None) -> Layer:
    dataset = SOURCES.dataset(str(path))
    return Layer(dataset, dataset if target is None else SOURCES.dataset(str(target)), dataset.indexes)


def rasters(room: int = ROOM) -> RasterCache:
    return RasterCache(SOURCES, TileCache(room))


def whole(grid: Grid) -> Box:
    return Box(0, grid.rows, 0, grid.cols)


def means_of(values: np.ndarray, factor: int = 2, nodata: float | None = 0) -> Cells:
    """The oracle: cells averaged from pixels."""
    there = np.ones(values.shape[1:], bool) if nodata is None else (values != nodata).any(axis=0)
    return cell_means(values, there, factor)


def same(a: Cells, b: Cells) -> None:
    for name in ("values", "valid", "full"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@contextmanager
def noted() -> Iterator[list[Box]]:
    """The boxes of native pixels that are read."""
    boxes: list[Box] = []

    def read_pixels(*args: Any) -> Any:
        boxes.append(args[-1])
        return server.raster.reading.read_pixels(*args)

    def read_cells(*args: Any, **options: Any) -> Any:
        boxes.append(args[-1].times(args[-2].factor))
        return server.raster.reading.read_cells(*args, **options)

    with (
        mock.patch.object(server.raster.cache, "read_pixels", read_pixels),
        mock.patch.object(server.raster.cache, "read_cells", read_cells),
    ):
        yield boxes


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("uint8", None), ("int16", -9999), ("float32", np.nan)])
def test_cells_are_the_means_rounded_once(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    values = ground(dtype)
    layer = layer_of(written(tmp_path / "a.tif", values, nodata=nodata))
    grid, expected = fine_grid(layer.dataset), means_of(values, nodata=None)
    with noted() as boxes:
        cells = rasters().cells(layer, grid, whole(grid))
    rounded = expected.values if dtype == "float32" else np.floor(expected.values + np.float32(0.5))
    np.testing.assert_allclose(cells.values, rounded, rtol=1e-6)
    same(replace(cells, values=expected.values), expected)
    # A few places are compared in pixels, nothing else is read in them.
    assert len(set(boxes)) == len(boxes) == 3


@pytest.mark.parametrize("method", METHODS)
def test_overviews_made_otherwise_are_told_apart(method: str) -> None:
    values = ground(shape=(160, 160))
    with MemoryFile() as file:
        with file.open(driver="GTiff", count=1, height=160, width=160, dtype="uint16", nodata=0) as dst:
            dst.write(values)
            dst.build_overviews([2], Resampling[method])
        with rasterio.open(file.name, overview_level=0) as src:
            overview = src.read()
    assert are_means(overview, values, np.ones((160, 160), bool), 2, 0) is (method == "average")


def _darker(values: np.ndarray) -> None:
    values[:] = values // 2 + 1


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (SHAPE, {"method": Resampling.nearest}),
        (SHAPE, {"later": _darker}),
        ((1535, 1504), {}),
        ((1536, 1503), {}),
        ((1024, 1024), {}),
        (SHAPE, {"corner": (500_010, 4_600_000)}),
        (SHAPE, {"corner": (500_003, 4_600_000)}),
    ],
    ids=["nearest", "old overviews", "odd rows", "odd columns", "small", "a pixel off", "another grid"],
)
def test_where_overviews_hold_no_means_of_cells_pixels_are_read(
    tmp_path: Path, shape: tuple[int, int], options: dict[str, Any]
) -> None:
    values = ground(shape=shape)
    path = written(tmp_path / "a.tif", values, **options)
    target = written(tmp_path / "target.tif", ground(shape=shape)) if "corner" in options else None
    layer = layer_of(path, target)
    grid = fine_grid(layer.target)
    assert grid.factor == 2
    cells = rasters().cells(layer, grid, whole(grid))
    bare = tmp_path / "bare.tif"
    with rasterio.open(path) as src:
        profile = src.profile
    with rasterio.open(bare, "w", **profile) as dst:
        dst.write(values)
    same(cells, rasters().cells(layer_of(bare, target), grid, whole(grid)))


HOLES = [(0, 0, 200, 300), (700, 900, 3, 3)]
"""Rows and columns where data are missing: first ones and numbers of them."""


def test_where_data_are_missing_pixels_are_read(tmp_path: Path) -> None:
    values = ground()
    for row, col, rows, cols in HOLES:
        values[:, row : row + rows, col : col + cols] = 0
    layer = layer_of(written(tmp_path / "a.tif", values))
    grid, expected = fine_grid(layer.dataset), means_of(values)
    found = rasters().cells(layer, grid, whole(grid))
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.full, expected.full)
    assert not expected.full.all()
    rounded = np.floor(expected.values + np.float32(0.5))
    for row in range(0, grid.rows, 256):
        for col in range(0, grid.cols, 256):
            at = slice(row, row + 256), slice(col, col + 256)
            block = expected if not expected.valid[at].all() else replace(expected, values=rounded)
            np.testing.assert_array_equal(found.values[(slice(None), *at)], block.values[(slice(None), *at)])


def test_single_pixels_without_data_leave_cells_the_mean_of_the_others(tmp_path: Path) -> None:
    """What an overview cannot tell: such a cell counts as full."""
    values = ground()
    rng = np.random.default_rng(1)
    lone = np.zeros(SHAPE, bool)
    lone[::2, ::2] = rng.random((SHAPE[0] // 2, SHAPE[1] // 2)) < 0.001
    values[:, lone] = 0
    layer = layer_of(written(tmp_path / "a.tif", values))
    grid, expected = fine_grid(layer.dataset), means_of(values)
    found = rasters().cells(layer, grid, whole(grid))
    assert expected.valid.all()
    assert found.valid.all()
    assert found.full.all()
    assert not expected.full.all()
    assert np.abs(found.values - expected.values).max() <= 0.5


@pytest.mark.parametrize("room", [ROOM, 4 << 20], ids=["room", "no room"])
def test_cells_are_the_same_whatever_is_at_hand(tmp_path: Path, room: int) -> None:
    values = ground()
    values[:, 600:700, 0:90] = 0
    layer = layer_of(written(tmp_path / "a.tif", values))
    grid = fine_grid(layer.dataset)
    alone = rasters().cells(layer, grid, whole(grid))
    other = rasters(room)
    other.expect_pixels(layer, Box(0, *SHAPE[:1], 0, 900))
    other.pixels(layer, Box(0, 600, 0, 700))
    rng = np.random.default_rng(0)
    for _ in range(6):
        top, left = (int(rng.integers(0, n - 60)) for n in grid.shape)
        box = Box(top, top + 60, left, left + 60)
        part = other.cells(layer, grid, box)
        same(part, alone.cut(box.within(whole(grid))))
    same(other.cells(layer, grid, whole(grid)), alone)


@pytest.mark.parametrize("fine_first", [True, False])
def test_coarse_cells_stay_as_they_are(tmp_path: Path, fine_first: bool) -> None:
    values = ground()
    values[:, 600:700, 0:90] = 0
    layer = layer_of(written(tmp_path / "a.tif", values))
    fine, coarse = fine_grid(layer.dataset), coarse_grid(layer.dataset)
    assert coarse.factor == 6
    found = rasters()
    if fine_first:
        found.cells(layer, fine, Box(0, 10, 0, 10))
    cells = found.cells(layer, coarse, whole(coarse))
    with rasterio.open(layer.dataset.url, overview_level=0) as src:
        stored = src.read()
    padded = np.pad(stored, [(0, 0), *((0, -n % 3) for n in stored.shape[1:])])
    expected = cell_means(padded, (padded != 0).any(axis=0), 3)
    same(cells, expected)


def test_a_replacement_on_the_same_lattice_is_read_where_it_lies(tmp_path: Path) -> None:
    values = ground()
    replacement = written(tmp_path / "a.tif", values, corner=(500_000 - 40, 4_600_000 + 60))
    target = written(tmp_path / "target.tif", ground())
    layer, own = layer_of(replacement, target), layer_of(replacement)
    grid = fine_grid(layer.target)
    assert layer.dataset.same_grid(layer.target) == (-6, -4)
    found, alone = rasters().cells(layer, grid, whole(grid)), rasters().cells(own, grid, whole(grid))
    inside = np.s_[:, :512, :512]  # blocks that reach beyond the raster are read in pixels
    np.testing.assert_array_equal(found.values[inside], alone.values[:, 3:515, 2:514])
    assert not found.valid[-3:].any()


def test_other_units_are_converted(tmp_path: Path) -> None:
    values = ground()
    target = written(tmp_path / "target.tif", ground())
    path = written(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = [2e-4], [-0.1]
    layer = layer_of(path, target)
    grid = fine_grid(layer.target)
    cells = rasters().cells(layer, grid, whole(grid))
    rounded = np.floor(means_of(values).values + np.float32(0.5))
    np.testing.assert_allclose(cells.values, rounded * 2 - 1000, atol=0.01)


@pytest.mark.parametrize("second", ["average", "nearest"])
def test_of_several_files_each_grid_is_judged_for_itself(tmp_path: Path, second: str) -> None:
    values = ground(bands=3)
    methods = Resampling.average, Resampling[second]
    files = [written(tmp_path / f"b{k}.tif", values[k : k + 1], methods[k]) for k in range(2)]
    coarse = values[2:, : SHAPE[0] // 2, : SHAPE[1] // 2]
    files.append(written(tmp_path / "b2.tif", coarse, Resampling.nearest, metres=20))
    sources = sources_by(tmp_path)
    scene = sources.scene("{" + ",".join(map(str, files)) + "}")
    assert scene is not None
    dataset: Dataset = sources.composed(scene)
    layer = Layer(dataset, dataset, dataset.indexes)
    grid = fine_grid(dataset)
    kept = RasterCache(sources, TileCache(ROOM))
    cells = kept.cells(layer, grid, whole(grid))
    assert kept.shows_gaps(layer, grid) == (second != "average")
    expected = means_of(values[:2]).values
    if second == "average":
        expected = np.floor(expected + np.float32(0.5))
    np.testing.assert_array_equal(cells.values, np.concatenate([expected, coarse.astype(np.float32)]))
    assert cells.full.all()


@pytest.mark.parametrize("first", [0, None])
def test_a_nodata_value_given_after_the_overviews_were_made_is_noticed(tmp_path: Path, first: float | None) -> None:
    """What GDAL then averages with the numbers next to it."""
    values = ground(bands=2)
    values[:, ::2, ::2][:, np.random.default_rng(1).random((SHAPE[0] // 2, SHAPE[1] // 2)) < 0.01] = 0
    path = written(tmp_path / "a.tif", values, nodata=first)
    with rasterio.open(path, "r+") as dst:
        dst.nodata = 0
    layer = layer_of(path)
    grid, found = fine_grid(layer.dataset), rasters()
    same_values = np.array_equal(found.cells(layer, grid, whole(grid)).values, means_of(values).values)
    assert (found.means.level(layer, 2) is None) == same_values == (first is None)


def test_flat_ground_shows_nothing() -> None:
    """A method shows only where pixels differ."""
    flat = np.full((1, 160, 160), 700, np.uint16)
    there = np.ones((160, 160), bool)
    assert are_means(flat[:, ::2, ::2], flat, there, 2, 0) is None
    values = ground(bands=1, shape=(160, 160))
    means = np.floor(means_of(values).values + 0.5).astype(np.uint16)
    assert are_means(means, values, there, 2, 0) is True
    means[0, 40, 40] += 1
    assert are_means(means, values, there, 2, 0) is False
    assert are_means(means, values, there & (np.arange(160) >= 100), 2, 0) is True
