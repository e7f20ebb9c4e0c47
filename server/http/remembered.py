"""Routes of tiles whose parameters are remembered by their query: a map asks for all of its tiles with the same one.

FastAPI validates some forty parameters for every request, which takes longer than encoding a small JPEG. What they
become depends on the query, the route and the application alone, but for the place of the tile and for which files may
be read, in which state: these are looked at for every request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import fields
from functools import wraps
from typing import Any, Final
from weakref import WeakKeyDictionary

import cachetools
from anyio import to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from algorithms.errors import ParameterError
from server.analysis.request import Request as AnalysisRequest
from server.http.nearmiss import warn_of_near_misses
from server.http.params import admitted_request, queried_request

REMEMBERED_QUERIES: Final = 256
"""Queries whose parameters each route keeps for an application, each of a few kB."""
LONGEST_REMEMBERED_BYTES: Final = 2048
"""Bytes of the longest of them."""

_TILES: Final = "/tiles/{tileMatrixSetId}/{z}/{x}/{y}"
_OPENED: Final = frozenset({"target", "replacements", "mask", "replacement_masks", "shown"})
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_STATED: Final = [field.name for field in fields(AnalysisRequest) if field.name not in _OPENED]
"""What a request says apart from which files it leads to."""
_noted: ContextVar[list[dict[str, Any]] | None] = ContextVar("noted", default=None)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Queries = cachetools.LRUCache[tuple[Any, ...], dict[str, Any]]


class TileRoute(APIRoute):
    """A route as FastAPI has it; one of tiles solves its parameters once for each query."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._draw = endpoint
        self._known: WeakKeyDictionary[Any, Queries] = WeakKeyDictionary()
        super().__init__(path, _noting(endpoint) if _TILES in path else endpoint, **options)

    def get_route_handler(self) -> Handler:
        """What answers a request."""
        solve: Handler = super().get_route_handler()
        return self._remembering(solve) if _TILES in self.path else solve

    def _remembering(self, solve: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            place = _place(request.path_params)
            if place is None or len(request.scope["query_string"]) > LONGEST_REMEMBERED_BYTES:
                return await solve(request)
            queries = self._known.setdefault(request.app, cachetools.LRUCache(REMEMBERED_QUERIES))
            key = (
                request.scope["query_string"],
                *(request.path_params.get(name) for name in ("tileMatrixSetId", "format")),
            )
            if (known := queries.get(key)) is not None:
                await warn_of_near_misses(request)
                return await to_thread.run_sync(self._again, request, known | place)
            noted: list[dict[str, Any]] = []
            token = _noted.set(noted)
            try:
                response = await solve(request)
            finally:
                _noted.reset(token)
            if noted and _read_alike(request, noted[0]["src_path"]):
                queries[key] = {name: value for name, value in noted[0].items() if name not in place}
            return response

        return handle

    def _again(self, request: Request, values: dict[str, Any]) -> Response:
        """The tile of parameters that another request had, whose sources are admitted as any request's."""
        services = request.app.state.services
        asked = queried_request(request.query_params)
        source = admitted_request(asked, services.sources, services.chooser, request.query_params)
        mine = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
        response: Response = self._draw(**mine | {"src_path": source})
        return response


def _noting(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """An endpoint that notes the parameters of a request that it answers."""

    @wraps(endpoint)
    def noting(**values: Any) -> Any:
        response = endpoint(**values)
        noted = _noted.get()
        if noted is not None and isinstance(response, Response):
            noted.append(values)
        return response

    return noting


def _read_alike(request: Request, solved: Any) -> bool:
    """Whether the query, read without FastAPI, says of the request what FastAPI's validation did."""
    try:
        asked = queried_request(request.query_params)
    except ParameterError:
        return False
    return all(getattr(asked, name) == getattr(solved, name) for name in _STATED)


def _place(path: Mapping[str, Any]) -> dict[str, int] | None:
    """Zoom level, column and row; None where they are not plainly numbers."""
    texts = {name: str(path.get(name, "")) for name in ("z", "x", "y")}
    return {name: int(text) for name, text in texts.items()} if all(map(_NUMBER.fullmatch, texts.values())) else None
