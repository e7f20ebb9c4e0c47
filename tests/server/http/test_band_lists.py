"""Scenes given as lists of files: the same answers as from one file that holds the bands, and clear errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import morecantile
import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal
from rasterio.enums import Resampling
from rio_tiler.constants import WGS84_CRS
from rio_tiler.io import Reader
from starlette.testclient import TestClient

from server.scenes.bandlist import file_label
from tests.helpers.archives import coarsened, write_band
from tests.helpers.scenes import BANDS, CLEAR_REPLACEMENTS, make_pair, write_mask, write_raster
from tests.helpers.service import application, good, pixels

SIDE: Final = 384
TMS = morecantile.tms.get("WebMercatorQuad")
FILES: Final = dict(zip(("B02", "B03", "B04", "B08", "B11", "B12"), BANDS, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both dates as one file each, as six files, and as files at the bands' own resolutions."""
    folder = tmp_path_factory.mktemp("lists")
    pair = make_pair(size=(SIDE, SIDE), cloud=0.2)
    write_mask(folder / "mask.tif", pair.mask.astype(np.uint8))
    for date, values in (("cloudy", pair.target), ("clear", pair.replacement)):
        stacked = folder / f"{date}.tif"
        write_raster(stacked, values, descriptions=BANDS)
        with rasterio.open(stacked, "r+") as dst:
            dst.build_overviews([2, 4], Resampling.average)
        for where in (folder / date, folder / f"{date}-own"):
            where.mkdir()
        for name, band in zip(FILES, values, strict=True):
            write_band(folder / date / f"{name}.tif", band, 10)
            own = np.round(coarsened(band, 2)).astype(np.uint16) if name in ("B11", "B12") else band
            write_band(folder / f"{date}-own" / f"{name}.tif", own, 20 if name in ("B11", "B12") else 10)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def listed(folder: Path, date: str) -> str:
    return f"{folder / date}/{{{','.join(FILES)}}}.tif"


def tile_path(folder: Path, zoom: int) -> str:
    with Reader(str(folder / "cloudy.tif")) as reader:
        west, south, east, north = reader.get_geographic_bounds(WGS84_CRS)
    tiles = list(TMS.tiles(west, south, east, north, [zoom]))
    tile = tiles[len(tiles) // 2]
    return f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy"


@pytest.mark.parametrize("zoom", [15, 13, 11])
@pytest.mark.parametrize(
    "query",
    [
        {"bidx": [3, 2, 1]},
        {"bidx": [1, 2, 3, 4, 5, 6]},
        {"expression": "(b4-b3)/(b4+b3)"},
        {"algorithm": "fill_source"},
    ],
    ids=str,
)
def test_a_list_gives_the_pixels_of_the_stacked_file(
    client: TestClient, folder: Path, zoom: int, query: dict[str, Any]
) -> None:
    path, mask = tile_path(folder, zoom), str(folder / "mask.tif")
    masked = {"mask": mask, **CLEAR_REPLACEMENTS}
    stacked = {"url": str(folder / "cloudy.tif"), "replacement": str(folder / "clear.tif"), **masked}
    several = [str(folder / "cloudy" / f"{name}.tif") for name in FILES]
    lists = {"url": several, "replacement": listed(folder, "clear"), **masked}
    expected = pixels(client.get(path, params=stacked | query))
    assert_array_equal(pixels(client.get(path, params=lists | query)), expected)
    assert_array_equal(pixels(client.get(path, params=stacked | {"url": lists["url"]} | query)), expected)


def test_the_model_sees_the_same_clouds(client: TestClient, folder: Path) -> None:
    path = tile_path(folder, 14)
    masks = [
        pixels(client.get(path, params={"url": url, "algorithm": "cloud_mask"}))
        for url in (str(folder / "cloudy.tif"), listed(folder, "cloudy"))
    ]
    assert_array_equal(*masks)


def test_bands_have_their_own_resolutions(client: TestClient, folder: Path) -> None:
    """Filled bands of 20 m are those of the file in which they were averaged; tiles of one zoom level agree."""
    asked = {"replacement": listed(folder, "clear-own"), "mask": str(folder / "mask.tif"), "residual": "true"}
    asked |= CLEAR_REPLACEMENTS
    info = good(client.get("/cog/info", params={"url": listed(folder, "cloudy-own")})).json()
    assert (info["width"], info["height"]) == (SIDE, SIDE)
    assert [name for _, name in info["band_descriptions"]] == list(BANDS)
    own = pixels(
        client.get("/cog/preview.npy", params=asked | {"url": listed(folder, "cloudy-own"), "assets": "swir16,red"})
    )
    stacked = {"url": str(folder / "cloudy.tif"), "replacement": str(folder / "clear.tif")}
    whole = pixels(client.get("/cog/preview.npy", params=asked | stacked | {"bidx": [5, 3]}))
    clear = own[-1] > 0
    difference = np.abs(own[:2].astype(float) - whole[:2])[:, clear]
    assert np.median(difference[1]) == 0
    assert np.median(difference[0]) < 60  # noise of single pixels, of which the coarse band has less


def test_bands_answer_to_names(client: TestClient, folder: Path) -> None:
    with Reader(str(folder / "cloudy.tif")) as reader:
        west, south, east, north = reader.get_geographic_bounds(WGS84_CRS)
        red, nir = reader.point((west + east) / 2, (south + north) / 2, indexes=[3, 4]).array.tolist()
    path = f"/cog/point/{(west + east) / 2},{(south + north) / 2}"
    for url in (listed(folder, "cloudy"), str(folder / "cloudy.tif")):
        for assets in (["nir,red"], ["nir", "red"], ["NIR", "Red"]):
            found = good(client.get(path, params={"url": url, "assets": assets})).json()
            assert (found["values"], found["band_names"]) == ([nir, red], ["b4", "b3"])
        ratio = good(client.get(path, params={"url": url, "expression": "(nir-red)/(nir+red)"})).json()
        assert ratio["values"] == [pytest.approx((nir - red) / (nir + red))]
        assert ratio["band_descriptions"] == ["(nir-red)/(nir+red)"]
        bad = client.get(path, params={"url": url, "expression": "nir/infra"})
        assert (bad.status_code, "'infra' is not a band; there are 1 blue" in bad.json()["detail"]) == (400, True)
    named = good(client.get(path, params={"url": listed(folder, "cloudy"), "assets": ["B08", "B04"]})).json()
    assert named["values"] == [nir, red]


def test_without_a_choice_a_list_shows_natural_colours(client: TestClient, folder: Path) -> None:
    url = listed(folder, "cloudy")
    shown = pixels(client.get("/cog/preview.npy", params={"url": url}))
    assert_array_equal(shown, pixels(client.get("/cog/preview.npy", params={"url": url, "bidx": [3, 2, 1]})))


def test_names_of_bands_can_be_given(client: TestClient, folder: Path) -> None:
    files = ",".join(str(folder / "cloudy" / f"{name}.tif") for name in ("B02", "B04"))
    path = "/cog/preview.npy"
    url = "{" + files + "}"
    named = pixels(client.get(path, params={"url": url, "bands": "green,nir", "assets": "nir"}))
    assert_array_equal(named, pixels(client.get(path, params={"url": url, "assets": "red"})))
    wrong = client.get(path, params={"url": url, "bands": "green"})
    assert (wrong.status_code, "has 2" in wrong.json()["detail"]) == (400, True), wrong.text


def test_bands_that_a_replacement_lacks_drop_out(client: TestClient, folder: Path) -> None:
    few = f"{folder / 'clear'}/{{B02,B03,B04,B08}}.tif"
    asked = {"url": listed(folder, "cloudy"), "replacement": few, "mask": str(folder / "mask.tif")}
    pixels(client.get("/cog/preview.npy", params=asked))
    lacking = client.get("/cog/preview.npy", params=asked | {"assets": "swir16"})
    assert lacking.status_code == 400
    assert "lacks swir16" in lacking.json()["detail"]


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("{B02,B99}.tif", 404, "B99.tif' does not exist"),
        ("{B02,B03.tif", 400, "braces that do not close"),
        ("{B02,B02}.tif", 400, "names a file twice"),
        ("{B02,../../mask}.tif", 403, "not allowed"),
        ("{" + ",".join(map(str, range(80))) + "}.tif", 400, "up to 64"),
    ],
)
def test_bad_lists_are_refused(client: TestClient, folder: Path, name: str, status: int, says: str) -> None:
    response = client.get("/cog/info", params={"url": f"{folder / 'cloudy'}/{name}"})
    assert (response.status_code, says in response.json()["detail"]) == (status, True), response.text


def test_every_file_of_a_list_is_checked(client: TestClient, folder: Path) -> None:
    inside = folder / "cloudy" / "B02.tif"
    for url in (f"{{{inside},/etc/passwd}}", f"{{{inside},http://127.0.0.1:1/x.tif}}"):
        response = client.get("/cog/info", params={"url": url})
        assert (response.status_code, "not allowed" in response.json()["detail"]) == (403, True)


def test_files_that_do_not_fit_together_are_refused(client: TestClient, folder: Path) -> None:
    with rasterio.open(folder / "cloudy" / "B02.tif") as src:
        profile = src.profile | {"crs": "EPSG:32634"}
        with rasterio.open(folder / "elsewhere.tif", "w", **profile) as dst:
            dst.write(src.read())
    url = f"{{{folder}/cloudy/B03.tif,{folder}/elsewhere.tif}}"
    response = client.get("/cog/info", params={"url": url})
    assert response.status_code == 400
    assert "another coordinate reference system" in response.json()["detail"]


def test_a_tag_changes_with_every_file(client: TestClient, folder: Path) -> None:
    url = listed(folder, "cloudy")
    before = good(client.get("/cog/preview.npy", params={"url": url})).headers["etag"]
    assert good(client.get("/cog/preview.npy", params={"url": url})).headers["etag"] == before
    path = folder / "cloudy" / "B12.tif"
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(changed="yes")
    assert good(client.get("/cog/preview.npy", params={"url": url})).headers["etag"] != before


@pytest.mark.parametrize(
    ("pattern", "labels", "level"),
    [
        ("{}.tif", tuple(FILES), "l1c"),
        ("{}_10m.tif", tuple(FILES), "l2a"),
        ("S2B_20EPT_20250731_0_L2A_{}.tif", tuple(FILES), "l2a"),
        ("S2B_MSIL2A_20220413T150759_N0301_R025_T33XWJ_20220414T082126_{}.tif", tuple(FILES), "l2a"),
        ("LC08_L2SP_017036_20130419_20200913_02_T1_SR_{}.tif", ("B2", "B3", "B4", "B5", "B6", "B7"), "l2a"),
        ("SR_{}.tif", ("B2", "B3", "B4", "B5", "B6", "B7"), "l2a"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_list_has_the_level_model_and_reflectance_of_its_stacked_file(
    client: TestClient, folder: Path, tmp_path_factory: pytest.TempPathFactory, pattern: str,
    labels: tuple[str, ...], level: str, dtype: str,
) -> None:  # fmt: skip
    where = folder / tmp_path_factory.mktemp("named").name
    where.mkdir()
    with rasterio.open(folder / "cloudy.tif") as src:
        values = src.read()[:, :64, :64].astype(dtype)
    names = [pattern.format(label) for label in labels]
    for name, band in zip(names, values, strict=True):
        write_band(where / name, band, 10)
    stacked = where / ("stack_L2A.tif" if level == "l2a" else "stack.tif")
    write_raster(stacked, values, descriptions=tuple(map(file_label, names)))
    listed, whole = (
        good(client.get("/cog/info", params={"url": url})).json()["clearsky"]
        for url in ("{" + ",".join(str(where / name) for name in names) + "}", str(stacked))
    )
    assert (listed["level"], listed["bands"], listed["model"]) == (level, whole["bands"], whole["model"])
    for said in ("scale", "offset"):
        assert listed["reflectance"][said] == whole["reflectance"][said]
    source = listed["reflectance"]["source"]
    assert listed["reflectance"]["sources"] == [source] * len(names)
    assert source.startswith("default for float32") if dtype == "float32" else source != "the file"
