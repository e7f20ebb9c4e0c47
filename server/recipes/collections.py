"""`/collections`: recipes as OGC API - Tiles has them, for clients that find tiles by links."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import JSONResponse

from algorithms.errors import ParameterError
from server.http.matrices import MATRIX_SETS
from server.http.shared import SharedAnalysis, SharedSettings, SharedSources
from server.http.tilesets import TiledRaster, TileSet, tiled
from server.recipes.params import Named, RecipeParams, open_recipe, recipes_of

_COMMON: Final = "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf"
_TILES: Final = "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf"
COLLECTION_CLASSES: Final = (
    f"{_COMMON}/collections",
    *(f"{_TILES}/{name}" for name in ("core", "tileset", "tilesets-list", "geodata-tilesets", "png", "jpeg")),
)
"""Conformance classes that these routes fulfil."""
_RELATION: Final = "http://www.opengis.net/def/rel/ogc/1.0"
_CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_FORMATS: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""Formats of tiles that are linked, by suffix."""
_LATEST: Final = {"Cache-Control": "no-cache"}
"""The folder of recipes may change at any time."""

GridName = Annotated[str, Path(description="Name of a tile matrix set; `/tileMatrixSets` lists them")]


def _link(rel: str, href: str, title: str, media: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"rel": rel, "href": href, "type": media, "title": title} | more


def _collection(base: str, name: str, title: str) -> dict[str, Any]:
    """What `/collections` says of a recipe, without looking at its rasters."""
    own, recipe = f"{base}collections/{name}", f"{base}recipes/{name}"
    links = [
        _link("self", own, title),
        _link(f"{_RELATION}/tilesets-map", f"{own}/map/tiles", "Map tiles"),
        _link(f"{_RELATION}/map", f"{recipe}/map?f=png&crs={_CRS84}", "Map in degrees", "image/png"),
        _link("preview", f"{recipe}/preview.png", "Preview", "image/png"),
    ]
    return {"id": name, "title": title, "dataType": "map", "links": links}


def tiles_of_recipe(
    recipe: Named, sources: SharedSources, analysis: SharedAnalysis, settings: SharedSettings
) -> TiledRaster:
    """The tiles of a recipe on every grid that contains it."""
    options = RecipeParams(sources, analysis, settings).as_dict()
    # OpenLayers takes the first of the limits for those of the first matrix.
    return tiled(partial(open_recipe, recipe, **options), MATRIX_SETS, from_first=True)


Tiled = Annotated[TiledRaster, Depends(tiles_of_recipe)]


def _tile_set(request: Request, name: str, title: str, tiles: TileSet) -> dict[str, Any]:
    """What both descriptions of a tile set say; the link to itself is the first."""
    own = f"{request.base_url}collections/{name}/map/tiles/{tiles.name}"
    scheme = str(request.url_for("tilematrixset", tileMatrixSetId=tiles.name))
    return {
        "title": f"{title} ({tiles.name})",
        "dataType": "map",
        "crs": tiles.grid.crs.model_dump(mode="json"),
        # morecantile gives WGS1984Quad the URI of WorldCRS84Quad, which has its axes the other way round.
        "tileMatrixSetURI": uri if (uri := str(tiles.grid.uri)).endswith(f"/{tiles.name}") else scheme,
        "links": [
            _link("self", own, "Tile set"),
            _link(f"{_RELATION}/tiling-scheme", scheme, f"Tile matrix set {tiles.name}"),
        ],
    }


def list_collections(request: Request) -> JSONResponse:
    """List the recipes as collections."""
    base = str(request.base_url)
    found = [_collection(base, recipe.name, recipe.title) for recipe in recipes_of(request.app).good.values()]
    links = [_link("self", f"{base}collections", "Collections")]
    return JSONResponse({"links": links, "collections": found}, headers=_LATEST)


def describe_collection(request: Request, recipe: Named, raster: Tiled) -> JSONResponse:
    """Describe a recipe as a collection: where it is, and the links to its tiles."""
    spatial = {"bbox": [list(raster.bounds)], "crs": _CRS84}
    content = _collection(str(request.base_url), recipe.name, recipe.title) | {"extent": {"spatial": spatial}}
    for tiles in raster.sets[:1]:  # GDAL has its resolution of a map from here
        content["scaleDenominator"] = tiles.grid.matrix(tiles.limits[-1].zoom).scaleDenominator
    return JSONResponse(content, headers=_LATEST)


def list_tile_sets(request: Request, recipe: Named, raster: Tiled) -> JSONResponse:
    """List the tile sets of a recipe: the grids that contain it."""
    links = [_link("self", f"{request.base_url}collections/{recipe.name}/map/tiles", "Tile sets")]
    sets = [_tile_set(request, recipe.name, recipe.title, tiles) for tiles in raster.sets]
    return JSONResponse({"links": links, "tilesets": sets}, headers=_LATEST)


def describe_tile_set(request: Request, tileMatrixSetId: GridName, recipe: Named, raster: Tiled) -> JSONResponse:
    """Describe the tiles of a recipe on one grid: their addresses, and which of them there are."""
    tiles = next((tiles for tiles in raster.sets if tiles.name == tileMatrixSetId), None)
    if tiles is None:
        there = ", ".join(tiles.name for tiles in raster.sets)
        raise ParameterError(f"{tileMatrixSetId} does not contain the recipe {recipe.name!r}: choose one of {there}")
    content = _tile_set(request, recipe.name, recipe.title, tiles)
    address = f"{request.base_url}recipes/{recipe.name}/tiles/{tiles.name}/{{tileMatrix}}/{{tileCol}}/{{tileRow}}"
    content["links"] += [
        _link("item", f"{address}.{suffix}", f"Tiles as {media}", media, templated=True)
        for suffix, media in _FORMATS.items()
    ]
    west, south, east, north = raster.bounds
    content["boundingBox"] = {"lowerLeft": [west, south], "upperRight": [east, north], "crs": _CRS84}
    content["tileMatrixSetLimits"] = [
        {
            "tileMatrix": tiles.grid.matrix(limit.zoom).id,
            "minTileRow": limit.rows[0],
            "maxTileRow": limit.rows[1],
            "minTileCol": limit.columns[0],
            "maxTileCol": limit.columns[1],
        }
        for limit in tiles.limits
    ]
    return JSONResponse(content, headers=_LATEST)


def add_collections(app: FastAPI) -> None:
    """Add `/collections` and everything below it."""
    own = "/collections/{name}"
    for path, route in (
        ("/collections", list_collections),
        (own, describe_collection),
        (f"{own}/map/tiles", list_tile_sets),
        (f"{own}/map/tiles/{{tileMatrixSetId}}", describe_tile_set),
    ):
        app.get(path, tags=["Recipes as OGC collections"])(route)
