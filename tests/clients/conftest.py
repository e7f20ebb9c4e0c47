"""One server with the demo scene for all clients, and a page of another origin for those that run in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest
from morecantile import tms as grids

from server.app import create_app
from server.settings import Settings
from tests.helpers.scenes import Demo
from tests.helpers.service import chosen, listening

RECIPE = """name: july
title: "July: fields & forest"
target: {scene.cloudy}
replacements: [{scene.clear}]
"""


@dataclass(frozen=True)
class Site:
    """A running server."""

    base: str
    """Its address."""
    folder: Path
    """Of the demo scene."""
    tile: tuple[int, int, int]
    """Zoom, column and row of a Web Mercator tile in the middle of the scene."""

    @property
    def query(self) -> str:
        """The scene and its replacement as parameters."""
        return urlencode({"url": self.folder / "cloudy.tif", "replacement": self.folder / "clear.tif"})

    def address(self, text: str) -> str:
        """An address or command of the documents, with this server and this scene in it."""
        return text.replace("http://127.0.0.1:8000", self.base).replace("demo-scene/", f"{self.folder}/")


@pytest.fixture(scope="session")
def site(demo_scene: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of the demo scene, and of a recipe `july` of it."""
    scene = demo_scene(512)
    recipes = tmp_path_factory.mktemp("recipes")
    (recipes / "july.yaml").write_text(RECIPE.format(scene=scene))
    folder = scene.cloudy.parent
    settings = Settings(**chosen(folder, {"recipes": str(recipes)}))  # type: ignore[arg-type]  # text, which pydantic reads
    with listening(create_app(settings)) as base:
        told = httpx2.get(f"{base}/recipes/july/WebMercatorQuad/tilejson.json", timeout=60).json()
        west, south, east, north = told["bounds"]
        yield Site(base, folder, _tile((west + east) / 2, (south + north) / 2, told["maxzoom"]))


def _tile(lon: float, lat: float, zoom: int) -> tuple[int, int, int]:
    found = grids.get("WebMercatorQuad").tile(lon, lat, zoom)
    return found.z, found.x, found.y
