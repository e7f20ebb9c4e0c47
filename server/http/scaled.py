"""ASGI middleware for `@2x` in addresses of tiles: the same tile with twice the pixels, for screens of high density."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from server.http.asgi import Receive, Scope, Send

_SCALED: Final = re.compile(r"(?P<tile>.*/tiles/[^/]+/\d+/\d+/\d+)@(?P<scale>[1-4])x(?P<suffix>\.\w+)?")
_SIDE: Final = 256
"""Pixels per side of a tile without `tilesize`."""


def at_scale(path: str, query: bytes) -> tuple[str, bytes] | None:
    """Path and query of a tile without its `@2x`, which `tilesize` expresses; None for any other path."""
    found = _SCALED.fullmatch(path)
    if found is None:
        return None
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = next((value for name, value in reversed(pairs) if name == "tilesize"), str(_SIDE))
    # What is no number is refused where `tilesize` itself is.
    side = str(int(given) * int(found["scale"])) if given.isascii() and given.isdecimal() else given
    others = [pair for pair in pairs if pair[0] != "tilesize"]
    return found["tile"] + (found["suffix"] or ""), urlencode([*others, ("tilesize", side)]).encode()


class ScaledTiles:
    """Answers `/tiles/GRID/z/x/y@2x.png` as `/tiles/GRID/z/x/y.png?tilesize=512`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the plain address in place of a scaled one."""
        if scope["type"] == "http" and "@" in scope["path"]:
            plain = at_scale(scope["path"], scope["query_string"])
            if plain is not None:
                scope = scope | {"path": plain[0], "raw_path": plain[0].encode(), "query_string": plain[1]}
        await self.app(scope, receive, send)
