"""The application: routers, middleware, errors."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import rasterio
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from morecantile import tms as all_tms
from rio_tiler.errors import NoOverviewWarning
from starlette.middleware.cors import CORSMiddleware
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, TilerFactory, TMSFactory
from titiler.extensions.wmts import wmtsExtension

from server import __version__
from server.analysis.state import get_analysis, preload
from server.http.claims import Claims
from server.http.landing import landing_page
from server.http.middleware import ImageHeaders, PathPrefix, named_in_query
from server.http.params import ALGORITHMS, PairParams, dataset_path, process
from server.http.reader import PairReader
from server.http.render import render
from server.http.statuses import add_error_handlers
from server.recipes.params import TILE_PARAMETERS
from server.recipes.routes import add_recipes, named_in_recipe
from server.remote.guard import seal
from server.settings import get_settings
from server.viewer import add_viewer

DESCRIPTION = """Removes clouds from satellite images on the fly.

Give a cloudy raster as `url` and another date of the same place as `replacement` to any `/cog` route."""


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.request_threads
    if settings.model_preload:
        await anyio.to_thread.run_sync(preload, settings.model_preload)
    yield
    if get_analysis.cache_info().currsize:
        get_analysis().close()


def create_sealed_app() -> FastAPI:
    """Build the application for a process of its own, whose GDAL opens nothing by name from now on."""
    seal()
    return create_app()


def create_app() -> FastAPI:
    """Build the application from the settings."""
    settings = get_settings()
    # Rasters without overviews work, only slower; a warning per request helps nobody.
    warnings.simplefilter("ignore", NoOverviewWarning)
    app = FastAPI(
        title="ClearSky",
        description=DESCRIPTION,
        version=__version__,
        docs_url="/api",
        redoc_url=None,
        lifespan=_lifespan,
    )
    cog = TilerFactory(
        reader=PairReader,
        reader_dependency=PairParams,
        path_dependency=dataset_path,
        process_dependency=process,
        render_func=render,
        router_prefix="/cog",
        add_ogc_maps=True,
        extensions=[wmtsExtension(tile_dependencies=TILE_PARAMETERS)],
    )
    matrices = TMSFactory(supported_tms=all_tms)
    algorithms = AlgorithmFactory(supported_algorithm=ALGORITHMS)
    colormaps = ColorMapFactory()
    app.include_router(cog.router, prefix="/cog", tags=["Cloud-free rasters"])
    add_recipes(app)
    app.include_router(matrices.router, tags=["Tile matrix sets"])
    app.include_router(algorithms.router, tags=["Algorithms"])
    app.include_router(colormaps.router, tags=["Colour maps"])
    conformance = sorted(
        {"http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core"}.union(
            *(factory.conforms_to for factory in (cog, matrices, algorithms, colormaps))
        )
    )

    @app.get("/healthz", tags=["Service"])
    async def healthz() -> dict[str, Any]:
        """Tell that the server is up, and its versions; answered even when every request thread is busy."""
        versions = {"clearsky": __version__, "rasterio": rasterio.__version__, "gdal": rasterio.__gdal_version__}
        return {"status": "ok", "versions": versions}

    @app.get("/conformance", tags=["Service"])
    def declare_conformance() -> dict[str, list[str]]:
        """List the OGC conformance classes."""
        return {"conformsTo": conformance}

    @app.get("/", tags=["Service"], response_class=HTMLResponse)
    def landing(request: Request) -> Response:
        """Introduce the service: HTML for browsers, JSON otherwise."""
        return landing_page(request)

    add_viewer(app)
    add_error_handlers(app)
    app.add_middleware(ImageHeaders, resolvers={"/cog/": named_in_query, "/recipes/": named_in_recipe})
    app.add_middleware(Claims)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "HEAD", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=["ETag", "Server-Timing", "X-Clearsky-Cloud-Fraction", "X-Clearsky-Filled-Fraction"],
    )
    if settings.root_path.strip("/"):
        app.add_middleware(PathPrefix, prefix=settings.root_path)
    return app
