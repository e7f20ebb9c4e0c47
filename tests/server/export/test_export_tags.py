"""What an export says about its origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio

from algorithms.models import MODELS
from server.export.tags import acquisition_date, source_id


def test_provenance_tells_sources_model_and_parameters(demo: dict[str, Path]) -> None:
    with rasterio.open(demo["out"]) as out, rasterio.open(demo["provenance"]) as provenance:
        assert provenance.descriptions == ("source", "confidence", "classes")
        assert (provenance.crs, provenance.transform, provenance.shape) == (out.crs, out.transform, out.shape)
        assert provenance.dtypes == ("uint8",) * 3
        for tags in (out.tags(), provenance.tags()):
            assert tags["CLEARSKY_TARGET"] == "cloudy.tif"
            assert tags["CLEARSKY_REPLACEMENT_1"] == "clear.tif"
            assert tags["CLEARSKY_TARGET_DATE"] == "2025-07-05"
            assert tags["CLEARSKY_REPLACEMENT_1_DATE"] == "2025-08-09"
            assert MODELS[tags["CLEARSKY_MODEL"]].files[0].sha256 == tags["CLEARSKY_MODEL_SHA256"]
            assert json.loads(tags["CLEARSKY_PARAMETERS"])["window"] == 80


@pytest.mark.parametrize(
    ("tags", "name", "date"),
    [
        ({"ACQUISITION_DATE": "2020-01-02", "TIFFTAG_DATETIME": "2021:05:06 00:00:00"}, "a_20180705.tif", "2020-01-02"),
        ({"datetime": "2018-07-05T10:00:31Z"}, "a.tif", "2018-07-05"),
        ({"TIFFTAG_DATETIME": "2018:07:05 10:00:31"}, "a.tif", "2018-07-05"),
        ({}, "S2A_MSIL1C_20180705T100031_N0206_R122_T33TTG.tif", "2018-07-05"),
        ({}, "LC08_L1TP_192030_20150804_20170226_01_T1.tif", "2015-08-04"),
        ({"DATE": "yesterday"}, "scene_201807051.tif", None),
    ],
)
def test_date_of_an_image(tags: dict[str, str], name: str, date: str | None) -> None:
    assert acquisition_date(tags, name) == date


def test_addresses_are_told_without_secrets() -> None:
    assert source_id("https://host/a/b.tif?sig=secret#x") == "https://host/a/b.tif"
    assert source_id("/home/me/b.tif") == "b.tif"
