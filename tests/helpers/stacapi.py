"""A STAC API on loopback: Items over small rasters, searched page by page as the public APIs are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from tests.helpers.archives import ARCHIVES, write_item
from tests.helpers.scenes import BANDS, make_pair
from tests.helpers.service import listening

Item = dict[str, Any]
Answer = Callable[[Request], Response | None]


SIDE: Final = 160
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.0)
HERE: Final = (slice(16, 60), slice(20, 56))
"""The target's cloud, at 20 m."""
ALWAYS: Final = "1970-01-01T00:00:00Z/2100-01-01T00:00:00Z"
BOX: Final = [15.0, 41.53, 15.02, 41.56]


@dataclass
class StacApi:
    """What an API has, and how it behaves."""

    folder: Path
    """Files of the assets."""
    items: list[Item] = field(default_factory=list)
    """As `/search` finds them; hrefs of assets are names of files."""
    page: int = 3
    """Items on a page."""
    searched: list[dict[str, str]] = field(default_factory=list)
    """Queries of every search."""
    posts: bool = False
    """Whether all pages but the first are had by POST."""
    instead: Answer = lambda request: None
    """Answers in place of the API where it gives anything."""
    base: str = ""
    """Its address."""

    def add(self, document: Path, **changes: Any) -> Item:
        """Add an Item written to a file, with changed members."""
        item: Item = json.loads(document.read_text()) | changes
        self.items.append(item)
        return item

    def address(self, name: str) -> str:
        """Where an Item is."""
        collection = next(item["collection"] for item in self.items if item["id"] == name)
        return f"{self.base}/collections/{collection}/items/{name}"

    def shown(self, item: Item) -> Item:
        """An Item as the API sends it."""
        assets = {key: {**asset, "href": f"{self.base}/files/{asset['href']}"} for key, asset in item["assets"].items()}
        links = [
            {"rel": "self", "href": f"{self.base}/collections/{item['collection']}/items/{item['id']}"},
            {"rel": "root", "href": self.base},
        ]
        return {**item, "assets": assets, "links": links}

    def found(self, query: dict[str, str]) -> Sequence[Item]:
        """Items that a search asks for, the latest first."""
        collections = query["collections"].split(",")
        first, last = (datetime.fromisoformat(text) for text in query.get("datetime", ALWAYS).split("/"))
        west, south, east, north = map(float, query.get("bbox", "-180,-90,180,90").split(","))

        def meets(item: Item) -> bool:
            when = item["properties"].get("datetime")
            if item["collection"] not in collections or (when and not first <= datetime.fromisoformat(when) <= last):
                return False
            box = item.get("bbox") or (west, south, east, north)
            return bool(box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south)

        return sorted(filter(meets, self.items), key=lambda item: str(item["properties"].get("datetime")), reverse=True)


def _application(api: StacApi) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def behave(request: Request, go_on: Any) -> Any:
        return api.instead(request) or await go_on(request)

    @app.get("/")
    def landing() -> dict[str, Any]:
        links = [{"rel": "search", "href": f"{api.base}/search", "type": "application/geo+json"}]
        return {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "conformsTo": [], "links": links}

    @app.get("/collections/{collections}/items")
    @app.get("/search")
    def search(request: Request) -> JSONResponse:
        return answer({**request.query_params, **request.path_params}, request)

    @app.post("/search")
    async def posted(request: Request) -> JSONResponse:
        body = await request.json()
        query = {
            name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in body.items()
        }
        return answer(query, request)

    def answer(query: dict[str, str], request: Request) -> JSONResponse:
        api.searched.append({name: value for name, value in query.items() if name not in request.path_params})
        start = int(query.get("token", 0))
        found = api.found(query)
        links: list[dict[str, Any]] = []
        if start + api.page < len(found) and api.posts:
            body = {"token": str(start + api.page)}
            links.append({"rel": "next", "href": f"{api.base}/search", "method": "POST", "merge": True, "body": body})
        elif start + api.page < len(found):
            following = request.url.include_query_params(token=str(start + api.page))
            links.append({"rel": "next", "href": str(following), "method": "GET"})
        features = [api.shown(item) for item in found[start : start + api.page]]
        page = {"type": "FeatureCollection", "features": features, "links": links}
        return JSONResponse(page, media_type="application/geo+json")

    @app.get("/collections/{collection}/items/{name}")
    def item(collection: str, name: str) -> JSONResponse:
        for entry in api.items:
            if (entry["collection"], entry["id"]) == (collection, name):
                return JSONResponse(api.shown(entry), media_type="application/geo+json")
        return JSONResponse({"detail": "not found"}, status_code=404)

    @app.get("/files/{name}")
    def file(name: str) -> FileResponse:
        return FileResponse(api.folder / name)

    return app


@contextmanager
def stac_api(folder: Path) -> Iterator[StacApi]:
    """An API without Items yet, on a socket of this process."""
    api = StacApi(folder)
    with listening(_application(api)) as base:
        api.base = base
        yield api


def scl_with(*clouds: tuple[slice, slice]) -> np.ndarray:
    classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    for cloud in clouds:
        classes[cloud] = 9
    return classes


def _ground(brightness: float, cloud: tuple[slice, slice] | None = None) -> dict[str, np.ndarray]:
    values = PAIR.replacement * 1e-4 * brightness
    if cloud is not None:
        values[:, 2 * cloud[0].start : 2 * cloud[0].stop, 2 * cloud[1].start : 2 * cloud[1].stop] = 0.8
    return _named(values)


def _named(values: np.ndarray) -> dict[str, np.ndarray]:
    named = dict(zip(BANDS, values, strict=True))
    return named | {"nir08": named["nir"]}


def put(
    api: StacApi,
    name: str,
    date: str,
    documents: Path,
    *clouds: tuple[slice, slice],
    brightness: float = 1.0,
    baseline: str = "05.11",
    cover: float | None = 20.0,
    values: np.ndarray | None = None,
) -> dict[str, Any]:
    """Add a date to an API.

    Args:
        api: to add to.
        name: the Item's id.
        date: YYYY-MM-DD.
        documents: folder of real Items.
        clouds: in its mask, at 20 m; the first one in its bands, too.
        brightness: what its reflectance is multiplied by.
        baseline: of the processing.
        cover: `eo:cloud_cover`.
        values: (6, H, W) digital numbers of `BANDS`, of which there is no mask.
    """
    if values is None:
        ground, masks = _ground(brightness, clouds[0] if clouds else None), {"scl": scl_with(*clouds)}
    else:
        ground, masks = _named(values * 1e-4), {}
    document = write_item(
        api.folder,
        name,
        ARCHIVES["earthsearch-l2a"],
        ground,
        documents,
        masks=masks,
        datetime=f"{date}T10:00:00Z",
        **{
            "eo:cloud_cover": cover,
            "s2:processing_baseline": baseline,
            "grid:code": "MGRS-33TVG",
            "s2:product_uri": name,
        },
    )
    return api.add(document, id=name, bbox=BOX)


@contextmanager
def four_dates(folder: Path, documents: Path) -> Iterator[StacApi]:
    """A cloudy target, and four dates: cloudy where it matters, far away in time, the right one, and its older self."""
    with stac_api(folder) as api:
        put(api, "target", "2025-06-15", documents, HERE)
        put(api, "cloudy-here", "2025-06-17", documents, HERE, brightness=0.9, cover=1.0)
        put(api, "far", "2025-08-10", documents, brightness=0.8, cover=0.0)
        put(api, "right_1", "2025-06-20", documents, (slice(62, 80), slice(0, 80)), brightness=1.1, cover=60.0)
        put(api, "right_0", "2025-06-20", documents, brightness=0.7, cover=60.0, baseline="04.00")
        yield api
