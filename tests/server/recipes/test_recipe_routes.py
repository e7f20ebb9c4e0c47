"""The routes of recipes: as `/cog` with the recipe's words."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from server.recipes.params import FIXED
from tests.helpers.recipes import EAST, NORTH, SOUTH, TILE, WEST
from tests.helpers.scenes import CLEAR_REPLACEMENTS
from tests.helpers.service import application, raster


def equivalent(scene: Path, name: str) -> dict[str, Any]:
    """The parameters below `/cog` that say what a recipe says."""
    pair: dict[str, Any] = {"url": f"{scene}/t.tif", "replacement": f"{scene}/r.tif"}
    shown = {"bidx": [3, 2, 1], "rescale": "0,3000", "color_formula": "gamma RGB 1.2"}
    masked = {"mask": f"{scene}/m.tif", **CLEAR_REPLACEMENTS}
    options = {"window": 40, "buffer": 1, "unfilled": "nodata"}
    requests: dict[str, dict[str, Any]] = {
        "masked": pair | shown | masked | {"mask_remap": "1 1", "algorithm_params": json.dumps(options)},
        "model": pair | shown | {"reflectance_scale": 0.0002, "nodata": 0, "algorithm_params": '{"refine": false}'},
        "index": pair
        | masked
        | {"expression": "(b4-b3)/(b4+b3)", "rescale": "-1,1", "colormap_name": "viridis"}
        | {"resampling": "bilinear", "reproject": "cubic"},
        "plain": {"url": f"{scene}/t.tif"} | shown,
    }
    return requests[name]


ROUTES = [
    "preview.png", "preview/64x64.webp", "preview.tif", f"tiles/{TILE}", f"tiles/{TILE}.npy", f"tiles/{TILE}.jpg",
    f"bbox/{WEST},{SOUTH},{EAST},{NORTH}.tif", f"bbox/{WEST},{SOUTH},{EAST},{NORTH}/50x50.png", "statistics",
    f"point/{(WEST + EAST) / 2},{(SOUTH + NORTH) / 2}", "info", "info.geojson", "map?f=png",
]  # fmt: skip


def test_the_tile_of_the_routes_is_in_the_scene(client: TestClient) -> None:
    assert client.get(f"/recipes/plain/tiles/{TILE}.tif").status_code == 200


@pytest.mark.parametrize("name", ["masked", "model", "index", "plain"])
def test_routes_answer_as_cog_does(client: TestClient, scene: Path, name: str) -> None:
    for route in ROUTES if name == "masked" else ROUTES[:4]:
        ours = client.get(f"/recipes/{name}/{route}")
        theirs = client.get(f"/cog/{route}", params=equivalent(scene, name))
        assert ours.status_code == 200, ours.text
        assert ours.content == theirs.content, route
        dropped = {"etag", "server-timing", "x-request-id"}  # each answer has its own
        assert {k: v for k, v in ours.headers.items() if k not in dropped} == {
            k: v for k, v in theirs.headers.items() if k not in dropped
        }
        assert ("server-timing" in ours.headers) == ("server-timing" in theirs.headers)
        again = client.get(f"/recipes/{name}/{route}", headers={"If-None-Match": ours.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    if name != "plain":
        assert float(ours.headers["x-clearsky-cloud-fraction"]) > 0.1
    ring = [[WEST, SOUTH], [EAST, SOUTH], [EAST, NORTH], [WEST, SOUTH]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    for route in ("statistics", "feature.png"):
        ours = client.post(f"/recipes/{name}/{route}", json=feature)
        assert ours.status_code == 200
        assert ours.content == client.post(f"/cog/{route}", json=feature, params=equivalent(scene, name)).content


@pytest.mark.parametrize(
    "asked",
    [
        {"bidx": 4},
        {"rescale": "100,2000"},
        {"color_formula": "gamma RGB 2"},
        {"algorithm_params": '{"buffer": 3}'},
        {"algorithm": "cloud_removal"},
        {"bidx": [4, 3], "algorithm": "normalizedIndex"},
        {"resampling": "average", "max_size": 100},
    ],
    ids=str,
)
def test_a_request_overrides_what_the_recipe_shows(client: TestClient, scene: Path, asked: dict[str, Any]) -> None:
    base = equivalent(scene, "masked")
    if "algorithm_params" in asked:
        merged = json.loads(str(base["algorithm_params"])) | json.loads(str(asked["algorithm_params"]))
        expected = base | {"algorithm_params": json.dumps(merged)}
    else:
        expected = base | asked
    dropped: set[str] = set()  # what was chosen for the recipe's own bands, or for values of its kind
    if "bidx" in asked:
        dropped |= {"color_formula"}
    if asked.get("algorithm") == "normalizedIndex":
        dropped |= {"color_formula", "rescale", "algorithm_params"}
    expected = {key: value for key, value in expected.items() if key not in dropped}
    ours = client.get("/recipes/masked/preview.tif", params=asked)
    assert ours.status_code == 200
    assert ours.content == client.get("/cog/preview.tif", params=expected).content
    if asked != {"algorithm": "cloud_removal"}:
        size = {key: value for key, value in asked.items() if key == "max_size"}
        assert ours.content != client.get("/recipes/masked/preview.tif", params=size).content


def test_provenance_keeps_the_recipes_options(client: TestClient, scene: Path) -> None:
    rasters = {k: v for k, v in equivalent(scene, "masked").items() if k in FIXED}
    options = {"algorithm": "fill_source", "algorithm_params": '{"window": 40, "buffer": 1, "unfilled": "nodata"}'}
    ours = raster(client.get("/recipes/masked/preview.tif?algorithm=fill_source").content)
    np.testing.assert_array_equal(ours, raster(client.get("/cog/preview.tif", params=rasters | options).content))
    assert set(np.unique(ours[0])) == {0, 1}
    wider = client.get("/recipes/masked/preview.tif", params=options | {"algorithm_params": '{"buffer": 4}'})
    assert raster(wider.content)[0].mean() > ours[0].mean()


@pytest.mark.parametrize("key", sorted(FIXED))
def test_a_request_cannot_name_other_rasters(client: TestClient, scene: Path, key: str) -> None:
    answer = client.get("/recipes/plain/preview.png", params={key: f"{scene}/t.tif"})
    assert answer.status_code == 400
    assert f"{key} cannot be given" in answer.json()["detail"]
    assert "/cog" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("nobody", 404, ["'nobody'", "known: ", "masked", "plain"]),
        ("bad", 400, ["bad.yaml:4: window=70", "multiple of 20"]),
        ("worse", 400, ["worse.yaml:1: not YAML"]),
        ("forbidden", 403, ["forbidden.yaml:5: '/etc/hostname' is not allowed", "CLEARSKY_ALLOWED_SOURCES"]),
        ("missing", 404, ["missing.yaml:3: ", "none.tif", "does not exist"]),
        ("bandless", 400, ["bandless.yaml:6: band 'infrared'", "4 nir"]),
    ],
)
def test_recipes_that_cannot_be_served(client: TestClient, name: str, status: int, words: list[str]) -> None:
    answer = client.get(f"/recipes/{name}/tiles/{TILE}")
    assert answer.status_code == status
    assert [word for word in words if word not in answer.json()["detail"]] == []
    assert client.get("/recipes/plain/preview.png").status_code == 200


def test_the_list(client: TestClient) -> None:
    told = client.get("/recipes").json()
    names = [entry["name"] for entry in told["recipes"]]
    assert names == ["bandless", "forbidden", "index", "masked", "missing", "model", "plain", "tags"]
    assert {entry["file"]: entry["name"] for entry in told["broken"]} == {
        "bad.yaml": "bad",
        "worse.yaml": "worse",
        "zweite.yml": "model",
    }
    assert "zweite.yml:1: name='model': model.yaml already has this name" in told["broken"][2]["problems"][0]
    for link in told["recipes"][names.index("masked")]["links"]:
        z, x, y = TILE.split("/")[1:]
        url = link["href"].replace("{z}", z).replace("{x}", x).replace("{y}", y)
        assert client.get(url).status_code == 200, url
    page = client.get("/recipes", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/recipes/masked/WebMercatorQuad/map.html" in page.text
    assert "/recipes/masked/tiles/WebMercatorQuad/{z}/{x}/{y}" in page.text
    assert "bad.yaml:4: window=70" in page.text
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


def test_without_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with application(tmp_path, recipes="") as client:
        assert client.get("/recipes").json() == {"recipes": [], "broken": []}
        assert "CLEARSKY_RECIPES" in client.get("/recipes", headers={"accept": "text/html"}).text
        assert "CLEARSKY_RECIPES" in client.get("/recipes/a/info").json()["detail"]
    with application(tmp_path, recipes=str(tmp_path / "none")) as client:
        assert "create the folder" in client.get("/recipes").json()["broken"][0]["problems"][0]
        assert client.get("/healthz").status_code == 200
    assert "create the folder" in caplog.text


def test_documents_lead_to_tiles(client: TestClient) -> None:
    told = client.get("/recipes/masked/WebMercatorQuad/tilejson.json?tile_format=png").json()
    assert told["tiles"][0].startswith("http://testserver/recipes/masked/tiles/WebMercatorQuad/{z}/{x}/{y}.png?")
    z, x, y = TILE.split("/")[1:]
    tile = client.get(told["tiles"][0].replace("{z}", z).replace("{x}", x).replace("{y}", y))
    assert tile.content == client.get(f"/recipes/masked/tiles/{TILE}.png?tilesize=512").content
    page = client.get("/recipes/masked/WebMercatorQuad/map.html").text
    assert "http://testserver/recipes/masked/WebMercatorQuad/tilejson.json" in page
    capabilities = client.get('/recipes/masked/WMTSCapabilities.xml?algorithm_params={"buffer": 3}').text
    assert "<ows:Identifier>masked</ows:Identifier>" in capabilities
    assert "/recipes/masked/tiles/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}.png?" in capabilities
    assert "t.tif" not in page + capabilities


def test_under_a_path_prefix(scene: Path) -> None:
    """Behind a proxy, whether it strips the prefix or not."""
    with application(scene, recipes=str(scene / "recipes"), root_path="/sky") as client:
        for kept in ("", "/sky"):
            told = client.get(f"{kept}/recipes/plain/WebMercatorQuad/tilejson.json").json()
            assert "/sky/recipes/plain/tiles/" in told["tiles"][0]
            assert "etag" in client.get(f"{kept}/recipes/plain/preview.png?max_size=64").headers
            assert "/sky/recipes/plain/" in client.get(f"{kept}/recipes").json()["recipes"][6]["links"][0]["href"]


def test_openapi(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operations = [(path, operation) for path, methods in paths.items() for operation in methods.values()]
    repeated = collections.Counter(operation["operationId"] for _, operation in operations)
    assert [name for name, count in repeated.items() if count > 1] == []
    ours = {path: operation for path, operation in operations if path.startswith("/recipes")}
    assert all(operation["tags"] == ["Recipes"] for operation in ours.values())
    below = {path.removeprefix("/recipes/{name}") for path in ours} - {"/recipes"}
    assert below == {path.removeprefix("/cog") for path in paths if path.startswith("/cog/")}
    for path, operation in ours.items():
        names = [(p["name"], p["in"]) for p in operation.get("parameters", [])]
        assert len(names) == len(set(names)), path
        assert not {"url", "replacement", "mask", "recipe", "asked"} & {name for name, _ in names}
    tile = ours["/recipes/{name}/tiles/{tileMatrixSetId}/{z}/{x}/{y}"]["parameters"]
    assert {"name", "algorithm", "algorithm_params", "bidx", "rescale"} <= {p["name"] for p in tile}
