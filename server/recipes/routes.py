"""`/recipes`: the list, and for every recipe the routes of `/cog`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute
from titiler.core.dependencies import TileParams
from titiler.core.factory import TilerFactory

from server.http.asgi import Scope, below_root
from server.http.inloop import in_loop, no_environment
from server.http.matrices import MATRIX_SETS
from server.http.openapi import PAGE_OR_JSON
from server.http.pages import TEMPLATES
from server.http.prepared import add_prepared, prepared_routes
from server.http.render import render
from server.http.scenes import SceneExtension
from server.http.shared import chooser_of, sources_of
from server.http.states import used_states
from server.http.validate import ValidateExtension
from server.http.wmts import WmtsExtension, WmtsLayer
from server.recipes.model import Recipe
from server.recipes.params import (
    TILE_PARAMETERS,
    RecipeParams,
    named_recipe,
    open_recipe,
    recipe_bands,
    recipe_colormap,
    recipe_colours,
    recipe_dataset,
    recipe_process,
    recipes_of,
)
from server.recipes.rasters import shown_bands_of
from server.recipes.store import Broken
from server.remote.redaction import redacted

_LINKS = {
    "map": ("WebMercatorQuad/map.html", "Map"),
    "tilejson": ("WebMercatorQuad/tilejson.json", "TileJSON"),
    "tiles": ("tiles/WebMercatorQuad/{z}/{x}/{y}", "Tiles"),
    "wmts": ("WMTSCapabilities.xml", "WMTS"),
    "info": ("info", "Information"),
}

# The page carries its style and nothing else: should text of a recipe ever escape, it cannot run.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ClearSky recipes</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 3rem auto; padding: 0 1rem; color: #1d2733 }}
h1 {{ margin-bottom: 0 }} h2 {{ font-size: 1.1rem; margin: 0 }} code {{ background: #eef2f6; padding: .1rem .3rem }}
section {{ border: 1px solid #d5dde5; border-radius: .4rem; margin: 1rem 0; padding: .8rem 1rem }}
section p {{ margin: .3rem 0; overflow-wrap: anywhere }}
section.broken {{ border-color: #c0392b }} nav a {{ margin-right: 1rem }} small {{ color: #5a6b7b }}
</style>
<h1>Recipes</h1>
<p>Each is a cloud-free layer under one name: paste its tile address into any map.</p>
{sections}
</html>
"""


def named_in_recipe(scope: Scope) -> list[str]:
    """What the answers below `/recipes/NAME/` depend on: the recipe and the files it is made from."""
    app = scope["app"]
    sources = sources_of(app)
    recipe = recipes_of(app).get(below_root(scope).split("/")[2]).admitted(sources)
    query = QueryParams(scope["query_string"])
    recipe = recipe.styled(query)
    shown = shown_bands_of(recipe, sources, query)
    request = chooser_of(app).resolved(replace(recipe.request, shown=shown))
    return [recipe.digest, *used_states(request, sources, scope)]


def _links(base: str, name: str) -> list[dict[str, Any]]:
    return [
        {"rel": rel, "href": f"{base}recipes/{name}/{path}", "title": title}
        | ({"templated": True} if "{" in path else {})
        for rel, (path, title) in _LINKS.items()
    ]


def _good_section(title: str, name: str, links: list[dict[str, Any]]) -> str:
    anchors = "".join(
        f'<a href="{escape(link["href"])}">{escape(link["title"])}</a>' for link in links if "templated" not in link
    )
    tiles = next(link["href"] for link in links if link["rel"] == "tiles")
    return (
        f"<section><h2>{escape(title)} <small>{escape(name)}</small></h2>"
        f"<nav>{anchors}</nav><p><code>{escape(tiles)}</code></p></section>"
    )


def _broken_section(broken: Broken) -> str:
    problems = "".join(f"<p>{escape(redacted(problem))}</p>" for problem in broken.error.problems)
    return f'<section class="broken"><h2>{escape(broken.file)} <small>cannot be used</small></h2>{problems}</section>'


def list_recipes(request: Request) -> Response:
    """List the recipes and where to find their layers: HTML for browsers, JSON otherwise."""
    recipes = recipes_of(request.app)
    base = str(request.base_url)
    entries = [(recipe.title, recipe.name, _links(base, recipe.name)) for recipe in recipes.good.values()]
    if "text/html" in request.headers.get("accept", ""):
        sections = [_good_section(*entry) for entry in entries] + [_broken_section(b) for b in recipes.broken]
        nothing = "<p>None yet: put one into the folder that <code>CLEARSKY_RECIPES</code> names.</p>"
        return HTMLResponse(_PAGE.format(sections="\n".join(sections) or nothing), headers=_HEADERS)
    content = {
        "recipes": [{"name": name, "title": title, "links": links} for title, name, links in entries],
        "broken": [
            {"name": b.name, "file": b.file, "problems": [*map(redacted, b.error.problems)]} for b in recipes.broken
        ],
    }
    return JSONResponse(content, headers={"Cache-Control": "no-cache", "Vary": "Accept"})


def _layer(recipe: Recipe) -> WmtsLayer:
    """What a recipe is called in a WMTS."""
    kind = "A layer without its clouds" if recipe.request.replacements else "A layer as it was taken"
    return WmtsLayer(recipe.name, recipe.title, f"{kind}: the recipe {recipe.name} of ClearSky")


def add_recipes(app: FastAPI) -> None:
    """Add `/recipes` and everything below it, and read the folder once, so that its errors are logged at start.

    Args:
        app: The application to add the routes to.
    """
    recipes_of(app)
    app.get("/recipes", tags=["Recipes"], response_class=HTMLResponse, responses=PAGE_OR_JSON)(list_recipes)
    add_prepared(app, _recipe_routes())


@cache
def _recipe_routes() -> tuple[BaseRoute, ...]:
    """Routes of one recipe."""
    dependencies: dict[str, Any] = {  # functions, where TiTiler's annotations name classes
        "reader": open_recipe,
        "reader_dependency": in_loop(RecipeParams),
        "path_dependency": named_recipe,
        "layer_dependency": recipe_bands,
        "dataset_dependency": in_loop(recipe_dataset),
        "process_dependency": in_loop(recipe_process),
        "colormap_dependency": in_loop(recipe_colormap),
        "render_dependency": in_loop(recipe_colours),
        "tile_dependency": in_loop(TileParams),
        "environment_dependency": no_environment,
    }
    wmts = WmtsExtension(TILE_PARAMETERS, layer_of=_layer)
    factory = TilerFactory(
        name="recipes",
        render_func=render,
        templates=TEMPLATES,
        router_prefix="/recipes/{name}",
        supported_tms=MATRIX_SETS,
        add_ogc_maps=True,
        extensions=[
            wmts,
            ValidateExtension(request_of=lambda recipe: recipe.request),
            SceneExtension(request_of=lambda recipe: recipe.request),
        ],
        **dependencies,
    )
    return prepared_routes((factory.router, "/recipes/{name}", "Recipes"))
