"""What answers depend on, remembered while files stay as they are: a tile of local rasters asks no thread for that."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import cachetools

from algorithms.errors import ClearSkyError
from server.http.asgi import Scope, below_root
from server.http.remembered import LONGEST_REMEMBERED_BYTES
from server.http.shared import sources_of
from server.http.states import Resolver
from server.raster.documents import may_be_document
from server.raster.sources import Sources
from server.remote.files import is_remote
from server.scenes.bandlist import is_band_list
from server.work.disks import is_on_disk

NAMING: Final = frozenset({"url", "replacement", "mask", "replacement_mask"})
"""Parameters that name datasets."""
KNOWN_QUERIES: Final = 256
"""Queries whose states are remembered, each of a few kB."""

_TILES: Final = ("/cog/tiles/", "/stac/tiles/")


@dataclass(frozen=True, slots=True)
class _Files:
    """The files that a query names, admitted."""

    names: tuple[str, ...]
    states: tuple[str, ...]


class KnownStates:
    """States of the files that queries for tiles name, where these are local rasters on disks of this machine.

    Looking at such files cannot stall, so that the event loop does it: each is admitted and its state looked up for
    every request, as ever. Anything else, and what these states mean for an answer, is found out in a thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: cachetools.LRUCache[bytes, tuple[_Files, list[str]]] = cachetools.LRUCache(KNOWN_QUERIES)

    def recall(self, scope: Scope) -> list[str] | None:
        """What an answer depends on, if that is known and no file has changed; None: ask in a thread."""
        if not _is_remembered(scope):
            return None
        with self._lock:
            known = self._known.get(scope["query_string"])
        if known is None:
            return None
        files, parts = known
        return parts if _named_files(scope) == files else None

    def resolve(self, scope: Scope, resolve: Resolver) -> list[str]:
        """What an answer depends on, remembered for the next request with the same query. Raises as `resolve` does."""
        before = _named_files(scope) if _is_remembered(scope) else None
        parts = list(resolve(scope))
        if before is not None:
            with self._lock:
                self._known[scope["query_string"]] = before, parts
        return parts


def _is_remembered(scope: Scope) -> bool:
    """Whether a request is for a tile, and names no more files than the event loop can look at in between."""
    return below_root(scope).startswith(_TILES) and len(scope["query_string"]) <= LONGEST_REMEMBERED_BYTES


def _named_files(scope: Scope) -> _Files | None:
    """The files that a query names; None unless all are plain local rasters that are there and may be read."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [(name, value) for name, value in query if name in NAMING]
    # A network of the program's own may take the place of another one.
    if [name for name, _ in given].count("url") != 1 or any(name == "model" for name, _ in query):
        return None
    sources: Sources = sources_of(scope["app"])
    try:
        names = tuple(sources.check(value) for _, value in given if _is_plain(value))
        # A link may lead to a document, whose answers depend on other files, too.
        if len(names) < len(given) or any(map(may_be_document, names)) or not all(map(is_on_disk, names)):
            return None
        return _Files(names, tuple(map(sources.state, names)))
    except (ClearSkyError, OSError, ValueError):
        return None


def _is_plain(value: str) -> bool:
    """Whether a value can only be the path of a raster of one file."""
    return not is_remote(value) and not is_band_list(value) and not may_be_document(value)
