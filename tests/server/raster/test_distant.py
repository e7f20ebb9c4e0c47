"""Views from afar: bounded processor time at any zoom, places right to a quarter of a pixel, near views untouched."""

from __future__ import annotations

import time
from pathlib import Path

import morecantile
import numpy as np
import pytest
import rasterio
from morecantile import tms
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds
from rio_tiler.io import Reader

from server.errors import TooLargeError
from server.raster.distant import MOST_PIXELS, from_afar
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, make_pair, write_bare, write_raster
from tests.helpers.service import application, raster

WEB = tms.get("WebMercatorQuad")
MERCATOR = CRS.from_epsg(3857)
SIDE = 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters whose pixels tell where they are: rows in band 1, columns in band 2; with and without overviews."""
    folder = tmp_path_factory.mktemp("distant")
    rows, cols = np.mgrid[1 : SIDE + 1, 1 : SIDE + 1].astype(np.uint16)
    data = np.stack([rows, cols])
    write_raster(folder / "overviews.tif", data)
    profile = {"driver": "GTiff", "count": 2, "height": SIDE, "width": SIDE, "dtype": "uint16", "tiled": True}
    with rasterio.open(folder / "plain.tif", "w", crs=UTM, transform=ORIGIN, nodata=0, **profile) as dst:
        dst.write(data)
        dst.descriptions = ("row", "column")
        dst.scales, dst.offsets = (2.0, 3.0), (4.0, 5.0)
        dst.update_tags(AREA="here")
    with rasterio.open(folder / "masked.tif", "w", crs=UTM, transform=ORIGIN, **profile) as dst:
        dst.write(data)
        dst.write_mask(cols > SIDE // 2)
    pair = make_pair(size=(SIDE, SIDE))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=255)
    return folder


def tile_over(zoom: int) -> tuple[int, int, int]:
    """The tile at a zoom that holds the middle of the rasters."""
    x, y = ORIGIN @ (SIDE / 2, SIDE / 2)
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [x], [y])[:2]
    tile = WEB.tile(lon, lat, zoom)
    return tile.z, tile.x, tile.y


@pytest.mark.parametrize("query", [{}, {"resampling": "bilinear"}, {"reproject": "cubic"}], ids=str)
@pytest.mark.parametrize("name", ["overviews.tif", "plain.tif", "masked.tif"])
def test_no_zoom_costs_more_than_another(folder: Path, name: str, query: dict[str, str]) -> None:
    with application(folder) as client:
        for zoom in (0, 1, 2, 4, 6, 8, 10, 13, 18, 24):
            z, x, y = tile_over(zoom)
            begun = time.process_time()
            path = f"/cog/tiles/WebMercatorQuad/{z}/{x}/{y}.tif"
            answer = client.get(path, params={"url": str(folder / name), **query})
            assert answer.status_code == 200, f"zoom {zoom}: {answer.text}"
            assert time.process_time() - begun < 15, f"zoom {zoom}"  # compiled loops may load meanwhile


@pytest.mark.parametrize("side", [1, 3, 50])
def test_a_raster_smaller_than_a_pixel(tmp_path: Path, side: int) -> None:
    """Its decimated form is one pixel and no coarser than the raster."""
    url = str(write_bare(tmp_path / "small.tif", np.full((1, side, side), 7, np.uint16), nodata=0))
    with application(tmp_path) as client:
        for zoom in (0, 1, 3, 6):
            begun = time.process_time()
            tile = WEB.tile(15.0001, 41.5455, zoom)
            query: dict[str, str | int] = {"url": url} | ({"buffer": 1, "padding": 4} if zoom == 3 else {})
            answer = client.get(f"/cog/tiles/WebMercatorQuad/{zoom}/{tile.x}/{tile.y}.tif", params=query)
            assert answer.status_code == 200, answer.text
            assert time.process_time() - begun < 15, f"zoom {zoom}"  # compiled loops may load meanwhile
            assert raster(answer.content).shape[1:] == ((258, 258) if zoom == 3 else (256, 256))


def test_filled_tiles_from_afar(folder: Path) -> None:
    names = {"url": "target", "replacement": "replacement", "mask": "mask"}
    query = {key: str(folder / f"{name}.tif") for key, name in names.items()} | CLEAR_REPLACEMENTS
    with application(folder) as client:
        for zoom in (8, 5, 3, 0):
            z, x, y = tile_over(zoom)
            begun = time.process_time()
            answer = client.get(f"/cog/tiles/WebMercatorQuad/{z}/{x}/{y}.tif", params=query)
            assert answer.status_code == 200
            assert zoom == 8 or time.process_time() - begun < 15, f"zoom {zoom}"  # the first makes the fill itself


@pytest.mark.parametrize("zoom", [4, 5, 6, 7])
@pytest.mark.parametrize("name", ["overviews.tif", "plain.tif"])
def test_pixels_from_afar_are_where_they_belong(folder: Path, name: str, zoom: int) -> None:
    z, x, y = tile_over(zoom)
    with application(folder) as client:
        content = client.get(f"/cog/tiles/WebMercatorQuad/{z}/{x}/{y}.tif", params={"url": str(folder / name)}).content
    rows, cols, alpha = raster(content)
    left, _, right, top = WEB.xy_bounds(morecantile.Tile(x, y, z))
    size = (right - left) / 256
    at_rows, at_cols = np.nonzero(alpha)
    assert len(at_rows)
    xs, ys = transform(MERCATOR, UTM, left + (at_cols + 0.5) * size, top - (at_rows + 0.5) * size)
    exact_cols, exact_rows = ~ORIGIN @ (np.array(xs), np.array(ys))
    native = size * np.cos(np.deg2rad(41.5)) / 10  # of the raster's pixels to one of the tile's
    tolerance = 0.3 * native + 8  # the overview's own pixels besides
    inside = (exact_rows > 0) & (exact_rows < SIDE) & (exact_cols > 0) & (exact_cols < SIDE)
    assert np.abs(rows[at_rows, at_cols] - exact_rows)[inside].max() < tolerance
    assert np.abs(cols[at_rows, at_cols] - exact_cols)[inside].max() < tolerance


@pytest.mark.parametrize("name", ["overviews.tif", "plain.tif"])
@pytest.mark.parametrize("zoom", [11, 12, 13, 14, 16])
def test_near_tiles_are_those_of_rio_tiler(folder: Path, zoom: int, name: str) -> None:
    z, x, y = tile_over(zoom)
    url = str(folder / name)
    with application(folder) as client:
        image = raster(client.get(f"/cog/tiles/WebMercatorQuad/{z}/{x}/{y}.tif", params={"url": url}).content)
    with Reader(url) as reader:
        expected = reader.tile(x, y, z)
    np.testing.assert_array_equal(image[-1] > 0, expected.mask > 0)
    np.testing.assert_array_equal(image[:2][:, expected.mask > 0], expected.data[:, expected.mask > 0])


def test_what_is_decimated_keeps_all_that_a_reader_asks(folder: Path) -> None:
    with rasterio.open(folder / "plain.tif") as src:
        bounds = transform_bounds(UTM, MERCATOR, *src.bounds)
        view = {"bounds": bounds, "dst_crs": MERCATOR, "width": 16, "height": 16, "indexes": (2,)}
        with from_afar(src, **view) as (seen, options):
            assert options["vrt_options"]["width"] == 16
            assert seen.width * seen.height <= MOST_PIXELS
            assert (seen.width, seen.count, seen.nodata) == (64, 2, 0)
            assert (seen.descriptions, seen.scales, seen.offsets) == (src.descriptions, src.scales, src.offsets)
            assert seen.tags()["AREA"] == "here"
            np.testing.assert_allclose(seen.bounds, src.bounds)
            assert seen.read(2).any()
            assert not seen.read(1).any()  # nobody asked for it
    with rasterio.open(folder / "masked.tif") as src, from_afar(src, **view) as (seen, _):
        half = seen.dataset_mask()
        assert not half[:, :31].any()
        assert half[:, 33:].all()


def test_a_near_view_is_the_raster_itself(folder: Path) -> None:
    with rasterio.open(folder / "overviews.tif") as src:
        bounds = transform_bounds(UTM, MERCATOR, *src.bounds)
        for width in (64, 256, 4096):
            view = {"bounds": bounds, "dst_crs": MERCATOR, "width": width, "height": width, "indexes": (1,)}
            with from_afar(src, **view) as (seen, options):
                assert seen is src
                assert not options


def test_a_view_that_needs_too_large_a_warp_is_refused(folder: Path) -> None:
    with rasterio.open(folder / "plain.tif") as src:
        world = (-2e7, -2e7, 2e7, 2e7)
        view = {"bounds": world, "dst_crs": MERCATOR, "width": 2, "height": 1_000_000, "indexes": (1,)}
        with pytest.raises(TooLargeError, match="in proportion"), from_afar(src, **view):
            pass


def test_a_window_of_a_large_raster_is_read_alone(tmp_path: Path) -> None:
    """A raster too large to decimate whole, nearly empty on disk."""
    side = 1 << 17
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "tiled": True}
    path = tmp_path / "large.tif"
    with rasterio.open(path, "w", crs=UTM, transform=ORIGIN, SPARSE_OK=True, compress="deflate", **profile) as dst:
        dst.write(np.full((1, 256, 256), 7, np.uint8), window=rasterio.windows.Window(0, 0, 256, 256))
    with rasterio.open(path) as src:
        left, top = ORIGIN.c, ORIGIN.f
        bounds = transform_bounds(UTM, MERCATOR, left, top - 40_000, left + 40_000, top)
        view = {"bounds": bounds, "dst_crs": MERCATOR, "width": 256, "height": 256, "indexes": (1,)}
        with from_afar(src, **view) as (seen, _):
            assert seen.width < 2048
            assert seen.read(1)[0, 0] == 7
