"""Scenes found in a STAC API, dates to fill them from, and what the server lists: in the page and by its routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from httpx2 import Response
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from algorithms.options import OPTIONS
from server.app import create_app
from server.http.finding import read_bbox, read_period
from server.http.params import queried_request
from server.recipes.model import recipe_of
from server.recipes.viewed import viewer_query
from server.settings import Settings
from server.viewer import page_policy
from server.viewer.listing import local_scenes
from tests.helpers.browser import Browser
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, chosen, good, listening, sources_of
from tests.helpers.stacapi import StacApi
from tests.helpers.viewing import address_query, settle, tile_queries

PLACE = "14.9,41.4,15.1,41.7"


@pytest.fixture(scope="module")
def client(api: StacApi) -> Iterator[TestClient]:
    with application(f"{api.base}/", stac_api=api.base) as client:
        yield client


def _found(client: TestClient, **query: Any) -> Response:
    return client.get("/search", params={"bbox": PLACE} | query)


def test_a_search_lists_what_fits(client: TestClient, api: StacApi) -> None:
    found = good(_found(client)).json()
    every = {item["id"]: item["properties"] for item in api.items}
    assert {scene["id"] for scene in found["scenes"]} == set(every)
    dates = [scene["datetime"] for scene in found["scenes"]]
    assert dates == sorted(dates, reverse=True)
    assert all(scene["url"] == api.address(scene["id"]) for scene in found["scenes"])
    api.page, page, api.posts = 1, api.page, True
    posted = good(_found(client)).json()["scenes"]
    api.page, api.posts = page, False
    assert posted == found["scenes"]
    for cover in (0, 20, 60):
        fitting = good(_found(client, cloud_cover=cover)).json()["scenes"]
        wanted = {name for name, properties in every.items() if properties["eo:cloud_cover"] <= cover}
        assert {scene["id"] for scene in fitting} == wanted
    june = good(_found(client, datetime="2025-06-16/2025-06-20")).json()["scenes"]
    assert {scene["id"] for scene in june} == {"cloudy-here", "right_0", "right_1"}  # the last day counts
    assert good(_found(client, bbox="1,1,2,2")).json()["scenes"] == []
    two = good(_found(client, limit=2)).json()
    assert (len(two["scenes"]), two["more"]) == (2, True)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"bbox": "1,2,3"}, 400, "bbox='1,2,3'"),
        ({"bbox": "5,9,6,8"}, 400, "is not a place"),
        ({"datetime": "yesterday"}, 400, "datetime='yesterday'"),
        ({"datetime": "2025-07-01/2025-06-01"}, 400, "ends before it begins"),
        ({"cloud_cover": 101}, 400, "cloud_cover"),
        ({"api": "http://10.0.0.1/"}, 403, "10.0.0.1"),
        ({"api": "file:///etc/passwd"}, 400, "not the address of a web service"),
    ],
)
def test_a_search_that_cannot_be_made_says_why(
    client: TestClient, query: dict[str, Any], status: int, words: str
) -> None:
    answer = _found(client, **query)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_without_an_api_the_search_has_a_remedy(plain: TestClient) -> None:
    answer = _found(plain)
    assert answer.status_code == 400
    assert "CLEARSKY_STAC_API" in answer.json()["detail"]


def test_times_and_places_are_read_as_they_are_written() -> None:
    assert read_bbox(" -180,-90, 180,90") == (-180, -90, 180, 90)
    assert read_bbox("170,1,-170,2") == (170, 1, -170, 2)  # across the antimeridian
    first, last = read_period("2025-06-01")
    assert (first, last) == (datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 6, 1, 23, 59, 59, tzinfo=UTC))
    assert read_period("2025-06-01T10:00:00Z/2025-06-01T11:00:00Z")[1].hour == 11
    for bad in ("nan,0,1,1", "0,0,1,inf", "", "0,0,181,1"):
        with pytest.raises(ParameterError):
            read_bbox(bad)


def test_scenes_and_dates_are_chosen_by_a_click(chromium: Browser, api: StacApi) -> None:
    settings = Settings(**chosen(f"{api.base}/", {"stac_api": api.base}))  # type: ignore[arg-type]  # text
    with listening(create_app(settings)) as base:
        chromium.resize(1200, 800)
        chromium.clear()
        chromium.open(f"{base}/viewer?mask=scl")
        settle(chromium)
        chromium.evaluate("document.getElementById('find').open = true")
        chromium.fill("#find-place", PLACE)
        chromium.press("Enter", on="#find-place")
        chromium.wait("document.querySelectorAll('#found .thumb').length === 5")
        chromium.wait("[...document.querySelectorAll('#found img')].some(e => e.naturalWidth > 100)")
        chromium.evaluate("document.querySelector('#found [aria-label^=target]').click()")
        chromium.wait("location.search.includes('items/target')")
        settle(chromium)
        assert address_query(chromium)["url"] == [api.address("target")]
        chromium.click("#suggest")
        chromium.wait("document.querySelectorAll('#candidates .thumb').length === 2")
        first = "document.querySelector('#candidates [aria-label^=right_1]')"
        assert "score" in chromium.evaluate(f"{first}.ariaLabel")
        chromium.evaluate(f"{first}.click()")
        chromium.wait(f"{first}.ariaPressed === 'true' && location.search.includes('replacement=')")
        settle(chromium)
        assert address_query(chromium)["replacement"] == [api.address("right_1")]
        chromium.evaluate(f"{first}.click()")
        chromium.wait(f"{first}.ariaPressed === 'false'")
        settle(chromium)
        assert "replacement" not in address_query(chromium)
        chromium.evaluate("document.querySelector('#found [aria-label^=far]').click()")
        chromium.wait("location.search.includes('items/far')")
        settle(chromium)
        assert (
            chromium.evaluate("document.querySelectorAll('#candidates .thumb').length") == 0
        )  # those of another scene
        assert chromium.evaluate("document.getElementById('suggest-note').textContent") == ""
        auto = urlencode({"url": api.address("target"), "replacement": "auto", "mask": "scl", "left": "replacement"})
        chromium.open(f"{base}/viewer?{auto}")  # what `auto` stands for is asked first
        settle(chromium)
        dates = [query["url"] for query in tile_queries(chromium) if "replacement" not in query]
        assert [api.address("right_1")] in dates
        assert ["auto"] not in dates
        assert chromium.problems == []
        chromium.open("about:blank")
    chromium.hosts.discard(base.partition("//")[2])


def test_scenes_are_listed_only_where_the_operator_wants_it(
    plain: TestClient, client: TestClient, folder: Path, tmp_path: Path
) -> None:
    for name in (
        "a.tif",
        "deep/er/b.tif",
        "deep/er/and/er/c.tif",
        ".hidden/d.tif",
        "P.SAFE/GRANULE/e.jp2",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out.tif").symlink_to("/etc/passwd")
    assert local_scenes([tmp_path]) == ([str(tmp_path / name) for name in ("P.SAFE", "a.tif", "deep/er/b.tif")], False)
    listed = good(plain.get("/viewer/scenes.json")).json()
    assert listed == {"scenes": [str(folder / name) for name in ("a.tif", "b.tif", "target.tif")], "more": False}
    assert good(client.get("/viewer/scenes.json")).json() == {"scenes": [], "more": False}  # by default


RECIPE = """
name: all
target: target.tif
replacements: [a.tif, b.tif]
mask: {source: target.tif, bits: [3, 1]}
replacement_masks: [none, b.tif]
replacement_reflectance_scales: [0.0001, 0.0002]
level: l2a
bands: [blue, green, red, nir, swir16, swir22]
nodata: 0
window: 120
refine: false
unfilled: nodata
render: {bands: [nir, 3, green], rescale: [[0, 4000]]}
"""
BASE_MAP = "https://tiles.example.org:8443/a/{z}/{x}/{y}.png?key=1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rasters, and a recipe of them."""
    folder, pair = tmp_path_factory.mktemp("listed"), make_pair(size=(32, 32))
    for name in ("target.tif", "a.tif", "b.tif"):
        write_raster(folder / name, pair.target)
    (folder / "all.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[TestClient]:
    """An application with all that a viewer may offer, and no API."""
    offered = {"recipes": str(folder), "list_scenes": "true", "base_map": BASE_MAP, "base_map_attribution": "<b>A</b>"}
    with application(folder, demo=str(folder / "none"), **offered) as client:
        yield client


def test_a_recipe_is_the_same_request_in_the_viewers_address(plain: TestClient, folder: Path) -> None:
    recipe = recipe_of(RECIPE.encode(), folder / "all.yaml")
    pairs = viewer_query(recipe, sources_of(plain))
    given = QueryParams(pairs)
    # `nodata` is TiTiler's own parameter.
    assert queried_request(given) == replace(recipe.request, nodata=None)
    assert given["nodata"] == "0"
    assert {name: given[name] for name in OPTIONS if name in given} == {
        "window": "120", "refine": "false", "unfilled": "nodata"
    }  # fmt: skip
    assert given.getlist("bidx") == ["4", "3", "2"]
    assert given.getlist("rescale") == ["0,4000"] * 3
    answer = {"name": "all", "title": "all", "query": [list(pair) for pair in pairs], "unseen": []}
    assert good(plain.get("/viewer/recipe.json?name=all")).json() == answer
    sent = RECIPE.replace("a.tif", f"{folder}/a.tif").replace("b.tif", f"{folder}/b.tif")
    sent = sent.replace("target.tif", f"{folder}/target.tif")
    assert good(plain.post("/viewer/recipe.json", content=sent)).json() == answer
    for bad, status in ((b"name: x\ntarget: /etc/passwd\n", 403), (b"name: [", 400), (b"#" * 70_000, 400)):
        assert plain.post("/viewer/recipe.json", content=bad).status_code == status
    assert plain.get("/viewer/recipe.json?name=none").status_code == 404


def test_a_base_map_and_nothing_else_is_admitted(plain: TestClient) -> None:
    assert "http" not in page_policy(None)
    assert "img-src 'self' data: https://tiles.example.org:8443;" in page_policy(BASE_MAP)
    assert plain.get("/viewer").headers["content-security-policy"] == page_policy(BASE_MAP)
    offered = plain.get("/viewer/defaults.json").json()["base_map"]
    assert offered == {"url": BASE_MAP, "attribution": "<b>A</b>"}


@pytest.mark.parametrize(
    "address",
    [
        "https://a.org/{z}/{x}.png",
        "javascript:{z}{x}{y}",
        "https://a.org; script-src *//{z}/{x}/{y}",
        "ftp://a/{z}{x}{y}",
    ],
)
def test_a_base_map_that_is_no_address_of_tiles_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="write an address of tiles"):
        Settings(base_map=address)
