"""STAC Items as targets and replacements: real Items of many archives over one ground give one picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import morecantile
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from rio_tiler.constants import WGS84_CRS
from rio_tiler.io import Reader
from starlette.testclient import TestClient

from tests.helpers.archives import ARCHIVES, Archive, coarsened, digital, write_band, write_item
from tests.helpers.scenes import BANDS, CLEAR_REPLACEMENTS, make_pair, write_mask, write_raster
from tests.helpers.service import application, good, pixels

SIDE: Final = 240
TMS = morecantile.tms.get("WebMercatorQuad")
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.2)


def ground(values: np.ndarray) -> dict[str, np.ndarray]:
    """Reflectance by common name; both near infrared bands are one."""
    named = {name: band * 1e-4 for name, band in zip(BANDS, values, strict=True)}
    return named | {"nir08": named["nir"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stac")
    write_mask(folder / "mask.tif", PAIR.mask.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def small_item(folder: Path, values: np.ndarray, **properties: Any) -> Path:
    """An Item written by hand, with bands of 10 and 20 m and a scale."""
    folder.mkdir(exist_ok=True)
    assets: dict[str, Any] = {}
    for key, (name, reflectance) in zip(
        ("B02", "B03", "B04", "B08", "B11", "B12"), list(ground(values).items())[:6], strict=True
    ):
        metres = 20 if name.startswith("swir") else 10
        write_band(folder / f"{key}.tif", digital(coarsened(reflectance, metres // 10), 1e-4, -0.1), metres)
        assets[key] = {
            "href": f"./{key}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": metres,
            "eo:bands": [{"name": key, "common_name": name}],
            "raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}],
        }
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_MSIL2A_20250731T131909_N0511_R095_T33TUN_20250731T170000",
        "collection": "sentinel-2-l2a",
        "properties": {"datetime": "2025-07-31T13:19:22Z", "platform": "sentinel-2b", **properties},
        "geometry": None,
        "links": [],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


@pytest.fixture(scope="module")
def items(folder: Path) -> dict[str, str]:
    return {
        "url": str(small_item(folder / "cloudy", PAIR.target)),
        "replacement": str(small_item(folder / "clear", PAIR.replacement)),
        "mask": str(folder / "mask.tif"),
        **CLEAR_REPLACEMENTS,
    }


def tile_over(path: str, zoom: int = 14) -> str:
    with Reader(path) as reader:
        west, south, east, north = reader.get_geographic_bounds(WGS84_CRS)
    tile = TMS.tile((west + east) / 2, (south + north) / 2, zoom)
    return f"tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy"


def test_an_item_is_filled_from_an_item(client: TestClient, folder: Path, items: dict[str, str]) -> None:
    path = tile_over(str(folder / "cloudy" / "B02.tif"))
    shown = pixels(client.get(f"/stac/{path}", params=items | {"unscale": "true"}))
    stacked = {"url": str(folder / "cloudy.tif"), "replacement": str(folder / "clear.tif")}
    write_raster(Path(stacked["url"]), PAIR.target, descriptions=BANDS)
    write_raster(Path(stacked["replacement"]), PAIR.replacement, descriptions=BANDS)
    plain = pixels(client.get(f"/cog/{path}", params=items | stacked | {"bidx": [3, 2, 1]}))
    assert_array_equal(shown[-1] > 0, plain[-1] > 0)
    difference = np.abs(shown[:3] - plain[:3] * 1e-4)[:, plain[-1] > 0]
    assert np.percentile(difference, 70) < 2e-4  # where it is clear
    # The two bands of 20 m, of half the noise, weigh otherwise in the fill.
    assert difference.mean() < 4e-3


def test_a_file_is_filled_from_an_item(client: TestClient, folder: Path, items: dict[str, str]) -> None:
    """In the file's own numbers, which have no offset."""
    path = tile_over(str(folder / "cloudy" / "B02.tif"))
    target = write_raster(folder / "alone.tif", PAIR.target, descriptions=BANDS)
    asked: dict[str, Any] = {**items, "url": target, "bidx": [3, 2, 1]}
    from_file = pixels(client.get(f"/cog/{path}", params=asked | {"replacement": str(folder / "clear.tif")}))
    from_item = pixels(client.get(f"/cog/{path}", params=asked | {"replacement": items["replacement"]}))
    assert np.percentile(np.abs(from_file[:3].astype(float) - from_item[:3]), 99) < 60


def test_a_scene_says_how_it_is_understood(client: TestClient, items: dict[str, str]) -> None:
    scene = good(client.get("/stac/scene", params=items)).json()
    assert [(band["name"], band["asset"], band["resolution"]) for band in scene["bands"]] == [
        ("blue", "B02", pytest.approx(10, rel=0.01)),
        ("green", "B03", pytest.approx(10, rel=0.01)),
        ("red", "B04", pytest.approx(10, rel=0.01)),
        ("nir", "B08", pytest.approx(10, rel=0.01)),
        ("swir16", "B11", pytest.approx(20, rel=0.01)),
        ("swir22", "B12", pytest.approx(20, rel=0.01)),
    ]
    for band in scene["bands"]:
        assert (band["scale"], band["offset"], band["nodata"], band["index"]) == (1e-4, -0.1, 0, 1)
        assert "Item" in band["source"]
        assert band["file"].endswith(f"{band['asset']}.tif")
    assert scene["level"] == "l2a"
    [replacement] = scene["replacements"]
    assert replacement["id"].startswith("S2B_MSIL2A")
    assert replacement["datetime"].startswith("2025-07-31T13:19:22")
    assert good(client.get("/stac/assets", params=items)).json() == list(BANDS)


def test_the_flag_of_an_applied_offset_goes_before_the_metadata(client: TestClient, folder: Path) -> None:
    item = small_item(folder / "applied", PAIR.target, **{"earthsearch:boa_offset_applied": True})
    scene = good(client.get("/stac/scene", params={"url": str(item)})).json()
    assert {band["offset"] for band in scene["bands"]} == {0.0}
    given = {"url": str(item), "reflectance_offset": "-0.05"}
    scene = good(client.get("/stac/scene", params=given)).json()
    assert {(band["offset"], band["source"]) for band in scene["bands"]} == {(-0.05, "the request")}


def test_every_route_answers(client: TestClient, items: dict[str, str]) -> None:
    info = good(client.get("/stac/info", params=items)).json()
    assert [name for _, name in info["band_descriptions"]] == list(BANDS)
    west, south, east, north = good(client.get("/stac/info.geojson", params=items)).json()["bbox"]
    good(client.get("/stac/WebMercatorQuad/tilejson.json", params=items))
    good(client.get("/stac/WMTSCapabilities.xml", params=items))
    good(client.get(f"/stac/bbox/{west},{south},{east},{north}.png", params=items | {"rescale": "0,6000"}))
    statistics = good(client.get("/stac/statistics", params=items | {"assets": "swir16,nir"})).json()
    assert list(statistics) == ["b5", "b4"]
    found = good(client.get(f"/stac/point/{(west + east) / 2},{(south + north) / 2}", params=items)).json()
    assert found["band_descriptions"] == ["red", "green", "blue"]
    ndvi = pixels(client.get("/stac/preview.npy", params=items | {"expression": "(nir-red)/(nir+red)"}))
    same = pixels(client.get("/stac/preview.npy", params=items | {"expression": "(B08-B04)/(B08+B04)"}))
    assert_array_equal(ndvi, same)
    refused = client.get("/stac/validate", params=items)
    assert (refused.status_code, "several files" in refused.json()["detail"]) == (400, True)


def test_only_the_bands_that_are_needed_are_read(client: TestClient, folder: Path) -> None:
    """A band whose file is gone is missed by those who ask for it."""
    item = small_item(folder / "partly", PAIR.target)
    (folder / "partly" / "B12.tif").unlink()
    plain = {"url": str(item)}
    pixels(client.get("/stac/preview.npy", params=plain))
    pixels(client.get("/stac/preview.npy", params=plain | {"assets": "swir16"}))
    missing = client.get("/stac/preview.npy", params=plain | {"assets": "swir22"})
    assert (missing.status_code, "B12.tif" in missing.json()["detail"]) == (404, True)
    bands = good(client.get("/stac/scene", params=plain)).json()["bands"]
    assert ["error" in band for band in bands] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("[]", "GeoTIFF"),
        ("{", "JSON"),
        ("\n<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        ("<HTML><head></head>", "web page"),
        ('{"type": "FeatureCollection", "features": []}', "Item"),
        ('{"type": "Feature", "assets": {}}', "without bands"),
        ('{"type": "Feature", "properties": {}}', "Feature without assets"),
    ],
)
def test_bad_documents_are_refused(client: TestClient, folder: Path, document: str, says: str) -> None:
    path = folder / f"bad{abs(hash(document))}.json"
    path.write_text(document)
    response = client.get("/stac/preview.png", params={"url": str(path)})
    assert (response.status_code, says in response.json()["detail"]) == (400, True), response.text


@pytest.mark.parametrize(
    ("href", "status", "says"),
    [
        ("file:///etc/passwd", 403, "passwd"),
        ("../../../../etc/hosts.tif", 403, "not allowed"),
        ("http://127.0.0.1:1/B02.tif", 403, "not allowed"),
        ("s3://elsewhere/B02.tif", 403, "not allowed"),
        ("/vsicurl/http://127.0.0.1/B02.tif", 400, "vsicurl"),
        ("javascript:alert(1)", 400, "javascript"),
        ("gone.tif", 404, "gone.tif"),
    ],
)
def test_every_address_in_an_item_is_checked(
    client: TestClient, folder: Path, href: str, status: int, says: str
) -> None:
    band = {"href": href, "type": "image/tiff", "eo:bands": [{"name": "B02", "common_name": "blue"}]}
    path = folder / f"leads{abs(hash(href))}.json"
    path.write_text(json.dumps({"type": "Feature", "id": "a", "properties": {}, "assets": {"blue": band}}))
    response = client.get("/stac/preview.png", params={"url": str(path)})
    assert (response.status_code, says in response.json()["detail"]) == (status, True), response.text


@pytest.fixture(scope="module")
def archived(client: TestClient, folder: Path, documents: Path) -> dict[str, np.ndarray]:
    """Filled reflectance of the same ground through every archive."""
    found = {}
    for name, archive in ARCHIVES.items():
        found[name] = _through(client, folder / name, archive, documents)
    return found


def _through(client: TestClient, folder: Path, archive: Archive, documents: Path) -> np.ndarray:
    target = write_item(folder, "cloudy", archive, ground(PAIR.target), documents)
    replacement = write_item(folder, "clear", archive, ground(PAIR.replacement), documents)
    asked = {"url": str(target), "replacement": str(replacement), "mask": str(folder.parent / "mask.tif")}
    asked |= CLEAR_REPLACEMENTS
    first = next(folder.glob(f"cloudy-*{archive.suffix}"))
    answer = client.get(
        f"/stac/{tile_over(str(first))}", params=asked | {"assets": "red,nir,swir16", "unscale": "true"}
    )
    return np.asarray(pixels(answer))


@pytest.mark.parametrize("landsat", [False, True], ids=["sentinel-2", "landsat"])
def test_every_archive_shows_the_same_ground(archived: dict[str, np.ndarray], landsat: bool) -> None:
    images = {name: image for name, image in archived.items() if ARCHIVES[name].landsat is landsat}
    first, *others = images
    assert len(others) >= 3
    for name in others:
        assert_array_equal(images[name][-1], images[first][-1])
        difference = np.abs(images[name][:-1] - images[first][:-1])[:, images[first][-1] > 0]
        assert difference.max() < 1.5e-4, name  # one digital number
