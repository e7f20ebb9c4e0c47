"""`replacement=auto` on the command line: what chooses the dates there, and the API that its user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from server.analysis.choosing import Chooser
    from server.analysis.request import Request
    from server.raster.sources import Sources
    from server.settings import Settings


def own_apis(settings: Settings) -> tuple[str, ...]:
    """The STAC API that the process's own user names, and what is below it."""
    if settings.stac_api is None:
        return ()
    folder = settings.stac_api.rstrip("/") + "/"
    return (folder,) if urlsplit(folder).path == "/" else (settings.stac_api, folder)


@contextmanager
def own_chooser(settings: Settings, sources: Sources) -> Iterator[Chooser]:
    """What chooses replacements for a command, with threads of its own meanwhile."""
    from server.analysis.state import make_analysis, make_chooser  # noqa: PLC0415  (start-up of the other commands)

    analysis = make_analysis(settings, sources)
    try:
        yield make_chooser(settings, sources, analysis)
    finally:
        analysis.close()


def with_replacements(request: Request, settings: Settings, sources: Sources) -> Request:
    """The same request with dates in place of `auto`. Raises as `Chooser.resolved` does."""
    if not request.automatic:
        return request
    with own_chooser(settings, sources) as chooser:
        return chooser.resolved(request)
