"""Leaflet, OpenLayers and MapLibre in a browser: the code of the documents shows the very pixels of a tile."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution

import httpx2
import numpy as np
import pytest
from morecantile import Tile
from morecantile import tms as grids
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.clients.conftest import Site
from tests.helpers.browser import Browser
from tests.helpers.service import ROOT, listening, needs

SNIPPETS = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "web-maps.md").read_text(encoding="utf-8"), re.DOTALL)


@dataclass(frozen=True)
class Library:
    """A map library as an installed package brings it."""

    package: str
    """Which one."""
    files: str
    """Its folder in the package."""
    script: str
    """In the folder."""
    style: str
    """In the folder."""
    show: str
    """Script that moves `map` to a place and counts in `window.shown` when everything is drawn."""


LIBRARIES = {
    "L.": Library(
        "XStatic-Leaflet",
        "xstatic/pkg/leaflet/data",
        "leaflet.js",
        "leaflet.css",
        "map.setView([lat, lon], zoom, {animate: false});"
        "setInterval(() => { const loaded = [...document.querySelectorAll('.leaflet-tile-loaded')];"
        "  window.shown = loaded.length && loaded.every(tile => ['', '1'].includes(tile.style.opacity)) }, 50);",
    ),
    "ol.": Library(
        "MapProxy",
        "mapproxy/service/templates/demo/static",
        "ol.js",
        "ol.css",
        "map.getView().setCenter(ol.proj.fromLonLat([lon, lat])); map.getView().setZoom(zoom);"
        "map.on('rendercomplete', () => {"
        "  window.shown = map.getAllLayers().every(layer => layer.getSource().getState() === 'ready') });",
    ),
    "maplibregl.": Library(
        "maplibre",
        "maplibre/srcjs",
        "maplibre-gl.js",
        "maplibre-gl.css",
        "map.on('idle', () => { window.shown = true }); map.jumpTo({center: [lon, lat], zoom: zoom - 1});",
    ),
}
"""By the name under which code uses them."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Map</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="{folder}/{library.style}"><script src="{folder}/{library.script}"></script>
<style>
html, body, #map {{ margin: 0; width: 256px; height: 256px; background: white }}
.leaflet-control-container, .ol-overlaycontainer-stopevent, .maplibregl-control-container {{ display: none }}
</style><div id="map"></div><script type="module">
{code}
window.client = map;
</script></html>
"""


def library_of(code: str) -> tuple[str, Library]:
    """What code is written for."""
    return next((name, library) for name, library in LIBRARIES.items() if name in code)


@pytest.fixture(scope="module")
def pages(site: Site) -> Iterator[str]:
    """A web server of its own, and so an origin of its own, with a page for each snippet."""

    def page(request: Request) -> HTMLResponse:
        code = SNIPPETS[request.path_params["number"]]
        name, library = library_of(code)
        return HTMLResponse(PAGE.format(folder=f"/{name}", library=library, code=site.address(code)))

    mounts = [
        Mount(f"/{name}", StaticFiles(directory=str(distribution(library.package).locate_file(library.files))))
        for name, library in LIBRARIES.items()
    ]
    with listening(Starlette(routes=[Route("/{number:int}", page), *mounts])) as base:
        yield base


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("profile")
    with Browser(needs("chromium"), profile, width=256, height=256, flags=("--enable-unsafe-swiftshader",)) as browser:
        yield browser


def named(code: str) -> str:
    """A name for a snippet."""
    return "-".join([library_of(code)[0].rstrip("."), *re.findall(r"source\.(\w+)", code)[:1]])


@pytest.mark.parametrize("number", range(len(SNIPPETS)), ids=lambda number: named(SNIPPETS[number]))
def test_the_code_of_the_documents_shows_the_tile(site: Site, pages: str, browser: Browser, number: int) -> None:
    """A map of one tile's size and place shows that tile, pixel by pixel."""
    browser.clear()
    browser.open(f"{pages}/{number}")
    browser.wait("window.client")
    zoom, column, row = site.tile
    grid = grids.get("WebMercatorQuad")
    left, bottom, right, top = grid.xy_bounds(Tile(column, row, zoom))
    lon, lat = grid.lnglat((left + right) / 2, (bottom + top) / 2)
    show = library_of(SNIPPETS[number])[1].show
    browser.evaluate(f"((map, lon, lat, zoom) => {{ {show} }})(window.client, {lon!r}, {lat!r}, {zoom})")
    browser.wait("window.shown")
    seen = np.asarray(browser.screenshot(), float)
    place = f"WebMercatorQuad/{zoom}/{column}/{row}.{'webp' if 'image/webp' in SNIPPETS[number] else 'png'}"
    tile = httpx2.get(f"{site.base}/cog/tiles/{place}?{site.query}", timeout=60)
    picture = Image.open(io.BytesIO(tile.content)).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    expected = np.asarray(Image.alpha_composite(page, picture).convert("RGB"), float)
    assert expected.std() > 20
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 1, browser.problems
    assert browser.hosts <= {address.removeprefix("http://") for address in (site.base, pages)}


def test_every_library_has_code() -> None:
    assert {library_of(code)[0] for code in SNIPPETS} == set(LIBRARIES)
