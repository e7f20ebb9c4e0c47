"""A STAC API on loopback: Items over small rasters, searched page by page as the public APIs are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from tests.helpers.service import listening

Item = dict[str, Any]
Answer = Callable[[Request], Response | None]


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
        first, last = (datetime.fromisoformat(text) for text in query["datetime"].split("/"))
        west, south, east, north = map(float, query["bbox"].split(","))

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

    @app.get("/search")
    def search(request: Request) -> JSONResponse:
        query = dict(request.query_params)
        api.searched.append(query)
        start = int(query.get("token", 0))
        found = api.found(query)
        links = []
        if start + api.page < len(found):
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
