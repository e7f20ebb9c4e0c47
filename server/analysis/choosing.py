"""`replacement=auto`: the dates that a target is filled from, chosen once for a scene and kept."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import cachetools
import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from algorithms.errors import ClearSkyError, InputError, ParameterError
from server.analysis.candidates import search_candidates, search_target
from server.analysis.clearness import Clearness
from server.analysis.clouds import is_raster
from server.analysis.completeness import LACKING_TEXT
from server.analysis.engine import Analysis
from server.analysis.offers import Ranking
from server.analysis.ranking import made_ranking
from server.analysis.request import AUTO_REPLACEMENT, Request
from server.errors import SourceBusyError, SourceError
from server.raster.dataset import Dataset, dataset_crs
from server.raster.sources import Sources
from server.remote.transfer import again
from server.scenes.acquisition import Box
from server.work.flight import Flights
from server.work.trace import note_replacements, warn

KEPT_CHOICES: Final = 128
"""Choices that are remembered, each of up to 150 kB."""
KEPT_SECONDS: Final = 86_400.0
"""Choices are made again each day, by UTC: new dates may be there."""
PROVISIONAL_SECONDS: Final = 60.0
"""The same for a choice without a candidate that could not be looked at just then."""
MOST_CHOOSING: Final = 8
"""Choices in the making at a time; each waits for others' servers most of the time."""


@dataclass(frozen=True, slots=True)
class ChoiceKey:
    """What a choice depends on."""

    request: Request
    """The target and where its clouds come from."""
    version: str
    """State of the target and its masks."""
    day: int
    """Days since 1970: a choice is made again each day, for new dates may be there."""


class Chooser:
    """Chooses replacements: one choice for a scene and what its clouds depend on, whoever asks and however often."""

    def __init__(self, sources: Sources, analysis: Analysis, *, api: str | None, retry: float, threads: int) -> None:
        """Make it.

        Args:
            sources: what reads rasters, documents and APIs.
            analysis: whose cloud masks are looked at.
            api: address of the API to search; by default each Item's own.
            retry: seconds for which a failure is remembered.
            threads: most that wait for a choice.
        """
        self._sources = sources
        self._analysis = analysis
        self._api = api
        self._failed: cachetools.TTLCache[tuple[Request, str], ClearSkyError] = cachetools.TTLCache(KEPT_CHOICES, retry)
        self._lock = threading.Lock()
        self._kept: cachetools.TLRUCache[tuple[Request, str], Ranking] = cachetools.TLRUCache(KEPT_CHOICES, ttu=_until)
        self._flights = Flights(at_once=MOST_CHOOSING, waiting=threads)

    def resolved(self, request: Request) -> Request:
        """The same request with the chosen dates in place of `auto`; the running request's answer names them.

        Raises:
            ParameterError: nothing can be searched for, or `auto` comes with masks of replacements. SourceMissingError:
                there is no date that helps. SourceError: the API or the target cannot be read.
        """
        if not request.automatic:
            return request
        if any(map(is_raster, request.replacement_masks)) or len(request.replacement_masks) > 1:
            raise ParameterError(
                "replacement=auto and a raster as `replacement_mask` exclude each other, since it is not known which "
                "scenes are chosen; leave one out"
            )
        if max(len(request.replacement_reflectance_scales), len(request.replacement_reflectance_offsets)) > 1:
            raise ParameterError(
                "replacement=auto takes one `replacement_reflectance_scale` and `_offset` for all, since it is not "
                "known which scenes are chosen; leave the others out"
            )
        ranking = self.ranking(request)
        note_replacements(ranking.ids)
        if ranking.lacking:
            warn(LACKING_TEXT.format(", ".join(ranking.lacking)))
        admitted = [self._sources.check(offer.found) for offer in ranking.chosen]
        urls = [url for named in request.replacements for url in (admitted if named == AUTO_REPLACEMENT else [named])]
        return replace(request, replacements=tuple(dict.fromkeys(urls)))

    def ranking(self, request: Request) -> Ranking:
        """The dates that a request's target may be filled from. Raises as `resolved` does.

        Args:
            request: its target and masks admitted.
        """
        key = replace(request, replacements=(), replacement_masks=(), assets=(), shown=())
        masks = [mask for mask in key.sources if mask != key.target]
        place = (key, " ".join(map(self._sources.version, [key.target, *masks])))
        found = self._known(place)
        return self._flights.run(place, lambda: self._made(*place)) if found is None else found

    def _known(self, place: tuple[Request, str]) -> Ranking | None:
        with self._lock:
            failed, found = self._failed.get(place), self._kept.get(place)
        if failed is not None:
            raise again(failed)
        return found

    def _made(self, request: Request, version: str) -> Ranking:
        if (found := self._known((request, version))) is not None:  # by another, in the meantime
            return found
        try:
            found = self._shared_choice(request, version)
        except (InputError, SourceError) as error:
            if not isinstance(error, SourceBusyError):
                with self._lock:
                    self._failed[request, version] = again(error)
            raise
        with self._lock:
            self._kept[request, version] = found
        return found

    def _shared_choice(self, request: Request, version: str) -> Ranking:
        """The choice of all workers."""
        choose = partial(self._choose, request)
        if (shared := self._analysis.shared) is None:
            return choose()
        key = ChoiceKey(request, version, int(time.time() // KEPT_SECONDS))
        return shared.get(key, choose, lasting=lambda ranking: ranking.lasting)

    def _choose(self, request: Request) -> Ranking:
        wanted = search_target(request.scene(self._sources, request.target), request.target, self._api)
        box = _geographic(request.target_dataset(self._sources))
        wanted = replace(wanted, acquisition=replace(wanted.acquisition, box=box))
        found = search_candidates(self._sources, wanted)
        clearness = Clearness(self._sources, self._analysis.masks, request)
        return made_ranking(self._sources, clearness, wanted, found)


def _until(_: tuple[Request, str], ranking: Ranking, now: float) -> float:
    """When a choice is made again."""
    return now + (PROVISIONAL_SECONDS if ranking.provisional else KEPT_SECONDS - time.time() % KEPT_SECONDS)


def _geographic(target: Dataset) -> Box:
    """Bounds in degrees; west is greater than east across the antimeridian.

    Raises:
        ParameterError: they are unknown.
    """
    try:
        degrees = CRS.from_epsg(4326)
        west, south, east, north = transform_bounds(dataset_crs(target), degrees, *target.bounds, densify_pts=21)
    except RasterioError:
        west = south = east = north = math.inf
    if not np.isfinite([west, south, east, north]).all() or abs(east - west) >= 360:
        raise ParameterError(f"replacement=auto: the place of {target.url!r} is unknown; name the replacements")
    return (west, south, east, north)
