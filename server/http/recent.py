"""Map tiles lately asked for, noted where processes share what they compute: one that starts loads what they show."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from server.analysis.request import AUTO_REPLACEMENT
from server.remote.files import is_remote
from server.remote.redaction import is_secret, redacted
from server.work.shared import NamedKey, SharedCache

MOST_VIEWS: Final = 64
"""Tiles noted at most: some screens of a map."""
MOST_VIEW_CHARACTERS: Final = 4096
"""Path and query of a tile that is noted."""
SQUARE_TILES: Final = 2
"""One tile is noted of so many by so many: the blocks of a raster are larger."""
SAVED_SECONDS: Final = 30.0
"""Least time between two times that a process saves its notes; at its end it does so once more."""
END_TRIES: Final = 2
"""Times that it is tried at the end, where processes end together."""
_TILE: Final = re.compile(
    r"(?P<before>/[!-~]*/tiles/\w+/\d{1,2})/(?P<x>\d{1,9})/(?P<y>\d{1,9})(?P<after>(@[1-4]x)?(\.[a-z]+)?)"
)


class RecentViews:
    """The tiles of local rasters that this process was lately asked for, and those that others have noted.

    A note is the path and the query of a request, such as any client may send; none has a signature or an address.
    """

    def __init__(self, shared: SharedCache | None, scope: Iterable[str]) -> None:
        """Make it.

        Args:
            shared: where the notes are kept; None: there are none.
            scope: what tells services apart that keep theirs in one place.
        """
        self._shared = shared
        self._key = NamedKey("Views", tuple(scope), _are_views)
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, ...], str] = {}
        """The last one last."""
        self._changed = False
        self._saved_at = time.monotonic() - SAVED_SECONDS

    def note(self, path: str, query: bytes) -> None:
        """Remember a request for a tile that was answered; anything else is left out."""
        if self._shared is None:
            return
        view = f"{path}?{query.decode('latin-1')}"
        if not is_view(view):
            return
        place = _place(view)
        with self._lock:
            self._changed |= self._noted.pop(place, None) != view
            self._noted[place] = view
            if len(self._noted) > MOST_VIEWS:
                del self._noted[next(iter(self._noted))]

    def saved(self) -> tuple[str, ...] | None:
        """What was noted by any process, the last first; None while the shared cache cannot be had."""
        if self._shared is None:
            return ()
        views: tuple[str, ...] | None = self._shared.find([self._key], counted=False).get(self._key)
        return () if views is None and self._shared.state.working else views

    def save(self, *, at_once: bool = False) -> None:
        """Save what is new, if the last time is some seconds ago or it has to be `at_once`; others' notes follow it.

        What did not get there, as the shared cache failed or another process saved at the same time, counts as new.
        """
        for _ in range(END_TRIES if at_once else 1):
            with self._lock:
                due = at_once or time.monotonic() - self._saved_at >= SAVED_SECONDS
                if self._shared is None or not self._changed or not due:
                    return
                self._changed, self._saved_at = False, time.monotonic()
                own = dict(reversed(self._noted.items()))
            if (noted := self.saved()) is not None:
                merged = own | {place: view for view in noted if (place := _place(view)) not in own}
                self._shared.put(self._key, tuple(merged.values())[:MOST_VIEWS])
            if not set(own.values()) <= set(self.saved() or ()):
                with self._lock:
                    self._changed = True


def is_view(view: object) -> bool:
    """Whether something is the path and the query of a tile that may be noted, all of whose datasets are local."""
    if not isinstance(view, str) or len(view) > MOST_VIEW_CHARACTERS:
        return False
    path, _, query = view.partition("?")
    if _TILE.fullmatch(path) is None or not (query.isascii() and query.isprintable()):
        return False
    given = parse_qsl(query, keep_blank_values=True)
    names = {name.lower() for name, _ in given}
    secret = redacted(f"?{query}") != f"?{query}" or any(is_secret(name, names) for name in names)
    return not secret and not any(is_remote(value) or value == AUTO_REPLACEMENT for _, value in given)


def _place(view: str) -> tuple[str, ...]:
    """What stands for a tile and those next to it."""
    path, _, query = view.partition("?")
    found = _TILE.fullmatch(path)
    assert found is not None  # noqa: S101  (so are all views)
    square = (str(int(found[axis]) // SQUARE_TILES) for axis in ("x", "y"))
    return found["before"], *square, found["after"], query


def _are_views(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MOST_VIEWS and all(map(is_view, value))
