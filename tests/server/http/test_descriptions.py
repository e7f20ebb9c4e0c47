"""Each band's own description in every answer that has one (docs/upstream.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rasterio.warp import transform
from rio_tiler.io import Reader
from starlette.testclient import TestClient

from tests.helpers.scenes import BANDS, UTM, make_pair, write_pair
from tests.helpers.service import application

ASKED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, list(BANDS)),
    ({"bidx": [3, 2]}, ["red", "green"]),
    ({"bidx": 6}, ["swir22"]),
    ({"expression": "b1/b2;b6"}, ["blue/green", "swir22"]),
    ({"expression": "(b4-b3)/(b4+b3)"}, ["(nir-red)/(nir+red)"]),
]


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_pair(tmp_path_factory.mktemp("described"), make_pair(size=(64, 64)))


@pytest.fixture(scope="module")
def client(rasters: dict[str, str]) -> Iterator[TestClient]:
    with application(Path(rasters["url"]).parent) as client:
        yield client


@pytest.mark.parametrize(("asked", "expected"), ASKED)
@pytest.mark.parametrize("fills", [False, True])
def test_bands_are_described_each_by_its_own_text(
    client: TestClient, rasters: dict[str, str], asked: dict[str, Any], expected: list[str], fills: bool
) -> None:
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [500_300], [4_599_700])
    params = asked | (rasters if fills else {"url": rasters["url"]})
    point = client.get(f"/cog/point/{lon},{lat}", params=params).json()
    assert point["band_descriptions"] == expected
    statistics = client.get("/cog/statistics", params=params).json()
    assert [band["description"] for band in statistics.values()] == expected


def test_the_correction_is_needed_still(rasters: dict[str, str]) -> None:
    with Reader(rasters["url"]) as reader:
        assert reader.preview().band_descriptions == ["swir22"] * 6
