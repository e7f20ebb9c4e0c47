"""Where the clouds of a target and its replacements come from: a network, rasters of classes, their own masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from algorithms.errors import ParameterError
from algorithms.reclassify import Remap
from server.analysis.task import CloudSource, Task
from server.errors import SourceForbiddenError, SourceMissingError
from server.raster.sources import Sources
from server.scenes.masks import AUTO, PRESETS, MaskCode, chosen_kind
from server.scenes.scene import Scene
from server.work.trace import warn

logger = logging.getLogger("clearsky")

NO_CLOUDS: Final = "none"
"""In place of a replacement's mask: it is clear wherever it has data."""
CLASSED_REMAP: Final = "0 NODATA;2 1;3 1"
"""Reads the Fmask of Digital Earth Australia: 0 no data, 1 clear, 2 cloud, 3 shadow, 4 snow, 5 water."""
CLEAR_EVERYWHERE: Final = CloudSource(remap=None)
"""Clear wherever there are data."""


def is_preset(mask: str | None) -> bool:
    """Whether `mask` means the scenes' own masks rather than a raster."""
    return mask is not None and (mask == AUTO or mask in PRESETS)


def mask_name(mask: str) -> str:
    """A mask's name as it is used: kinds of the scenes' own masks and `NO_CLOUDS` in any case mean the same."""
    word = mask.lower()
    return word if word == NO_CLOUDS or is_preset(word) else mask


def target_mask_name(mask: str) -> str:
    """`mask_name` of the target's mask.

    Raises:
        ParameterError: `NO_CLOUDS`, which only a replacement's can be.
    """
    name = mask_name(mask)
    if name == NO_CLOUDS:
        raise ParameterError(
            f"mask={NO_CLOUDS} leaves nothing to fill: leave `mask` out to have clouds detected, or `replacement` out "
            f"to see the target as it is; `replacement_mask={NO_CLOUDS}` says that the replacements have no clouds"
        )
    return name


def is_raster(mask: str) -> bool:
    """Whether a mask, the target's or a replacement's, is a raster: neither a preset nor `NO_CLOUDS`, nor nothing."""
    return mask not in ("", NO_CLOUDS) and not is_preset(mask)


def checked_mask(mask: str, check: Callable[[str], str]) -> str:
    """The name of a mask that is a raster, as `check` gives it back.

    Raises:
        ParameterError: a word that is neither a raster nor a kind of the scenes' own masks. Errors of `check`.
    """
    try:
        return check(mask)
    except (SourceMissingError, SourceForbiddenError) as error:
        if set(mask) & set("/.\\"):
            raise
        raise ParameterError(
            f"mask {mask[:40]!r} is neither a raster nor one of {', '.join(PRESETS)}, {AUTO}; choose one of these, or "
            "give the path of a raster"
        ) from error


def own_clouds(
    sources: Sources, wanted: str, scene: Scene | None, url: str, remap: Remap | None, bits: tuple[int, ...]
) -> CloudSource | None:
    """The mask that comes with a scene.

    Args:
        sources: what describes it.
        wanted: a kind of mask, or `auto`.
        scene: the scene; None for a raster of one file.
        url: what it is called.
        remap: which of the mask's own values count as cloud, in place of the kind's.
        bits: which of its bits do.

    Returns:
        None where `auto` finds none.

    Raises:
        ParameterError: it does not have such a mask.
    """
    masks = scene.masks if scene is not None else ()
    if wanted == "fmask" and scene is not None and scene.classed_mask and all(mask.kind != wanted for mask in masks):
        raise ParameterError(
            f"mask={wanted}: {scene.classed_mask!r} of {url!r} has classes in place of bits; give the address of its "
            f"file as `mask`, with mask_remap={CLASSED_REMAP}"
        )
    if not masks:
        if wanted == AUTO:
            return None
        raise ParameterError(
            f"mask={wanted}: {url!r} comes with no mask; give `auto`, which falls back to the model, or a raster"
        )
    kind = chosen_kind(wanted, [mask.kind for mask in masks], repr(url))
    mask = next(mask for mask in masks if mask.kind == kind)
    code = MaskCode(kind) if remap is None and not bits else MaskCode(None, bits) if bits else None
    return CloudSource(remap=remap, classes=replace(sources.mask(mask), code=code))


def raster_clouds(sources: Sources, url: str, remap: Remap | None, bits: tuple[int, ...]) -> CloudSource:
    """A raster of classes, or of bits.

    Raises:
        SourceMissingError, SourceUnreadableError: see `Sources.dataset`.
    """
    classes = sources.dataset(url)
    return CloudSource(remap=remap, classes=replace(classes, code=MaskCode(None, bits)) if bits else classes)


def paired(urls: Sequence[str], masks: Sequence[str]) -> tuple[str, ...]:
    """The mask of each replacement; nothing where none is given.

    Args:
        urls: the replacements.
        masks: one for each, in their order; a single one that is no raster stands for all.

    Raises:
        ParameterError: another number.
    """
    if len(masks) == 1 and not is_raster(masks[0]):
        return (masks[0],) * len(urls)
    if masks and len(masks) != len(urls):
        raise ParameterError(
            f"{len(masks)} `replacement_mask` are given for {len(urls)} replacements; give one for each, in their "
            f"order, or a single `{NO_CLOUDS}` or kind of the scenes' own masks"
        )
    return tuple(masks)


def unmasked_warnings(replacements: Sequence[tuple[str, CloudSource]]) -> list[str]:
    """What to say of replacements whose clouds nobody looks for, and why not: one text for each reason.

    Args:
        replacements: what each is called, and where its clouds come from.
    """
    found: dict[str, list[str]] = {}
    for url, clouds in replacements:
        if clouds.unsought is not None:
            found.setdefault(clouds.unsought.partition(";")[0], []).append(repr(url))  # without a model's remedies
    return [
        f"clouds of the replacements are not looked for in {', '.join(urls)}: {reason}; give a `replacement_mask` for "
        f"each, or `replacement_mask={NO_CLOUDS}` if they have none"
        for reason, urls in found.items()
    ]


def warn_unmasked(task: Task) -> None:
    """Tell the client of the running request, and once the log, which clouds are not looked for, or not refined."""
    urls = [layer.dataset.url for layer in task.replacements]
    unrefined = [] if task.unrefined is None else [task.unrefined]
    for text in (*unmasked_warnings(list(zip(urls, task.replacement_clouds, strict=True))), *unrefined):
        warn(text)
        _log_once(task.target.dataset.url, text)


@lru_cache(maxsize=256)
def _log_once(url: str, text: str) -> None:
    logger.warning("%s: %s", url, text)
