"""One choice of other dates in the making: candidates ranked, looked at, and as many taken as cover the clouds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from algorithms.errors import ClearSkyError
from server.analysis.candidates import SearchResult, SearchTarget
from server.analysis.clearness import Clearness, CloudedGround
from server.analysis.completeness import LACKING_TEXT, alike_in_bands, lacking_names
from server.analysis.offers import Offer, Ranking
from server.errors import CancelledWorkError, SourceFaultError, SourceMissingError
from server.raster.sources import Sources
from server.scenes.acquisition import Acquisition
from server.scenes.search import LeftOut
from server.scenes.similar import Candidate, covering, ranked, shows_target
from server.work.ticket import check_wanted

LISTED_CANDIDATES: Final = 50
"""Candidates, and Items that are none, that a choice lists."""
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
CHOICE_SECONDS: Final = 60.0
"""Time for looking at candidates, after which the choice is among those seen."""
_AT_ONCE: Final = 4


def made_ranking(sources: Sources, clearness: Clearness, wanted: SearchTarget, found: SearchResult) -> Ranking:
    """The dates that a target may be filled from, and those chosen.

    Args:
        sources: what reads rasters and documents.
        clearness: what looks at clouds.
        wanted: the target.
        found: what a search has found for it.

    Raises:
        SourceMissingError: there is no date that helps.
    """
    return _Choice(sources, clearness, wanted, found).made()


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
        self._lacking = {name: lacking_names(wanted.bands, scene) for name, scene in found.scenes.items()}

    def made(self) -> Ranking:
        """The choice.

        Raises:
            SourceMissingError: there is no date that helps.
        """
        candidates = ranked(self._target, self._acquisitions())
        self._explain(candidates)
        if not candidates:
            raise self._nothing("is another date of the same ground")
        groups = alike_in_bands(candidates, self._lacking)
        first = [candidate for _, group in groups for candidate in group][:ROUND_CANDIDATES]
        without = any(not self._scenes[c.acquisition.id].masks for c in first)
        ground = self._clearness.ground(sampled=without)
        most = MOST_DETECTED if without else MOST_MEASURED
        lacking, chosen = self._first_chosen(ground, groups, most)
        self._explain_cloudy()
        if not chosen:
            raise self._nothing("is clear under the target's clouds and can be read")
        return self._ranking(ground, chosen, lacking)

    def _first_chosen(
        self, ground: CloudedGround, groups: Sequence[tuple[tuple[str, ...], list[Candidate]]], most: int
    ) -> tuple[tuple[str, ...], tuple[Candidate, ...]]:
        """Dates of the first group that has any, and the bands that they lack.

        Args:
            ground: the target's.
            groups: the most complete first.
            most: candidates that are looked at.
        """
        until = time.monotonic() + CHOICE_SECONDS
        for lacking, group in groups:
            chosen: tuple[Candidate, ...] = ()
            looked_at = group[:most]
            most -= len(looked_at)
            for start in range(0, len(looked_at), ROUND_CANDIDATES):
                self._measure(ground, looked_at[start : start + ROUND_CANDIDATES])
                chosen = self._chosen(ground, lacking)
                if (chosen and self._covered(ground, chosen) >= COVERED_SHARE) or time.monotonic() > until:
                    break
            if chosen or time.monotonic() > until:
                return lacking, chosen
        return (), ()

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

    def _chosen(self, ground: CloudedGround, lacking: tuple[str, ...]) -> tuple[Candidate, ...]:
        """The first few that cover the clouds, each found to be usable, of those that lack some bands."""
        while True:
            names = {name for name in self._clear if self._lacking[name] == lacking}
            ranking = [c for c in self._ranked() if c.acquisition.id in names]
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

    def _ranking(self, ground: CloudedGround, chosen: tuple[Candidate, ...], lacking: tuple[str, ...]) -> Ranking:
        offers = {candidate.acquisition.id: self._offer(candidate) for candidate in self._ranked()}
        taken = tuple(offers[candidate.acquisition.id] for candidate in chosen)
        listed = tuple(offers.values())[:LISTED_CANDIDATES]
        unseen = [_UNSEEN.format(name) for name in self._unseen]
        incomplete = [LACKING_TEXT.format(", ".join(lacking))] if lacking else []
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
            warnings=tuple(dict.fromkeys([*self._found.warnings, *unseen, *incomplete])),
            lacking=lacking,
            provisional=bool(self._unseen),
        )

    def _offer(self, candidate: Candidate) -> Offer:
        name = candidate.acquisition.id
        pixels = self._clear.get(name)
        clear = None if pixels is None or not pixels.size else float(pixels.mean())
        about, score, reasons = candidate.acquisition, candidate.score, candidate.reasons
        if lacking := self._lacking[name]:
            reasons = (*reasons, f"lacks {', '.join(lacking)}")
        return Offer(self._scenes[name].url, about, score, clear, reasons, self._addresses[name])

    def _nothing(self, what: str) -> SourceMissingError:
        reasons = dict.fromkeys(self._left_out.values())
        example = "".join(f"; one {reason[:200]}" for reason in list(reasons)[-3:])
        return SourceMissingError(
            f"replacement=auto: of {self._found.items} Items of {self._found.collection} at {self._wanted.api!r} none "
            f"{what}{example}; name the replacements"
        )
