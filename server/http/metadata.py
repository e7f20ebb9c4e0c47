"""What `/info` says of a target on top of its metadata: what ClearSky takes from it, and reads in a user's mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from algorithms.errors import BandError, InputError, ModelError
from algorithms.options import CloudOptions
from server.analysis.detection import replacement_clouds
from server.analysis.engine import Analysis
from server.analysis.notices import notices
from server.analysis.request import Request
from server.analysis.resolution import model_warnings
from server.analysis.task import CloudSource
from server.analysis.tasking import make_task
from server.errors import SourceError, SourceUnreadableError
from server.raster.dataset import Dataset
from server.raster.grid import coarse_grid, fine_grid
from server.raster.sources import Sources
from server.remote.redaction import redacted_values

NO_CLOUDS_MEANING: Final = "none: clear wherever it has data"
"""What is said of a replacement whose clouds nobody looks for."""


def described_target(request: Request, sources: Sources, analysis: Analysis) -> dict[str, Any]:
    """What ClearSky takes from the target, or why it cannot use it.

    Raises:
        SourceError: a raster that cannot be had.
    """
    scene = request.scene(sources, request.target)
    odd = list(scene.warnings if scene is not None else ())
    try:
        described = _described(request, sources, analysis)
    except (InputError, SourceUnreadableError) as error:
        # What cannot be filled can be looked at, as it can in TiTiler.
        described = {"unusable": str(error)}
    else:
        odd += [*described.pop("warnings", ()), *notices(request, sources, analysis.reflectances)]
    described |= {"warnings": odd} if odd or request.mask is not None else {}
    return {name: redacted_values(value) for name, value in described.items()}


def _described(request: Request, sources: Sources, analysis: Analysis) -> dict[str, Any]:
    target = request.target_dataset(sources)
    unsure: list[str] = []
    try:
        model = request.chosen_model(sources)
        chosen, unsure = model.id, model_warnings(model, target)
    except (BandError, ModelError) as error:
        chosen = f"none: {error}"
    follows = request.mask is not None
    described: dict[str, Any] = {
        "bands": target.names,
        "level": target.level,
        "model": chosen,
        "reflectance": {
            "scale": target.scales,
            "offset": target.offsets,
            "source": target.reflectance_source,
            "sources": target.reflectance_sources,
        },
        "analysis": {
            "factor": fine_grid(target, follows=follows).factor,
            "coarse_factor": coarse_grid(target, follows=follows).factor,
        },
        "replacements": request.replacements,
    }
    if follows:
        unsure = []  # no network looks at the target
    if request.replacements:
        described["replacement_clouds"], odd = _replacement_clouds(request, sources, analysis, target)
        unsure += odd
    if follows:
        found, warning = _described_mask(request, sources, analysis, described)
        described["mask"] = found
        unsure += warning
    return described | ({"warnings": unsure} if unsure else {})


def _replacement_clouds(
    request: Request, sources: Sources, analysis: Analysis, target: Dataset
) -> tuple[list[str], list[str]]:
    """Where the clouds of each replacement come from, or why it cannot be had; and what is odd about their masks."""
    found, odd = [], []
    for position in range(len(request.replacements)):
        try:
            other = request.replacement_dataset(sources, position, target)
            clouds = replacement_clouds(request, sources, position, target, other)
            found.append(_cloud_source(clouds))
            marked = analysis.marked.of_replacement(other, clouds)
            odd += [marked.warning] if marked is not None and marked.warning is not None else []
        except (SourceError, OSError) as error:
            found.append(f"unknown: {error}")
    return found, odd


def _described_mask(
    request: Request, sources: Sources, analysis: Analysis, described: dict[str, Any]
) -> tuple[dict[str, Any] | None, list[str]]:
    """What is understood of the user's mask, and what is odd about it; with the rest of what is described."""
    alone = replace(request, replacements=(), replacement_masks=())
    task = make_task(alone, sources, CloudOptions(), "classes")
    analysis.marked.warn(task)
    found = analysis.marked.of(task)
    if found is None:  # `auto` without any
        return None, []
    mask: dict[str, Any] = {"source": found.mask, "rule": found.rule, "values": found.values, "nodata": found.nodata}
    mask |= {"fraction": round(found.fraction, 4), "step": found.step}
    if request.replacements:
        mask["replacements"] = described["replacement_clouds"]
    return mask, [found.warning] if found.warning else []


def _cloud_source(clouds: CloudSource) -> str:
    if clouds.model is not None:
        return f"model {clouds.model.id}"
    return NO_CLOUDS_MEANING if clouds.classes is None else clouds.classes.url
