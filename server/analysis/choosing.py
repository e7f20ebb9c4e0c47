"""`replacement=auto`: the dates that a target is filled from, chosen once for a scene and kept."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import cachetools
import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from algorithms.errors import ClearSkyError, InputError, ParameterError
from server.analysis.candidates import SearchResult, SearchTarget, search_candidates, search_target
from server.analysis.clearness import Clearness, CloudedGround
from server.analysis.clouds import is_raster
from server.analysis.engine import Analysis
from server.analysis.request import AUTO_REPLACEMENT, Request
from server.errors import CancelledWorkError, SourceBusyError, SourceError, SourceFaultError, SourceMissingError
from server.raster.dataset import Dataset, dataset_crs
from server.raster.sources import Sources
from server.remote.transfer import again
from server.scenes.search import LeftOut
from server.scenes.similar import Acquisition, Box, Candidate, covering, ranked, shows_target
from server.work.flight import Flights
from server.work.ticket import check_wanted
from server.work.trace import note_replacements

KEPT_CHOICES: Final = 128
"""Choices that are remembered, each of up to 150 kB."""
LISTED_CANDIDATES: Final = 50
"""Candidates, and Items that are none, that a choice lists."""
KEPT_SECONDS: Final = 86_400.0
"""Choices are made again each day, by UTC: new dates may be there."""
PROVISIONAL_SECONDS: Final = 60.0
"""The same for a choice without a candidate that could not be looked at just then."""
ROUND_CANDIDATES: Final = 6
"""Candidates whose masks are looked at before it is seen whether these are enough."""
MOST_MEASURED: Final = 30
"""Candidates whose masks are looked at."""
MOST_DETECTED: Final = 6
"""Candidates that are looked at where a network has to find their clouds."""
MOST_CHOSEN: Final = 4
"""Replacements that are chosen."""
COVERED_SHARE: Final = 0.99
"""Share of the target's clouds that is enough."""
LEAST_GAIN: Final = 0.01
"""Share of the target's clouds that a further replacement adds, at least."""
UNREADABLE: Final = (ClearSkyError, RasterioError, CPLE_BaseError)
"""What hinders the use of one candidate; others are none the worse for it."""
PASSING: Final = SourceFaultError
"""What may be otherwise a moment later."""
_UNSEEN: Final = "{} could not be looked at just now; the choice is made again soon"
MOST_CHOOSING: Final = 8
"""Choices in the making at a time; each waits for others' servers most of the time."""
CHOICE_SECONDS: Final = 60.0
"""Time for looking at candidates, after which the choice is among those seen."""
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Offer:
    """A date that a target may be filled from."""

    url: str
    """Address of its Item."""
    acquisition: Acquisition
    """What its document says."""
    score: float
    """From 0 to 1."""
    clear: float | None
    """Share of the target's clouds under which it is clear; None where that was not looked at."""
    reasons: tuple[str, ...]
    """What the score is made of."""
    found: str = field(repr=False, compare=False)
    """The address as the API gives it, with what opens it: each request is let in by it again."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The dates that a target may be filled from, and those chosen."""

    target: Acquisition
    """The target."""
    api: str
    """The API that was searched."""
    collection: str
    """The collection in it."""
    items: int
    """Items looked at."""
    cloud_fraction: float
    """Share of the target that is cloud, as seen from afar."""
    covered: float
    """Share of its clouds under which one of the chosen is clear."""
    chosen: tuple[Offer, ...]
    """Those it is filled from, in order."""
    offers: tuple[Offer, ...]
    """The best first, those chosen among them."""
    left_out: tuple[LeftOut, ...]
    """Items that are no candidates, and why."""
    warnings: tuple[str, ...]
    """What may be better elsewhere."""
    provisional: bool = False
    """Whether a candidate could not be looked at just then, so that the choice is made again soon."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What the chosen are called."""
        return tuple(offer.acquisition.id for offer in self.chosen)


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
                "replacement=auto goes with no raster as `replacement_mask`: which scenes are chosen is not known; "
                "leave one out"
            )
        if max(len(request.replacement_reflectance_scales), len(request.replacement_reflectance_offsets)) > 1:
            raise ParameterError(
                "replacement=auto goes with one `replacement_reflectance_scale` and `_offset` for all: which scenes "
                "are chosen is not known; leave the others out"
            )
        ranking = self.ranking(request)
        note_replacements(ranking.ids)
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
        return shared.get(key, choose, lasting=lambda ranking: not ranking.provisional)

    def _choose(self, request: Request) -> Ranking:
        wanted = search_target(request.scene(self._sources, request.target), request.target, self._api)
        box = _geographic(request.target_dataset(self._sources))
        wanted = replace(wanted, acquisition=replace(wanted.acquisition, box=box))
        found = search_candidates(self._sources, wanted)
        return _Choice(self._sources, Clearness(self._sources, self._analysis.masks, request), wanted, found).made()


def _until(_: tuple[Request, str], ranking: Ranking, now: float) -> float:
    """When a choice is made again."""
    return now + (PROVISIONAL_SECONDS if ranking.provisional else KEPT_SECONDS - time.time() % KEPT_SECONDS)


class _Choice:
    """One choice in the making."""

    def __init__(self, sources: Sources, clearness: Clearness, wanted: SearchTarget, found: SearchResult) -> None:
        self._sources = sources
        self._clearness = clearness
        self._wanted = wanted
        self._target = wanted.acquisition
        self._found = found
        self._scenes = dict(found.scenes)
        self._addresses = {name: scene.url for name, scene in found.scenes.items()}
        self._left_out: dict[str, str] = {item.id: item.reason for item in found.left_out}
        self._clear: dict[str, npt.NDArray[np.bool_]] = {}
        self._unseen: list[str] = []

    def made(self) -> Ranking:
        """The choice.

        Raises:
            SourceMissingError: there is no date that helps.
        """
        candidates = ranked(self._target, self._acquisitions())
        self._explain(candidates)
        if not candidates:
            raise self._nothing("is another date of the same ground")
        without = any(not self._scenes[c.acquisition.id].masks for c in candidates[:ROUND_CANDIDATES])
        ground = self._clearness.ground(sampled=without)
        most = MOST_DETECTED if without else MOST_MEASURED
        chosen: tuple[Candidate, ...] = ()
        until = time.monotonic() + CHOICE_SECONDS
        for start in range(0, min(most, len(candidates)), ROUND_CANDIDATES):
            self._measure(ground, candidates[start : start + ROUND_CANDIDATES])
            chosen = self._chosen(ground)
            if (chosen and self._covered(ground, chosen) >= COVERED_SHARE) or time.monotonic() > until:
                break
        self._explain_cloudy()
        if not chosen:
            raise self._nothing("is clear under the target's clouds and can be read")
        return self._ranking(ground, chosen)

    def _acquisitions(self) -> list[Acquisition]:
        return [scene.acquisition for scene in self._scenes.values() if scene.acquisition is not None]

    def _explain(self, candidates: Sequence[Candidate]) -> None:
        """Note why Items are no candidates."""
        kept = {candidate.acquisition.id for candidate in candidates}
        for about in self._acquisitions():
            if about.id not in kept:
                own = shows_target(self._target, about)
                self._left_out[about.id] = (
                    "shows the target's own clouds" if own else "misses the target, or is an older version of another"
                )

    def _explain_cloudy(self) -> None:
        for name, pixels in self._clear.items():
            if pixels.size and not pixels.any():
                self._left_out[name] = "is cloudy wherever the target is"

    def _measure(self, ground: CloudedGround, candidates: Sequence[Candidate]) -> None:
        """Look at some candidates, several at a time; those that cannot be read are left out."""

        def look(candidate: Candidate) -> npt.NDArray[np.bool_] | Exception:
            scene = self._scenes[candidate.acquisition.id]
            check_wanted()
            try:
                admitted = replace(scene, url=self._sources.check(scene.url))
                self._scenes[candidate.acquisition.id] = admitted
                return self._clearness.clear(ground, admitted)
            except CancelledWorkError:
                raise
            except UNREADABLE as error:
                return error

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="candidate") as pool:
            running = [pool.submit(copy_context().run, look, candidate) for candidate in candidates]
        for candidate, future in zip(candidates, running, strict=True):
            found = future.result()
            name = candidate.acquisition.id
            if isinstance(found, Exception):
                self._leave_out(name, found)
            else:
                self._clear[name] = found

    def _leave_out(self, name: str, error: Exception) -> None:
        self._left_out[name] = str(error)
        if isinstance(error, PASSING):
            self._unseen.append(name)
        self._scenes.pop(name, None)
        self._clear.pop(name, None)

    def _ranked(self) -> tuple[Candidate, ...]:
        shares = {name: float(pixels.mean()) for name, pixels in self._clear.items() if pixels.size}
        return ranked(self._target, self._acquisitions(), clear=shares)

    def _chosen(self, ground: CloudedGround) -> tuple[Candidate, ...]:
        """The first few that cover the clouds, each found to be usable."""
        while True:
            ranking = [c for c in self._ranked() if c.acquisition.id in self._clear]
            if ground.cloudy.any():
                chosen = covering(ranking, self._clear, most=MOST_CHOSEN, enough=COVERED_SHARE, gain=LEAST_GAIN)
            else:  # nothing to fill: one, so that the answer is an image
                chosen = tuple(ranking[:1])
            for candidate in chosen:
                try:
                    self._clearness.check(self._scenes[candidate.acquisition.id])
                except CancelledWorkError:
                    raise
                except UNREADABLE as error:
                    self._leave_out(candidate.acquisition.id, error)
                    break
            else:
                return chosen

    def _covered(self, ground: CloudedGround, chosen: Sequence[Candidate]) -> float:
        if not ground.cloudy.any():
            return 1.0
        return float(np.logical_or.reduce([self._clear[c.acquisition.id] for c in chosen]).mean())

    def _ranking(self, ground: CloudedGround, chosen: tuple[Candidate, ...]) -> Ranking:
        offers = {candidate.acquisition.id: self._offer(candidate) for candidate in self._ranked()}
        taken = tuple(offers[candidate.acquisition.id] for candidate in chosen)
        listed = tuple(offers.values())[:LISTED_CANDIDATES]
        return Ranking(
            target=self._target,
            api=self._wanted.api,
            collection=self._found.collection,
            items=self._found.items,
            cloud_fraction=ground.fraction,
            covered=self._covered(ground, chosen),
            chosen=taken,
            offers=(*listed, *(offer for offer in taken if offer not in listed)),
            left_out=tuple(LeftOut(*item) for item in self._left_out.items())[:LISTED_CANDIDATES],
            warnings=tuple(dict.fromkeys([*self._found.warnings, *(_UNSEEN.format(name) for name in self._unseen)])),
            provisional=bool(self._unseen),
        )

    def _offer(self, candidate: Candidate) -> Offer:
        name = candidate.acquisition.id
        pixels = self._clear.get(name)
        clear = None if pixels is None or not pixels.size else float(pixels.mean())
        about, score, reasons = candidate.acquisition, candidate.score, candidate.reasons
        return Offer(self._scenes[name].url, about, score, clear, reasons, self._addresses[name])

    def _nothing(self, what: str) -> SourceMissingError:
        reasons = dict.fromkeys(self._left_out.values())
        example = "".join(f"; one {reason[:200]}" for reason in list(reasons)[-3:])
        return SourceMissingError(
            f"replacement=auto: of {self._found.items} Items of {self._found.collection} at {self._wanted.api!r} none "
            f"{what}{example}; name the replacements"
        )


def _geographic(target: Dataset) -> Box:
    """Bounds in degrees; west is greater than east across the antimeridian.

    Raises:
        ParameterError: they cannot be told.
    """
    try:
        degrees = CRS.from_epsg(4326)
        west, south, east, north = transform_bounds(dataset_crs(target), degrees, *target.bounds, densify_pts=21)
    except RasterioError:
        west = south = east = north = math.inf
    if not np.isfinite([west, south, east, north]).all() or abs(east - west) >= 360:
        raise ParameterError(f"replacement=auto: where {target.url!r} lies cannot be told; name the replacements")
    return (west, south, east, north)
