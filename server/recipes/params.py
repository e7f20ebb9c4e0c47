"""Dependencies of the routes under `/recipes/{name}`: what a request leaves open comes from the recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request
from rio_tiler.colormap import cmap
from rio_tiler.types import ColorMapType
from titiler.core.algorithm.base import BaseAlgorithm
from titiler.core.dependencies import (
    BidxExprParams,
    ColorMapParams,
    DatasetParams,
    DefaultDependency,
    TileParams,
)

from algorithms.errors import ParameterError
from algorithms.removal import CloudAlgorithm
from algorithms.styles import STYLES
from server.http.inloop import in_loop
from server.http.looks import AskedStyle, PictureParams, StyleName, asked_style
from server.http.params import AlgorithmName, RequestParams, is_picture, process
from server.http.reader import PairReader, open_request
from server.http.shared import SharedAnalysis, SharedSettings, SharedSources, chooser_of, sources_of
from server.raster.documents import may_be_document
from server.recipes.model import Recipe
from server.recipes.rasters import band_indexes, shown_bands_of
from server.recipes.store import Recipes
from server.scenes.bandlist import is_band_list
from server.work.ticket import holding

RECIPE_COLOURS: Final = frozenset({"bands", "expression", "rescale", "color_formula", "colormap_name", "unscale"})
"""Keys of a recipe's `render` that say what the values are to look like: with any of these TiTiler's way."""
FIXED: Final = {field.name for field in fields(RequestParams)}
"""Parameters of `/cog` that only the recipe sets."""

TILE_PARAMETERS: Final[list[Callable[..., Any]]] = [
    TileParams,
    BidxExprParams,
    DatasetParams,
    ColorMapParams,
    PictureParams,
]
"""TiTiler's own parameters of a tile, for WMTS to check and to describe."""


def recipes_of(app: Any) -> Recipes:
    """An application's recipes as they are now."""
    recipes: Recipes = app.state.services.recipes.recipes()
    return recipes


def named_recipe(
    name: Annotated[str, Path(description="Name of a recipe; `/recipes` lists them")], request: Request
) -> Recipe:
    """The recipe a request names, its rasters admitted.

    Raises:
        RecipeMissingError, RecipeError: there is none, or a broken one. ParameterError: the request names what the
            recipe sets. SourceForbiddenError, SourceMissingError: a raster.
    """
    recipe = recipes_of(request.app).get(name)
    if fixed := sorted(FIXED & request.query_params.keys()):
        target = recipe.request.target
        routes = "/stac" if is_band_list(target) or may_be_document(target) else "/cog"
        raise ParameterError(
            f"{', '.join(fixed)} cannot be given: the recipe {name!r} sets this; leave it out, or use {routes}"
        )
    sources = sources_of(request.app)
    recipe = recipe.admitted(sources)
    with recipe.blame("replacements"), holding():
        recipe = replace(recipe, request=chooser_of(request.app).resolved(recipe.request))
    recipe = recipe.styled(request.query_params)
    shown = shown_bands_of(recipe, sources, request.query_params)
    return replace(recipe, request=replace(recipe.request, shown=shown)) if shown else recipe


Named = Annotated[Recipe, Depends(named_recipe)]


def _own_values(query: Mapping[str, str]) -> bool:
    """Whether a request asks for values of another kind than the recipe's, for which its range makes no sense."""
    return "expression" in query or "style" in query or query.get("algorithm", "cloud_removal") != "cloud_removal"


def _own_picture(query: Mapping[str, str]) -> bool:
    """Whether a request asks for other values or bands than the recipe's, for which its colours make no sense."""
    return "bidx" in query or _own_values(query)


def recipe_bands(
    asked: Annotated[BidxExprParams, Depends(in_loop(BidxExprParams))],
    recipe: Named,
    sources: SharedSources,
    request: Request,
) -> BidxExprParams:
    """Bands or expression; a request that gives one of them, or a style, replaces both."""
    if asked.indexes is None and asked.expression is None and "style" not in request.query_params:
        return BidxExprParams(indexes=band_indexes(recipe, sources), expression=recipe.render.expression)
    return asked


def recipe_dataset(asked: Annotated[DatasetParams, Depends(in_loop(DatasetParams))], recipe: Named) -> DatasetParams:
    """How the raster is read."""
    render = recipe.render
    if asked.nodata is None:
        asked.nodata = recipe.request.nodata
    if asked.unscale is None:
        asked.unscale = render.unscale
    asked.resampling_method = asked.resampling_method or render.resampling
    asked.reproject_method = asked.reproject_method or render.reproject
    return asked


def recipe_colours(
    asked: Annotated[PictureParams, Depends(in_loop(PictureParams))], recipe: Named, request: Request
) -> PictureParams:
    """Rescaling and colour formula."""
    render, query = recipe.render, request.query_params
    if not asked.rescale and render.rescale and not _own_values(query):
        asked.rescale = list(render.rescale)  # type: ignore[arg-type]
    if not _own_picture(query):
        asked.color_formula = asked.color_formula or render.color_formula
    return asked


def recipe_colormap(
    asked: Annotated[ColorMapType | None, Depends(in_loop(ColorMapParams))], recipe: Named, request: Request
) -> ColorMapType | None:
    """The colour map."""
    name = recipe.render.colormap_name
    if asked is None and name and not _own_picture(request.query_params):
        return cmap.get(name)
    return asked


def recipe_style(
    recipe: Named,
    request: Request,
    style: Annotated[StyleName | None, Query(include_in_schema=False)] = None,
) -> AskedStyle | None:
    """The style: the request's, or the recipe's unless the request says otherwise, or the default."""
    asked, render = asked_style(request, style), recipe.render
    if asked is None or asked.by_name:
        return asked
    if render.style is not None:
        return AskedStyle(STYLES[render.style], by_name=True)
    return None if render.model_fields_set & RECIPE_COLOURS or recipe.request.assets else asked


def recipe_process(
    recipe: Named,
    algorithm: Annotated[
        AlgorithmName | None, Query(description="Algorithm; `cloud_removal` where the recipe has replacements")
    ] = None,
    algorithm_params: Annotated[
        str | None, Query(description='JSON object of options that differ from the recipe\'s, e.g. {"window": 40}')
    ] = None,
) -> BaseAlgorithm | None:
    """The algorithm: by default the recipe's; one of ours takes the recipe's options where the request has none."""
    chosen = process(algorithm, algorithm_params, list(recipe.request.replacements))
    if isinstance(chosen, CloudAlgorithm):
        given = {name: getattr(chosen, name) for name in chosen.model_fields_set}
        return type(chosen)(**(recipe.options | given))
    return chosen


@dataclass
class RecipeParams(DefaultDependency):
    """What the reader needs besides the recipe."""

    sources: SharedSources
    analysis: SharedAnalysis
    settings: SharedSettings
    process: Annotated[BaseAlgorithm | None, Depends(in_loop(recipe_process))] = None
    picture: Annotated[bool, Depends(in_loop(is_picture))] = False
    style: Annotated[AskedStyle | None, Depends(in_loop(recipe_style))] = None
    cover_scale: Annotated[int | None, Query(include_in_schema=False, gt=0, le=1000)] = None


def open_recipe(recipe: Recipe, **options: Any) -> PairReader:
    """The reader of `/cog` on what a recipe names."""
    return open_request(recipe.request, **options)
