"""`replacement=auto` on the command line: what chooses the dates there, and the API that its user names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from algorithms.errors import BandError
from server.analysis.completeness import lacking_names

if TYPE_CHECKING:
    from server.analysis.choosing import Chooser
    from server.analysis.request import Request
    from server.raster.sources import Sources
    from server.settings import Settings

logger = logging.getLogger("clearsky")


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


def fillable(request: Request, sources: Sources) -> Request:
    """The same request with `assets` that its replacements have, where it names none: for dates that were chosen.

    Nobody has named the bands that are left out; the log, on the terminal, says which.

    Args:
        request: with dates in place of `auto`.
        sources: what knows scenes.

    Raises:
        BandError: no band is left.
    """
    target = request.scene(sources, request.target)
    others = [scene for url in request.replacements if (scene := request.scene(sources, url)) is not None]
    if request.assets or target is None:
        return request
    names = [band.name for band in target.bands if band.name is not None]
    lost = {name for other in others for name in lacking_names(names, other)}
    if not lost:
        return request
    kept = tuple(dict.fromkeys(name for name in names if name not in lost))  # those without names are not paired
    said = ", ".join(band.name or band.asset for band in target.bands if band.name not in kept)
    if not kept:
        raise BandError(f"the chosen replacements have no band of {request.target!r}; name others with --replacement")
    logger.warning(
        "%s: written without %s, which the chosen replacements lack; --assets chooses bands, --replacement other dates",
        request.target,
        said,
    )
    return replace(request, assets=kept)
