"""Searches in STAC APIs: what to ask for, and what a page of an answer says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from server.errors import SourceUnreadableError
from server.scenes.acquisition import Box
from server.scenes.bounded import list_of, mapping_of, read_json, shown
from server.scenes.item import scene_of
from server.scenes.paging import PageRequest, joined_address, next_request
from server.scenes.scene import Scene

PAGE_ITEMS: Final = 50
"""Items asked for at a time: some servers send no more than 6 MB."""
CENTRAL_SHARE: Final = 0.5
"""Part of the target, around its middle, that dates must touch: its own tile and orbits that reach into it, rather
than the slivers of eight neighbours."""
NEAR_REACH: Final = timedelta(days=60)
"""Around the target's date what is looked at first."""
SEASON_REACH: Final = timedelta(days=45)
"""Around the same day of the years before and after what is looked at next."""

_SEARCHED: Final = re.compile(r"/(?:search|collections/[^/]+/items)/?$")
"""How addresses end at which an API lists Items."""
SATELLITE_YEARS: Final = range(1960, 2200)
"""Years that a picture can be of."""

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An Item that is no candidate."""

    id: str
    """What it is called."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of an API's answer."""

    scenes: tuple[Scene, ...]
    """Those that can be used, each under its own address."""
    left_out: tuple[LeftOut, ...]
    """The others."""
    following: PageRequest | None
    """What brings the next page."""
    more: bool = False
    """Whether the page has Items beyond those."""


@dataclass(frozen=True, slots=True)
class ItemList:
    """A page of an API's answer, as it is."""

    items: tuple[Mapping[str, Any], ...]
    """Its Items; empty where one is no object."""
    following: PageRequest | None
    """What brings the next page."""
    cut: bool
    """Whether there is a next page that nothing brings."""
    where: str
    """Address of the page."""


def search_periods(when: datetime) -> tuple[Period, ...]:
    """Times to search in, the most promising first: near the date, then the same season of other years.

    Nothing for a date that no satellite has seen.
    """
    if when.year not in SATELLITE_YEARS:
        return ()
    year = timedelta(days=365.25)
    return (
        (when - NEAR_REACH, when + NEAR_REACH),
        (when - year - SEASON_REACH, when - year + SEASON_REACH),
        (when + year - SEASON_REACH, when + year + SEASON_REACH),
    )


def search_address(landing: bytes, where: str) -> str:
    """Where an API is searched, from its landing page.

    Args:
        landing: the document.
        where: its address.

    Raises:
        SourceUnreadableError: it is not a STAC API, or one that cannot be searched by GET.
    """
    links = list_of(_parsed(landing, where).get("links"))
    for link in map(mapping_of, links):
        href = link.get("href")
        if link.get("rel") == "search" and str(link.get("method") or "GET").upper() == "GET" and isinstance(href, str):
            return joined_address(where, href)
    raise SourceUnreadableError(
        f"{where[:200]!r} is not a STAC API that can be searched (no link `search` for GET); set CLEARSKY_STAC_API to "
        "the address of one, or name the replacements"
    )


def search_query(address: str, *, collection: str, box: Box, period: Period) -> str:
    """The address of the first page of a search around the middle of a target.

    Args:
        address: see `search_address`.
        collection: whose Items.
        box: the target's, in degrees.
        period: when.
    """
    return place_query(address, collection=collection, box=_central(box), period=period)


def place_query(address: str, *, collection: str, box: Box, period: Period | None) -> str:
    """The address of the first page of a search for what touches a place.

    Args:
        address: see `search_address`.
        collection: whose Items.
        box: the place, in degrees.
        period: when; None: any time.
    """
    own = parse_qsl(urlsplit(address).query, keep_blank_values=True)
    query = {"collections": collection, "bbox": ",".join(f"{number:.6f}" for number in box)}
    if period is not None:
        query["datetime"] = "/".join(time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for time in period)
    query["limit"] = str(PAGE_ITEMS)
    return f"{address.partition('?')[0]}?{urlencode([*own, *query.items()], safe=',:/')}"


def read_page(
    data: bytes,
    where: str,
    asked: PageRequest,
    *,
    collection: str,
    most: int = PAGE_ITEMS,
    go_on: Callable[[], None] = lambda: None,
) -> SearchPage:
    """What a page of an answer says.

    Args:
        data: the document.
        where: its address.
        asked: what has brought it.
        collection: whose Items were asked for.
        most: Items that are looked at, the first of the page.
        go_on: called before each; what it raises ends the work.

    Raises:
        SourceUnreadableError: it is not a list of Items.
    """
    page = read_items(data, where, asked)
    found = []
    for item in page.items[:most]:
        go_on()
        found.append(_candidate(item, where, collection))
    scenes = (item for item in found if isinstance(item, Scene))
    left_out = (item for item in found if isinstance(item, LeftOut))
    return SearchPage(tuple(scenes), tuple(left_out), page.following, more=len(page.items) > most)


def read_items(data: bytes, where: str, asked: PageRequest) -> ItemList:
    """The Items of a page, and what brings the next one.

    Args:
        data: the document.
        where: its address.
        asked: what has brought it.

    Raises:
        SourceUnreadableError: it is not a list of Items.
    """
    page = _parsed(data, where)
    features = page.get("features")
    if page.get("type") != "FeatureCollection" or not isinstance(features, list):
        raise SourceUnreadableError(f"{where[:200]!r} answers without a list of STAC Items; check the API's address")
    links = [link for link in map(mapping_of, list_of(page.get("links"))) if link.get("rel") == "next"]
    following = next_request(links, where, asked)
    return ItemList(tuple(map(mapping_of, features)), following, cut=bool(links) and following is None, where=where)


def _candidate(item: Mapping[str, Any], where: str, collection: str) -> Scene | LeftOut:
    own = item.get("id")
    name = own[:200] if isinstance(own, str) and own[:200].isprintable() else shown(own)
    if item.get("collection") != collection:
        return LeftOut(name, f"is of the collection {shown(item.get('collection'))}, which was not asked for")
    if not isinstance(item.get("assets"), dict):
        return LeftOut(name, "has no assets")
    try:
        scene = scene_of(item, item_address(item, where))
    except SourceUnreadableError as error:
        return LeftOut(name, str(error))
    if scene.acquisition is None or scene.acquisition.when is None:
        return LeftOut(name, "has no date")
    return scene


def item_address(item: Mapping[str, Any], where: str) -> str:
    """Where an Item is: what it says itself, else where a STAC API has it.

    Args:
        item: of a page.
        where: the page's address.

    Raises:
        SourceUnreadableError: that is no web address.
    """
    for link in map(mapping_of, list_of(item.get("links"))):
        href = link.get("href")
        if link.get("rel") == "self" and isinstance(href, str):
            return joined_address(where, href)
    root = _SEARCHED.sub("", urljoin(where, urlsplit(where).path))
    own = item.get("id")
    name = own if isinstance(own, str) else shown(own)
    return joined_address(where, f"{root}/collections/{item.get('collection')}/items/{name}")


def _central(box: Box) -> Box:
    """The middle of a box, which may lie across the antimeridian."""
    width, height = (box[2] - box[0]) % 360, box[3] - box[1]
    aside = (1 - CENTRAL_SHARE) / 2
    west = (box[0] + aside * width + 180) % 360 - 180
    east = (box[0] + (1 - aside) * width + 180) % 360 - 180
    return (west, box[1] + aside * height, east, box[3] - aside * height)


def _parsed(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        found = read_json(data)
    except ValueError as error:
        raise SourceUnreadableError(f"{where[:200]!r} does not answer with JSON ({str(error)[:80]})") from error
    return mapping_of(found)
