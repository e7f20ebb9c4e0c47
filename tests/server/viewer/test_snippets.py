"""What the viewer hands to other programs, run by these: every address, command and file does what the page shows."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import numpy as np
import pytest
import rasterio
from defusedxml import ElementTree
from owslib.wmts import WebMapTileService
from PIL import Image
from starlette.datastructures import QueryParams

from server.cli import main
from server.http.params import queried_request
from server.recipes.model import recipe_of
from tests.helpers.browser import Browser
from tests.helpers.scenes import Demo, make_pair, write_raster
from tests.helpers.service import needs
from tests.helpers.viewing import IDLE, ViewedScene, settle

OPTIONS_SET: Final = {"window": 100, "residual": False}
Snippets = dict[str, str]


@pytest.fixture(scope="module")
def mask(demo_scene: Demo) -> str:
    """The true mask, by which no model has to look."""
    return str(demo_scene(512).truth_mask)


@pytest.fixture(scope="module")
def snippets(chromium: Browser, server: str, scene: ViewedScene, mask: str) -> Snippets:
    """Every text that the page offers of a view with settings of its own."""
    asked = {"mask": mask, "mask_remap": "1 1;2 1", "window": "100", "residual": "false", "style": "false-color"}
    chromium.resize(1200, 800)
    chromium.open(f"{server}/viewer?{scene.query}&{urlencode(asked)}")
    chromium.wait(IDLE)
    settle(chromium)
    chromium.evaluate("document.getElementById('share').open = true")
    script = """(async () => {
        const found = {};
        const select = document.getElementById('snippet');
        for (const {value} of [...select.options]) {
            select.value = value;
            select.dispatchEvent(new Event('change'));
            found[value] = document.getElementById('text').value;
        }
        return found;
    })()"""
    found: Snippets = chromium.evaluate(script)
    return found


def _picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"), float)


def _tile(template: str, server: str, scene: ViewedScene) -> np.ndarray:
    """The tile of a template over the cloud's middle."""
    tile = httpx2.get(f"{server}/tileMatrixSets/WebMercatorQuad", timeout=60)
    assert tile.status_code == 200
    lat, lon = scene.cloud
    zoom = 12
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**zoom)
    answer = httpx2.get(template.replace("{z}", "12").replace("{x}", str(x)).replace("{y}", str(y)), timeout=60)
    assert answer.status_code == 200, answer.text
    return _picture(answer.content)


def test_addresses_give_the_picture_that_is_shown(
    snippets: Snippets, server: str, scene: ViewedScene, mask: str
) -> None:
    shown = _tile(snippets["xyz"], server, scene)
    query = {key: values[0] for key, values in parse_qs(urlsplit(snippets["xyz"]).query).items()}
    assert json.loads(query.pop("algorithm_params")) == OPTIONS_SET
    assert query == {
        "url": scene.url, "replacement": scene.replacement, "style": "false-color", "mask": mask,
        "mask_remap": "1 1;2 1",
    }  # fmt: skip
    tilejson = httpx2.get(snippets["tilejson"], timeout=60).json()
    np.testing.assert_array_equal(
        _tile(tilejson["tiles"][0].replace("tilesize=512", "tilesize=256"), server, scene), shown
    )
    layer = ElementTree.fromstring(snippets["qlr"].partition("\n")[2])
    source = parse_qs(layer.findtext(".//datasource"))
    assert source["type"] == ["xyz"]
    assert source["url"] == [snippets["xyz"]]
    assert layer.findtext(".//provider") == "wms"
    capabilities = httpx2.get(snippets["wmts"], timeout=60)
    service = WebMapTileService(snippets["wmts"], xml=capabilities.content)
    resource = next(iter(service.contents.values())).resourceURLs[0]["template"]
    place = {"TileMatrixSet": "WebMercatorQuad", "TileMatrix": "{z}", "TileCol": "{x}", "TileRow": "{y}"}
    for name, value in place.items():
        resource = resource.replace(f"{{{name}}}", value)
    np.testing.assert_allclose(_tile(resource, server, scene)[..., 3], shown[..., 3])  # PNG, so not the very colours


def test_curl_fetches_the_values_in_view(snippets: Snippets, tmp_path: Path) -> None:
    needs("curl")
    subprocess.run(shlex.split(snippets["curl"]), cwd=tmp_path, check=True, capture_output=True)
    with rasterio.open(tmp_path / "clearsky.tif") as file:
        assert file.crs == "EPSG:3857"
        assert (file.width, file.height) == (1200, 800)
        assert file.count == 4  # near infrared, red, green, and where there are data
        assert file.dataset_mask().any()


def test_a_recipe_is_the_same_request(snippets: Snippets, scene: ViewedScene, mask: str) -> None:
    recipe = recipe_of(snippets["recipe"].encode(), Path("recipe.yaml"))
    assert recipe.request == queried_request(QueryParams(urlsplit(snippets["xyz"]).query))
    assert {name: recipe.options[name] for name in OPTIONS_SET} == OPTIONS_SET
    assert recipe.render.style == "false-color"
    assert recipe.name == "cloudy"


def test_the_command_and_the_program_write_the_same(
    snippets: Snippets, scene: ViewedScene, mask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a smaller scene in place of the one that is shown."""
    pair = make_pair(size=(96, 96))
    files = {scene.url: "target.tif", scene.replacement: "clear.tif", mask: "mask.tif"}
    for name, values in zip(files.values(), (pair.target, pair.replacement, pair.mask[None]), strict=True):
        write_raster(tmp_path / name, values.astype(np.uint8 if name == "mask.tif" else np.uint16))
    command, program = snippets["export"], snippets["python"]
    for shown, name in files.items():
        assert shown in command
        command, program = (text.replace(shown, name) for text in (command, program))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    main()
    opened: dict[str, Any] = {}
    exec(program, opened)
    with opened["scene"] as made, rasterio.open("cloud-free.tif") as file, rasterio.open("target.tif") as original:
        np.testing.assert_allclose(made.read().array.data.astype(int), file.read(), atol=1)
        assert (file.read() != original.read()).any()


def test_leafmap_gets_a_layer(snippets: Snippets, monkeypatch: pytest.MonkeyPatch, scene: ViewedScene) -> None:
    calls: list[tuple[str, Any]] = []

    class Map:
        def __init__(self, **options: Any) -> None:
            calls.append(("map", options))

        def add_tile_layer(self, url: str, *, name: str, attribution: str) -> None:
            calls.append((url, (name, attribution)))

    monkeypatch.setitem(sys.modules, "leafmap", types.SimpleNamespace(Map=Map))
    exec(snippets["leafmap"], {})
    (_, options), (url, described) = calls
    assert url == snippets["xyz"]
    assert described == ("cloudy", "ClearSky")
    assert abs(options["center"][0] - scene.cloud[0]) < 0.1
