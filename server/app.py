"""The application: routers, middleware, errors."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from morecantile.errors import PointOutsideTMSBounds
from rio_tiler.errors import NoOverviewWarning
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from titiler.core.dependencies import BidxExprParams, ColorMapParams, DatasetParams, TileParams
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, TilerFactory, TMSFactory

from server import __version__
from server.analysis.state import preload
from server.http.finding import add_search
from server.http.guards import add_guards
from server.http.health import add_health, kept_current
from server.http.inloop import in_loop, no_environment
from server.http.landing import landing_page
from server.http.logs import configure_logs
from server.http.looks import PictureParams
from server.http.matrices import MATRIX_SETS
from server.http.middleware import ImageHeaders, PathPrefix
from server.http.observation import RouteNote, observe
from server.http.openapi import PAGE_OR_JSON, declare_errors
from server.http.pages import TEMPLATES, PagePolicy, add_pages
from server.http.params import ALGORITHMS, ReaderParams, asked_request, process
from server.http.prepared import EVERY_ROUTE, add_prepared, prepared_routes
from server.http.reader import open_request
from server.http.remembered import TileRoute
from server.http.render import render
from server.http.replacements import add_replacements
from server.http.scaled import ScaledTiles
from server.http.scenes import SceneExtension
from server.http.states import named_in_query, ranked_in_query
from server.http.statuses import add_error_handlers
from server.http.telemetry import add_telemetry
from server.http.validate import ValidateExtension
from server.http.wmts import WmtsExtension
from server.recipes.collections import COLLECTION_CLASSES, add_collections
from server.recipes.params import TILE_PARAMETERS
from server.recipes.routes import add_recipes, named_in_recipe
from server.recipes.viewed import add_viewed_recipes
from server.remote.guard import seal
from server.remote.redaction import redact_logs
from server.services import Services
from server.settings import Settings
from server.viewer import add_viewer

DESCRIPTION = """Removes clouds from satellite images on the fly.

Give a cloudy raster as `url` and another date of the same place as `replacement` to any route below `/cog`; scenes of
several files, such as STAC Items, below `/stac`; what an operator named in a recipe is below `/recipes`."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    settings = services.settings
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.request_threads
    await anyio.to_thread.run_sync(preload, settings.model_preload)
    async with kept_current(services.metrics), services.warm_start.around(app):
        yield
    services.close()


def create_sealed_app() -> FastAPI:
    """Build the application for a separate process, whose GDAL opens nothing by name from then on."""
    seal()
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings)


def _tiles(prefix: str, *, telemetry: bool) -> TilerFactory:
    """TiTiler's routes on what the query names, each with a span of its own where requests are traced."""
    return TilerFactory(
        router=APIRouter(route_class=APIRoute if telemetry else TileRoute),
        enable_telemetry=telemetry,
        reader=open_request,  # type: ignore[arg-type]  # a function does as well
        path_dependency=asked_request,
        reader_dependency=in_loop(ReaderParams),
        layer_dependency=in_loop(BidxExprParams),
        dataset_dependency=in_loop(DatasetParams),
        tile_dependency=in_loop(TileParams),
        process_dependency=in_loop(process),
        colormap_dependency=in_loop(ColorMapParams),
        render_dependency=in_loop(PictureParams),
        environment_dependency=no_environment,  # type: ignore[arg-type]  # it is awaited
        render_func=render,
        templates=TEMPLATES,
        router_prefix=prefix,
        supported_tms=MATRIX_SETS,
        add_ogc_maps=True,
        extensions=[
            WmtsExtension(TILE_PARAMETERS),
            ValidateExtension(),
            SceneExtension(),
        ],
    )


@cache
def _tile_routes(*, telemetry: bool) -> tuple[tuple[BaseRoute, ...], frozenset[str]]:
    """Routes below `/cog` and `/stac`, and the conformance classes that TiTiler states for them."""
    cog, stac = (_tiles(prefix, telemetry=telemetry) for prefix in ("/cog", "/stac"))
    routes = prepared_routes(
        (cog.router, "/cog", "Cloud-free rasters"), (stac.router, "/stac", "Cloud-free scenes of several files")
    )
    return routes, frozenset(cog.conforms_to)


@cache
def _reference_routes() -> tuple[BaseRoute, ...]:
    """Routes that describe what other routes take."""
    matrices = TMSFactory(supported_tms=MATRIX_SETS, templates=TEMPLATES)
    algorithms = AlgorithmFactory(supported_algorithm=ALGORITHMS, templates=TEMPLATES)
    colormaps = ColorMapFactory(templates=TEMPLATES)
    return prepared_routes(
        (matrices.router, "", "Tile matrix sets"),
        (algorithms.router, "", "Algorithms"),
        (colormaps.router, "", "Colour maps"),
    )


def create_app(settings: Settings | None = None, *, own: Iterable[str] = ()) -> FastAPI:
    """Build the application.

    Args:
        settings: what the operator has set; read from the environment where none are given.
        own: datasets that the process's own user names, which the allow-list does not apply to.

    Raises:
        ParameterError: an entry of the allow-list that cannot be understood; telemetry that is not installed.
    """
    settings = settings or Settings()
    # Rasters without overviews work, only slower; a warning per request helps nobody.
    warnings.simplefilter("ignore", NoOverviewWarning)
    # Nor does one for each tile matrix set that a dataset lies outside of: WMTS lists them all.
    warnings.simplefilter("ignore", PointOutsideTMSBounds)
    app = FastAPI(
        title="ClearSky",
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        dependencies=EVERY_ROUTE,
    )
    redact_logs()
    app.state.services = Services.of(settings, own)
    tiles, conforms_to = _tile_routes(telemetry=settings.telemetry)
    add_prepared(app, tiles)
    add_replacements(app)
    add_search(app)
    add_recipes(app)
    add_collections(app)
    add_prepared(app, _reference_routes())
    # Of OGC API - Tiles what holds for recipes: no description of a set of tiles by TiTiler has the `item` link.
    maps = {name for name in conforms_to if "/ogcapi-maps-1/" in name}
    common = "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core"
    conformance = sorted({common, *COLLECTION_CLASSES} | maps)

    add_health(app)

    @app.get("/conformance", tags=["Service"])
    def declare_conformance() -> dict[str, list[str]]:
        """List the OGC conformance classes."""
        return {"conformsTo": conformance}

    @app.get("/", tags=["Service"], response_class=HTMLResponse, responses=PAGE_OR_JSON)
    def landing(request: Request) -> Response:
        """Introduce the service: HTML for browsers, JSON otherwise."""
        return landing_page(request)

    add_viewer(app)
    add_viewed_recipes(app)
    add_pages(app)
    add_error_handlers(app)
    app.add_middleware(PagePolicy)
    resolvers = {
        "/stac/replacements": ranked_in_query,
        "/stac/": named_in_query,
        "/cog/": named_in_query,
        "/recipes/": named_in_recipe,
    }
    declare_errors(app, (*resolvers, "/collections/"))
    app.add_middleware(
        ImageHeaders,
        resolvers=resolvers,
        cachecontrol=settings.cachecontrol,
        threads=settings.request_threads,
        answers=app.state.services.answers,
    )
    app.add_middleware(ScaledTiles)
    add_guards(app, settings, app.state.services.stuck, app.state.services.activity)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "HEAD", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=[
            "ETag",
            "Server-Timing",
            "X-Clearsky-Cloud-Fraction",
            "X-Clearsky-Filled-Fraction",
            "X-Clearsky-Replacements",
            "X-Clearsky-Warning",
            "X-Request-Id",
        ],
    )
    app.add_middleware(RouteNote)
    if settings.root_path.strip("/"):
        app.add_middleware(PathPrefix, prefix=settings.root_path)
    observe(app, app.state.services.metrics, app.state.services.recent)
    if settings.telemetry:
        add_telemetry(app)
    return app
