"""Every query parameter by its bound: what is passed on, what is refused, and that refusals name value and remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from algorithms.errors import ClearSkyError, ParameterError
from algorithms.reclassify import reclassify
from server.analysis.request import MOST_REPLACEMENTS
from server.errors import QueryTooLongError
from server.http.checks import CHECKS, check_values
from server.http.queries import LONGEST_QUERY, checked_query
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

GOOD = [
    ("bidx", ["1", "2", "3"]),
    ("expression", ["(b4-b3)/(b4+b3)"]),
    ("rescale", ["0,3000", "[0,1000]", "-1,1"]),
    ("color_formula", ["gamma RGB 1.5 saturation 1.2"]),
    ("colormap", ['{"1": "#ff0000", "2": [0, 255, 0], "-3": [0, 0, 255, 128]}']),
    ("colormap", ['[[[0, 0.5], "#fff"], [[0.5, 1], [0, 0, 0, 0]]]']),
    ("colormap", [json.dumps({str(k): [k, k, k, 255] for k in range(256)})]),
    ("algorithm_params", ['{"window": 80, "buffer": 4}']),
    ("mask_remap", ["1 1;2 1;3 1"]),
    ("width", ["1024"]),
    ("max_size", ["1024"]),
    ("buffer", ["0.5"]),
    ("maxzoom", ["24"]),
    ("zooms", ["*::0,24", "WebMercatorQuad::3,9"]),
    ("p", ["2", "98"]),
    ("c", ["1", "2.5", "-3"]),
    ("histogram_bins", ["20"]),
    ("histogram_bins", ["0,100,200"]),
    ("histogram_range", ["0,1000"]),
    ("bbox", ["1,2,3,4"]),
    ("nodata", ["nan"]),
    ("reflectance_scale", ["0.0001"]),
    ("url", ["a.tif"] * MOST_REPLACEMENTS),
    ("anything", ["else"]),
    ("width", ["wide"]),  # not of its type: TiTiler says so
]

BAD = [
    ("bidx", ["1"] * 1000),
    ("bidx", ["9" * 5000]),
    ("bidx", ["1e400"]),
    ("expression", ["+".join(["b1"] * 3000)]),
    ("expression", ["b1", "b2"]),
    ("rescale", ["0,3000"] * 1000),
    ("rescale", ["nan,nan"]),
    ("rescale", ["0,inf"]),
    ("rescale", ["7,7"]),
    ("color_formula", ["gamma RGB 1.5 " * 100]),
    ("colormap", ["{"]),
    ("colormap", ["{}"]),
    ("colormap", ["[]"]),
    ("colormap", ["7"]),
    ("colormap", ['"text"']),
    ("colormap", ["null"]),
    ("colormap", ['{"a": [1, 2, 3]}']),
    ("colormap", ['{"1": [1, 2]}']),
    ("colormap", ['{"1": [1, 2, 3000]}']),
    ("colormap", ['{"1": [1.5, 2, 3]}']),
    ("colormap", ['{"1": [true, 2, 3]}']),
    ("colormap", ['{"1": "red"}']),
    ("colormap", ['{"1": {"2": "#fff"}}']),
    ("colormap", ['{"1": null}']),
    ("colormap", ['[[1, "#fff"]]']),
    ("colormap", ['[[["a", "b"], "#fff"]]']),
    ("colormap", ['[[[0, 1, 2], "#fff"]]']),
    ("colormap", ['[[[0, NaN], "#fff"]]']),
    ("colormap", ["[1, 2, 3]"]),
    ("colormap", ["[" * 10_000]),
    ("colormap", ['{"' + "9" * 5000 + '": "#fff"}']),
    ("colormap", ['{"1": [' + "9" * 5000 + ", 0, 0]}"]),
    ("colormap", [json.dumps({str(k): "#fff" for k in range(1100)})]),
    ("algorithm_params", ["{"]),
    ("algorithm_params", ['{"a":' * 50]),
    ("algorithm_params", ['{"window": Infinity}']),
    ("algorithm_params", ['{"window": ' + "9" * 5000 + "}"]),
    ("algorithm_params", ["[" + "1," * 3000 + "1]"]),
    ("mask_remap", ["1 1;" * 8000]),
    ("width", ["-1"]),
    ("height", ["99999999999"]),
    ("max_size", ["9" * 5000]),
    ("buffer", ["inf"]),
    ("buffer", ["nan"]),
    ("buffer", ["1e308"]),
    ("padding", ["100000"]),
    ("minzoom", ["-1"]),
    ("maxzoom", ["999999999"]),
    ("zooms", ["*::0,999999999"]),
    ("zooms", ["*::9,3"]),
    ("zooms", ["*::0,3"] * 1000),
    ("p", ["101"]),
    ("p", ["-1"]),
    ("p", ["50"] * 1000),
    ("c", ["nan"]),
    ("c", ["1"] * 5000),
    ("histogram_bins", ["100000000"]),
    ("histogram_bins", ["0"]),
    ("histogram_bins", ["3,2,1"]),
    ("histogram_bins", [",".join(["1"] * 11_000)]),
    ("histogram_range", ["5,1"]),
    ("histogram_range", ["1,1"]),
    ("histogram_range", ["0,inf"]),
    ("histogram_range", ["nan,1"]),
    ("bbox", ["0,0,1.0e999,1"]),
    ("nodata", ["1" * 100]),
    ("reflectance_scale", ["nan"]),
    ("reflectance_offset", ["1e300"]),
    ("replacement", ["a.tif"] * 65),
    ("replacement", ["a.tif"] * 300),
    ("url", ["a.tif"] * 1000),
]


@pytest.mark.parametrize(("name", "values"), GOOD, ids=lambda value: str(value)[:30])
def test_good_values_pass(name: str, values: list[str]) -> None:
    assert check_values(name, values) == values
    query = urlencode([(name, value) for value in values]).encode()
    assert checked_query(query) == query


@pytest.mark.parametrize(("name", "values"), BAD, ids=lambda value: str(value)[:30])
def test_bad_values_do_not(name: str, values: list[str]) -> None:
    with pytest.raises(ParameterError if name != "mask_remap" else ClearSkyError) as caught:
        check_values(name, values)
    assert name.partition("_")[0] in str(caught.value)
    assert len(str(caught.value)) < 500


def test_every_bound_is_tried() -> None:
    similar = {"height": "width", "tilesize": "width", "replacement_mask": "replacement"}
    similar |= {f"replacement_{name}": name for name in ("reflectance_scale", "reflectance_offset")}
    for cases in (GOOD, BAD):
        tried = {name for name, _ in cases}
        assert {similar.get(name, name) for name in CHECKS} - {"replacement", "padding", "minzoom"} <= tried | {
            "reflectance_offset"
        }


@given(st.sampled_from(sorted([*CHECKS, "dst_crs"])), st.text(max_size=60) | st.from_regex(r"[-0-9.,e\[\]{}:\"]{0,40}"))
def test_any_text_passes_or_is_refused(name: str, text: str) -> None:
    with suppress(ClearSkyError):  # and nothing else
        checked_query(urlencode({name: text}, errors="replace").encode())


def test_long_queries() -> None:
    with pytest.raises(QueryTooLongError):
        checked_query(b"a=" + b"b" * LONGEST_QUERY)
    with pytest.raises(ParameterError, match="4096 parameters"):
        checked_query(b"&".join([b"a=1"] * 5000))


def test_order_and_repetition_are_kept() -> None:
    query = b"url=a&bidx=3&bidx=2&bidx=1&x=%C3%A9&empty="
    assert checked_query(query) == query
    assert checked_query(b"bidx=3&dst_crs=%5BEPSG:3857%5D&bidx=1") == b"bidx=3&bidx=1&dst_crs=EPSG%3A3857"


def test_a_long_remap_string_is_refused_at_once() -> None:
    with pytest.raises(ClearSkyError, match="256"):
        reclassify([[1]], ";".join(["1 1"] * 300))
    with pytest.raises(ClearSkyError, match="4096"):
        reclassify([[1]], "1 1;" * 8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.mark.parametrize(("name", "values"), BAD, ids=lambda value: str(value)[:30])
def test_bad_values_are_answered(client: TestClient, folder: Path, name: str, values: list[str]) -> None:
    query: Any = [("url", str(folder / "target.tif"))] if name != "url" else []
    answer = client.get("/cog/statistics", params=query + [(name, value) for value in values])
    assert answer.status_code in (400, 414)
    assert set(answer.json()) == {"detail"}


NODATA = {"nan": 400, "inf": 400, "-1": 400, "70000": 400, "0.5": 400, "0": 200, "65535": 200, "1e400": 400, "x": 400}


@pytest.mark.parametrize(("value", "status"), NODATA.items())
@pytest.mark.parametrize(
    "path", ["/cog/preview.tif", "/cog/tiles/WebMercatorQuad/14/8874/6109.tif", "/cog/point/15.001,41.546"]
)
def test_nodata_is_of_the_rasters_type(client: TestClient, folder: Path, path: str, value: str, status: int) -> None:
    answer = client.get(path, params={"url": str(folder / "target.tif"), "nodata": value})
    assert answer.status_code == status, answer.text
    if value in ("-1", "70000"):
        assert "0 to 65535" in answer.json()["detail"]
