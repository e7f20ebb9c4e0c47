"""OWSLib over HTTP: from an address to the capabilities to a tile."""

from __future__ import annotations

import httpx2
import pytest
from owslib.wmts import WebMapTileService

from tests.clients.conftest import Site


@pytest.mark.parametrize("path", ["/cog/WMTSCapabilities.xml?{query}", "/recipes/july/WMTSCapabilities.xml"])
def test_owslib_has_the_tile(site: Site, path: str) -> None:
    service = WebMapTileService(site.base + path.format(query=site.query))
    (name,) = service.contents
    zoom, column, row = site.tile
    tile = service.gettile(
        layer=name,
        tilematrixset="WebMercatorQuad",
        tilematrix=str(zoom),
        row=row,
        column=column,
        format="image/png",
        style="default",
    )
    direct = httpx2.get(f"{site.base}/cog/tiles/WebMercatorQuad/{zoom}/{column}/{row}.png?{site.query}", timeout=60)
    assert tile.read() == direct.content
    assert direct.headers["content-type"] == "image/png"
