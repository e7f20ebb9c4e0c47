"""Which bands of a target other dates lack, by their documents: those with the most bands go first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from algorithms.bands import ROLES
from server.scenes.scene import Scene
from server.scenes.similar import Candidate

LACKING_TEXT: Final = (
    "no date that is clear under the target's clouds has all of its bands, and the chosen lack {}: show others "
    "(`assets`), or name a replacement that has these"
)
"""What is said of a choice whose dates lack bands."""


def lacking_names(bands: Iterable[str], other: Scene) -> tuple[str, ...]:
    """The bands that another date lacks.

    Args:
        bands: common names of the target's.
        other: the other date.

    Returns:
        Common names, in the order of `bands`.
    """
    there = {band.name for band in other.bands}
    return tuple(name for name in bands if name not in there)


def alike_in_bands(
    candidates: Sequence[Candidate], lacking: dict[str, tuple[str, ...]]
) -> list[tuple[tuple[str, ...], list[Candidate]]]:
    """Candidates in groups that lack the same bands.

    All dates of one choice are of one group, so that whatever one of them can fill the others can fill as well.

    Args:
        candidates: the best first.
        lacking: by id, what each lacks.

    Returns:
        What a group lacks and its candidates, in their order. First come those that lack fewest of the bands that masks
        and fills are made from, of these those that lack fewest bands at all.
    """
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(lacking[candidate.acquisition.id], []).append(candidate)
    return sorted(groups.items(), key=lambda group: (len(set(group[0]) & set(ROLES)), len(group[0])))
