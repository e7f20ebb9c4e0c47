"""The one table that maps every error to an HTTP status, and the handlers that answer with it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from rasterio.errors import CRSError, RasterioError, RasterioIOError
from rio_tiler.errors import RioTilerError, TileOutsideBounds
from starlette.responses import JSONResponse, Response
from titiler.core.errors import DEFAULT_STATUS_CODES

from algorithms.errors import ClearSkyError
from server.errors import (
    AbandonedError,
    OverdueError,
    RecipeError,
    RecipeMissingError,
    SourceBusyError,
    SourceChangedError,
    SourceFaultError,
    SourceForbiddenError,
    SourceMissingError,
    SourceTimeoutError,
)
from server.settings import get_settings

logger = logging.getLogger("clearsky")

STATUS: Final[dict[type[Exception], int]] = {
    **DEFAULT_STATUS_CODES,
    RioTilerError: 400,
    RasterioIOError: 502,
    RasterioError: 400,
    CRSError: 400,
    ClearSkyError: 400,
    SourceForbiddenError: 403,
    SourceMissingError: 404,
    SourceFaultError: 502,
    SourceChangedError: 503,
    SourceBusyError: 503,
    SourceTimeoutError: 504,
    RecipeMissingError: 404,
    RecipeError: 422,
    AbandonedError: 499,
    OverdueError: 503,
    Exception: 500,
}
"""Error class to HTTP status; the nearest base class counts."""


def _handler(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, TileOutsideBounds) and get_settings().empty_outside:
            return Response(status_code=204)
        if status >= 500:
            logger.error("%s %s: %r", request.method, request.url.path, error, exc_info=error)
        detail = (
            str(error)
            if status < 500 or isinstance(error, (RasterioError, ClearSkyError))
            else "internal error; see the server's log"
        )
        return JSONResponse({"detail": detail}, status_code=status)

    return handle


async def _invalid_request(_: Request, error: Exception) -> Response:
    """Bad parameters: one line per value instead of pydantic's structure."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"][1:]) or str(item["loc"][0])
        parts.append(f"{where}={item.get('input')!r}: {item['msg']}")
    return JSONResponse({"detail": "; ".join(parts)[:2000]}, status_code=400)


def add_error_handlers(app: FastAPI) -> None:
    """Register the table with the application."""
    for error, status in STATUS.items():
        app.add_exception_handler(error, _handler(status))
    app.add_exception_handler(RequestValidationError, _invalid_request)
