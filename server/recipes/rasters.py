"""A recipe held against its rasters: the numbers of its bands, and whether everything fits together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rasterio.errors import RasterioError
from rio_tiler.expression import parse_expression

from algorithms.bands import common_names
from algorithms.errors import BandError, ClearSkyError, InputError
from server.analysis.request import get_dataset
from server.errors import SourceError
from server.raster.dataset import Dataset
from server.recipes.model import Recipe
from server.remote.sources import check_source


def band_indexes(recipe: Recipe) -> list[int] | None:
    """1-based numbers of the bands to show.

    Raises:
        BandError: a name the target does not have.
    """
    if not recipe.render.bands:
        return None
    return [_index(recipe, k, band) for k, band in enumerate(recipe.render.bands)]


def _index(recipe: Recipe, k: int, band: str | int) -> int:
    if isinstance(band, int):
        return band
    target = recipe.request.target_dataset()
    for name in (band.lower(), *common_names([band])):
        if name in target.names:
            return target.indexes[target.names.index(name)]
    with recipe.blame("render", "bands", k):
        raise BandError(f"band {band!r} is not in the target, which has {_known(target)}; show one of these")


def _known(target: Dataset) -> str:
    return ", ".join(f"{i} {name or ''}".strip() for i, name in zip(target.indexes, target.names, strict=True))


def raster_problems(recipe: Recipe) -> list[str]:
    """What hinders a recipe when its rasters are opened: one line each, with file and line.

    Args:
        recipe: a recipe whose rasters have not been checked.
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
    target = attempt(partial(check_source, asked.target), "target")
    others = [attempt(partial(check_source, url), "replacements", k) for k, url in enumerate(asked.replacements)]
    mask = attempt(partial(check_source, asked.mask), "mask", "source") if asked.mask else None
    if mask:
        attempt(partial(get_dataset, mask), "mask", "source")
    request = replace(asked, target=target or "", mask=mask)
    dataset = attempt(request.target_dataset, "target") if target else None
    if dataset is None:
        return problems
    attempt(partial(_check_picture, recipe, dataset), "render")
    if others and not asked.mask:
        key = ("mask", "model") if asked.model else ("target",)
        if attempt(request.chosen_model, *key) is None:
            return problems
    if asked.mask and not mask:
        return problems
    for k, other in enumerate(others):
        if other:
            attempt(partial(replace(request, replacements=(other,)).task, recipe.algorithm), "replacements", k)
    return problems


def _check_picture(recipe: Recipe, target: Dataset) -> None:
    """Raise BandError where the recipe shows a band that is not there."""
    render = recipe.render
    asked = parse_expression(render.expression) if render.expression else band_indexes(recipe) or ()
    if missing := [band for band in asked if band not in target.indexes]:
        raise BandError(f"band {missing[0]} is not in the target, which has {_known(target)}; show one of these")
