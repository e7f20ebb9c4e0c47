"""The HTTP contract on small rasters: every endpoint sees the filled image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject, transform, transform_bounds
from starlette.testclient import TestClient

from algorithms import fill_clouds
from algorithms.cells import cell_any
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, Pair, make_pair, write_mask, write_pair, write_raster
from tests.helpers.service import application, raster

BOX = "500000,4597000,503000,4600000"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(300, 300), seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http")


@pytest.fixture(scope="module")
def files(folder: Path, pair: Pair) -> dict[str, str]:
    return write_pair(folder, pair)


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.fixture(scope="module")
def filled(pair: Pair) -> np.ndarray:
    """What the whole array becomes with the default options (buffer 0)."""
    cells = cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)
    return np.rint(fill_clouds(pair.target, pair.replacement, cells, analysis_factor=2))


NO_BUFFER = {"algorithm_params": json.dumps({"buffer": 0})}


def whole(client: TestClient, params: dict[str, Any]) -> np.ndarray:
    answer = client.get(f"/cog/bbox/{BOX}.tif", params=params | {"coord_crs": UTM, "dst_crs": UTM})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)[:-1]


def test_removal_is_the_default_with_a_replacement(client: TestClient, files: dict[str, str]) -> None:
    implicit, explicit = whole(client, files), whole(client, files | {"algorithm": "cloud_removal"})
    np.testing.assert_array_equal(implicit, explicit)
    plain = whole(client, {"url": files["url"]})
    assert (implicit != plain).mean() > 0.2


def test_preview_and_bbox_agree(client: TestClient, files: dict[str, str], filled: np.ndarray) -> None:
    preview = raster(client.get("/cog/preview.tif", params=files | NO_BUFFER).content)[:6]
    np.testing.assert_array_equal(preview, whole(client, files | NO_BUFFER))
    assert np.abs(preview - filled).max() <= 1


def test_band_choice_applies_to_the_filled_image(client: TestClient, files: dict[str, str]) -> None:
    everything = whole(client, files)
    np.testing.assert_array_equal(whole(client, files | {"bidx": [4, 3]}), everything[[3, 2]])


def test_expression_applies_to_the_filled_image(client: TestClient, files: dict[str, str]) -> None:
    nir, red = whole(client, files)[[3, 2]].astype(float)
    ndvi = whole(client, files | {"expression": "(b4-b3)/(b4+b3)"})[0]
    np.testing.assert_allclose(ndvi, (nir - red) / (nir + red), rtol=1e-5)


def test_unscale_applies_to_the_filled_image(
    client: TestClient, folder: Path, files: dict[str, str], pair: Pair
) -> None:
    scaled = {"url": pair.target, "replacement": pair.replacement}
    urls = {name: write_raster(folder / f"scaled {name}.tif", values) for name, values in scaled.items()}
    for url in urls.values():
        with rasterio.open(url, "r+") as dst:
            dst.scales, dst.offsets = [0.5] * 6, [-7.0] * 6
    sent = whole(client, files | urls | {"unscale": "true"})
    np.testing.assert_allclose(sent, whole(client, files) * 0.5 - 7, rtol=1e-5)


def test_point_is_the_pixel_of_the_filled_image(client: TestClient, files: dict[str, str], pair: Pair) -> None:
    sent = whole(client, files | NO_BUFFER)
    cloudy = np.argwhere(pair.mask)[::2000]
    assert len(cloudy) > 5
    for row, col in cloudy:
        (lon,), (lat,) = transform(UTM, "EPSG:4326", [500_000 + 10 * (col + 0.5)], [4_600_000 - 10 * (row + 0.5)])
        answer = client.get(f"/cog/point/{lon},{lat}", params=files | NO_BUFFER)
        assert answer.status_code == 200, answer.text
        assert answer.json()["values"] == sent[:, row, col].tolist()
    ratio = client.get(f"/cog/point/{lon},{lat}", params=files | NO_BUFFER | {"expression": "b4/b3"}).json()["values"]
    assert ratio == pytest.approx([sent[3, row, col] / sent[2, row, col]], rel=1e-5)
    assert client.get("/cog/point/0,0", params=files).status_code in (400, 404)
    for nowhere in ("500,500", "15,-91", "1e300,41"):
        assert client.get(f"/cog/point/{nowhere}", params=files).status_code in (400, 404), nowhere


def test_statistics_see_the_filled_image(client: TestClient, files: dict[str, str]) -> None:
    sent = whole(client, files)
    found = client.get("/cog/statistics", params=files).json()
    assert [found[f"b{i + 1}"]["max"] for i in range(6)] == sent.max(axis=(1, 2)).tolist()
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", 500_500, 4_597_500, 502_500, 4_599_500)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    posted = client.post("/cog/statistics", params=files, json=feature)
    assert posted.status_code == 200, posted.text
    statistics = posted.json()["properties"]["statistics"]
    assert statistics["b1"]["max"] <= sent[0].max()
    cloudy = client.post("/cog/statistics", params={"url": files["url"]}, json=feature).json()
    assert cloudy["properties"]["statistics"]["b1"]["max"] > 7000 > statistics["b1"]["max"]
    image = client.post("/cog/feature.tif", params=files, json=feature)
    assert image.status_code == 200
    assert raster(image.content)[0].max() < 7000


def test_stock_algorithms_work_on_the_filled_image(client: TestClient, files: dict[str, str]) -> None:
    nir, red = whole(client, files)[[3, 2]].astype(float)
    index = whole(client, files | {"bidx": [4, 3], "algorithm": "normalizedIndex"})[0]
    plain = whole(client, {"url": files["url"], "bidx": [4, 3], "algorithm": "normalizedIndex"})[0]
    expected = np.abs(nir - red) / (nir + red)
    np.testing.assert_allclose(np.abs(index), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(index, plain)


def test_provenance(client: TestClient, files: dict[str, str], pair: Pair) -> None:
    source = whole(client, files | NO_BUFFER | {"algorithm": "fill_source"})[0]
    confidence = whole(client, files | NO_BUFFER | {"algorithm": "fill_confidence"})[0]
    cells = cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(source, cells.astype(np.uint8))
    assert (confidence[~cells] == 100).all()
    assert confidence[cells].max() < 100
    sent, plain = whole(client, files | NO_BUFFER), whole(client, {"url": files["url"]})
    np.testing.assert_array_equal(sent[:, source == 0], plain[:, source == 0])


def test_only_unfilled_cloud_has_no_confidence(client: TestClient, folder: Path, pair: Pair) -> None:
    """With no clear ground to compare the dates on nothing supports the fill; it is filled all the same."""
    holed = pair.replacement.copy()
    holed[:, 100:161, 100:173] = 0
    asked = CLEAR_REPLACEMENTS | {
        "url": write_raster(folder / "overcast.tif", pair.target),
        "replacement": write_raster(folder / "holed.tif", holed),
        "mask": write_mask(folder / "overcast_mask.tif", np.ones_like(pair.mask)),
    }
    for size in (300, 75, 20, 7):
        source, confidence = (
            raster(client.get("/cog/preview.tif", params=asked | {"max_size": size, "algorithm": name}).content)[0]
            for name in ("fill_source", "fill_confidence")
        )
        assert set(np.unique(source)) == {1, 255}, size
        np.testing.assert_array_equal(confidence == 0, source == 255)
        assert confidence[source == 1].max() < 25


def test_several_replacements_in_order(client: TestClient, folder: Path, files: dict[str, str], pair: Pair) -> None:
    """The first that has data fills; the rest goes to the next, and the two meet without a step."""
    half = pair.replacement.copy()
    half[:, :, 150:] = 0
    first = write_raster(folder / "half.tif", half)
    params = files | NO_BUFFER | {"replacement": [first, files["replacement"]]}
    source = whole(client, params | {"algorithm": "fill_source"})[0]
    masked = cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)
    assert set(np.unique(source[:, :150][masked[:, :150]])) == {1}
    assert set(np.unique(source[:, 150:][masked[:, 150:]])) == {2}
    sent = whole(client, params).astype(float)
    rows = masked[:, 148:152].all(axis=1)
    step = np.abs(np.diff(sent - pair.truth, axis=2))[:, rows]
    assert step[..., 149].mean() < 2 * np.median(step[..., 140:148].mean(axis=(0, 1))) + 5
    reverse = files | NO_BUFFER | {"replacement": [files["replacement"], first], "algorithm": "fill_source"}
    assert set(np.unique(whole(client, reverse)[0])) == {0, 1}


@pytest.mark.parametrize("unfilled", ["keep", "nodata"])
def test_cloud_without_clear_replacement(
    client: TestClient, folder: Path, files: dict[str, str], pair: Pair, unfilled: str
) -> None:
    half = pair.replacement.copy()
    half[:, :, 150:] = 0
    only = write_raster(folder / "only.tif", half)
    params = files | {"replacement": only, "algorithm_params": json.dumps({"buffer": 0, "unfilled": unfilled})}
    answer = client.get(f"/cog/bbox/{BOX}.tif", params=params | {"coord_crs": UTM, "dst_crs": UTM})
    image = raster(answer.content)
    masked = cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)
    masked[:, :150] = False
    np.testing.assert_array_equal(image[:6, masked], pair.target[:, masked])
    assert ((image[6] == 0) == (masked & (unfilled == "nodata"))).all()
    source = whole(client, params | {"algorithm": "fill_source"})[0]
    assert (source[masked] == 255).all()


def test_replacement_on_another_grid(client: TestClient, folder: Path, files: dict[str, str], pair: Pair) -> None:
    """Another CRS, resolution and origin."""
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", 499_000, 4_596_000, 504_000, 4_601_000)
    grid = from_origin(west, north, 0.00012, 0.00012)
    shape = (6, int((north - south) / 0.00012), int((east - west) / 0.00012))
    warped = np.zeros(shape, np.uint16)
    reproject(
        pair.replacement,
        warped,
        src_transform=ORIGIN,
        src_crs=UTM,
        dst_transform=grid,
        dst_crs="EPSG:4326",
        src_nodata=0,
        dst_nodata=0,
        resampling=Resampling.bilinear,
    )
    other = write_raster(folder / "geographic.tif", warped, crs="EPSG:4326", transform=grid)
    sent = whole(client, files | NO_BUFFER | {"replacement": other}).astype(float)
    same = whole(client, files | NO_BUFFER).astype(float)
    inner = np.zeros_like(pair.mask)
    inner[10:-10, 10:-10] = pair.mask[10:-10, 10:-10]
    error, reference = (np.sqrt(((image - pair.truth)[:, inner] ** 2).mean()) for image in (sent, same))
    pasted = np.sqrt(((pair.replacement.astype(float) - pair.truth)[:, inner] ** 2).mean())
    assert error < 4 * reference
    assert error < pasted / 3
    np.testing.assert_array_equal(
        sent[:, ~cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)],
        same[:, ~cell_any(pair.mask, 2).repeat(2, 0).repeat(2, 1)],
    )


def test_user_mask_with_remap(client: TestClient, folder: Path, files: dict[str, str], pair: Pair) -> None:
    """Classes 1-3 of a density mask; a remap that names only class 3 leaves the rest."""
    classes = pair.mask[None].astype(np.uint8)
    classes[:, :, 150:] *= 3
    density = write_raster(folder / "density.tif", classes, nodata=None)
    params = files | NO_BUFFER | {"mask": density, "algorithm": "fill_source"}
    everything = whole(client, params | {"mask_remap": "1 1;2 1;3 1"})[0]
    np.testing.assert_array_equal(everything, whole(client, params)[0])
    dense = whole(client, params | {"mask_remap": "3 1"})[0]
    np.testing.assert_array_equal(dense[:, 150:], everything[:, 150:])
    assert not dense[:, :150].any()


def test_integers_are_clipped_and_never_become_nodata(client: TestClient, folder: Path, pair: Pair) -> None:
    target = np.clip(pair.target // 40, 1, 255).astype(np.uint8)
    other = np.clip(pair.replacement.astype(int) // 12 - 100, 1, 255).astype(np.uint8)
    url = write_raster(folder / "byte.tif", target)
    params = {
        "url": url,
        "replacement": write_raster(folder / "byte_other.tif", other),
        "mask": write_mask(folder / "byte_mask.tif", pair.mask),
        **CLEAR_REPLACEMENTS,
    }
    answer = client.get(f"/cog/bbox/{BOX}.tif", params=params | {"coord_crs": UTM, "dst_crs": UTM})
    image = raster(answer.content)
    assert image.dtype == np.uint8
    assert (image[6] == 255).all()
    assert image[:6].min() >= 1


def test_info_states_what_is_taken(client: TestClient, files: dict[str, str]) -> None:
    told = client.get("/cog/info", params={"url": files["url"]}).json()["clearsky"]
    assert told["bands"] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert told["model"] == "ukis-6b-l1c"
    assert told["reflectance"]["scale"] == [1e-4] * 6
    assert "default for uint16" in told["reflectance"]["source"]
    override: dict[str, Any] = {"reflectance_scale": 2e-4, "reflectance_offset": -0.1, "level": "l2a"}
    told = client.get("/cog/info", params={"url": files["url"], **override}).json()["clearsky"]
    assert told["model"] == "ukis-6b-l2a"
    assert told["reflectance"] == {
        "scale": [2e-4] * 6,
        "offset": [-0.1] * 6,
        "source": "the request",
        "sources": ["the request"] * 6,
    }


def test_headers(client: TestClient, files: dict[str, str]) -> None:
    path = f"/cog/bbox/{BOX}.tif"
    params = files | {"coord_crs": UTM, "dst_crs": UTM, "nth": "first"}  # or the answer may be a kept one
    answer = client.get(path, params=params)
    tag = answer.headers["etag"]
    assert tag.startswith('"')
    assert answer.headers["cache-control"] == "public, max-age=3600"
    source = whole(client, files | {"algorithm": "fill_source"})[0]
    assert float(answer.headers["x-clearsky-cloud-fraction"]) == pytest.approx((source > 0).mean(), abs=1e-4)
    assert float(answer.headers["x-clearsky-filled-fraction"]) == pytest.approx((source == 1).mean(), abs=1e-4)
    assert {part.split(";")[0] for part in answer.headers["server-timing"].split(", ")} >= {"read", "adjust", "encode"}
    again = client.get(path, params=params, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = client.get(path, params=params | {"algorithm_params": json.dumps({"window": 60})})
    assert other.headers["etag"] != tag
    clear = client.get(path, params={"url": files["replacement"], "coord_crs": UTM, "dst_crs": UTM})
    assert "x-clearsky-cloud-fraction" not in clear.headers


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api", "/openapi.json", "/conformance", "/algorithms", "/tileMatrixSets", "/colorMaps"]
)
def test_pages(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_landing_page_for_people_and_programs(client: TestClient) -> None:
    assert client.get("/", headers={"accept": "text/html"}).text.startswith("<!doctype html>")
    assert client.get("/", headers={"accept": "application/json"}).json()["title"] == "ClearSky"


def test_algorithms_are_listed_next_to_the_stock_ones(client: TestClient) -> None:
    listed = {entry["id"] for entry in client.get("/algorithms").json()["algorithms"]}
    ours = {"cloud_removal", "cloud_mask", "cloud_probability", "fill_source", "fill_confidence"}
    assert ours | {"hillshade", "normalizedIndex"} <= listed
    told = client.get("/algorithms/cloud_removal").json()
    assert set(told["parameters"]) >= {"window", "buffer", "adjustment", "residual", "unfilled"}


def test_openapi_declares_every_parameter_once(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    tile = paths["/cog/tiles/{tileMatrixSetId}/{z}/{x}/{y}"]["get"]["parameters"]
    names = [p["name"] for p in tile]
    assert len(names) == len(set(names))
    assert {"url", "replacement", "mask", "mask_remap", "model", "bands", "reflectance_scale", "algorithm"} <= set(
        names
    )


def test_documents_carry_the_replacement(client: TestClient, files: dict[str, str]) -> None:
    params: dict[str, Any] = {
        "url": files["url"],
        "replacement": files["replacement"],
        "bidx": [3, 2, 1],
        "rescale": "0,4000",
    }
    told = client.get("/cog/WebMercatorQuad/tilejson.json", params=params).json()
    assert "replacement=" in told["tiles"][0]
    capabilities = client.get("/cog/WMTSCapabilities.xml", params=params)
    assert capabilities.status_code == 200
    assert "replacement=" in capabilities.text
    assert client.get("/cog/WebMercatorQuad/map.html", params=params).status_code == 200


@pytest.mark.parametrize("kept", ["", "/sky"])
def test_under_a_path_prefix(folder: Path, files: dict[str, str], kept: str) -> None:
    """Behind a proxy, whether it strips the prefix or not, links carry it, and answers their headers."""
    with application(folder, root_path="/sky") as client:
        told = client.get(f"{kept}/cog/WebMercatorQuad/tilejson.json", params={"url": files["url"], "bidx": 1}).json()
        assert "/sky/cog/tiles/" in told["tiles"][0]
        assert "etag" in client.get(f"{kept}/cog/preview.png", params={"url": files["url"], "bidx": 1}).headers
