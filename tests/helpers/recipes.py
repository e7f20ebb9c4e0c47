"""What the tests of recipes share: the command, and a place in the scene."""

from __future__ import annotations

import sys

import pytest
from rasterio.warp import transform_bounds

from server.cli import main
from tests.helpers.scenes import UTM

WEST, SOUTH, EAST, NORTH = transform_bounds(UTM, "EPSG:4326", 500_000, 4_597_000, 503_000, 4_600_000)
TILE = "WebMercatorQuad/13/4437/3055"


def clearsky(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """Exit status of `clearsky recipe ...`."""
    monkeypatch.setattr(sys, "argv", ["clearsky", "recipe", *map(str, args)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
