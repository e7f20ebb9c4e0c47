"""`/healthz`, `/readyz` and `/metrics`: what machines ask for, answered even when every request thread is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import anyio
import anyio.to_thread
import rasterio
from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from algorithms.loops import compiled_loops
from algorithms.sessions import SESSIONS
from server import __version__
from server.http.openapi import PROBLEM
from server.remote.redaction import redacted_values
from server.work.metrics import Metrics
from server.work.readiness import Dependency, Readiness, is_ready

CHECK_SECONDS: Final = 2.0
"""Time for all checks together: a folder on a file server that does not answer must not hold up the probe."""
SAMPLE_SECONDS: Final = 5.0
"""Between two looks at what is not counted as it happens; Prometheus asks every 15 s."""
_METRICS_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The metrics"}
}
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Something that every request needs fails",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}}},
    }
}


@asynccontextmanager
async def kept_current(metrics: Metrics) -> AsyncIterator[None]:
    """Keep the figures of this process up to date meanwhile, for the one of several that is asked for all."""

    async def keep() -> None:
        while True:
            metrics.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(keep()) if metrics.shared else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


def add_health(app: FastAPI) -> None:
    """Register the routes."""
    limiter = CapacityLimiter(2)

    @app.get("/healthz", tags=["Service"])
    async def healthz() -> dict[str, Any]:
        """Report that the server is up, its versions, where its models run, and whether its loops are compiled."""
        versions = {"clearsky": __version__, "rasterio": rasterio.__version__, "gdal": rasterio.__gdal_version__}
        provider = {"name": SESSIONS.provider, "warning": SESSIONS.fallback}
        shared = app.state.services.analysis.shared
        cache = None if shared is None else asdict(shared.state)
        loops = compiled_loops().state
        return {"status": "ok", "versions": versions, "provider": provider, "loops": loops, "shared_cache": cache}

    @app.get("/readyz", tags=["Service"], responses=_NOT_READY)
    async def readyz(request: Request) -> JSONResponse:
        """Report whether the server can work, and the state of everything that it depends on."""
        states = await _states(request.app.state.services.readiness, limiter)
        ready = is_ready(states)
        body: dict[str, Any] = {
            "status": "ready" if ready else "not ready",
            "dependencies": {name: asdict(part) for name, part in states.items()},
        }
        if not ready:
            failed = "; ".join(f"{name}: {part.detail}" for name, part in states.items() if part.state == "failed")
            body["detail"] = f"not ready: {failed}"
        return JSONResponse(redacted_values(body), status_code=200 if ready else 503)

    @app.get("/metrics", tags=["Service"], response_class=Response, responses=_METRICS_CONTENT)
    async def read_metrics(request: Request) -> Response:
        """Report the metrics for Prometheus."""
        metrics: Metrics = request.app.state.services.metrics
        content, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


async def _states(readiness: Readiness, limiter: CapacityLimiter) -> dict[str, Dependency]:
    """The states, looked up in a thread of their own kind."""
    states = {"requests": _requests()}
    with anyio.move_on_after(CHECK_SECONDS):
        return states | await anyio.to_thread.run_sync(readiness.states, limiter=limiter, abandon_on_cancel=True)
    failed = Dependency("failed", f"not finished within {CHECK_SECONDS:g} s: a file server may not be answering")
    return states | {"checks": failed}


def _requests() -> Dependency:
    """Whether requests wait for a thread: the others would wait as long, so that this alone takes no server away."""
    known = anyio.to_thread.current_default_thread_limiter().statistics()
    detail = f"{known.borrowed_tokens} of {known.total_tokens:g} threads at work, {known.tasks_waiting} requests wait"
    return Dependency("degraded" if known.tasks_waiting else "ok", detail)
