"""Notices of what is known of a request's rasters before any image is made: bands left out, odd reflectances."""

from __future__ import annotations

from algorithms.errors import ClearSkyError, ParameterError
from server.analysis.matching import check_overlap, lacking_bands
from server.analysis.plausibility import ReflectanceChecks
from server.analysis.request import Request
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
    others = [found for position in each if (found := _described(request, sources, position, target))]
    lost = [
        f"replacement {other.url!r} lacks {', '.join(names)}: the analysis is made without"
        for other, names in lacking_bands(target, others)
    ]
    apart = [text for other in others if (text := _apart(target, other))]
    odd = [checks.warning(dataset) for dataset in (target, *others)]
    return [*apart, *lost, *dict.fromkeys(text for text in odd if text is not None)]


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
