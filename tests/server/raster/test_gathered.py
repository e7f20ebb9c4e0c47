"""Images gathered from cached pieces are rio-tiler's own, pixel by pixel, and open no file twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rio_tiler.io import Reader

from server.raster.cache import RasterCache
from server.raster.gathered import Wanted, gathered
from server.work.cache import TileCache
from tests.helpers.service import sources_by

WEB = morecantile.tms.get("WebMercatorQuad")
SHAPE = 500, 900
UTM = {"crs": CRS.from_epsg(32633), "transform": Affine(10, 0, 380000, 0, -10, 4650000)}
DEGREES = {"crs": CRS.from_epsg(4326), "transform": Affine(1e-4, 0, 13, 0, -1e-4, 42)}


def write(path: Path, *, overviews: tuple[int, ...] = (), count: int = 3, **profile: Any) -> str:
    """A raster of noise, a tenth of it without data in single bands and a corner without any."""
    rng = np.random.default_rng(count)
    given: dict[str, Any] = {"dtype": "uint16", "nodata": 0, "tiled": True, "blockxsize": 256, "blockysize": 256}
    given |= {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": count} | UTM | profile
    values = rng.integers(1, 200, (count, *SHAPE)).astype(given["dtype"])
    if given["nodata"] is not None:
        values[rng.random(values.shape) < 0.1] = given["nodata"]
        values[:, :100, :200] = given["nodata"]
    with rasterio.open(path, "w", **given) as dst:
        dst.write(values)
        dst.scales, dst.offsets = (2.0,) * count, (1.0,) * count
        dst.descriptions = ("first", *[None] * (count - 1))
        for band in range(1, count):
            dst.update_tags(band, STATISTICS_MINIMUM="3", STATISTICS_MAXIMUM="90")
    if overviews:
        with rasterio.open(path, "r+") as dst:
            dst.build_overviews(overviews, Resampling.nearest)
    return str(path)


def tiles(url: str, zoom: int) -> list[morecantile.Tile]:
    """Tiles over a raster's middle and over a corner."""
    with Reader(url) as reader:
        west, south, east, north = reader.get_geographic_bounds(CRS.from_epsg(4326))
        found = {WEB.tile((west + east) / 2, (south + north) / 2, zoom), WEB.tile(west, north, zoom)}
        return [tile for tile in found if reader.tile_exists(*tile)]


def wanted_tile(tile: morecantile.Tile, size: int = 256, crs: CRS | None = None) -> Wanted:
    left, bottom, right, top = WEB.xy_bounds(tile)
    return Wanted(crs or WEB.rasterio_crs, (left, bottom, right, top), size, size)


def cached(url: str) -> RasterCache:
    return RasterCache(sources_by(Path(url).parent), TileCache(64 << 20))


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"overviews": (2, 4)},
        {"count": 1},
        {"count": 1, "overviews": (2, 4), "nodata": None},
        {"nodata": None},
        {"dtype": "float32", "nodata": float("nan")},
        {"dtype": "int16", "nodata": -9999, "overviews": (3,), **DEGREES},
        {"dtype": "uint8", "nodata": 255, "tiled": False, "blockysize": 16},
    ],
    ids=str,
)
def test_the_image_is_that_of_rio_tiler(tmp_path: Path, profile: dict[str, Any]) -> None:
    url = write(tmp_path / "raster.tif", **profile)
    rasters, total, different = cached(url), 0, 0
    dataset = rasters.sources.dataset(url)
    every = tuple(range(1, 1 + profile.get("count", 3)))
    with Reader(url) as reader:
        for zoom in (11, 12, 13, 14, 16):
            if zoom == 11 and 4 not in profile.get("overviews", ()):
                continue  # seen from afar
            for tile in tiles(url, zoom):
                for bands, size in ((every, 256), ((1,), 256), ((*every[1:], 1), 200)):
                    wanted = wanted_tile(tile, size)
                    image = gathered(rasters, dataset, bands, wanted, {"nodata": None, "padding": 0, "unscale": False})
                    assert image is not None
                    stock = reader.tile(*tile, tilesize=size, indexes=bands)
                    assert (image.bounds, image.crs, image.metadata) == (stock.bounds, stock.crs, stock.metadata)
                    assert image.band_names == stock.band_names
                    assert (image.scales, image.offsets) == (stock.scales, stock.offsets)
                    assert image.dataset_statistics == stock.dataset_statistics
                    assert image.array.dtype == stock.array.dtype
                    assert image.array.shape == stock.array.shape
                    ours, theirs = image.array.filled(199), stock.array.filled(199)
                    hidden = np.ma.getmaskarray(image.array) != np.ma.getmaskarray(stock.array)
                    different += int(((ours != theirs) | hidden).sum())
                    total += ours.size
    # GDAL takes another one of two pixels whose border a position lies on, to the last bits.
    assert different < 1e-4 * total


@pytest.mark.parametrize(
    ("profile", "methods"),
    [
        ({"overviews": (2, 4)}, ("bilinear", "cubic", "cubic_spline", "lanczos", "average")),
        ({"overviews": (2, 4), "nodata": None}, ("bilinear", "average")),
        ({"dtype": "float32", "nodata": float("nan")}, ("bilinear", "cubic")),
        ({"count": 1, "overviews": (3,), **DEGREES}, ("bilinear", "lanczos")),
    ],
    ids=str,
)
def test_so_are_smoothly_resampled_images(tmp_path: Path, profile: dict[str, Any], methods: tuple[str, ...]) -> None:
    """Coarser than the raster they are averages; finer ones are its pixels, whatever the method."""
    url = write(tmp_path / "raster.tif", **profile)
    rasters, total, different, smooth = cached(url), 0, 0, 0
    dataset, every = rasters.sources.dataset(url), tuple(range(1, 1 + profile.get("count", 3)))
    with Reader(url) as reader:
        for zoom in (12, 13, 15):
            tile = tiles(url, zoom)[0]
            nearest = gathered(rasters, dataset, (1,), wanted_tile(tile), {})
            for bands, method in [*((every[:1], method) for method in methods), (every, methods[0])]:
                image = gathered(rasters, dataset, bands, wanted_tile(tile), {"resampling_method": method})
                stock = reader.tile(*tile, indexes=bands, resampling_method=method)
                assert image is not None
                assert nearest is not None
                assert (image.bounds, image.array.dtype) == (stock.bounds, stock.array.dtype)
                hidden = np.ma.getmaskarray(image.array) != np.ma.getmaskarray(stock.array)
                different += int(((image.array.filled(199) != stock.array.filled(199)) | hidden).sum())
                total += hidden.size
                smooth += int((image.array[0].filled(199) != nearest.array[0].filled(199)).any())
    assert smooth or profile.get("count") == 1  # all bands are read otherwise, at the image's resolution
    assert different < 5e-4 * total  # a pixel as above enters into all around it


@pytest.mark.parametrize(
    ("profile", "bands", "method"),
    [
        ({}, (1, 2, 3, 1), "nearest"),
        ({"nodata": None}, (1, 1, 2), "nearest"),
        ({"count": 1}, (1, 1), "bilinear"),
        ({"dtype": "int8", "nodata": None}, (1,), "bilinear"),
    ],
    ids=str,
)
def test_bands_asked_for_twice_and_types_without_an_alpha_are_as_gdal_has_them(
    tmp_path: Path, profile: dict[str, Any], bands: tuple[int, ...], method: str
) -> None:
    url = write(tmp_path / "raster.tif", **profile)
    rasters = cached(url)
    tile = tiles(url, 12)[0]
    image = gathered(rasters, rasters.sources.dataset(url), bands, wanted_tile(tile), {"resampling_method": method})
    with Reader(url) as reader:
        stock = reader.tile(*tile, indexes=bands, resampling_method=method)
    if image is None:
        assert profile.get("dtype") == "int8"
        return
    hidden = np.ma.getmaskarray(image.array) != np.ma.getmaskarray(stock.array)
    assert ((image.array.filled(199) != stock.array.filled(199)) | hidden).mean() < 5e-4


def test_overviews_next_to_the_file_are_taken(tmp_path: Path) -> None:
    url = write(tmp_path / "raster.tif")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(url, "r+") as dst:
        dst.build_overviews((2, 4), Resampling.nearest)
    assert (tmp_path / "raster.tif.ovr").exists()
    rasters = cached(url)
    for zoom in (11, 12):
        tile = tiles(url, zoom)[0]
        image = gathered(rasters, rasters.sources.dataset(url), (2,), wanted_tile(tile), {})
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"), Reader(url) as reader:
            stock = reader.tile(*tile, indexes=2)
        assert image is not None
        assert (image.array.filled(199) != stock.array.filled(199)).mean() < 5e-4


def write_masked(path: Path, *, inside: bool) -> str:
    """A raster with a mask, both with overviews; the mask in the file or next to it."""
    url = write(path, dtype="uint8", nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        with rasterio.open(url, "r+") as dst:
            dst.write_mask(np.random.default_rng(0).random(SHAPE) > 0.3)
        with rasterio.open(url, "r+") as dst:
            dst.build_overviews((2, 4), Resampling.nearest)
    return url


def test_a_mask_in_the_file_hides_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = write_masked(tmp_path / "raster.tif", inside=True)
    rasters, images, different, total = cached(url), [], 0, 0
    dataset = rasters.sources.dataset(url)
    with Reader(url) as reader:
        for zoom in (11, 12, 14, 15):
            for bands, method in (((1,), "nearest"), ((1, 2, 3), "nearest"), ((2, 1), "bilinear")):
                for tile in tiles(url, zoom):
                    asked = (dataset, bands, wanted_tile(tile), {"resampling_method": method})
                    image = gathered(rasters, *asked)
                    stock = reader.tile(*tile, indexes=bands, resampling_method=method)
                    assert image is not None
                    hidden = np.ma.getmaskarray(image.array) != np.ma.getmaskarray(stock.array)
                    different += int(((image.array.filled(199) != stock.array.filled(199)) | hidden).sum())
                    total += hidden.size
                    images.append((asked, image))
    assert different < 2e-4 * total
    monkeypatch.setattr(rasters.sources, "open", None)
    for asked, image in images:
        again = gathered(rasters, *asked)
        assert again is not None
        np.testing.assert_array_equal(again.array.filled(0), image.array.filled(0))


@pytest.mark.parametrize(
    "profile",
    [{"overviews": (2, 4)}, {"nodata": None, "count": 1, "overviews": (3,), **DEGREES}, {"interleave": "band"}],
    ids=str,
)
def test_so_are_images_in_the_rasters_own_crs(tmp_path: Path, profile: dict[str, Any]) -> None:
    """From windows on pixels and between them, at the raster's resolution, finer and coarser ones: the very pixels."""
    url = write(tmp_path / "raster.tif", **profile)
    rasters, rng, made = cached(url), np.random.default_rng(1), 0
    dataset = rasters.sources.dataset(url)
    with Reader(url) as reader:
        for trial in range(120):
            size = int(rng.choice([32, 64, 100]))
            side = size * (1, 2, 0.5, rng.uniform(0.1, 4), 4, 1.5)[trial % 6]
            corner = rng.uniform(-2, 100, 2) if trial % 4 else rng.integers(0, 200, 2) / 2
            left, top = dataset.affine @ tuple(corner)
            right, bottom = dataset.affine @ tuple(corner + side)
            where = (left, bottom, right, top)
            image = gathered(rasters, dataset, (1,), Wanted(reader.crs, where, size, size), {})
            if corner.min() < 0:
                assert image is None
            if image is None:
                continue
            stock = reader.part(where, bounds_crs=reader.crs, width=size, height=size, indexes=1)
            made += 1
            assert (image.bounds, image.crs, image.band_names) == (stock.bounds, stock.crs, stock.band_names)
            np.testing.assert_array_equal(np.ma.getmaskarray(image.array), np.ma.getmaskarray(stock.array))
            np.testing.assert_array_equal(image.array.data, stock.array.data)
    assert made > 80


@pytest.mark.parametrize(("method", "nodata"), [("mode", 0), ("gauss", 0), ("cubic", None)])
def test_other_methods_are_left_to_rio_tiler(tmp_path: Path, method: str, nodata: float | None) -> None:
    url = write(tmp_path / "raster.tif", nodata=nodata)
    rasters = cached(url)
    wanted = wanted_tile(tiles(url, 13)[0])
    assert gathered(rasters, rasters.sources.dataset(url), (1,), wanted, {"resampling_method": method}) is None


def test_a_row_that_is_bent_is_divided_as_gdal_does(tmp_path: Path) -> None:
    """Far from the middle of its zone a row of a coarse raster is no straight line of it."""
    transform = Affine(400, 0, 300000, 0, -400, 8000000)
    url = write(tmp_path / "raster.tif", transform=transform)
    rasters = cached(url)
    with Reader(url) as reader:
        (tile,) = tiles(url, 6)[:1]
        wanted = wanted_tile(tile, 512)
        image = gathered(rasters, rasters.sources.dataset(url), (1,), wanted, {})
        stock = reader.tile(*tile, tilesize=512, indexes=1)
    assert image is not None
    assert (image.array.filled(0) == stock.array.filled(0)).mean() > 0.9  # within an eighth of a pixel


def test_pieces_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = write(tmp_path / "raster.tif", overviews=(2,))
    rasters = cached(url)
    dataset = rasters.sources.dataset(url)
    images = []
    for zoom in (12, 14):
        wanted = wanted_tile(tiles(url, zoom)[0])
        images.append((wanted, gathered(rasters, dataset, (2, 1), wanted, {})))
    monkeypatch.setattr(rasters.sources, "open", None)
    for wanted, image in images:
        again = gathered(rasters, dataset, (2, 1), wanted, {})
        assert image is not None
        assert again is not None
        np.testing.assert_array_equal(again.array.filled(0), image.array.filled(0))


@pytest.mark.parametrize(
    ("options", "crs"),
    [
        ({"reproject_method": "bilinear"}, 3857),
        ({"reproject_method": "cubic"}, 3857),
        ({"nodata": 7}, 3857),
        ({"unscale": True}, 3857),
        ({"padding": 1}, 3857),
        ({"vrt_options": {"width": 3}}, 3857),
        ({"resampling_method": "bilinear"}, 32633),
    ],
    ids=str,
)
def test_what_takes_a_warp_is_left_to_rio_tiler(tmp_path: Path, options: dict[str, Any], crs: int) -> None:
    url = write(tmp_path / "raster.tif")
    rasters = cached(url)
    wanted = wanted_tile(tiles(url, 14)[0], crs=CRS.from_epsg(crs))
    assert gathered(rasters, rasters.sources.dataset(url), (1,), wanted, options) is None


@pytest.mark.parametrize("kind", ["alpha", "palette", "mask in another file", "upside down"])
def test_so_are_unusual_rasters(tmp_path: Path, kind: str) -> None:
    if kind == "mask in another file":
        url = write_masked(tmp_path / "raster.tif", inside=False)
        assert (tmp_path / "raster.tif.msk").exists()
    else:
        url = write(tmp_path / "raster.tif", dtype="uint8", nodata=None)
    with rasterio.open(url, "r+") as dst:
        if kind == "alpha":
            dst.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
        elif kind == "palette":
            dst.write_colormap(1, {1: (255, 0, 0, 255)})
        elif kind == "upside down":
            dst.transform = Affine(10, 0, 380000, 0, 10, 4645000)
    rasters = cached(url)
    wanted = wanted_tile(tiles(url, 14)[0])
    assert gathered(rasters, rasters.sources.dataset(url), (1,), wanted, {}) is None
