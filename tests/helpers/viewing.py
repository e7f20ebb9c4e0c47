"""What the tests of the viewer do with its page, and the scene that it shows."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import rasterio
from rasterio.warp import transform

from tests.helpers.browser import Browser

IDLE: Final = "document.getElementById('map').getAttribute('aria-busy') === 'false'"
"""Whether the page waits for nothing."""


@dataclass(frozen=True)
class ViewedScene:
    """The demo scene, and places in it as (lat, lon)."""

    folder: Path
    url: str
    replacement: str
    cloud: tuple[float, float]
    clear: tuple[float, float]

    @property
    def query(self) -> str:
        return urlencode({"url": self.url, "replacement": self.replacement})


def place_of(crs: str, affine: rasterio.Affine, row: int, col: int) -> tuple[float, float]:
    """Latitude and longitude of a pixel's middle."""
    x, y = affine @ (col + 0.5, row + 0.5)
    lons, lats = transform(crs, "EPSG:4326", [x], [y])
    return lats[0], lons[0]


def settle(browser: Browser) -> None:
    """Wait until nothing is under way."""
    browser.wait(IDLE)


def screen(browser: Browser, place: tuple[float, float]) -> tuple[int, int]:
    """Where the map shows a place, from the view in the address: the page's own claim, checked by the pixels."""
    zoom, lat, lon = (float(part) for part in urlsplit(browser.evaluate("location.href")).fragment.split("/"))
    box = browser.evaluate("document.getElementById('map').getBoundingClientRect().toJSON()")

    def mercator(lat: float, lon: float) -> tuple[float, float]:
        world = 256 * 2**zoom
        return (lon + 180) / 360 * world, (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * world

    (x, y), (x0, y0) = mercator(*place), mercator(lat, lon)
    return round(box["x"] + box["width"] / 2 + x - x0), round(box["y"] + box["height"] / 2 + y - y0)


def colour_at(browser: Browser, at: tuple[int, int]) -> np.ndarray:
    """Mean colour of the 7 x 7 pixels around a point of the page."""
    x, y = at
    return np.asarray(browser.screenshot().crop((x - 3, y - 3, x + 4, y + 4)), float).mean(axis=(0, 1))


def move_swipe(browser: Browser, x: float) -> None:
    """Drag the bar to a place on the screen."""
    box = browser.evaluate("document.getElementById('handle').getBoundingClientRect().toJSON()")
    start = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.drag(start, (x, start[1]))
    width = browser.evaluate("document.getElementById('map').clientWidth")
    assert abs(browser.evaluate("Number(document.getElementById('handle').ariaValueNow)") - 100 * x / width) < 1


def address_query(browser: Browser) -> dict[str, list[str]]:
    """The parameters in the page's address."""
    return parse_qs(urlsplit(browser.evaluate("location.href")).query)


def choose(browser: Browser, field: str, value: str) -> None:
    """Choose an option of a select box."""
    script = (
        "(e => { e.value = %s; e.dispatchEvent(new Event('change', {bubbles: true})) })(document.getElementById(%s))"
    )
    browser.evaluate(script % (json.dumps(value), json.dumps(field)))
    assert browser.evaluate(f"document.getElementById({json.dumps(field)}).value") == value


def tile_queries(browser: Browser) -> list[dict[str, list[str]]]:
    """Queries of the tile requests since `clear`."""
    return [parse_qs(urlsplit(address).query) for address in browser.requests if "/cog/tiles/" in address]
