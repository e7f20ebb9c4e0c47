"""Where the clouds of each raster of a request come from, and what a network looks at: bands of that raster alone."""

from __future__ import annotations

from dataclasses import replace

from algorithms.errors import BandError, ModelError, ParameterError
from algorithms.models import CloudModel
from algorithms.reclassify import MODEL_REMAP
from server.analysis.clouds import (
    CLEAR_EVERYWHERE,
    NO_CLOUDS,
    is_preset,
    is_raster,
    own_clouds,
    paired,
    raster_clouds,
)
from server.analysis.matching import check_overlap, paired_by_name
from server.analysis.request import Request
from server.analysis.resolution import too_few_cells
from server.analysis.task import CloudSource
from server.raster.dataset import Dataset
from server.raster.layer import Layer
from server.raster.sources import Sources


def target_clouds(request: Request, sources: Sources, target: Dataset) -> CloudSource:
    """Where the clouds of a request's target come from.

    Args:
        request: what is asked for.
        sources: what describes rasters.
        target: the description of the target, with all bands that masks are made from.

    Raises:
        ParameterError: `mask_bits` without a raster or next to `mask_remap`, a mask of another place, or none of that
            kind. BandError, ModelError: no network, or not the one named, works with its bands. SourceError.
    """
    if request.mask_bits and not (request.mask or any(map(is_raster, request.replacement_masks))):
        raise ParameterError("mask_bits needs a raster whose bits they are: name it with `mask`")
    if request.mask_bits and request.remap is not None:
        raise ParameterError("mask_bits and mask_remap both say which values are cloud: leave one out")
    given = _given(request, sources, request.mask, request.target)
    if given is None:
        return _model_clouds(request, request.mask, request.model_for(target.names, target.level))
    if given.classes is not None and not is_preset(request.mask):
        check_overlap(target, given.classes, "mask")
    return given


def replacement_clouds(
    request: Request, sources: Sources, position: int, target: Dataset, other: Dataset
) -> CloudSource:
    """Where the clouds of a replacement come from; `unsought` where no network can look for them.

    Args:
        request: what is asked for.
        sources: what describes rasters.
        position: the replacement's, from 0.
        target: the target's description.
        other: the replacement's.

    Raises:
        ParameterError: not one mask for each, or none of the kind. BandError, ModelError: the network that is named
            does not work with the replacement's bands. SourceError.
    """
    masks = paired(request.replacements, request.replacement_masks)
    # The target's own raster shows no clouds of other dates.
    mask = masks[position] if masks else request.mask if is_preset(request.mask) else None
    given = _given(request, sources, mask, request.replacements[position])
    if given is not None:
        if given.classes is not None and not is_preset(mask):
            check_overlap(other, given.classes, "replacement_mask")
        return given
    names = request.names(sources, position, other) if paired_by_name(target, other) else target.names
    try:
        model = request.model_for(names, target.level)
    except (BandError, ModelError) as error:
        if request.model is not None:
            raise type(error)(f"replacement {other.url!r}: {error}") from error
        return replace(CLEAR_EVERYWHERE, unsought=str(error))
    followed = request.mask is not None and is_raster(request.mask)
    if followed and request.model is None and (reason := too_few_cells(target)) is not None:
        return replace(CLEAR_EVERYWHERE, unsought=reason)
    return _model_clouds(request, mask or request.mask, model)


def _given(request: Request, sources: Sources, mask: str | None, url: str) -> CloudSource | None:
    """The clouds that a mask shows; None where a network is to look for them.

    Args:
        request: how the mask is read.
        sources: what describes it.
        mask: a raster, a preset, `NO_CLOUDS`, or nothing.
        url: whose clouds.
    """
    if mask is None:
        return None
    if mask == NO_CLOUDS:
        return CLEAR_EVERYWHERE
    remap, bits = request.remap, request.mask_bits
    if is_preset(mask):
        return own_clouds(sources, mask, request.scene(sources, url), url, remap, bits)
    return raster_clouds(sources, mask, remap, bits)


def _model_clouds(request: Request, mask: str | None, model: CloudModel) -> CloudSource:
    """A network's classes; `mask_remap` is about them where there is no mask."""
    return CloudSource(remap=(request.remap if mask is None else None) or MODEL_REMAP, model=model)


def seen_target(clouds: CloudSource, own: Dataset, fill: Layer) -> CloudSource:
    """The target's clouds, looked for in all of its bands where those that are filled are too few for the network.

    Args:
        clouds: where they come from.
        own: the target with all bands that masks are made from.
        fill: the target with the bands that are filled.
    """
    if clouds.model is None or set(clouds.model.bands) <= set(fill.dataset.names):
        return clouds
    if own.same_grid(fill.dataset) == (0, 0) and own.shape == fill.dataset.shape:
        return replace(clouds, looks_at=Layer(own, own, own.indexes))
    return replace(clouds, looks_at=_on_lattice(own, clouds.model, fill.target))


def seen_replacement(
    request: Request, sources: Sources, position: int, clouds: CloudSource, fill: Layer
) -> CloudSource:
    """A replacement's clouds, looked for in bands of its own where those that fill are too few for the network.

    Args:
        request: what is asked for.
        sources: what describes rasters.
        position: the replacement's, from 0.
        clouds: where they come from.
        fill: the replacement with the bands that fill.

    Raises:
        SourceError: a file of these bands that cannot be had.
    """
    if clouds.model is None or set(clouds.model.bands) <= set(fill.target.names):
        return clouds
    own, url = fill.dataset, request.replacements[position]
    if (scene := request.scene(sources, url)) is not None:
        own = request.dataset(sources, url, scene.numbers_of(clouds.model.bands), position=position)
    return replace(clouds, looks_at=_on_lattice(own, clouds.model, fill.target))


def _on_lattice(own: Dataset, model: CloudModel, lattice: Dataset) -> Layer:
    """The bands of a network from a raster, in the raster's own units, on a target's lattice."""
    at = [own.names.index(name) for name in model.bands]
    seen = replace(
        lattice,
        indexes=tuple(range(1, 1 + len(at))),
        names=model.bands,
        scales=tuple(own.scales[k] for k in at),
        offsets=tuple(own.offsets[k] for k in at),
        parts=(),
    )
    return Layer(own, seen, tuple(own.indexes[k] for k in at))
