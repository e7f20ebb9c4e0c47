"""Parameters that a request gives in vain, where ClearSky has one like them: the client learns which may be meant."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from titiler.core.dependencies import TileParams

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS
from server.work.trace import warn

ALIKE: Final = 0.8
"""Share of the letters that two names have in common, from which one may be a slip for the other."""
SHORTEST_SLIP: Final = 4
"""Letters of a name from which it may be a slip: shorter ones are a client's own, as `v=3` or `_=123`."""
_HOLDER: Final = "algorithm_params"
_OF_TILES: Final = frozenset(field.name for field in fields(TileParams))
_NAMES: Final = ("url", "algorithm", _HOLDER, *PARAMETERS)


async def warn_of_near_misses(request: Request) -> None:
    """Name in `X-Clearsky-Warning` the options that a query gives out of their place, and parameters it misspells.

    What another route takes is no slip, TiTiler's own `buffer` of tiles included: clients send one query to all.
    """
    hints = {name: hint for name in request.query_params if (hint := near_miss(name)) is not None}
    if not hints:
        return
    known = _known(request.scope.get("route"))
    for name, hint in hints.items():
        if name not in known and ("rescale" in known or name not in _OF_TILES):
            warn(hint)


@lru_cache(maxsize=1024)
def near_miss(name: str) -> str | None:
    """What to say of a parameter that a route does not have.

    Args:
        name: as it is given.

    Returns:
        None for what is not like any of ClearSky's, and for these themselves.
    """
    word = name.strip().lower().replace("-", "_")
    if name in _NAMES:
        return None
    if word in OPTIONS:
        return f"{word} is ignored: it belongs in {_HOLDER}, the JSON object of an algorithm's options"
    close = get_close_matches(word, [*_NAMES, *OPTIONS], n=1, cutoff=ALIKE) if len(word) >= SHORTEST_SLIP else []
    if not close:
        return None
    place = f" in {_HOLDER}" if close[0] in OPTIONS else ""
    return f"{name[:40]} is unknown and ignored: write {close[0]}{place} if that is meant"


def _known(route: Any) -> frozenset[str]:
    """Names of the parameters that a route takes."""
    dependant = getattr(route, "dependant", None)
    return frozenset(param.alias for param in get_flat_params(dependant)) if dependant is not None else frozenset()
