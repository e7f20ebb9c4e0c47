"""A recipe checked against its rasters: the numbers of its bands, and whether everything fits together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rasterio.errors import RasterioError
from rio_tiler.expression import parse_expression
from starlette.datastructures import QueryParams

from algorithms.bands import common_names
from algorithms.errors import BandError, ClearSkyError, InputError
from server.analysis.candidates import search_target
from server.analysis.clouds import is_preset, is_raster, paired
from server.analysis.request import AUTO_REPLACEMENT, for_each
from server.analysis.tasking import make_task
from server.errors import SourceError
from server.http.params import shown_bands
from server.raster.dataset import Dataset
from server.raster.sources import Sources
from server.recipes.model import Recipe


def band_indexes(recipe: Recipe, sources: Sources) -> list[int] | None:
    """1-based numbers of the bands to show.

    Raises:
        BandError: a name the target does not have.
    """
    if not recipe.render.bands:
        return None
    return [_index(recipe, sources, position, band) for position, band in enumerate(recipe.render.bands)]


def _index(recipe: Recipe, sources: Sources, position: int, band: str | int) -> int:
    if isinstance(band, int):
        return band
    scene = recipe.request.scene(sources, recipe.request.target)
    if scene is not None:
        with recipe.blame("render", "bands", position):
            return scene.asked([band])[0]
    target = recipe.request.target_dataset(sources)
    for name in (band.lower(), *common_names([band])):
        if name in target.names:
            return target.indexes[target.names.index(name)]
    with recipe.blame("render", "bands", position):
        raise BandError(f"band {band!r} is not in the target, which has {_known(target)}; show one of these")


def shown_bands_of(recipe: Recipe, sources: Sources, query: QueryParams) -> tuple[int, ...]:
    """Which bands of a scene a query, or else the recipe, shows; nothing for a raster of one file."""
    request = recipe.request
    if request.scene(sources, request.target) is None:
        return ()
    render = recipe.render
    if "bidx" in query or "expression" in query:
        return shown_bands(request, sources, query)
    if "style" in query:
        return shown_bands(request, sources, query)
    if render.expression:
        return shown_bands(request, sources, QueryParams({"expression": render.expression}))
    if render.style and not render.bands:
        return shown_bands(request, sources, QueryParams({"style": render.style}))
    return tuple(band_indexes(recipe, sources) or shown_bands(request, sources, query))


def _known(target: Dataset) -> str:
    return ", ".join(f"{i} {name or ''}".strip() for i, name in zip(target.indexes, target.names, strict=True))


def raster_problems(recipe: Recipe, sources: Sources, *, api: str | None = None) -> list[str]:
    """What is wrong with a recipe once its rasters are opened: one line each, with file and line.

    Args:
        recipe: a recipe whose rasters have not been checked.
        sources: what checks and describes them.
        api: STAC API of the settings, in which replacements can be looked up.
    """
    problems: list[str] = []

    def attempt(action: Callable[[], Any], *key: str | int) -> Any:
        try:
            with recipe.blame(*key):
                return action()
        except (InputError, SourceError, RasterioError, OSError) as error:
            text = str(error) if isinstance(error, ClearSkyError) else f"{recipe.document.at(key)}: {error}"
            problems.append(text)
            return None

    asked = recipe.request
    target = attempt(partial(sources.check, asked.target), "target")
    others = {
        position: attempt(partial(sources.check, url), "replacements", position)
        for position, url in enumerate(asked.replacements)
        if url != AUTO_REPLACEMENT
    }
    mask = asked.mask
    if mask and not is_preset(mask):
        mask = attempt(partial(sources.check, mask), "mask", "source")
        if mask:
            attempt(partial(sources.dataset, mask), "mask", "source")
    masks = [
        attempt(partial(sources.check, url), "replacement_masks", position) if is_raster(url) else url
        for position, url in enumerate(paired(asked.replacements, asked.replacement_masks))
    ]
    count = len(asked.replacements)
    scales = for_each(asked.replacement_reflectance_scales, count, "replacement_reflectance_scales")
    offsets = for_each(asked.replacement_reflectance_offsets, count, "replacement_reflectance_offsets")
    request = replace(asked, target=target or "", mask=mask)
    dataset = attempt(partial(request.target_dataset, sources), "target") if target else None
    if dataset is None:
        return problems
    attempt(partial(_check_picture, recipe, sources, dataset), "render")
    if asked.automatic:
        scene = request.scene(sources, request.target)
        attempt(partial(search_target, scene, request.target, api), "replacements")
    if asked.replacements and not asked.mask:
        key = ("mask", "model") if asked.model else ("target",)
        if attempt(partial(request.chosen_model, sources), *key) is None:
            return problems
    if (asked.mask and not mask) or None in masks:
        return problems
    for position, other in others.items():
        if other:
            pair = replace(
                request,
                replacements=(other,),
                replacement_masks=tuple(masks[position : position + 1]),
                replacement_reflectance_scales=tuple(scales[position : position + 1]),
                replacement_reflectance_offsets=tuple(offsets[position : position + 1]),
            )
            attempt(partial(make_task, pair, sources, recipe.algorithm), "replacements", position)
    return problems


def _check_picture(recipe: Recipe, sources: Sources, target: Dataset) -> None:
    """Raise BandError where the recipe shows a missing band."""
    render = recipe.render
    asked = parse_expression(render.expression) if render.expression else band_indexes(recipe, sources) or ()
    scene = recipe.request.scene(sources, recipe.request.target)
    known = target.indexes if scene is None else range(1, 1 + len(scene.bands))
    if missing := [band for band in asked if band not in known]:
        raise BandError(f"band {missing[0]} is not in the target, which has {_known(target)}; show one of these")
