"""`/search`: the scenes of a place and time in a STAC API, with what one chooses them by."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from algorithms.errors import ParameterError
from server.http.openapi import DATASET_ERRORS, PROBLEM
from server.http.shared import SharedSettings, SharedSources
from server.raster.sources import Sources
from server.remote.redaction import redacted
from server.remote.signatures import shown_name
from server.scenes.acquisition import Box
from server.scenes.paging import PageRequest
from server.scenes.scene import Scene
from server.scenes.search import Period, SearchPage, place_query, read_page, search_address
from server.scenes.walk import PAGE_BYTES, SearchDeadline, walk_pages
from server.work.ticket import check_wanted, holding

DEFAULT_COLLECTION: Final = "sentinel-2-l2a"
"""What is searched unless a request says otherwise."""
SHOWN_SCENES: Final = 24
"""Scenes that are listed unless a request asks for another number."""
MOST_SHOWN_SCENES: Final = 100
"""Scenes that a request may ask for."""
MOST_SEARCH_PAGES: Final = 5
"""Pages that are read to find these: of most Items a search for little cloud looks at the cloud cover alone."""
LOOKUP_SECONDS: Final = 30.0
"""Time for all pages."""


class FoundScene(BaseModel):
    """A scene that can be shown."""

    id: str = Field(description="Id of its Item")
    url: str = Field(description="Address of its Item, for `url` and `replacement`; without its secrets")
    datetime: str | None = Field(description="When it was taken")
    cloud_cover: float | None = Field(description="Percent of the whole scene, as its document says")
    tile: str | None = Field(description="MGRS tile, or WRS path and row")
    bbox: tuple[float, float, float, float] | None = Field(description="West, south, east, north in degrees")


class FoundScenes(BaseModel):
    """What a search found."""

    api: str = Field(description="The STAC API that was searched")
    collection: str = Field(description="The collection in it")
    scenes: list[FoundScene] = Field(description="The latest first")
    more: bool = Field(description="Whether the API has more than was looked at or is listed")
    left_out: int = Field(description="Items that cannot be shown: without date, assets or bands")


def read_bbox(text: str) -> Box:
    """A box as a request writes it: west, south, east, north in degrees.

    Raises:
        ParameterError: it is none.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        west = south = east = north = math.nan
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
        raise ParameterError(f"bbox={text[:80]!r} is not a place: write west,south,east,north in degrees")
    return west, south, east, north


def read_period(text: str) -> Period:
    """A time as a request writes it: two dates, or times, with a slash between them; the last day counts.

    Raises:
        ParameterError: it is none.
    """
    first, _, last = text.partition("/")
    try:
        start, end = (datetime.fromisoformat(part.strip()) for part in (first, last or first))
    except ValueError as error:
        raise ParameterError(f"datetime={text[:80]!r} is not a time: write e.g. 2025-06-01/2025-06-30") from error
    if len(last or first) <= len("2025-06-30"):
        end += timedelta(days=1, seconds=-1)
    start, end = (when if when.tzinfo else when.replace(tzinfo=UTC) for when in (start, end))
    if start > end:
        raise ParameterError(f"datetime={text[:80]!r} ends before it begins; write the earlier date first")
    return start, end


def _read(sources: Sources, asked: PageRequest, collection: str) -> SearchPage:
    answer = sources.answer(asked.address, most_bytes=PAGE_BYTES, body=asked.body)
    return read_page(answer.data, answer.where, asked, collection=collection, go_on=check_wanted)


def _described(scene: Scene) -> FoundScene:
    about = scene.acquisition
    assert about is not None  # noqa: S101  (a page's scenes have a date)
    return FoundScene(
        id=redacted(about.id),
        url=shown_name(scene.url),
        datetime=about.when.isoformat() if about.when else None,
        cloud_cover=about.cloud_cover,
        tile=about.tile,
        bbox=about.box,
    )


def search_scenes(
    sources: SharedSources,
    settings: SharedSettings,
    bbox: Annotated[str, Query(description="Place: west,south,east,north in degrees")],
    datetime: Annotated[str | None, Query(description="Time: two dates, e.g. `2025-06-01/2025-06-30`")] = None,
    cloud_cover: Annotated[float, Query(description="Most cloud, percent of the whole scene", ge=0, le=100)] = 100,
    collection: Annotated[str, Query(description="Collection of the API", max_length=200)] = DEFAULT_COLLECTION,
    api: Annotated[str | None, Query(description="STAC API; by default that of `CLEARSKY_STAC_API`")] = None,
    limit: Annotated[int, Query(description="Scenes that are listed", ge=1, le=MOST_SHOWN_SCENES)] = SHOWN_SCENES,
) -> FoundScenes:
    """Look scenes up in a STAC API: by place, time and cloud cover."""
    where = api or settings.stac_api
    if not where:
        raise ParameterError("no STAC API is set: name one with `api=`, or the operator sets CLEARSKY_STAC_API")
    box, period = read_bbox(bbox), read_period(datetime) if datetime else None
    found: list[FoundScene] = []
    left_out, more = 0, False
    with holding():
        landing = sources.answer(where, most_bytes=PAGE_BYTES)
        address = search_address(landing.data, landing.where)
        deadline = SearchDeadline.within(LOOKUP_SECONDS, search="the search", remedy="try a shorter time")

        def go_on() -> None:
            check_wanted()
            deadline.check()

        first = PageRequest(place_query(address, collection=collection, box=box, period=period))
        read = partial(_read, sources, collection=collection)
        for page in walk_pages(first, read, most_pages=MOST_SEARCH_PAGES, go_on=go_on):
            left_out, more = left_out + len(page.left_out), page.more or page.following is not None
            fitting = map(_described, page.scenes)
            found += [one for one in fitting if one.cloud_cover is None or one.cloud_cover <= cloud_cover]
            if len(found) >= limit:
                break
    found.sort(key=lambda one: one.datetime or "", reverse=True)
    listed = found[:limit]
    return FoundScenes(
        api=shown_name(where), collection=collection, scenes=listed, more=more or len(found) > limit, left_out=left_out
    )


def add_search(app: FastAPI) -> None:
    """Add `/search`.

    Args:
        app: The application to add the route to.
    """
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}}}
    errors: dict[int | str, dict[str, Any]] = {
        int(code): {"description": text, "content": content} for code, text in DATASET_ERRORS.items()
    }
    app.get("/search", tags=["Cloud-free scenes of several files"], responses=errors)(search_scenes)
