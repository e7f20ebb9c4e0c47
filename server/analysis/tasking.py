"""From a request to the analysis task: rasters described, bands matched, models chosen."""

from __future__ import annotations

from typing import Final

from algorithms.errors import BandError, ParameterError
from algorithms.fill import FillOptions
from algorithms.options import CloudOptions
from algorithms.refine import refines
from algorithms.sidecar import Needs
from server.analysis.detection import replacement_clouds, seen_replacement, seen_target, target_clouds
from server.analysis.matching import check_overlap, match_bands, paired_bands, shared_bands
from server.analysis.request import MOST_REPLACEMENTS, Request
from server.analysis.task import Task
from server.analysis.unrefined import unrefined_warning
from server.raster.layer import Layer
from server.raster.sources import Sources

MOST_FILLED_BANDS: Final = 32
"""Bands the fill regresses on at most."""


def make_task(
    request: Request,
    sources: Sources,
    options: CloudOptions,
    needs: Needs = "fill",
    shown: tuple[int, ...] | None = None,
) -> Task:
    """What to analyse for an algorithm.

    The clouds of each raster are looked for in its own bands. The fill works with those that the target shares with
    all replacements.

    Args:
        request: what is asked for.
        sources: what describes the rasters.
        options: the algorithm's.
        needs: what it reads of the side-car.
        shown: 1-based bands of the target's description that a filled image shows; None for all. Others drop out of
            the fill where a replacement lacks them.

    Raises:
        ParameterError: a replacement is needed and missing, or of another place. BandError: bands that do not
            fit, or too many.
    """
    fills = needs != "classes"
    if fills and not request.replacements:
        raise ParameterError("there is no `replacement` to fill the clouds from: give another date of the same place")
    if len(request.replacements) > MOST_REPLACEMENTS:
        raise ParameterError(f"{len(request.replacements)} replacements are given; up to {MOST_REPLACEMENTS} are used")
    own = request.target_dataset(sources)
    if fills and len(own.indexes) > MOST_FILLED_BANDS:
        raise BandError(
            f"{own.url!r} has {len(own.indexes)} bands; the fill takes up to {MOST_FILLED_BANDS}: leave some out"
        )
    # What the mask shows is what is filled: with a replacement, its refined form.
    refine = options.refine and request.mask is None and bool(request.replacements)
    used = range(len(request.replacements) if fills or refine else 0)
    others = [request.replacement_dataset(sources, position, own) for position in used]
    for other in others:
        check_overlap(own, other)
    others = [paired_bands(own, other) for other in others]
    shared = shared_bands(own, others, shown if needs == "fill" else ())
    clouds = target_clouds(request, sources, own).at(options.sensitivity)
    elsewhere = [
        replacement_clouds(request, sources, position, own, other).at(options.sensitivity)
        for position, other in enumerate(others)
    ]
    # Where its clouds are not known, another date does not show the ground.
    unrefined = unrefined_warning(own, others, elsewhere) if refine else None
    refine = refine and refines(shared.names) and all(each.unsought is None for each in elsewhere)
    if not fills and not refine:
        shared, others, elsewhere = own, [], []
    target = Layer(shared, shared, shared.indexes)
    layers = [Layer(other, shared, match_bands(shared, other)) for other in others]
    return Task(
        target=target,
        replacements=tuple(layers),
        clouds=seen_target(clouds, own, target),
        replacement_clouds=tuple(
            seen_replacement(request, sources, position, each, layer)
            for position, (each, layer) in enumerate(zip(elsewhere, layers, strict=True))
        ),
        buffer=options.buffer,
        options=FillOptions.of(options),
        refine=refine,
        unrefined=unrefined,
    )
