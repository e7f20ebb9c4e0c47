"""HTML pages that need nothing from other hosts: TiTiler's own, the map, the interactive documentation."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import fastapi_offline
import jinja2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from xstatic.pkg import leaflet

_FOLDER: Final = Path(__file__).parent

POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""Content security policy of every HTML answer without one of its own. TiTiler's tables carry styles."""

TEMPLATES: Final = Jinja2Templates(
    env=jinja2.Environment(
        autoescape=jinja2.select_autoescape(["html", "xml"]),
        loader=jinja2.ChoiceLoader(
            [jinja2.FileSystemLoader(_FOLDER / "templates"), jinja2.PackageLoader("titiler.core", "templates")]
        ),
    )
)
"""TiTiler's templates with ours in place of those that load files from other hosts."""


class Assets(StaticFiles):
    """Static files that browsers revalidate, so that an upgrade of the server never meets an old script."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304 where the browser's copy is current."""
        response = super().file_response(*args, **kwargs)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response


class PagePolicy:
    """ASGI middleware that gives HTML answers a content security policy."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Add the headers to answers of type HTML."""

        async def answer(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", POLICY)
                    headers.setdefault("X-Content-Type-Options", "nosniff")
                    headers.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        await self.app(scope, receive, answer if scope["type"] == "http" else send)


def add_pages(app: FastAPI) -> None:
    """Add `/api` and the files that pages load, below `/assets`.

    Args:
        app: The application to add the routes to; its own documentation page is switched off.
    """
    folders = {
        "leaflet": Assets(directory=leaflet.BASE_DIR),
        "swagger": Assets(directory=str(files(fastapi_offline) / "static")),
        "pages": Assets(directory=_FOLDER / "static"),
    }

    # Routes rather than mounts: a mount below a root path answers only requests that still carry the prefix, so it
    # fails behind a proxy that strips it.
    @app.api_route("/assets/{folder}/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def asset(folder: str, path: str, request: Request) -> Response:
        """A file that a page loads."""
        if folder not in folders:
            return Response("not found", status_code=404)
        return await folders[folder].get_response(path, request.scope)

    @app.get("/api", include_in_schema=False, response_class=HTMLResponse)
    def documentation(request: Request) -> Response:
        """The interactive documentation."""
        return TEMPLATES.TemplateResponse(request, "api.html", {"title": app.title})
