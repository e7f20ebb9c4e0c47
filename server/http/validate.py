"""`/validate`: whether a raster is a cloud-optimized GeoTIFF, by TiTiler's check, but opened as every raster is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from attrs import define
from fastapi import Depends, Query
from rio_cogeo.cogeo import cog_info
from rio_cogeo.models import Info
from titiler.core.factory import FactoryExtension, TilerFactory
from titiler.core.resources.responses import JSONResponse

from server.analysis.request import Request
from server.http.shared import SharedSources
from server.remote.signatures import shown_name
from server.work.ticket import holding


@define
class ValidateExtension(FactoryExtension):
    """Adds `/validate` to a factory; TiTiler's own opens the path it is given with any driver."""

    request_of: Callable[[Any], Request] = lambda asked: asked
    """The request in what the factory's path dependency gives."""

    def register(self, factory: TilerFactory) -> None:  # type: ignore[override]
        """Add the route."""

        @factory.router.get(
            "/validate",
            response_model=Info,
            response_class=JSONResponse,
            operation_id=f"{factory.operation_prefix}validate",
        )
        def validate(
            # An annotation is text here and could not name the factory.
            src_path: Any = Depends(factory.path_dependency),  # noqa: B008
            *,
            sources: SharedSources,
            strict: Annotated[bool, Query(description="Treat warnings as errors")] = False,
        ) -> Info:
            """Validate a COG."""
            url = self.request_of(src_path).target
            with holding(), sources.open(url) as src:
                return cog_info(src.name, strict=strict).model_copy(update={"Path": shown_name(url)})
