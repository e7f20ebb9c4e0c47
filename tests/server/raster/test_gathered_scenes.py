"""Images of scenes of several files, gathered from cached pieces: what rio-tiler reads of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rio_tiler.constants import WGS84_CRS
from rio_tiler.io import Reader

from server.raster.cache import RasterCache
from server.raster.composite import to_open
from server.raster.dataset import Dataset
from server.raster.gathered import Wanted, gathered
from server.raster.layer import Layer
from server.raster.outline import Outline, stack_outline
from server.raster.pixelpieces import LayerPieces
from server.work.cache import TileCache
from tests.helpers.service import sources_by

WEB = morecantile.tms.get("WebMercatorQuad")
Kinds = tuple[dict[str, Any], ...]
"""What the files of a scene are, each as `write` takes it."""
ONE_GRID: Kinds = ({}, {}, {}, {})
OTHER_GRIDS: Kinds = ({}, {"metres": 20}, {}, {"metres": 60})
BYTES = {"dtype": "uint8", "nodata": 7}
OTHER_NUMBERS: Kinds = ({"dtype": "int16", "nodata": -1}, {**BYTES, "nodata": None}, BYTES, {**BYTES, "metres": 20})
NO_NODATA: Kinds = ({"nodata": None},) * 4
FLOATS: Kinds = ({"dtype": "float32", "nodata": float("nan")},) * 3 + ({"metres": 20},)
OTHER_PLACES: Kinds = ({}, {"left": 500_040}, {"left": 500_400, "metres": 20}, {"metres": 20, "left": 500_010})


def write(
    path: Path,
    *,
    metres: int = 10,
    side: int = 720,
    left: int = 500_000,
    dtype: str = "uint16",
    nodata: float | None = 0,
) -> str:
    """A band of noise with overviews, a tenth of it without data."""
    rng, pixels = np.random.default_rng(len(path.stem) + metres), side * 10 // metres
    values = rng.integers(1, 120, (pixels, pixels)).astype(dtype)
    if nodata is not None:
        values[rng.random(values.shape) < 0.1] = nodata
    profile = {"driver": "GTiff", "count": 1, "height": pixels, "width": pixels, "dtype": dtype, "nodata": nodata}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(left, 4_600_000, metres, metres)}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=256, blockysize=256) as dst:
        dst.write(values, 1)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2, 4], Resampling.average)
    return str(path)


def scene_of(folder: Path, kinds: Kinds) -> tuple[RasterCache, Dataset]:
    """A scene of a file per kind, and what caches its pieces."""
    files = [write(folder / f"{'b' * k}1.tif", **kind) for k, kind in enumerate(kinds, start=1)]
    rasters = RasterCache(sources_by(folder), TileCache(64 << 20))
    scene = rasters.sources.scene("{" + ",".join(files) + "}")
    assert scene is not None
    return rasters, rasters.sources.composed(scene)


def wanted_tile(tile: morecantile.Tile, size: int = 256) -> Wanted:
    left, bottom, right, top = WEB.xy_bounds(tile)
    return Wanted(WEB.rasterio_crs, (left, bottom, right, top), size, size)


@pytest.mark.parametrize("kinds", [ONE_GRID, OTHER_GRIDS, OTHER_NUMBERS, NO_NODATA, FLOATS, OTHER_PLACES])
def test_the_image_is_that_of_the_virtual_raster(tmp_path: Path, kinds: Kinds) -> None:
    rasters, dataset = scene_of(tmp_path, kinds)
    every, total, different = dataset.indexes, 0, 0
    for asked in (every, (3, 1), (2,), (4, 2, 1)):
        part, bands = to_open(dataset, asked)
        with rasters.sources.open_described(part) as src:
            assert repr(Outline.of(src)) == repr(stack_outline(part.parts))
            with Reader(None, dataset=src) as reader:
                west, south, east, north = reader.get_geographic_bounds(WGS84_CRS)
                for zoom, (x, y) in ((15, (0.5, 0.5)), (14, (0.6, 0.6)), (13, (0.1, 0.2)), (12, (0.5, 0.5))):
                    tile = WEB.tile(west + (east - west) * x, south + (north - south) * y, zoom)
                    image = gathered(rasters, part, bands, wanted_tile(tile), {})
                    if image is None:
                        assert zoom < 13  # seen from afar
                        continue
                    stock = reader.tile(*tile, indexes=bands)
                    assert image.array.dtype == stock.array.dtype
                    assert (image.scales, image.offsets, image.bounds) == (stock.scales, stock.offsets, stock.bounds)
                    hidden = np.ma.getmaskarray(image.array) != np.ma.getmaskarray(stock.array)
                    different += int(((image.array.filled(199) != stock.array.filled(199)) | hidden).sum())
                    total += hidden.size
    # GDAL takes another one of two pixels whose border a position lies on, to the last bits.
    assert total > 1e6
    assert different < 1e-4 * total


def test_pieces_are_read_once_and_from_the_files_of_the_bands_alone(tmp_path: Path) -> None:
    rasters, dataset = scene_of(tmp_path, OTHER_GRIDS)
    tile = wanted_tile(WEB.tile(15.04, 41.52, 14))
    for unwanted in (dataset.parts[1], dataset.parts[3]):
        Path(unwanted.url).unlink()
    part, bands = to_open(dataset, (3, 1))
    image = gathered(rasters, part, bands, tile, {})
    assert image is not None
    for used in part.parts[:2]:
        Path(used.url).unlink()
    again = gathered(rasters, part, bands, tile, {})
    assert again is not None
    np.testing.assert_array_equal(again.array, image.array)
    # One band more: the others' pieces are there.
    assert gathered(rasters, *to_open(dataset, (1,)), tile, {}) is not None


def test_pixels_that_are_kept_for_the_analysis_are_the_same(tmp_path: Path) -> None:
    rasters, dataset = scene_of(tmp_path, OTHER_GRIDS)
    tile = wanted_tile(WEB.tile(15.04, 41.52, 14))
    part, bands = to_open(dataset, (3, 1))
    image = gathered(rasters, part, bands, tile, {})
    other, kept = scene_of(tmp_path, OTHER_GRIDS)
    shared = LayerPieces(other, Layer(kept, kept, kept.indexes), (2, 0))
    other.stored.of_stack = None  # type: ignore[method-assign, assignment]
    same = gathered(other, part, bands, tile, {}, shared)
    assert image is not None
    assert same is not None
    np.testing.assert_array_equal(same.array, image.array)


def test_images_in_the_scenes_own_crs_are_left_to_rio_tiler(tmp_path: Path) -> None:
    rasters, dataset = scene_of(tmp_path, ONE_GRID)
    part, bands = to_open(dataset, (3, 1))
    left, bottom, right, top = part.bounds
    wanted = Wanted(CRS.from_wkt(part.crs), (left + 100, bottom + 100, right - 100, top - 100), 64, 64)
    assert gathered(rasters, part, bands, wanted, {}) is None
