"""Pictures of any data type and format are stock TiTiler's, and clear ground stays so when clouds are filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from starlette.testclient import TestClient

from tests.helpers.scenes import CLEAR_REPLACEMENTS, Pair, make_pair, write_raster
from tests.helpers.service import application
from tests.helpers.stock import check_same_picture, picture, stock_titiler

TYPES = ("uint8", "int8", "uint16", "int16", "float32")
FORMATS = ("", ".png", ".jpeg", ".webp", ".jp2", ".tif", ".npy")
QUERIES: dict[str, dict[str, Any]] = {
    "one band": {"bidx": 1},
    "three bands": {"bidx": [3, 2, 1]},
    "expression": {"expression": "(b4-b3)/(b4+b3)"},
    "algorithm": {"algorithm": "normalizedIndex", "bidx": [3, 4]},
    "colours": {"bidx": 1, "colormap_name": "viridis", "rescale": "0,100"},
}
FILLED = (*FORMATS[:4], ".tif")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(96, 110), seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.fixture(scope="module")
def stock() -> Iterator[TestClient]:
    with stock_titiler() as client:
        yield client


def written(folder: Path, name: str, values: np.ndarray, dtype: str) -> str:
    """A raster of a data type, in numbers that suit it."""
    scaled = values / 100 if dtype in ("uint8", "int8") else values / 1e4 if dtype.startswith("float") else values
    return write_raster(folder / f"{name}-{dtype}.tif", scaled.clip(0, 127 if dtype == "int8" else None).astype(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_format_is_the_stock_one(
    client: TestClient, stock: TestClient, folder: Path, pair: Pair, dtype: str, query: dict[str, Any]
) -> None:
    params = {"url": written(folder, "plain", pair.target, dtype), **query}
    answered = 0
    for ending in FORMATS:
        ours, theirs = (app.get(f"/cog/preview{ending}", params=params) for app in (client, stock))
        if theirs.status_code < 500:
            check_same_picture(ours, theirs)
            answered += theirs.status_code == 200
    assert answered >= 4


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_filled_picture_has_the_stock_form(
    client: TestClient, stock: TestClient, folder: Path, pair: Pair, dtype: str, query: dict[str, Any]
) -> None:
    url = written(folder, "plain", pair.target, dtype)
    replacement = written(folder, "other", pair.replacement, dtype)
    mask = write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    for ending in FILLED:
        asked = {"url": url, "replacement": replacement, "mask": mask, **CLEAR_REPLACEMENTS}
        filled = client.get(f"/cog/preview{ending}", params=asked | query)
        plain = stock.get(f"/cog/preview{ending}", params={"url": url, **query})
        assert (filled.status_code, plain.status_code) == (200, 200), filled.text[:300]
        assert filled.headers["content-type"] == plain.headers["content-type"]
        ours, theirs = (picture(answer.content, answer.headers["content-type"]) for answer in (filled, plain))
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert float(filled.headers["x-clearsky-filled-fraction"]) > 0.2
        if ending == ".tif":
            clear = ~ndimage.binary_dilation(pair.mask, np.ones((15, 15), bool))
            np.testing.assert_array_equal(ours[:, clear], theirs[:, clear])
            assert "rescale" in query or (ours != theirs).any()
