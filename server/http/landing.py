"""The landing page: links for people and for programs."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

_HTML: Final = "text/html"
_JSON: Final = "application/json"
LINKS: Final = (
    ("viewer", "viewer", "Viewer: original and cloud-free side by side", _HTML),
    ("recipes", "recipes", "Recipes: cloud-free layers under one name", _JSON),
    ("collections", "data", "Recipes as OGC collections", _JSON),
    ("api", "service-doc", "Interactive documentation", _HTML),
    ("openapi.json", "service-desc", "OpenAPI description", "application/vnd.oai.openapi+json;version=3.0"),
    ("algorithms", "algorithms", "Algorithms and their parameters", _JSON),
    ("tileMatrixSets", "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes", "Tile matrix sets", _JSON),
    ("colorMaps", "colorMaps", "Colour maps", _JSON),
    ("conformance", "http://www.opengis.net/def/rel/ogc/1.0/conformance", "OGC conformance classes", _JSON),
    ("healthz", "healthz", "Health and versions", _JSON),
)
"""Path, relation, title and media type of every link."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>ClearSky</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; color: #1d2733 }}
h1 {{ margin-bottom: 0 }} li {{ margin: .3rem 0 }} code {{ background: #eef2f6; padding: .1rem .3rem }}
</style>
<h1>ClearSky</h1>
<p>Removes clouds from satellite images on the fly.</p>
<ul>{items}</ul>
<p>Tiles: <code>cog/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}?url=CLOUDY&amp;replacement=CLEAR</code></p>
</html>
"""


def landing_page(request: Request) -> Response:
    """HTML for browsers, JSON otherwise."""
    base = str(request.base_url)
    if "text/html" in request.headers.get("accept", ""):
        items = "".join(f'<li><a href="{base}{path}">{title}</a></li>' for path, _, title, _ in LINKS)
        return HTMLResponse(_PAGE.format(items=items))
    links = [{"href": base + path, "rel": rel, "type": media, "title": title} for path, rel, title, media in LINKS]
    own = {"href": base, "rel": "self", "type": _JSON, "title": "This page"}
    return JSONResponse({"title": "ClearSky", "description": "Cloud-free tiles on the fly", "links": [own, *links]})
