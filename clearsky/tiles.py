"""Map tiles of a scene, from a server in this process on its own machine."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algorithms.errors import ParameterError
from clearsky.extras import extra_package
from server.settings import Settings

BBox = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(slots=True)
class LocalTiles:
    """Map tiles of a scene, served by this process on its own machine until `close`."""

    url: str
    """Address of the tiles, with {z}, {x} and {y}."""
    bounds: BBox
    """West, south, east, north in degrees."""
    zooms: tuple[int, int]
    """Least and greatest useful zoom."""
    _stop: Any
    """Ends the server."""

    def close(self) -> None:
        """Stop serving."""
        self._stop()

    def to_ipyleaflet(self, **options: Any) -> Any:
        """A layer for `ipyleaflet.Map` and `leafmap`.

        Raises:
            MissingPackageError: ipyleaflet is not installed.
        """
        return extra_package("ipyleaflet").TileLayer(url=self.url, max_zoom=self.zooms[1] + 2, **options)

    def to_folium(self, **options: Any) -> Any:
        """A layer for `folium.Map`.

        Raises:
            MissingPackageError: folium is not installed.
        """
        return extra_package("folium").TileLayer(
            tiles=self.url, attr="ClearSky", overlay=True, max_zoom=self.zooms[1] + 2, **options
        )


def serve_tiles(settings: Settings, own: Sequence[str], query: str) -> LocalTiles:
    """Serve tiles by the server itself, on a port of this machine that is free.

    Args:
        settings: caches, threads and credentials.
        own: rasters that may be read, whatever the allow-list says.
        query: parameters of the tiles' addresses.

    Raises:
        ParameterError: what the query asks for cannot be served.
    """
    import uvicorn  # noqa: PLC0415  (start-up)

    from server.app import create_app  # noqa: PLC0415

    app = create_app(settings, own=own)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, name="clearsky-tiles", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ParameterError("the local tile server does not start; see the log")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    try:
        with urllib.request.urlopen(f"{base}/cog/WebMercatorQuad/tilejson.json?{query}") as answer:  # noqa: S310
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        stop()
        raise ParameterError(json.load(error)["detail"]) from error
    url = f"{base}/cog/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.webp?{query}"
    return LocalTiles(url, tuple(told["bounds"]), (told["minzoom"], told["maxzoom"]), stop)
