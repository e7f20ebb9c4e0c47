"""What an answer depends on besides its address and the software: the states of all files that it is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from starlette.datastructures import QueryParams

from algorithms.bands import ROLES
from algorithms.models import known_models
from algorithms.removal import CLOUD_ALGORITHMS
from server.analysis.clouds import is_preset, paired
from server.analysis.request import Request
from server.http.asgi import Scope
from server.http.params import queried_request, shown_bands
from server.http.shared import chooser_of, sources_of
from server.raster.sources import Sources
from server.scenes.masks import AUTO, chosen_kind

Resolver = Callable[[Scope], Sequence[str]]
"""Finds what a request's answer depends on; raises `ClearSkyError` or `OSError` where that is unknown."""

DESCRIPTIVE_ROUTES: Final = ("/info", "/info.geojson", "/scene", "/assets")
"""Ends of the paths whose answers say something of every band."""


def named_in_query(scope: Scope) -> list[str]:
    """What an answer on the datasets that a query names, or has chosen, depends on."""
    app, query = scope["app"], QueryParams(scope["query_string"])
    sources = sources_of(app)
    request = chooser_of(app).resolved(queried_request(query).checked(sources.check))
    return used_states(replace(request, shown=shown_bands(request, sources, query)), sources, scope)


def ranked_in_query(scope: Scope) -> list[str]:
    """What the list of dates that a target may be filled from depends on."""
    app = scope["app"]
    sources = sources_of(app)
    request = queried_request(QueryParams(scope["query_string"])).checked(sources.check)
    return [*request.sources, repr(chooser_of(app).ranking(request)), *map(sources.version, request.sources)]


def used_states(request: Request, sources: Sources, scope: Scope) -> list[str]:
    """Names and states of the files that an answer is made from; of scenes of the bands it needs, and of their masks.

    A model that is named counts by its card.

    Args:
        request: what is asked for, its sources checked, with the bands shown.
        sources: what knows the states.
        scope: of the request, for its route and its algorithm.

    Raises:
        ClearSkyError, OSError: a file whose state is unknown.
    """
    named = known_models().get(request.model or "")
    return [*_files_used(request, sources, scope), *([] if named is None else [named.fingerprint])]


def _files_used(request: Request, sources: Sources, scope: Scope) -> list[str]:
    if str(scope["path"]).endswith(DESCRIPTIVE_ROUTES):
        every = [_all_bands(request, sources, url) for url in request.sources]
        return [*request.sources, *every, *_own_masks(request, sources)]
    clouds = bool(request.replacements) or QueryParams(scope["query_string"]).get("algorithm") in CLOUD_ALGORITHMS
    numbers = request.numbers(sources, analysed=clouds)
    found = [*request.sources, sources.version(request.target, numbers)]
    if request.replacements:
        names = request.dataset(sources, request.target, numbers).names
        used = tuple(dict.fromkeys((*filter(None, names), *ROLES)))  # a network looks at more than the target has
        for url in request.replacements:
            scene = request.scene(sources, url)
            chosen = () if scene is None or scene.whole else scene.numbers_of(used)
            found.append(sources.version(url, chosen) if chosen else _all_bands(request, sources, url))
    rasters = request.sources[1 + len(request.replacements) :]
    return [*found, *map(sources.version, rasters), *_own_masks(request, sources)]


def _all_bands(request: Request, sources: Sources, url: str) -> str:
    scene = request.scene(sources, url)
    return sources.version(url, None if scene is None else range(1, 1 + len(scene.bands)))


def _own_masks(request: Request, sources: Sources) -> list[str]:
    """States of the masks that come with the scenes, where the request takes them."""
    given = paired(request.replacements, request.replacement_masks)
    followed = request.mask if is_preset(request.mask) else None
    masks = given or (followed,) * len(request.replacements)
    found = []
    for url, mask in zip((request.target, *request.replacements), (request.mask, *masks), strict=True):
        if mask is None or not is_preset(mask):
            continue
        scene = request.scene(sources, url)
        own = {one.kind: one for one in (scene.masks if scene is not None else ())}
        if own or mask != AUTO:
            found.append(sources.mask_version(own[chosen_kind(mask, list(own), repr(url))]))
    return found
