"""The one table that maps every error to an HTTP status, and the answers made from it."""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, RasterioError, RasterioIOError
from rio_tiler.errors import RioTilerError, TileOutsideBounds
from starlette.responses import JSONResponse, Response
from titiler.core.errors import DEFAULT_STATUS_CODES

from algorithms.errors import ClearSkyError, InputError
from server.errors import (
    AbandonedError,
    BodyTimeoutError,
    BodyTooLargeError,
    BusyError,
    MissingPackageError,
    OverdueError,
    QueryTooLongError,
    RecipeMissingError,
    ShutdownError,
    SourceBusyError,
    SourceChangedError,
    SourceFaultError,
    SourceForbiddenError,
    SourceMissingError,
    SourceTimeoutError,
    SourceUnreadableError,
    UnwritableError,
)
from server.remote.redaction import redacted
from server.work.trace import request_id

logger = logging.getLogger("clearsky")

STATUS: Final[dict[type[Exception], int]] = {
    **DEFAULT_STATUS_CODES,
    RioTilerError: 400,
    RasterioIOError: 502,
    RasterioError: 400,
    CPLE_BaseError: 502,
    ProjError: 400,
    CRSError: 400,
    InputError: 400,
    RecipeMissingError: 404,
    SourceUnreadableError: 400,
    BodyTooLargeError: 413,
    QueryTooLongError: 414,
    BodyTimeoutError: 408,
    SourceForbiddenError: 403,
    SourceMissingError: 404,
    SourceFaultError: 502,
    SourceChangedError: 503,
    SourceBusyError: 503,
    SourceTimeoutError: 504,
    AbandonedError: 499,
    OverdueError: 503,
    BusyError: 503,
    ShutdownError: 503,
    UnwritableError: 500,
    MissingPackageError: 500,
    MemoryError: 503,
    Exception: 500,
}
"""Error class to HTTP status; the nearest base class counts."""

LONGEST_DETAIL: Final = 2000
"""Characters of an answer's detail."""

_REFUSALS: Final = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, AssertionError, RecursionError)
"""Errors that libraries raise when a request's values make no sense to them."""
_OURS: Final = frozenset({"server", "algorithms"})
_CHECKED: Final = ("algorithms.", "server.analysis.")
"""What computes with values that have been checked."""
_COMPUTING: Final = frozenset({"numpy", "numba", "llvmlite", "scipy", "onnxruntime"})
"""What it computes with."""
_NO_WAY: Final = re.compile(r"coordinate operation|transformation|reprojection|\bPROJ\b", re.IGNORECASE)
_PATH: Final = re.compile(r"(?:/[^\s/:;,'\"()]+){2,}/?")


def status_of(error: Exception) -> int:
    """The status for an error; a missing transformation between CRS is not damage."""
    if isinstance(error, CPLE_BaseError) and _NO_WAY.search(str(error)):
        return 400
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _without_paths(text: str) -> str:
    """Text of a library that may name files of the server."""
    return _PATH.sub("...", text)


def _refused_by_library(error: Exception) -> bool:
    """Whether a library raised this at values of the request that our code, or TiTiler, handed on to it.

    The algorithms and the analysis check what a request says before they compute: where numpy and the like fail below
    them, that is a fault of the server.
    """
    trace: TracebackType | None = error.__traceback__
    modules: list[str] = []
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    if not modules or _package(modules[-1]) in _OURS:
        return False
    caller = next((module for module in reversed(modules) if _package(module) in _OURS), "")
    return not (_package(modules[-1]) in _COMPUTING and caller.startswith(_CHECKED))


def _package(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _detail(error: Exception, status: int) -> str:
    if isinstance(error, ClearSkyError):
        return str(error)
    if isinstance(error, CPLE_BaseError) and status >= 500:
        return f"the dataset cannot be read: {_without_paths(str(error))}; it is damaged, or of an unsupported kind"
    if isinstance(error, MemoryError):
        return "the answer needs more memory than there is; ask for a smaller image"
    if status < 500 or isinstance(error, RasterioError):
        return _without_paths(str(error))
    return f"internal error {request_id.get()}; the server's log has details under this number"


def error_response(error: Exception) -> Response:
    """The answer for an error; one that is the server's own fault is logged, once, with the request's number.

    An error of a library at values that no check foresaw is the request's fault: 400, and logged, so that the check can
    be written. One from within the algorithms is the server's.
    """
    status = status_of(error)
    if status == 500 and isinstance(error, _REFUSALS) and _refused_by_library(error):
        logger.warning("%s: unexpected: %r", request_id.get(), error, exc_info=error)
        detail = (
            f"the request's values cannot be used together: {redacted(_without_paths(str(error)))[:200]}; change them"
        )
        return JSONResponse({"detail": detail}, status_code=400)
    if status >= 500:
        # What is documented needs no traceback; the rest is a fault of the server.
        logger.error("%s: %r", request_id.get(), error, exc_info=error if status == 500 else None)
    return JSONResponse({"detail": redacted(_detail(error, status))[:LONGEST_DETAIL]}, status_code=status)


async def _answer(_: Request, error: Exception) -> Response:
    return error_response(error)


async def _outside(request: Request, error: Exception) -> Response:
    """A tile outside the dataset: cached as long as a tile inside."""
    settings = request.app.state.services.settings
    response = Response(status_code=204) if settings.empty_outside else error_response(error)
    response.headers["Cache-Control"] = settings.cachecontrol
    return response


async def _invalid_request(_: Request, error: Exception) -> Response:
    """Bad parameters: one line per value instead of pydantic's structure."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"][1:]) or str(item["loc"][0])
        missing = item["type"] == "missing"
        parts.append(f"`{where}` is missing" if missing else f"{where}={repr(item.get('input'))[:200]}: {item['msg']}")
    parts = list(dict.fromkeys(parts))  # two dependencies may declare one parameter
    return JSONResponse({"detail": redacted("; ".join(parts))[:LONGEST_DETAIL]}, status_code=400)


def add_error_handlers(app: FastAPI) -> None:
    """Register the table with the application; `Failsafe` answers what is not in it."""
    for error in STATUS:
        if error is not Exception:
            app.add_exception_handler(error, _answer)
    app.add_exception_handler(TileOutsideBounds, _outside)
    app.add_exception_handler(RequestValidationError, _invalid_request)
