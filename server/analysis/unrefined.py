"""What is said where one replacement keeps the others from refining the target's mask."""

from __future__ import annotations

from collections.abc import Sequence

from algorithms.refine import refines
from server.analysis.matching import shared_bands
from server.analysis.task import CloudSource
from server.raster.dataset import Dataset


def unrefined_warning(target: Dataset, others: Sequence[Dataset], clouds: Sequence[CloudSource]) -> str | None:
    """What to say of a mask that some replacements could refine, and that is not refined because of the rest.

    A mask is refined in the bands that all share, by dates whose clouds are known.

    Args:
        target: the target.
        others: its replacements.
        clouds: where their clouds come from.

    Returns:
        None where the mask is refined, and where no replacement alone could do it.
    """
    known = [source.unsought is None for source in clouds]
    if all(known) and refines(shared_bands(target, others, ()).names):
        return None
    able = [
        sought and refines(shared_bands(target, [other], ()).names) for sought, other in zip(known, others, strict=True)
    ]
    if not any(able):
        return None
    hindering = [repr(other.url) for other, alone in zip(others, able, strict=True) if not alone]
    if not hindering:
        return "the target's mask is not refined: its replacements share no visible and infrared band; leave one out"
    helping = [repr(other.url) for other, alone in zip(others, able, strict=True) if alone]
    return (
        f"the target's mask is not refined by {', '.join(helping)}, since replacement {', '.join(hindering)} lacks "
        "visible or infrared bands for it; leave that one out where the mask matters more"
    )
