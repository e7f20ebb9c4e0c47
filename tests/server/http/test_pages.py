"""Pages without another host: TiTiler's own, the map, the documentation, all under a content security policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from fastapi.testclient import TestClient

from server.demo import write_demo
from tests.helpers.browser import Browser
from tests.helpers.service import application, needs, server_process

LOADED = re.compile(
    r"""<(?:script|img|link|iframe|source|embed|object)\b[^>]*?\b(?:src|href|data)\s*=\s*["']([^"']+)""", re.IGNORECASE
)
SCRIPTS = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.IGNORECASE | re.DOTALL)
HANDLERS = re.compile(r"<[^>]+\son\w+\s*=", re.IGNORECASE)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    write_demo(folder, size=256, seed=0)
    return folder


@pytest.fixture(scope="module")
def base(scene: Path) -> Iterator[str]:
    with server_process(scene) as base:
        yield base


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(needs("chromium"), tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def client(scene: Path) -> Iterator[TestClient]:
    with application(scene) as client:
        yield client


def query(scene: Path) -> str:
    pair = [("url", str(scene / "cloudy.tif")), ("replacement", str(scene / "clear.tif"))]
    return urlencode([*pair, ("bidx", 3), ("bidx", 2), ("bidx", 1), ("rescale", "0,3000")])


def pages(client: TestClient, scene: Path) -> list[str]:
    """Every address that answers HTML: those that say so in /openapi.json or by `f=html`, and the pages of our own."""
    found = ["/", "/viewer", "/api", "/recipes", "/conformance"]
    values = {
        "tileMatrixSetId": "WebMercatorQuad",
        "algorithmId": "cloud_removal",
        "colorMapId": "viridis",
        "lon": "12.3",
        "lat": "43.3",
    }
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if "get" not in methods or "{z}" in path or path.startswith("/recipes/"):
            continue
        filled = path
        for name, value in values.items():
            filled = filled.replace("{" + name + "}", value)
        if "{" in filled or filled.endswith("/map"):  # a picture, whatever its format
            continue
        names = [parameter["name"] for parameter in methods["get"].get("parameters", [])]
        if "html" in filled or "f" in names:
            parameters = [query(scene)] if filled.startswith(("/cog", "/stac")) else []
            found.append(filled + "?" + "&".join([*parameters, "f=html"]))
    return found


def test_no_page_loads_or_runs_anything_from_elsewhere(client: TestClient, scene: Path) -> None:
    addresses = pages(client, scene)
    seen = 0
    for address in addresses:
        answer = client.get(address, headers={"accept": "text/html"})
        assert answer.status_code == 200, (address, answer.text[:300])
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        seen += 1
        policy = answer.headers["content-security-policy"]
        assert "default-src" in policy, address
        assert not re.search(r"https?:|\*|script-src[^;]*unsafe", policy), (address, policy)
        for loaded in LOADED.findall(answer.text):
            elsewhere = urlsplit(loaded).netloc not in ("", "testserver")
            assert not elsewhere or loaded.startswith("data:"), (address, loaded)
            if "assets/" in loaded or "static/" in loaded:
                path = loaded if loaded.startswith("/") else "/" + loaded
                assert client.get(path).status_code == 200, (address, loaded)
        for attributes, body in SCRIPTS.findall(answer.text):
            assert not body.strip() or "application/json" in attributes, (address, body[:100])
        assert not HANDLERS.search(answer.text), address
    assert seen >= 12, addresses


def test_assets_do_not_lead_out_of_their_folders(client: TestClient) -> None:
    for path in ("pages/../__init__.py", "pages/%2e%2e/__init__.py", "leaflet//etc/passwd", "nowhere/x.js", "pages/"):
        assert client.get("/assets/" + path).status_code == 404, path


@pytest.mark.parametrize("matrices", ["WebMercatorQuad", "EuropeanETRS89_LAEAQuad"])
def test_the_map_shows_its_layer_in_a_browser(scene: Path, base: str, browser: Browser, matrices: str) -> None:
    browser.open(f"{base}/cog/{matrices}/map.html?{query(scene)}")
    browser.wait("document.querySelectorAll('img.leaflet-tile-loaded').length > 0")
    browser.wait("!document.querySelector('img.leaflet-tile:not(.leaflet-tile-loaded)')")
    middle = browser.screenshot().convert("RGB").crop((560, 360, 640, 440))
    assert len(middle.getcolors(6400) or range(6401)) > 100, "the middle of the map is of few colours"
    assert browser.hosts == {urlsplit(base).netloc}
    assert browser.problems == []


def test_the_documentation_works_without_a_network(base: str, browser: Browser) -> None:
    browser.open(f"{base}/api")
    browser.wait("document.querySelectorAll('.opblock').length > 20")
    assert browser.hosts == {urlsplit(base).netloc}
    assert browser.problems == []
