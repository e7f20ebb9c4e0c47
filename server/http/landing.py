"""The landing page: links for people and for programs."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

LINKS: Final = (
    ("viewer", "viewer", "Viewer: original and cloud-free side by side"),
    ("recipes", "recipes", "Recipes: cloud-free layers under one name"),
    ("api", "service-doc", "Interactive documentation"),
    ("openapi.json", "service-desc", "OpenAPI description"),
    ("algorithms", "algorithms", "Algorithms and their parameters"),
    ("tileMatrixSets", "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes", "Tile matrix sets"),
    ("colorMaps", "colorMaps", "Colour maps"),
    ("conformance", "http://www.opengis.net/def/rel/ogc/1.0/conformance", "OGC conformance classes"),
    ("healthz", "healthz", "Health and versions"),
)
"""Path, relation and title of every link."""

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
        items = "".join(f'<li><a href="{base}{path}">{title}</a></li>' for path, _, title in LINKS)
        return HTMLResponse(_PAGE.format(items=items))
    links = [{"href": base + path, "rel": rel, "title": title} for path, rel, title in LINKS]
    own = {"href": base, "rel": "self", "title": "This page"}
    return JSONResponse({"title": "ClearSky", "description": "Cloud-free tiles on the fly", "links": [own, *links]})
