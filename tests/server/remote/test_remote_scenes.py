"""Scenes of several remote files: what is fetched for an image gathered from cached pieces of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import morecantile
import numpy as np
import pytest
from rasterio.shutil import copy as copy_raster
from rasterio.transform import from_origin
from rio_tiler.io import Reader

from server.raster.cache import RasterCache
from server.raster.composite import to_open
from server.raster.dataset import Dataset
from server.raster.gathered import Wanted, gathered
from server.work.cache import TileCache
from tests.helpers.rangeserver import Counts, RangeServer, range_server
from tests.helpers.scenes import write_raster
from tests.helpers.service import sources_by

WEB = morecantile.tms.get("WebMercatorQuad")
TILE = WEB.tile(15.045, 41.52, 14)
WANTED = Wanted(WEB.rasterio_crs, tuple(WEB.xy_bounds(TILE)), 256, 256)  # type: ignore[arg-type]
BLOCKS = (96, 128, 256, 512, 1024)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    """Three bands of noise, stored in blocks of several sizes."""
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(0)
    for name in ("red", "green", "blue"):
        whole = folder / "whole.tif"
        write_raster(whole, rng.integers(1, 65000, (1, 1100, 1100)).astype(np.uint16))
        for block in BLOCKS:
            copy_raster(whole, folder / f"{name}{block}.tif", driver="COG", compress="deflate", blocksize=block)
        whole.unlink()
    with range_server(folder) as served:
        yield served


def opened(archive: RangeServer, block: int) -> tuple[RasterCache, Dataset]:
    """Caches that hold nothing but the description of the bands, and that."""
    rasters = RasterCache(sources_by(archive.base, source_check="600"), TileCache(64 << 20))
    scene = rasters.sources.scene(f"{archive.base}{{red,green,blue}}{block}.tif")
    assert scene is not None
    dataset = rasters.sources.composed(scene)
    archive.reset()
    return rasters, dataset


def fetched_by_rio_tiler(archive: RangeServer, block: int) -> tuple[np.ndarray, Counts]:
    """Two bands of a tile, and what a warp fetches for them."""
    rasters, dataset = opened(archive, block)
    part, bands = to_open(dataset, (3, 1))
    with rasters.sources.open_described(part) as src, Reader(None, dataset=src) as reader:
        array: np.ndarray = reader.tile(*TILE, indexes=bands).array.data
    return array, archive.reset()


@pytest.mark.parametrize("block", BLOCKS)
def test_an_image_takes_no_more_of_its_files_than_a_warp_and_nothing_twice(archive: RangeServer, block: int) -> None:
    expected, counts = fetched_by_rio_tiler(archive, block)
    rasters, dataset = opened(archive, block)
    part, bands = to_open(dataset, (3, 1))
    image = gathered(rasters, part, bands, WANTED, {})
    first = archive.reset()
    if image is None:
        assert block == min(BLOCKS)  # too small to be kept one by one
        assert first.requests == 0
        return
    assert (image.array.data != expected).mean() < 1e-4
    assert first.requests <= counts.requests
    assert first.sent <= counts.sent
    again = gathered(rasters, part, bands, WANTED, {})
    assert again is not None
    np.testing.assert_array_equal(again.array, image.array)
    assert archive.reset().requests == 0


def test_bands_on_another_grid_are_left_to_rio_tiler(archive: RangeServer, tmp_path: Path) -> None:
    """A piece of them would reach into blocks that the image does not need."""
    coarse = archive.folder / "coarse.tif"
    write_raster(
        tmp_path / "coarse.tif", np.ones((1, 550, 550), np.uint16), transform=from_origin(500_000, 4_600_000, 20, 20)
    )
    copy_raster(tmp_path / "coarse.tif", coarse, driver="COG", blocksize=512)
    rasters = RasterCache(sources_by(archive.base, source_check="600"), TileCache(64 << 20))
    scene = rasters.sources.scene(f"{archive.base}{{red512,coarse}}.tif")
    assert scene is not None
    part, bands = to_open(rasters.sources.composed(scene), (2, 1))
    assert gathered(rasters, part, bands, WANTED, {}) is None
    assert gathered(rasters, *to_open(rasters.sources.composed(scene), (1,)), WANTED, {}) is not None
