"""Recipes: the file, the folder, the routes, the command."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from algorithms.reclassify import Remap
from algorithms.removal import CloudRemoval
from server.analysis.request import Request
from server.cli import main
from server.demo import write_demo
from server.errors import RecipeError, RecipeMissingError
from server.recipes.document import MAX_BYTES, read_document, write_values
from server.recipes.model import recipe_of
from server.recipes.schema import OPTIONS
from server.recipes.store import load_recipe
from tests.helpers.scenes import UTM, make_pair, write_raster
from tests.helpers.service import ROOT, application, needs, raster, server_process, without_gdal_settings, wmts_source

FULL = """\
name: lazio-july
title: "Lazio, 5 July 2018"
target: s3://bucket/s2_20180705.tif
replacements: [s3://bucket/s2_20180720.tif, later.tif]
mask: {model: ukis-4b-l1c, remap: "1 1"}
window: 40
buffer: 4
adjustment: moment
residual: false
refine: false
unfilled: nodata
bands: [blue, green, red, nir]
level: l1c
reflectance_scale: 0.0002
reflectance_offset: -0.1
nodata: 0
render: {bands: [red, 2], rescale: [[0, 3000]], color_formula: null, resampling: bilinear}
"""


def read(text: str | bytes, file: str = "/folder/r.yaml") -> object:
    content = text.encode() if isinstance(text, str) else text
    return recipe_of(content, Path(file), Path(file).name)


# The file


def test_every_key_arrives() -> None:
    recipe = read(FULL)
    assert (recipe.name, recipe.title) == ("lazio-july", "Lazio, 5 July 2018")
    assert recipe.request == Request(
        "s3://bucket/s2_20180705.tif",
        ("s3://bucket/s2_20180720.tif", "/folder/later.tif"),
        remap=Remap("1 1"),
        model="ukis-4b-l1c",
        bands=("blue", "green", "red", "nir"),
        level="l1c",
        reflectance_scale=0.0002,
        reflectance_offset=-0.1,
        nodata=0,
    )
    written = yaml.safe_load(FULL)
    assert recipe.options == {name: written[name] for name in OPTIONS}
    assert recipe.render.bands == ("red", 2)
    assert recipe.render.rescale == ((0, 3000),)
    assert recipe.render.color_formula is None


def test_only_name_and_target_are_needed() -> None:
    recipe = read("name: a\ntarget: sub/t.tif\nbuffer: null\n")
    assert (recipe.title, recipe.request) == ("a", Request("/folder/sub/t.tif"))
    assert recipe.algorithm == CloudRemoval()
    assert read("name: a\ntarget: ../t.tif\nmask: {source: m.tif}").request.mask == "/folder/m.tif"
    assert read("name: a\ntarget: /else/t.tif").request.target == "/else/t.tif"


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_is_read_alike(indent: object) -> None:
    values = yaml.safe_load(FULL) | {"title": "Gebiet \U0001f30d/é"}
    as_json, as_yaml = read(json.dumps(values, indent=indent)), read(yaml.safe_dump(values))
    assert as_json.options == as_yaml.options
    assert (as_json.title, as_json.render, as_json.request) == (as_yaml.title, as_yaml.render, as_yaml.request)


GOOD = "name: a\ntarget: t.tif\n"

BAD = [
    # text, line of the error, what the message must say
    ("", 1, ["name:", "target:"]),
    ("- name", 1, ["key: value"]),
    ("name: a", 1, ["target", "is missing", "add `target"]),
    ("name: a\ntarget:\n", 2, ["target", "is missing"]),
    (GOOD + "windw: 80", 3, ["windw", "unknown key", "did you mean `window`", "adjustment"]),
    (GOOD + "render: {band: [1]}", 3, ["render.band", "`bands`", "rescale"]),
    (GOOD + "mask: {raster: m.tif}", 3, ["mask.raster", "unknown key", "source"]),
    (GOOD + "render:\n  rescale:\n  - [0, 1]\n  - [3, 2]", 6, ["[3, 2]", "empty", "[low, high]"]),
    (GOOD + "render: {rescale: [[0]]}", 3, ["rescale.0", "missing"]),
    (GOOD + "render: {rescale: []}", 3, ["rescale", "empty"]),
    (GOOD + "render: {bands: [0]}", 3, ["bands.0=0", "greater than or equal to 1"]),
    (GOOD + "render: {bands: [1], expression: b1/b2}", 3, ["both", "keep one"]),
    (GOOD + "render: {expression: nir}", 3, ["'nir'", "(b4-b3)"]),
    (GOOD + "render: {color_formula: shine}", 3, ["'shine'", "gamma"]),
    (GOOD + "render: {colormap_name: rainbows}", 3, ["'rainbows'", "/colorMaps"]),
    (GOOD + "render: {resampling: best}", 3, ["'best'", "bilinear"]),
    (GOOD + "render: [1, 2, 3]", 3, ["render", "key: value"]),
    (GOOD + "window: 70", 3, ["window=70", "multiple of 20"]),
    (GOOD + "window: 420", 3, ["window=420", "400"]),
    (GOOD + 'window: "80"', 3, ["window='80'", "integer"]),
    (GOOD + "buffer: 16", 3, ["buffer=16", "15"]),
    (GOOD + "buffer: 2.5", 3, ["buffer=2.5", "integer"]),
    (GOOD + "adjustment: magic", 3, ["'magic'", "'regression' or 'moment'"]),
    (GOOD + "residual: yes", 3, ["'yes'", "boolean"]),
    (GOOD + "unfilled: no", 3, ["'no'", "'keep' or 'nodata'"]),
    (GOOD + "level: l3", 3, ["'l3'", "'l1c' or 'l2a'"]),
    (GOOD + "nodata: none", 3, ["'none'", "number"]),
    (GOOD + "bands: blue,green", 3, ["blue,green", "[a, b]"]),
    (GOOD + "replacements: r.tif", 3, ["r.tif", "[a, b]"]),
    (GOOD + "replacements:\n- r.tif\n- 7", 5, ["replacements.1=7", "quotes"]),
    (GOOD + "replacements: [null]", 3, ["replacements.0", "fill it in"]),
    (GOOD + "mask: {model: best}", 3, ["'best'", "auto", "ukis-6b-l1c"]),
    (GOOD + "mask: {model: auto, source: m.tif}", 3, ["both", "keep one"]),
    (GOOD + 'mask:\n  model: auto\n  remap: "1 1;x 1"', 5, ["'x' at position 4"]),
    ("name: a b\ntarget: t.tif", 1, ["'a b'", "letters, digits"]),
    ("name: 7\ntarget: t.tif", 1, ["name=7", "quotes"]),
    ("name: a\ntarget: ''", 2, ["target=''", "fill it in"]),
    (GOOD + "name: b", 3, ["'name'", "twice"]),
    (GOOD + "[1]: b", 3, ["key", "quotes"]),
    (GOOD + "title: &x a\nlevel: *x", 3, ["anchors"]),
    (GOOD + "title: *x", 3, ["alias"]),
    (GOOD + "title: !!python/object:os.system x", 3, ["python/object", "tag"]),
    (GOOD + "title: !!binary YQ==", 3, ["binary", "tag"]),
    (GOOD + "window: !!int eight", 3, ["'eight'", "int"]),
    (GOOD + "nodata: 1e999", 3, ["1e999"]),
    (GOOD + "title: [[[[[[[[[1]]]]]]]]]", 3, ["deeper"]),
    (GOOD + "title: 'a", 3, ["not YAML"]),
    (GOOD + "\ttitle: a", 3, ["not YAML", "\\t"]),
    (GOOD + "title: a\0b", 3, ["character"]),
    (GOOD + 'title: "\\ud83d"', 3, ["str"]),
    (GOOD.encode() + b"title: \xff", 3, ["0xff", "UTF-8"]),
    (GOOD + "#" * MAX_BYTES, 1, ["bytes"]),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=[repr(case[0])[-40:] for case in BAD])
def test_an_error_names_file_line_value_and_remedy(text: str | bytes, line: int, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"r.yaml:{line}: ")
    assert [word for word in words if word not in problem] == []
    assert len(problem) < 500


def test_every_wrong_value_is_told_in_the_order_of_the_file() -> None:
    with pytest.raises(RecipeError) as caught:
        read("window: 1\nname: a\nbuffer: 99\nrender: {bands: [x, 0]}\n")
    lines = [int(problem.split(":")[1]) for problem in caught.value.problems]
    assert lines == [1, 1, 3, 4]


def test_bombs_cost_nothing() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (laughs, "[" * MAX_BYTES, "{a: " * (MAX_BYTES // 4), "- " * (MAX_BYTES // 2), "a: " + "9" * 60_000):
        start = time.process_time()
        with pytest.raises(RecipeError):
            read(text)
        assert time.process_time() - start < 2


KEYS = st.sampled_from(["name", "target", "replacements", "mask", "render", "nodata", "bands", "title", *OPTIONS, "x"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["auto", "1 1"])
)
INNER = st.sampled_from(["model", "source", "remap", "bands", "rescale", "expression", "color_formula", "nodata"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=3), max_leaves=6
)


def check_outcome(content: bytes) -> None:
    """Either a recipe, or an error whose every line begins with a place inside the file."""
    try:
        recipe = read(content)
    except RecipeError as error:
        for problem in error.problems:
            found = re.match(r"r\.yaml:(\d+): .", problem)
            assert found
            assert 1 <= int(found[1]) <= len(re.split("[\n\r\x85\u2028\u2029]", content.decode(errors="replace")))
    else:
        assert re.fullmatch(r"[\w-]{1,64}", recipe.name, re.ASCII)


@given(st.dictionaries(KEYS, VALUES, max_size=6).map(lambda d: {"name": "a", "target": "t.tif"} | d), st.booleans())
def test_wrong_values_are_recipe_errors(values: dict[str, object], as_json: bool) -> None:
    check_outcome((json.dumps(values) if as_json else yaml.safe_dump(values)).encode("utf-8", "surrogatepass"))


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from("ab:-[]{},\"'\n\t &*!|>?%@#~<.019ä\u2028\x85"), max_size=60).map(str.encode)
)
def test_any_bytes_are_recipe_errors(tail: bytes) -> None:
    check_outcome(tail)
    check_outcome(GOOD.encode() + tail)


def test_a_recipe_by_file_or_name(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    assert load_recipe(str(tmp_path / "r.yaml")).request.target == str(tmp_path / "t.tif")
    assert load_recipe("a", tmp_path).request.target == str(tmp_path / "t.tif")
    with pytest.raises(RecipeMissingError, match="known: a"):
        load_recipe("b", tmp_path)
    with pytest.raises(RecipeMissingError, match="known: none"):
        load_recipe("a")
    with pytest.raises(RecipeMissingError, match=r"cannot be read.*check the path"):
        load_recipe(str(tmp_path / "none.yaml"))


@given(
    st.dictionaries(st.text(max_size=6), st.text(max_size=12) | st.sampled_from(["1e5", "08", "yes", "~"]), max_size=4),
    st.lists(st.integers() | st.booleans(), max_size=3),
)
def test_written_values_are_read_back(texts: dict[str, str], others: list[object]) -> None:
    values = {"list": others, **texts}
    assert read_document(write_values(values).encode(), "r.yaml").values == values


# The routes

SHOWN = "render: {bands: [red, B03, 1], rescale: [[0, 3000]], color_formula: gamma RGB 1.2}\n"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters, and beside them a folder of recipes, some of them bad."""
    folder = tmp_path_factory.mktemp("scene")
    pair = make_pair(size=(300, 300), seed=3)
    write_raster(folder / "t.tif", pair.target)
    write_raster(folder / "r.tif", pair.replacement)
    write_raster(folder / "four.tif", pair.replacement[:4])
    write_raster(folder / "m.tif", pair.mask[None].astype(np.uint8), nodata=None)
    recipes = folder / "recipes"
    recipes.mkdir()
    rasters = "target: ../t.tif\nreplacements: [../r.tif]\n"
    for name, rest in {
        "masked": rasters + 'mask: {source: ../m.tif, remap: "1 1"}\nwindow: 40\nbuffer: 1\nunfilled: nodata\n' + SHOWN,
        "model": rasters + "refine: false\nreflectance_scale: 0.0002\nnodata: 0\n" + SHOWN,
        "index": rasters + "mask: {source: ../m.tif}\nrender: {expression: (b4-b3)/(b4+b3), rescale: [[-1, 1]],"
        " colormap_name: viridis, resampling: bilinear, reproject: cubic}\n",
        "plain": "target: ../t.tif\n" + SHOWN,
        "forbidden": "target: ../t.tif\nreplacements:\n- ../r.tif\n- /etc/hostname\n",
        "missing": "replacements: [../r.tif]\ntarget: ../none.tif\n",
        "bandless": "target: ../t.tif\nrender:\n  bands:\n  - red\n  - infrared\n",
        "bad": rasters + "window: 70\n",
    }.items():
        (recipes / f"{name}.yaml").write_text(f"name: {name}\n{rest}")
    (recipes / "tags.json").write_text('{"name": "tags", "title": "<script>alert(1)</script>", "target": "../t.tif"}')
    (recipes / "worse.yaml").write_text("<img src=x>: [")
    (recipes / "zweite.yml").write_text("name: model\ntarget: ../t.tif\n")
    (recipes / ".hidden.yaml").write_text("no recipe")
    (recipes / "notes.txt").write_text("no recipe")
    return folder


@pytest.fixture(scope="module")
def client(scene: Path) -> Iterator[TestClient]:
    with application(scene, recipes=str(scene / "recipes")) as client:
        yield client


def equivalent(scene: Path, name: str) -> dict[str, object]:
    """The parameters below `/cog` that say what a recipe says."""
    pair = {"url": f"{scene}/t.tif", "replacement": f"{scene}/r.tif"}
    shown = {"bidx": [3, 2, 1], "rescale": "0,3000", "color_formula": "gamma RGB 1.2"}
    masked = {"mask": f"{scene}/m.tif"}
    options = {"window": 40, "buffer": 1, "unfilled": "nodata"}
    return {
        "masked": pair | shown | masked | {"mask_remap": "1 1", "algorithm_params": json.dumps(options)},
        "model": pair | shown | {"reflectance_scale": 0.0002, "nodata": 0, "algorithm_params": '{"refine": false}'},
        "index": pair
        | masked
        | {"expression": "(b4-b3)/(b4+b3)", "rescale": "-1,1", "colormap_name": "viridis"}
        | {"resampling": "bilinear", "reproject": "cubic"},
        "plain": {"url": f"{scene}/t.tif"} | shown,
    }[name]


WEST, SOUTH, EAST, NORTH = transform_bounds(UTM, "EPSG:4326", 500_000, 4_597_000, 503_000, 4_600_000)
TILE = "WebMercatorQuad/13/4437/3055"
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
        dropped = {"etag", "server-timing"}
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
def test_a_request_overrides_what_the_recipe_shows(client: TestClient, scene: Path, asked: dict[str, object]) -> None:
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
    rasters = {
        k: v for k, v in equivalent(scene, "masked").items() if k in ("url", "replacement", "mask", "mask_remap")
    }
    options = {"algorithm": "fill_source", "algorithm_params": '{"window": 40, "buffer": 1, "unfilled": "nodata"}'}
    ours = raster(client.get("/recipes/masked/preview.tif?algorithm=fill_source").content)
    np.testing.assert_array_equal(ours, raster(client.get("/cog/preview.tif", params=rasters | options).content))
    assert set(np.unique(ours[0])) == {0, 1}
    wider = client.get("/recipes/masked/preview.tif", params=options | {"algorithm_params": '{"buffer": 4}'})
    assert raster(wider.content)[0].mean() > ours[0].mean()


@pytest.mark.parametrize("key", ["url", "replacement", "mask", "mask_remap", "model", "level", "bands"])
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
    assert "zweite.yml:1: name='model': model.yaml has this name already" in told["broken"][2]["problems"][0]
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
    assert "masked_WebMercatorQuad_default" in capabilities
    assert "/recipes/masked/tiles/WebMercatorQuad/{TileMatrix}/{TileCol}/{TileRow}.png?" in capabilities
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


@pytest.fixture(scope="module")
def base(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real server, and its folder of recipes."""
    folder = tmp_path_factory.mktemp("live")
    text = (scene / "recipes" / "masked.yaml").read_text().replace("../", f"{scene}/")
    (folder / "live.yaml").write_text(text.replace("name: masked", "name: live"))
    with server_process(scene, recipes=str(folder)) as base:
        yield base, folder


def test_gdal_reads_a_recipe_as_wmts(base: tuple[str, Path], tmp_path: Path) -> None:
    address = f"{base[0]}/recipes/live"
    corners = transform_bounds("EPSG:4326", "EPSG:3857", WEST, SOUTH, EAST, NORTH)
    window = ["-projwin", *(str(c) for c in (corners[0], corners[3], corners[2], corners[1]))]
    out = tmp_path / "out.tif"
    command = [needs("gdal_translate"), "-q", *window, "-outsize", "256", "256", "-r", "nearest"]
    done = subprocess.run(
        [*command, wmts_source(f"{address}/WMTSCapabilities.xml"), str(out)],
        env=without_gdal_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(out) as src:
        seen = src.read([1, 2, 3]).astype(float)[:, 40:-40, 40:-40]
    box = ",".join(map(str, corners))
    query = "coord_crs=EPSG:3857&dst_crs=EPSG:3857"
    direct = raster(httpx2.get(f"{address}/bbox/{box}/256x256.png?{query}", timeout=60).content)[:3].astype(float)
    assert np.corrcoef(seen.ravel(), direct[:, 40:-40, 40:-40].ravel())[0, 1] > 0.9


def test_a_changed_folder_is_read_again(base: tuple[str, Path], scene: Path) -> None:
    address, folder = base
    url = f"{address}/recipes/live/preview.png"
    first = httpx2.get(url, timeout=60)
    assert httpx2.get(url, headers={"If-None-Match": first.headers["etag"]}).status_code == 304

    def until(condition: Callable[[httpx2.Response], bool], **headers: str) -> httpx2.Response:
        for _ in range(50):
            answer = httpx2.get(url, headers=headers, timeout=60)
            if condition(answer):
                return answer
            time.sleep(0.1)
        raise AssertionError(f"not within 5 s: {answer.status_code} {answer.text[:200]}")

    file = folder / "live.yaml"
    good = file.read_text()
    file.write_text(good.replace("[red, B03, 1]", "[nir, red, green]"))
    other = until(lambda answer: answer.status_code == 200, **{"If-None-Match": first.headers["etag"]})
    assert other.content != first.content
    assert other.headers["etag"] != first.headers["etag"]
    file.write_text(good.replace("window: 40", "window: 41"))
    assert "live.yaml:5: window=41" in until(lambda answer: answer.status_code == 400).json()["detail"]
    (folder / "second.json").write_text(
        json.dumps({"name": "live", "target": f"{scene}/r.tif", "render": {"bands": [1], "rescale": [[0, 3000]]}})
    )
    until(lambda answer: answer.status_code == 200 and answer.content != first.content)
    (folder / "second.json").unlink()
    file.write_text(good)
    assert until(lambda answer: answer.headers.get("etag") == first.headers["etag"]).content == first.content
    file.unlink()
    assert "known: none" in until(lambda answer: answer.status_code == 404).json()["detail"]
    file.write_text(good)
    assert until(lambda answer: answer.status_code == 200).headers["etag"] == first.headers["etag"]


# The command


def clearsky(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """Exit status of `clearsky recipe ...`."""
    monkeypatch.setattr(sys, "argv", ["clearsky", "recipe", *map(str, args)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_check_tells_what_good_recipes_do(
    scene: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [scene / "recipes" / f"{name}.yaml" for name in ("masked", "model", "index", "plain")]
    assert clearsky(monkeypatch, "check", *files) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["masked", "model", "index", "plain"]
    assert [
        word for word in (f"{scene}/t.tif", f"{scene}/r.tif", f"{scene}/m.tif", "window=40") if word not in lines[0]
    ] == []


def test_check_names_what_is_wrong(
    scene: Path,
    client: TestClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = f"name: a\ntarget: {scene}/t.tif\n"
    rgb = f"name: b\ntarget: {scene}/four.tif\nbands: [red, green, blue, alpha]\nreplacements: [{scene}/four.tif]\n"
    far = make_pair(size=(64, 64)).replacement
    write_raster(scene / "far.tif", far, transform=rasterio.Affine(10, 0, 700_000, 0, -10, 4_600_000))
    cases = {
        head
        + f"replacements:\n- {scene}/r.tif\n- {scene}/four.tif\n": ":5: replacement '.*four.tif' has 4 bands.*same",
        head + f"replacements: [{scene}/far.tif]\n": ":3: replacement '.*far.tif' covers .* does not overlap",
        head + "replacements: [/etc/hostname]\n": ":3: '/etc/hostname' is not allowed.*CLEARSKY_ALLOWED_SOURCES",
        head + f"mask: {{source: {scene}/none.tif}}\n": ":3: '.*none.tif' does not exist",
        head + "render: {bands: [1, 9]}\n": ":3: .*band 9 is not in the target, which has 1 blue",
        head + "render: {expression: b9/b1}\n": ":3: .*band 9 is not in the target",
        head + f"mask: {{model: ukis-6b-l1c}}\nbands: [blue, green, red, x, y, z]\nreplacements: [{scene}/r.tif]\n": (
            ":3: band .*nir.*not found"
        ),
        rgb: ":2: .*nir.*mask=",
        "name: a\ntarget: t.tif\nwindow: 70\n": ":3: window=70: .*multiple of 20",
    }
    for text, pattern in cases.items():
        file = tmp_path / "r.yaml"
        file.write_text(text)
        assert clearsky(monkeypatch, "check", file) == 2, text
        told = capsys.readouterr()
        assert told.out == ""
        assert len(told.err.splitlines()) == 1, told.err
        assert re.match(re.escape(str(file)) + pattern, told.err), told.err
        assert clearsky(monkeypatch, "check", "--offline", file) == (2 if "window: 70" in text else 0)
        capsys.readouterr()
    good = scene / "recipes" / "plain.yaml"
    copy = tmp_path / "copy.yaml"
    copy.write_text("name: plain\ntarget: t.tif\nwindow: 0\nbuffer: 99\n")
    assert clearsky(monkeypatch, "check", "none.yaml", good, copy) == 2
    told = capsys.readouterr()
    assert told.out.startswith("plain: ")
    assert ["cannot be read" in told.err, "copy.yaml:3:" in told.err, "copy.yaml:4:" in told.err] == [True] * 3
    copy.write_text("name: plain\ntarget: t.tif\n")
    assert clearsky(monkeypatch, "check", "--offline", good, copy) == 2
    assert "has this name already" in capsys.readouterr().err
    assert clearsky(monkeypatch, "check") == 2


def test_the_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo(tmp_path / "demo-scene", size=256)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    files = sorted((tmp_path / "examples" / "recipes").iterdir())
    with application(tmp_path, recipes=str(tmp_path / "examples" / "recipes")) as client:
        assert clearsky(monkeypatch, "check", *files) == 0, capsys.readouterr().err
        entries = client.get("/recipes").json()["recipes"]
        assert len(entries) == len(files) >= 2
        for entry in entries:
            answer = client.get(f"/recipes/{entry['name']}/preview.png")
            assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.05
            assert raster(answer.content)[:3].std() > 10
        params = {"bidx": [3, 2, 1], "rescale": "0,3000", "url": f"{tmp_path}/demo-scene/cloudy.tif"}
        params |= {"replacement": f"{tmp_path}/demo-scene/clear.tif"}
        assert client.get("/recipes/demo/preview.png").content == client.get("/cog/preview.png", params=params).content


# ArcGIS templates

XSI = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:typens='http://www.esri.com/schemas/ArcGIS/2.9.0'"


def variable(name: str, value: str = "") -> str:
    return (
        f"<AnyType xsi:type='typens:RasterFunctionVariable'><Name>{name}_1</Name><Description></Description>"
        f"{value or '<Value></Value>'}<IsDataset>true</IsDataset></AnyType>"
    )


def function(title: str, arguments: dict[str, str], tag: str = "RasterFunctionTemplate") -> str:
    """A template in Esri's words; `arguments` are finished values."""
    names = "".join(f"<String>{name}</String>" for name in arguments)
    return (
        f"<{tag} xsi:type='typens:RasterFunctionTemplate' {XSI}><Name>{title}</Name><Description>d</Description>"
        f"<Function xsi:type='typens:PythonAdapterFunction'><Name>{title}</Name></Function>"
        f"<Arguments xsi:type='typens:PythonAdapterFunctionArguments'><Names xsi:type='typens:ArrayOfString'>{names}"
        f"</Names><Values xsi:type='typens:ArrayOfAnyType'>{''.join(arguments.values())}</Values></Arguments></{tag}>"
    )


SLRA = "Stepwise Local Radiometric Adjustment"
STRING = "<Value xsi:type='xs:string'>{}</Value>"
DATASET = (
    "<Value xsi:type='typens:RasterDatasetName'><WorkspaceName xsi:type='typens:WorkspaceName'>"
    "<PathName>/data/july/</PathName></WorkspaceName><Name>clear.tif</Name></Value>"
)


def doubles(*numbers: float) -> str:
    inner = "".join(f"<Double>{number}</Double>" for number in numbers)
    return variable("v", f"<Value xsi:type='typens:ArrayOfDouble'>{inner}</Value>")


def slra(**arguments: str) -> str:
    base = {
        "size_of_window": variable("size_of_window", "<Value xsi:type='xs:int'>40</Value>"),
        "input_mask": variable("input_mask"),
        "input_raster": variable("Raster"),
        "input_replacement_raster": variable("input_replacement_raster"),
        "PythonModule": "<AnyType xsi:type='xs:string'>C:\\slra.py</AnyType>",
    }
    return function(SLRA, base | arguments)


def convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], xml: str, *args: str
) -> tuple[dict[str, object], str]:
    """The recipe as plain values, and what was said on stderr."""
    file = tmp_path / "slra.rft.xml"
    file.write_text(xml)
    assert clearsky(monkeypatch, "from-rft", file, *args) == 0
    told = capsys.readouterr()
    comments = [line for line in told.out.splitlines() if line.startswith("#")]
    assert len(comments) == len(told.err.splitlines()) + 1
    return yaml.safe_load(told.out), told.err


def test_esris_own_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open variables stay open, and `recipe check` says which."""
    values, said = convert(tmp_path, monkeypatch, capsys, slra())
    assert values == {
        "name": "stepwise-local-radiometric-adjustment",
        "title": SLRA,
        "target": None,
        "replacements": [None],
        "mask": {"model": "auto"},
        "window": 40,
    }
    assert "fill in `target`" in said
    out = tmp_path / "out.yaml"
    assert clearsky(monkeypatch, "from-rft", tmp_path / "slra.rft.xml", "-o", out) == 0
    assert clearsky(monkeypatch, "check", "--offline", out) == 2
    said = capsys.readouterr().err
    assert "target: is missing" in said
    assert "replacements.0=None" in said
    assert clearsky(monkeypatch, "from-rft", tmp_path / "slra.rft.xml", "-o", out) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("exact", [False, True])
def test_options_fill_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exact: bool
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.xml").write_text(slra())
    options = ["--target", "a.tif", "--replacement", "b.tif", "--replacement", "s3://x/c.tif", "--mask", "/m.tif"]
    more = ["--exact"] * exact
    assert clearsky(monkeypatch, "from-rft", "t.xml", *options, "--name", "n", "-o", "sub/n.yaml", *more) == 0
    recipe = load_recipe("sub/n.yaml")
    assert recipe.request.sources == (str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "s3://x/c.tif", "/m.tif")
    esri = {"window": 40, "buffer": 10, "adjustment": "moment", "residual": False, "refine": False}
    expected = CloudRemoval(**esri) if exact else CloudRemoval(window=40)
    assert recipe.algorithm == expected
    assert clearsky(monkeypatch, "check", "--offline", "sub/n.yaml") == 0
    assert clearsky(monkeypatch, "from-rft", "t.xml", "--name", "a b") == 2
    assert "'a b'" in capsys.readouterr().err


def test_a_chain_with_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Remap feeds the mask; rasters have values; arguments come in another order and as pairs."""
    remap = {
        "OutputValues": doubles(1, 1),
        "InputRanges": doubles(1, 3, 3, 3),
        "Raster": variable("Raster", STRING.format("/data/classes.tif")),
        "AllowUnmatched": variable("a", "<Value xsi:type='xs:boolean'>true</Value>"),
    }
    xml = slra(
        input_mask=function("Remap", remap, "AnyType"),
        input_replacement_raster=variable("r", DATASET),
        input_raster=function("Clip", {"Raster": variable("Raster", STRING.format("/data/cloudy.tif"))}, "AnyType"),
        buffer_mask=variable("b", "<Value xsi:type='xs:double'>5</Value>"),
        gamma=variable("g", STRING.format("1")),
    )
    values, said = convert(tmp_path, monkeypatch, capsys, xml)
    assert values == {
        "name": "stepwise-local-radiometric-adjustment",
        "title": SLRA,
        "target": "/data/cloudy.tif",
        "replacements": ["/data/july/clear.tif"],
        "mask": {"source": "/data/classes.tif", "remap": "1 2 1;3 1"},
        "window": 40,
        "buffer": 5,
    }
    assert [word for word in ("'Clip'", "'gamma'", "does not list") if word not in said] == []
    pairs = "".join(
        f"<PropertySetProperty><Key>{key}</Key><Value xsi:type='xs:string'>{value}</Value></PropertySetProperty>"
        for key, value in {"window_size": "60", "Raster": "t.tif", "ReplacementRaster": "r.tif"}.items()
    )
    paired = (
        f"<RasterFunctionTemplate {XSI}><Name>My SLRA</Name><Function><Name>{SLRA}</Name></Function>"
        f"<Arguments><PropertyArray>{pairs}</PropertyArray></Arguments></RasterFunctionTemplate>"
    )
    values, _ = convert(tmp_path, monkeypatch, capsys, paired)
    assert (values["name"], values["target"], values["replacements"]) == ("my-slra", "t.tif", ["r.tif"])
    assert values["window"] == 60


@pytest.mark.parametrize(("remap", "kept"), [("1 1;2 1;3 1", True), ("1 2 1", True), ("3 1", False)])
def test_a_remap_string(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], remap: str, kept: bool
) -> None:
    """It goes with the user's mask; with a model only where it means the same for the model's classes."""
    chain = function(
        "Reclassify", {"in_raster": variable("m"), "remap": variable("x", STRING.format(remap))}, "AnyType"
    )
    values, said = convert(tmp_path, monkeypatch, capsys, slra(input_mask=chain))
    assert values["mask"] == {"model": "auto"} | ({"remap": remap} if kept else {})
    assert ("left out" in said) is not kept
    values, _ = convert(tmp_path, monkeypatch, capsys, slra(input_mask=chain), "--mask", "m.tif")
    assert values["mask"] == {"source": "m.tif", "remap": remap}


INT = "<Value xsi:type='xs:int'>{}</Value>"
EVIL = "<!DOCTYPE a [<!ENTITY {}>]>"
BAD_TEMPLATES = [
    (slra(size_of_window=variable("w", INT.format(70))), ["size_of_window='70'", "multiple of 20", "template"]),
    (slra(size_of_window=variable("w", INT.format(420))), ["size_of_window='420'", "400"]),
    (slra(size_of_window=variable("w", INT.format("wide"))), ["size_of_window='wide'", "number"]),
    (slra(size_of_window=variable("w", INT.format("inf"))), ["size_of_window='inf'"]),
    (slra(size_of_window=variable("w", INT.format("80.5"))), ["size_of_window='80.5'"]),
    (slra(buffer_mask=variable("b", INT.format(16))), ["buffer_mask='16'", "15"]),
    (
        slra(input_mask=function("Remap", {"remap": variable("x", STRING.format("1 1;x 1"))}, "AnyType")),
        ["remap", "'x' at position 4"],
    ),
    (slra(input_mask=function("Remap", {"InputRanges": doubles(1), "OutputValues": doubles(1)}, "AnyType")), ["remap"]),
    (function("Stretch", {"Raster": variable("Raster")}), ["'Stretch'", SLRA]),
    ("<a/>", ["no function at all"]),
    (slra().replace("<String>input_mask</String>", ""), ["4 argument names and 5 values"]),
    ("<a>", ["slra.rft.xml:1: not XML"]),
    ('{"name": "json"}', ["not XML", ".rft.xml"]),
    (EVIL.format("x SYSTEM 'file:///etc/hostname'") + "<a>&x;</a>", ["document type"]),
    (EVIL.format("x SYSTEM 'http://127.0.0.1:9/x'") + "<a>&x;</a>", ["document type"]),
    (
        "<!DOCTYPE a [<!ENTITY a0 'ha'>"
        + "".join(f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(9))
        + "]><a>&a9;</a>",
        ["document type"],
    ),
    ("<?xml version='1.0' encoding='nonsense'?><a/>", ["not XML"]),
]


@pytest.mark.parametrize(("xml", "words"), BAD_TEMPLATES, ids=[words[0] for _, words in BAD_TEMPLATES])
def test_bad_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], xml: str, words: list[str]
) -> None:
    file = tmp_path / "slra.rft.xml"
    file.write_text(xml)
    assert clearsky(monkeypatch, "from-rft", file) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert [word for word in ("slra.rft.xml:", *words) if word not in told.err] == []
    assert os.uname().nodename not in told.err
    assert clearsky(monkeypatch, "from-rft", tmp_path / "none.xml") == 2
