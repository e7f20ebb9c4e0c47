"""Candidates for filling a target: other dates of the same place, looked up in a STAC API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from algorithms.errors import ParameterError
from server.errors import SourceMissingError
from server.raster.sources import Sources
from server.scenes.acquisition import Acquisition
from server.scenes.paging import PageRequest
from server.scenes.scene import Scene
from server.scenes.search import LeftOut, SearchPage, read_page, search_address, search_periods, search_query
from server.scenes.walk import PAGE_BYTES, Halt, SearchDeadline, walk_pages
from server.work.ticket import check_wanted

MOST_ITEMS: Final = 200
"""Items that are looked at."""
MOST_PAGES: Final = 10
"""Pages that are requested; a server may send fewer Items on each than were asked for."""
LANDING_BYTES: Final = 4 << 20
"""Bytes of an API's landing page, which may list all its collections."""
SEARCH_SECONDS: Final = 60.0
"""Time for all pages of a search."""
ENOUGH_CANDIDATES: Final = 20
"""Candidates that are at most half cloudy, as their documents say, from which on other years are not searched."""

KNOWN_COLLECTIONS: Final = {
    ("sentinel-2", "l2a"): ("sentinel-2-l2a", "sentinel-2-c1-l2a"),
    ("sentinel-2", "l1c"): ("sentinel-2-l1c",),
    ("landsat", "l2a"): ("landsat-c2-l2", "landsat-c2l2-sr"),
    ("landsat", "l1c"): ("landsat-c2-l1", "landsat-c2l1"),
}
"""What the public archives call the Items of a mission and level."""


@dataclass(frozen=True, slots=True)
class SearchTarget:
    """What is searched for, and where."""

    api: str
    """Address of the API."""
    acquisition: Acquisition
    """The target's date and place."""
    collections: tuple[str, ...]
    """Collections to look in, one after the other until one has anything."""
    bands: tuple[str, ...] = ()
    """Common names of the target's bands, all that a request may show."""


@dataclass(slots=True)
class SearchResult:
    """What a search found."""

    collection: str
    """The collection that was searched."""
    scenes: dict[str, Scene] = field(default_factory=dict)
    """Candidates by their Items' ids."""
    left_out: list[LeftOut] = field(default_factory=list)
    """Items that are none."""
    warnings: list[str] = field(default_factory=list)
    """Why there may be more."""

    @property
    def items(self) -> int:
        """Items looked at."""
        return len(self.scenes) + len(self.left_out)


def search_target(scene: Scene | None, url: str, api: str | None) -> SearchTarget:
    """What to search for.

    Args:
        scene: the target; None for a raster of one file.
        url: what it is called.
        api: address of the API to search; by default the one that an Item names.

    Raises:
        ParameterError: there is nothing to go by: no scene, no date, or no API.
    """
    acquisition = None if scene is None else scene.acquisition
    if scene is None or acquisition is None:
        raise ParameterError(
            f"replacement=auto: {url[:200]!r} states no date and collection to search by; give a STAC Item, a .SAFE or "
            "a Landsat product as `url`, or name the replacements"
        )
    where = api or scene.api_root
    if where is None:
        raise ParameterError(
            f"replacement=auto: {url[:200]!r} names no STAC API to search; the operator can set CLEARSKY_STAC_API, "
            "or name the replacements"
        )
    if acquisition.when is None or not search_periods(acquisition.when):
        raise ParameterError(
            f"replacement=auto: {url[:200]!r} has the date {acquisition.when}, around which none can be searched for; "
            "name the replacements"
        )
    about = f"{acquisition.collection} {acquisition.id}".lower()
    mission = "sentinel-2" if "sentinel-2" in about or "msil" in about else "landsat" if "landsat" in about else ""
    known = KNOWN_COLLECTIONS.get((mission, scene.level or ""), ())
    # An Item's own API has its collection; another one may call it otherwise.
    own = (acquisition.collection,) if acquisition.collection else ()
    collections = own if own and api is None else tuple(dict.fromkeys([*own, *known]))
    if not collections:
        raise ParameterError(f"replacement=auto: {url[:200]!r} names no collection to search in; name the replacements")
    bands = tuple(dict.fromkeys(band.name for band in scene.bands if band.name is not None))
    return SearchTarget(where, acquisition, collections, bands)


def search_candidates(sources: Sources, wanted: SearchTarget) -> SearchResult:
    """Look other dates up.

    Args:
        sources: what requests addresses, each checked.
        wanted: what to look for; its acquisition has a date and a box.

    Raises:
        SourceMissingError: there are none. SourceError: the API cannot be had, or is none.
    """
    deadline = SearchDeadline.within(
        SEARCH_SECONDS, search=f"the search in {wanted.api[:200]!r}", remedy="try again, or name the replacements"
    )
    landing = sources.answer(wanted.api, most_bytes=LANDING_BYTES)
    address = search_address(landing.data, landing.where)
    for collection in wanted.collections:
        found = SearchResult(collection)
        for first in _first_pages(wanted, address, found):
            _read_pages(sources, PageRequest(first), found, deadline)
        if found.scenes or (found.items and collection == wanted.collections[-1]):
            return found
    raise SourceMissingError(
        f"replacement=auto: {wanted.api!r} has no other dates of {wanted.acquisition.id!r} in "
        f"{' or '.join(wanted.collections)}; name the replacements"
    )


def _first_pages(wanted: SearchTarget, address: str, found: SearchResult) -> Iterator[str]:
    """Addresses to begin at, as long as not enough is found."""
    when, box = wanted.acquisition.when, wanted.acquisition.box
    if when is None or box is None:
        raise ParameterError(f"{wanted.acquisition.id!r} has no date or place to search by")
    for period in search_periods(when):
        covers = (s.acquisition.cloud_cover for s in found.scenes.values() if s.acquisition is not None)
        if sum(cover is not None and 0 <= cover <= 50 for cover in covers) >= ENOUGH_CANDIDATES:
            return
        yield search_query(address, collection=found.collection, box=box, period=period)


def _read_pages(sources: Sources, first: PageRequest, found: SearchResult, deadline: SearchDeadline) -> None:
    """Read a search page by page, as far as the limits go."""
    known = {*found.scenes, *(item.id for item in found.left_out)}

    def go_on() -> None:
        check_wanted()
        deadline.check()

    def read(asked: PageRequest) -> SearchPage:
        answer = sources.answer(asked.address, most_bytes=PAGE_BYTES, body=asked.body)
        room = MOST_ITEMS - found.items
        return read_page(answer.data, answer.where, asked, collection=found.collection, most=room, go_on=go_on)

    def halted(halt: Halt) -> None:
        circle = "the API's pages lead in a circle; what they have was looked at"
        found.warnings.append(circle if halt is Halt.CIRCLE else _rest(found))

    for page in walk_pages(first, read, most_pages=MOST_PAGES, go_on=go_on, halted=halted):
        for scene in page.scenes:
            if scene.acquisition is not None and scene.acquisition.id not in known:
                known.add(scene.acquisition.id)
                found.scenes[scene.acquisition.id] = scene
        found.left_out += [item for item in page.left_out if item.id not in known]
        known |= {item.id for item in page.left_out}
        if page.more or (page.following is not None and found.items >= MOST_ITEMS):
            found.warnings.append(_rest(found))
            return


def _rest(found: SearchResult) -> str:
    return f"{found.items} Items were looked at; the API has more"
