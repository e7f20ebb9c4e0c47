"""A recipe as the viewer's address has it, so that the page can show its scene, other settings and all views of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Query, Request
from starlette.concurrency import run_in_threadpool

from algorithms.errors import ParameterError
from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS
from server.http.shared import sources_of
from server.raster.sources import Sources
from server.recipes.model import Recipe, recipe_of
from server.recipes.params import recipes_of
from server.recipes.rasters import band_indexes
from server.work.document import YAML_BYTES
from server.work.ticket import holding

UNSEEN_KEYS: Final = ("expression", "color_formula", "colormap_name", "unscale", "resampling", "reproject")
"""Keys of a recipe's `render` that the page has nothing for."""

QueryPairs = list[tuple[str, str]]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def viewer_query(recipe: Recipe, sources: Sources) -> QueryPairs:
    """The parameters of the viewer's address that show a recipe.

    Args:
        recipe: the recipe, its rasters admitted.
        sources: what describes its target, whose bands it may show by name.

    Raises:
        BandError: the recipe shows a band that its target does not have.
    """
    request, render = recipe.request, recipe.render
    pairs = [("url", request.target)]
    for parameter in PARAMETERS.values():
        value = getattr(request, parameter.field or parameter.name)
        if parameter.name == "mask_remap":
            value = value.text if value is not None else None
        if value is None or value == ():
            continue
        if isinstance(value, tuple) and not parameter.repeated:
            value = ",".join(map(str, value))
        values = value if isinstance(value, tuple) else (value,)
        pairs += [(parameter.name, _written(part)) for part in values]
    changed = {name: value for name, value in recipe.options.items() if value != OPTIONS[name].default}
    pairs += [(name, _written(value)) for name, value in changed.items()]
    if render.style is not None:
        pairs.append(("style", render.style))
    numbers = band_indexes(recipe, sources) or []
    pairs += [("bidx", str(number)) for number in numbers]
    limits = render.rescale or ()
    limits = limits * len(numbers) if len(limits) == 1 and numbers else limits
    pairs += [("rescale", f"{_written(low)},{_written(high)}") for low, high in limits]
    return pairs


def _viewed(recipe: Recipe, sources: Sources) -> dict[str, Any]:
    with holding():
        recipe = recipe.admitted(sources)
        query = viewer_query(recipe, sources)
    unseen = [name for name in UNSEEN_KEYS if getattr(recipe.render, name) is not None]
    return {"name": recipe.name, "title": recipe.title, "query": query, "unseen": unseen}


def add_viewed_recipes(app: FastAPI) -> None:
    """Add `/viewer/recipe.json`: a recipe of the folder by its name, or one that is sent.

    Args:
        app: The application to add the routes to.
    """

    @app.get("/viewer/recipe.json", include_in_schema=False)
    def named(request: Request, name: str = Query(max_length=64)) -> dict[str, Any]:
        """A recipe of the folder."""
        return _viewed(recipes_of(request.app).get(name), sources_of(request.app))

    @app.post("/viewer/recipe.json", include_in_schema=False)
    async def sent(request: Request) -> dict[str, Any]:
        """A recipe in the body, whose relative paths start where the server's own do."""
        content = await request.body()
        if len(content) > YAML_BYTES:
            raise ParameterError(f"{len(content)} bytes are more than {YAML_BYTES}; a recipe is a short file")
        recipe = recipe_of(content, Path("recipe.yaml"))
        return await run_in_threadpool(_viewed, recipe, sources_of(request.app))
