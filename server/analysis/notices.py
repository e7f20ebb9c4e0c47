"""Notices of what is known of a request's rasters before any image is made: bands left out, clouds, reflectances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from algorithms.errors import BandError, ClearSkyError, ParameterError
from server.analysis.clouds import unmasked_warnings
from server.analysis.detection import replacement_clouds
from server.analysis.matching import check_overlap, lacking_bands, paired_bands, paired_by_name
from server.analysis.plausibility import ReflectanceChecks
from server.analysis.request import Request
from server.analysis.unrefined import unrefined_warning
from server.raster.dataset import Dataset
from server.raster.sources import Sources


def notices(request: Request, sources: Sources, checks: ReflectanceChecks) -> list[str]:
    """What a user should know of the target and its replacements; those that cannot be had are left out.

    Args:
        request: what is asked for.
        sources: what describes rasters.
        checks: what looks at reflectances.

    Raises:
        ClearSkyError: the target cannot be had.
    """
    target = request.target_dataset(sources)
    each = range(len(request.replacements))
    there = {position: found for position in each if (found := _described(request, sources, position, target))}
    others = list(there.values())
    bands = _bands(target, others)
    apart = [text for other in others if (text := _apart(target, other))]
    unmasked = _unmasked(request, sources, target, there)
    odd = [checks.warning(dataset) for dataset in (target, *others)]
    return [*apart, *bands, *unmasked, *dict.fromkeys(text for text in odd if text is not None)]


def unusable(target: Dataset, other: Dataset) -> str | None:
    """Why no picture can be filled from a replacement; None where that is not known."""
    try:
        paired_bands(target, other)
    except BandError as error:
        return str(error)
    return None


def _bands(target: Dataset, others: Sequence[Dataset]) -> list[str]:
    """What is to be said of how the bands of replacements are paired with the target's."""
    found = [text for other in others if (text := unusable(target, other))]
    if found:
        return found
    named = [paired_bands(target, other) for other in others]
    placed = [
        f"bands of replacement {other.url!r} are paired with the target's by position, since their names are not "
        f"known: {', '.join(f'{k} as {name or one}' for k, one, name in _positions(target, other))}; `bands` names them"
        for other in others
        if not paired_by_name(target, other) and target.names != other.names
    ]
    try:
        lost = lacking_bands(target, named)
    except BandError as error:
        return [*placed, str(error)]
    return [
        *placed,
        *(f"replacement {other.url!r} lacks {', '.join(names)}: the fill is made without" for other, names in lost),
    ]


def _positions(target: Dataset, other: Dataset) -> Iterable[tuple[int, int, str | None]]:
    return zip(other.indexes, target.indexes, target.names, strict=True)


def _unmasked(request: Request, sources: Sources, target: Dataset, there: Mapping[int, Dataset]) -> list[str]:
    """Warnings of replacements, by position: clouds that nobody looks for, and a mask not refined for their sake."""
    found = []
    for position, other in there.items():
        if unusable(target, other) is not None:
            continue
        with suppress(ClearSkyError, OSError):  # a mask that cannot be had: an image says so
            found.append((other, replacement_clouds(request, sources, position, target, other)))
    texts = unmasked_warnings([(other.url, clouds) for other, clouds in found])
    if request.mask is not None:  # is never refined
        return texts
    unrefined = unrefined_warning(target, [other for other, _ in found], [clouds for _, clouds in found])
    return texts if unrefined is None else [*texts, unrefined]


def _apart(target: Dataset, other: Dataset) -> str | None:
    try:
        check_overlap(target, other)
    except ParameterError as error:
        return str(error)
    return None


def _described(request: Request, sources: Sources, position: int, target: Dataset) -> Dataset | None:
    try:
        return request.replacement_dataset(sources, position, target)
    except (ClearSkyError, OSError):  # an image says why it cannot be made
        return None
