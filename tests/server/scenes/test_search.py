"""Searches in STAC APIs: what is asked for, and that any answer is understood or refused."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceUnreadableError
from server.scenes.acquisition import footprint_overlap
from server.scenes.bounded import MOST_VALUES
from server.scenes.paging import PageRequest
from server.scenes.search import (
    SearchPage,
    read_page,
    search_address,
    search_periods,
    search_query,
)

WHERE: Final = "https://example.org/v1/search?token=2"
ASKED: Final = PageRequest(WHERE)
NOON: Final = datetime(2024, 6, 15, 12, tzinfo=UTC)
ITEM: Final[dict[str, Any]] = {
    "type": "Feature",
    "id": "S2A_33TUN_20240620_0_L2A",
    "collection": "sentinel-2-l2a",
    "bbox": [14, 41, 15, 42],
    "properties": {"datetime": "2024-06-20T10:00:00Z", "eo:cloud_cover": 3.5},
    "links": [{"rel": "self", "href": "/v1/collections/sentinel-2-l2a/items/S2A_33TUN_20240620_0_L2A"}],
    "assets": {"red": {"href": "./B04.tif", "type": "image/tiff", "eo:bands": [{"name": "B04", "common_name": "red"}]}},
}
PAGE: Final[dict[str, Any]] = {
    "type": "FeatureCollection",
    "features": [ITEM],
    "links": [{"rel": "next", "href": "https://example.org/v1/search?token=3"}],
}


def read(page: Any) -> SearchPage:
    return read_page(json.dumps(page).encode(), WHERE, ASKED, collection="sentinel-2-l2a")


def test_a_page_gives_scenes_under_their_own_addresses() -> None:
    page = read(PAGE)
    [scene] = page.scenes
    assert scene.url == "https://example.org/v1/collections/sentinel-2-l2a/items/S2A_33TUN_20240620_0_L2A"
    assert scene.bands[0].url == "https://example.org/v1/collections/sentinel-2-l2a/items/B04.tif"
    assert page.following == PageRequest("https://example.org/v1/search?token=3")
    [without] = read(PAGE | {"features": [ITEM | {"links": []}], "links": []}).scenes
    assert without.url == scene.url
    assert read(PAGE | {"links": [{"rel": "next", "href": WHERE, "method": "PUT"}]}).following is None


def test_no_more_of_a_page_is_looked_at_than_there_is_room_for() -> None:
    seen: list[int] = []
    features = [ITEM | {"id": f"S2A_{k}"} for k in range(9)]
    data = json.dumps(PAGE | {"features": features}).encode()
    page = read_page(data, WHERE, ASKED, collection="sentinel-2-l2a", most=4, go_on=lambda: seen.append(1))
    assert (len(page.scenes), len(seen), page.more) == (4, 4, True)
    assert not read_page(data, WHERE, ASKED, collection="sentinel-2-l2a", most=9).more

    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        read_page(data, WHERE, ASKED, collection="sentinel-2-l2a", go_on=stop)


def test_what_a_page_says_of_an_item_is_short() -> None:
    long = "hls." * 100_000
    changes: list[dict[str, Any]] = [{key: value} for key in ("id", "collection") for value in (long, [[long]])]
    changes += [{"links": [{"rel": "self", "href": f"/{long}"}]}, {"properties": {"datetime": long}}]
    found = read(PAGE | {"features": [ITEM | change for change in changes]})
    assert len(found.left_out) + len(found.scenes) == len(changes)
    assert all(len(item.id) <= 256 and len(item.reason) < 1000 for item in found.left_out)
    assert all(len(scene.acquisition.id) <= 256 for scene in found.scenes if scene.acquisition is not None)
    with pytest.raises(SourceUnreadableError, match="values"):
        read(PAGE | {"more": [{"": {}}] * MOST_VALUES})


PLACES: Final = [
    (), ("type",), ("features",), ("features", 0), ("links",), ("links", 0), ("links", 0, "href"), ("links", 0, "rel"),
    *(("features", 0, key) for key in ITEM), ("features", 0, "properties", "datetime"),
    ("features", 0, "properties", "eo:cloud_cover"), ("features", 0, "links", 0, "href"),
    ("features", 0, "assets", "red"), ("features", 0, "assets", "red", "href"), ("features", 0, "bbox", 0),
]  # fmt: skip
SPOILT: Final = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.none(), max_size=3),
    st.sampled_from(["http://[", "//a", "file:///etc/passwd", "/vsicurl/x", "\ud800", "9999-12-31T23:59:59Z"]),
)  # fmt: skip


@given(st.sampled_from(PLACES), SPOILT)
def test_spoilt_pages_are_read_or_refused(place: tuple[str | int, ...], value: Any) -> None:
    page: Any = deepcopy(PAGE)
    if place:
        inner = page
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = deepcopy(value)
    else:
        page = value
    try:
        found = read(page)
    except SourceUnreadableError:
        return
    for scene in found.scenes:
        assert scene.url.startswith(("https://", "http://"))
        assert scene.acquisition is not None
        assert scene.acquisition.when is not None
    assert all(item.id.isprintable() and item.reason for item in found.left_out)


def test_an_api_says_where_it_is_searched() -> None:
    def landing(*links: dict[str, str]) -> bytes:
        return json.dumps({"links": links}).encode()

    post, get = {"rel": "search", "href": "./find", "method": "POST"}, {"rel": "search", "href": "./find"}
    assert search_address(landing(post, get), "https://example.org/v1/") == "https://example.org/v1/find"
    for document in (landing(post), landing(), b"[]", b"{"):
        with pytest.raises(SourceUnreadableError, match=r"https://example\.org"):
            search_address(document, "https://example.org/v1/")


def test_the_nearest_dates_are_searched_first_and_the_season_of_other_years_next() -> None:
    near, before, after = search_periods(NOON)
    assert near[0] < NOON < near[1]
    assert before[0] < NOON - timedelta(days=365) < before[1] < near[0]
    assert near[1] < after[0] < NOON + timedelta(days=365) < after[1]
    assert search_periods(datetime.min.replace(tzinfo=UTC)) == search_periods(datetime.max.replace(tzinfo=UTC)) == ()


@given(st.floats(-180, 180), st.floats(-80, 70), st.floats(0.1, 20), st.floats(0.1, 9))
def test_a_search_is_for_the_middle_of_the_target(west: float, south: float, width: float, height: float) -> None:
    box = (west, south, (west + width + 180) % 360 - 180, south + height)
    address = search_query(WHERE, collection="a b", box=box, period=search_periods(NOON)[0])
    query = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
    assert (query["collections"], query["token"]) == ("a b", "2")
    assert query["datetime"] == "2024-04-16T12:00:00Z/2024-08-14T12:00:00Z"
    middle = tuple(map(float, query["bbox"].split(",")))
    assert len(middle) == 4
    assert footprint_overlap(box, middle) == pytest.approx(0.25, rel=1e-3)
    assert footprint_overlap(middle, box) == pytest.approx(1, rel=1e-3)
