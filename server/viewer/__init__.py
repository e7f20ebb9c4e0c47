"""The viewer: one page of plain HTML, CSS and JavaScript that compares the original with its cloud-free picture.

Leaflet comes from its PyPI package and the page names every address relative to itself, so the viewer works offline
and below any path prefix a proxy adds.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response

from algorithms.fill import UNFILLED
from algorithms.options import OPTIONS, Option
from algorithms.palettes import PALETTES, PaletteClass
from algorithms.styles import STYLES, Style
from server.analysis.candidates import KNOWN_COLLECTIONS
from server.analysis.parameters import PARAMETERS
from server.analysis.request import MOST_REPLACEMENTS
from server.errors import SourceError
from server.http.pages import Assets
from server.http.shared import sources_of
from server.raster.sources import Sources
from server.settings import Settings
from server.viewer.listing import local_scenes

_FOLDER: Final = Path(__file__).parent

# Leaflet styles elements through the DOM, which the policy admits, so no inline style needs to be allowed; its
# placeholder for tiles that are given up is a data URI.
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:{images}; object-src 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}

COLLECTIONS: Final = tuple(dict.fromkeys(name for names in KNOWN_COLLECTIONS.values() for name in names))
"""Collections that a search may be for, as the public archives call them; others can be typed."""
FIELD_PARAMETERS: Final = frozenset({"replacement"})
"""Parameters of a request, next to its `url`, that the page has fields for."""


def _demo_file(path: Path, sources: Sources) -> str | None:
    """A file of the demo scene as a request would name it, if it exists."""
    try:
        sources.check(str(path))
    except SourceError:  # missing, or not admitted
        return None
    return str(path)


def viewer_defaults(settings: Settings, sources: Sources) -> dict[str, Any]:
    """What the page shows by default: the demo scene; what it sends: options and further parameters; what it offers.

    Args:
        settings: what the operator has set.
        sources: which rasters may be read.
    """
    url, replacement = (_demo_file(settings.demo / name, sources) for name in ("cloudy.tif", "clear.tif"))
    complete = url is not None and replacement is not None
    return {
        "url": url if complete else None,
        "replacement": [replacement] if complete else [],
        "options": [_field(option) for option in OPTIONS.values()],
        "styles": [_style(style) for style in STYLES.values() if style.scaling in ("tone", "index")],
        "palettes": {name: _legend(name, classes) for name, classes in PALETTES.items()},
        "passed_on": [name for name in PARAMETERS if name not in FIELD_PARAMETERS],
        "base_map": _base_map(settings),
        "search": {"api": settings.stac_api, "collections": list(COLLECTIONS)},
        "lists_scenes": settings.list_scenes,
    }


def _base_map(settings: Settings) -> dict[str, str] | None:
    """The tiles below the scene, if the operator has set any."""
    if settings.base_map is None:
        return None
    return {"url": settings.base_map, "attribution": settings.base_map_attribution}


def page_policy(base_map: str | None) -> str:
    """The page's content security policy, which admits the pictures of a base map and nothing else of other hosts.

    Args:
        base_map: address of its tiles.
    """
    parts = urlsplit(base_map or "")
    return _POLICY.format(images=f" {parts.scheme}://{parts.netloc}" if parts.netloc else "")


def _field(option: Option) -> dict[str, Any]:
    """An option: a slider if there is a range, a list if there are choices, else a switch; no field if advanced."""
    values = {} if option.range is None else asdict(option.range)
    shown = {name: getattr(option, name) for name in ("name", "default", "description", "advanced")}
    return {**shown, "choices": option.tiled_choices, **values}


def _style(style: Style) -> dict[str, Any]:
    """A style that the page offers."""
    return {"name": style.name, "title": style.title, "bands": style.bands, "index": style.scaling == "index"}


def _legend(name: str, classes: tuple[PaletteClass, ...]) -> list[dict[str, Any]]:
    """A palette as a legend, without the sources that no request has."""
    numbered = name == "fill_source"
    used = [part for part in classes if not numbered or part.low <= MOST_REPLACEMENTS or part.low == UNFILLED]
    return [
        {"low": part.low, "colour": f"rgb({', '.join(map(str, part.colour))})", "label": part.label} for part in used
    ]


def add_viewer(app: FastAPI) -> None:
    """Add `/viewer`, its assets and its defaults.

    Args:
        app: The application to add the routes to.
    """
    viewer_files = Assets(directory=_FOLDER / "static")

    @app.get("/viewer", tags=["Service"], response_class=FileResponse)
    def viewer() -> Response:
        """Compare original and cloud-free picture under a swipe bar."""
        policy = page_policy(app.state.services.settings.base_map)
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        return FileResponse(_FOLDER / "viewer.html", media_type="text/html", headers=headers)

    @app.get("/viewer/defaults.json", include_in_schema=False)
    def defaults() -> dict[str, Any]:
        """The demo scene, if it has been made, and the parameters that an address of the page may have."""
        return viewer_defaults(app.state.services.settings, sources_of(app))

    @app.get("/viewer/scenes.json", include_in_schema=False)
    def scenes() -> dict[str, Any]:
        """Scenes in the admitted folders, where the operator lets them be listed."""
        if not app.state.services.settings.list_scenes:
            return {"scenes": [], "more": False}
        found, more = local_scenes(sources_of(app).allowed.folders)
        return {"scenes": found, "more": more}

    # Routes rather than mounts: a mount below a root path answers only requests that still carry the prefix, so it
    # fails behind a proxy that strips it.
    @app.api_route("/viewer/static/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def viewer_file(path: str, request: Request) -> Response:
        """A file of the page."""
        return await viewer_files.get_response(path, request.scope)
