"""Which dates are the best to fill clouds from: candidates scored against the target, with reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from algorithms.errors import ParameterError
from server.scenes.acquisition import Acquisition, footprint_overlap

SAME: Final = 600.0
"""Seconds between two products of one acquisition at most. Archives date them by the granule or the data take; the
next satellite of a mission comes a day later or more."""
_YEAR: Final = 365.25
_DAYS: Final = 60.0
"""Days apart that halve the score."""
_SEASON: Final = 0.4
"""Share of the score that is left half a year off the target's season."""
_SUN: Final = 60.0
"""Degrees of sun elevation apart that halve the score."""
_OTHER_ORBIT, _OTHER_LEVEL, _OTHER_COLLECTION, _OTHER_TILE = 0.9, 0.5, 0.7, 0.9
"""What another one costs: viewing angle, atmosphere, sensor, the edge of the tile."""
_UNKNOWN_CLEAR: Final = 0.3
"""Clear share of a candidate of which nothing says how cloudy it is: behind those that are known to be half clear."""
_HIDDEN: Final = 0.5
"""What a scene's overall cloud cover counts, against a clear share that is measured under the target's clouds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An acquisition with its score."""

    acquisition: Acquisition
    """What is scored."""
    score: float
    """From 0 to 1; the product of what speaks for it."""
    reasons: tuple[str, ...]
    """What the score is made of, in words."""


def same_acquisition(one: Acquisition, other: Acquisition) -> bool:
    """Whether two products show the same tile at the same time."""
    if one.id == other.id:
        return True
    if one.tile is None or one.tile != other.tile or one.level != other.level:
        return False
    days = _days(one, other)
    return days is not None and abs(days) * 86400 <= SAME


def ranked(
    target: Acquisition, candidates: Sequence[Acquisition], *, clear: Mapping[str, float] | None = None
) -> tuple[Candidate, ...]:
    """Candidates, the best first; the same order whatever order they come in.

    Products of the target's own acquisition and those that do not overlap it are left out, and of several products
    of one acquisition all but the one of the newest baseline.

    Args:
        target: what is filled.
        candidates: what it may be filled from.
        clear: share of the target's clouds under which a candidate is clear, by id, where that was measured.

    Raises:
        ParameterError: a share that is not between 0 and 1.
    """
    measured = dict(clear or {})
    for name, share in measured.items():
        if not 0 <= share <= 1:
            raise ParameterError(f"the clear share of {name[:100]!r} is {share}; give a number from 0 to 1")
    kept: list[Acquisition] = []
    for candidate in sorted(candidates, key=_newest_first):
        own = shows_target(target, candidate)
        if not own and not any(same_acquisition(candidate, better) for better in kept):
            kept.append(candidate)
    scored = [_scored(target, candidate, measured.get(candidate.id)) for candidate in kept]
    found = [candidate for candidate in scored if candidate.score > 0]
    return tuple(sorted(found, key=lambda candidate: (-candidate.score, _apart(target, candidate), _name(candidate))))


def shows_target(target: Acquisition, candidate: Acquisition) -> bool:
    """Whether a candidate shows the target's own clouds: at any level, and in the tiles next to it."""
    days = _days(target, candidate)
    return target.id == candidate.id or (days is not None and abs(days) * 86400 <= SAME)


def covering(
    ranking: Sequence[Candidate],
    clear: Mapping[str, NDArray[np.bool_]],
    *,
    most: int = 4,
    enough: float = 0.99,
    gain: float = 0.0,
) -> tuple[Candidate, ...]:
    """The first few of a ranking that together are clear under the target's clouds, in its order.

    Args:
        ranking: the best first.
        clear: by id, where a candidate is clear, in the same order of pixels for all: those under the target's
            clouds. Candidates without are left out.
        most: replacements at most.
        enough: covered share from which on no further one is taken.
        gain: share of the pixels that one has to be the first to cover, at least.

    Raises:
        ParameterError: `most` below 1, or pixels that are not the same for all.
    """
    if most < 1:
        raise ParameterError(f"{most} replacements cannot be chosen; ask for at least 1")
    if len({pixels.shape for pixels in clear.values()}) > 1:
        shapes = sorted({pixels.shape for pixels in clear.values()})
        raise ParameterError(f"the candidates' clear pixels have shapes {shapes}; take them on one grid")
    chosen: list[Candidate] = []
    covered: NDArray[np.bool_] | None = None
    for candidate in ranking:
        pixels = clear.get(candidate.acquisition.id)
        if pixels is None:
            continue
        before = np.zeros_like(pixels) if covered is None else covered
        new = pixels & ~before
        if not new.any() or new.mean() < gain:
            continue
        chosen.append(candidate)
        covered = before | pixels
        if len(chosen) == most or covered.mean() >= enough:
            break
    return tuple(chosen)


def _scored(target: Acquisition, candidate: Acquisition, measured: float | None) -> Candidate:
    """A candidate's score: one factor for each thing that is known of both."""
    factors = [
        _clear(candidate, measured),
        *_where(target, candidate),
        *_when(target, candidate),
        *_how(target, candidate),
    ]
    score = math.prod(factor for factor, _ in factors)
    return Candidate(candidate, round(score, 6), tuple(reason for _, reason in factors))


_Factor = tuple[float, str]


def _clear(candidate: Acquisition, measured: float | None) -> _Factor:
    if measured is not None:
        return measured, f"{measured:.0%} clear under the target's clouds"
    cover = candidate.cloud_cover
    if cover is None or not 0 <= cover <= 100:
        return _HIDDEN * _UNKNOWN_CLEAR, "cloud cover not known"
    return _HIDDEN * (1 - cover / 100), f"{cover:.0f} % cloud in the whole scene"


def _where(target: Acquisition, candidate: Acquisition) -> list[_Factor]:
    factors = []
    if target.tile is not None and candidate.tile is not None:
        same = target.tile == candidate.tile
        factors.append((1.0 if same else _OTHER_TILE, f"{'same' if same else 'other'} tile {candidate.tile}"))
    if target.box is not None and candidate.box is not None:
        share = footprint_overlap(target.box, candidate.box)
        factors.append((share, f"covers {share:.0%} of the target"))
    return factors


def _when(target: Acquisition, candidate: Acquisition) -> list[_Factor]:
    days = _days(target, candidate)
    if days is None:
        return [(0.5, "date not known")]
    off = abs((days + _YEAR / 2) % _YEAR - _YEAR / 2)
    side = "later" if days > 0 else "earlier"
    # Halved by two months, but no further than a date of another year and the same season should fall.
    near = max(0.2, 0.5 ** (abs(days) / _DAYS))
    season = 1 - (1 - _SEASON) * (1 - math.cos(2 * math.pi * off / _YEAR)) / 2
    return [(near, f"{abs(days):.0f} days {side}"), (season, f"{off:.0f} days off the season")]


def _how(target: Acquisition, candidate: Acquisition) -> list[_Factor]:
    factors = []
    if target.relative_orbit is not None and candidate.relative_orbit is not None:
        same = target.relative_orbit == candidate.relative_orbit
        reason = f"{'same' if same else 'other'} relative orbit {candidate.relative_orbit}"
        factors.append((1.0 if same else _OTHER_ORBIT, reason))
    if target.sun_elevation is not None and candidate.sun_elevation is not None:
        apart = abs(target.sun_elevation - candidate.sun_elevation)
        if math.isfinite(apart):
            factors.append((0.5 ** (apart / _SUN), f"sun elevation differs by {apart:.0f}°"))
    for what, own, other, cost in (
        ("level", target.level, candidate.level, _OTHER_LEVEL),
        ("collection", target.collection, candidate.collection, _OTHER_COLLECTION),
    ):
        if own is not None and other is not None:
            factors.append((1.0 if own == other else cost, f"{'same' if own == other else 'other'} {what} {other}"))
    return factors


def _days(target: Acquisition, candidate: Acquisition) -> float | None:
    """Days from the target to the candidate; None where a date is missing, or one of the two has no time zone."""
    if target.when is None or candidate.when is None:
        return None
    if (target.when.tzinfo is None) != (candidate.when.tzinfo is None):
        return None
    return (candidate.when - target.when).total_seconds() / 86400


def _apart(target: Acquisition, candidate: Candidate) -> float:
    days = _days(target, candidate.acquisition)
    return math.inf if days is None else abs(days)


def _name(candidate: Candidate) -> str:
    return candidate.acquisition.id


def _newest_first(acquisition: Acquisition) -> tuple[Any, ...]:
    """Newest baseline first, then by id, the later one first: archives end it with the date of processing."""
    parts = (acquisition.baseline or "").split(".")
    numbers = tuple(-int(part) if part.isascii() and part.isdigit() and len(part) < 9 else 0 for part in parts)
    return (numbers, tuple(-ord(c) for c in acquisition.id))
