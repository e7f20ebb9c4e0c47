"""`/WMTSCapabilities.xml`: one layer per raster, scene or recipe, on the grids that contain it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from attrs import define, field
from fastapi import Depends, HTTPException, Query
from fastapi import Request as HttpRequest
from morecantile import TileMatrixSet
from starlette.datastructures import QueryParams
from titiler.core.dependencies import ZoomsParams
from titiler.core.factory import FactoryExtension, TilerFactory
from titiler.core.resources.enums import ImageType
from titiler.core.resources.responses import XMLResponse
from titiler.core.utils import check_query_params, dependencies_to_openapi_params

from algorithms.errors import ParameterError
from server.analysis.request import Request
from server.http.pages import TEMPLATES
from server.http.tilesets import tiled
from server.remote.signatures import shown_name
from server.scenes.bandlist import expanded, is_band_list

_OWN: Final = frozenset(
    {"tile_format", "use_epsg", "tilesize", "zooms"}
    | {"service", "request", "version", "acceptversions", "sections", "updatesequence", "acceptformats"}
)
"""Parameters of the document, in small letters, that its tiles do not have."""
_SUFFIXES: Final = (".tif", ".tiff", ".jp2", ".json", ".geojson", ".safe", ".zip", ".tar")


@define(frozen=True)
class WmtsLayer:
    """What a layer is called."""

    identifier: str
    """In requests."""
    title: str
    """For people."""
    abstract: str
    """What it shows."""


def short_name(url: str) -> str:
    """What people call a raster or scene: the last part of its name, without folders, host, signature and suffix."""
    name = PurePosixPath(shown_name(expanded(url)[0] if is_band_list(url) else url).split("?")[0]).name
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix) and suffix.lower() in _SUFFIXES else name


def layer_of(request: Request) -> WmtsLayer:
    """The layer of what a query names."""
    name = short_name(request.target) or "layer"
    if not request.replacements:
        return WmtsLayer(name, name, f"{name} as it was taken")
    others = ", ".join(map(short_name, request.replacements))
    return WmtsLayer(name, f"{name} without clouds", f"{name} with its clouds filled from {others}")


def _crs_name(tms: TileMatrixSet, *, epsg: bool) -> str:
    """The name of a set's CRS, as WMTS 1.0 has it."""
    code = tms.crs.to_epsg()
    if code is None:
        return "urn:ogc:def:crs:OGC:1.3:CRS84" if "CRS84" in tms.crs.srs else str(tms.crs.srs)
    return f"EPSG:{code}" if epsg else f"urn:ogc:def:crs:EPSG::{code}"


@define
class WmtsExtension(FactoryExtension):
    """Adds the capabilities to a factory.

    TiTiler's own repeat the layer for every grid, also for those that no client of WMTS 1.0 can use, with all of their
    matrices, and call it by the path of its file.
    """

    tile_dependencies: list[Callable[..., Any]] = field()
    """What declares the parameters of a tile, which are checked here."""
    layer_of: Callable[[Any], WmtsLayer] = layer_of
    """What the result of the factory's path dependency is called."""

    def register(self, factory: TilerFactory) -> None:  # type: ignore[override]
        """Add the route."""

        @factory.router.get(
            "/WMTSCapabilities.xml",
            response_class=XMLResponse,
            responses={200: {"content": {"application/xml": {}}, "description": "Capabilities of the WMTS."}},
            operation_id=f"{factory.operation_prefix}getWMTS",
            openapi_extra={"parameters": dependencies_to_openapi_params(self.tile_dependencies)},
        )
        def wmts(
            request: HttpRequest,
            tile_format: Annotated[ImageType, Query(description="Format of the tiles")] = ImageType.png,
            use_epsg: Annotated[
                bool, Query(description="Name CRS as `EPSG:3857`, which ArcMap needs, instead of by URN")
            ] = False,
            # Annotations are text here and could not name the factory.
            src_path: Any = Depends(factory.path_dependency),  # noqa: B008
            zooms: Any = Depends(ZoomsParams),  # noqa: B008
            reader_params: Any = Depends(factory.reader_dependency),  # noqa: B008
        ) -> Any:
            """Describe the tiles as a RESTful WMTS 1.0."""
            query = urlencode([pair for pair in request.query_params.multi_items() if pair[0].lower() not in _OWN])
            if not check_query_params(self.tile_dependencies, QueryParams(query)):
                raise HTTPException(400, "the parameters of the tiles cannot be read; see `/api` for what they may be")
            opened = partial(factory.reader, src_path, **reader_params.as_dict())
            raster = tiled(opened, factory.supported_tms, zooms=zooms)
            if not raster.sets:
                raise ParameterError("no tile matrix set contains the raster: serve it as XYZ tiles, or give `zooms`")
            place = {"z": "{TileMatrix}", "x": "{TileCol}", "y": "{TileRow}", "format": tile_format.value}
            address = factory.url_for(request, "tile", tileMatrixSetId="{TileMatrixSet}", **place)
            context = {
                "layer": self.layer_of(src_path),
                "sets": [(tiles, _crs_name(tiles.grid, epsg=use_epsg)) for tiles in raster.sets],
                "bounds": raster.bounds,
                "media_type": tile_format.mediatype,
                "template": f"{address}?{query}" if query else address,
            }
            return TEMPLATES.TemplateResponse(request, "wmts.xml", context, media_type="application/xml")
