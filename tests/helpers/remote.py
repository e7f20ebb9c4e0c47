"""What the tests of remote rasters share: one image of three rasters, wherever these are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.shutil import copy as copy_raster
from starlette.testclient import TestClient

from tests.helpers.rangeserver import RangeServer
from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_raster

CHECK = 0.15
"""Seconds for which a file counts as unchanged in these tests."""
TIMEOUT = 0.9
"""Seconds for a server that stalls, in these tests."""
SIZE = (256, 256)
PATH = "/cog/bbox/500000,4597440,502560,4600000.png"
NAMES = {"url": "target.tif", "replacement": "replacement.tif", "mask": "mask.tif"}
COMMON: dict[str, Any] = {
    "coord_crs": "EPSG:32633",
    "dst_crs": "EPSG:32633",
    "bidx": [3, 2, 1],
    "rescale": "0,9000",
    "algorithm_params": '{"residual": false, "buffer": 0}',
    "algorithm": "cloud_removal",
    **CLEAR_REPLACEMENTS,
}
PLAIN = {name: value for name, value in COMMON.items() if not name.startswith(("algorithm", "replacement"))}


def write_cog(path: Path, data: np.ndarray, **options: Any) -> None:
    """Write a cloud-optimized GeoTIFF: its header first, so that reading pixels is another request."""
    whole = path.with_suffix(".whole")
    write_raster(whole, data, **options)
    copy_raster(whole, path, driver="COG", compress="deflate", blocksize=128)
    whole.unlink()


def at(base: str, **others: str) -> dict[str, Any]:
    """Parameters for the rasters under an address."""
    return COMMON | {name: base + file for name, file in NAMES.items()} | others


def address(served: RangeServer, folder: Path) -> str:
    return f"{served.base}{folder.name}/"


def good(client: TestClient, params: dict[str, Any], **options: Any) -> bytes:
    answer = client.get(PATH, params=params, **options)
    assert answer.status_code == 200, answer.text
    return answer.content


def settled() -> None:
    """Wait until what is known of remote files is looked up again."""
    time.sleep(1.3 * CHECK)


def rewrite(folder: Path, seed: int) -> None:
    """Another target under the same name."""
    write_cog(folder / "new.tif", make_pair(size=SIZE, seed=seed).target)
    (folder / "new.tif").replace(folder / "target.tif")
