"""Every parser of what strangers write: a value, or one of the tree's own errors, whatever the text."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.bands import common_names
from algorithms.errors import InputError, ParameterError
from algorithms.reclassify import Remap
from server.errors import RecipeError, SourceError
from server.http.checks import check_values
from server.http.crs import parse_crs
from server.http.expressions import check_expression
from server.http.geojson import check_shape
from server.http.jsontext import parse_json
from server.recipes.convert import write_recipe
from server.recipes.rft import read_template
from server.recipes.schema import validate
from server.remote.names import parse_address
from server.scenes.bandnames import numbered, numbers_of
from server.work.document import read_yaml
from tests.helpers.templates import doubles, function, slra, variable

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = [["blue", "B02"], ["green", "B03"], ["red", "B04"], ["b1"]]
SCRAPS = [
    "",
    " ",
    "\0",
    "-",
    "9" * 400,
    "1e999",
    "nan",
    "é",
    "\ud800",
    "\u2028",
    "[" * 40,
    "]",
    "{",
    "}",
    '"',
    "'",
    "<",
    ">",
]
SCRAPS += [
    "&",
    ";",
    ",",
    ":",
    "/",
    "..",
    "%",
    "%2e",
    "@",
    "#",
    "=",
    "+",
    "(",
    ")",
    "\\",
    "\n",
    "null",
    "b1",
    "NODATA",
    "\u0660",
]
FEATURE = {
    "type": "Feature",
    "properties": {},
    "geometry": {"type": "Polygon", "coordinates": [[[15, 41.5], [15.01, 41.5], [15.01, 41.51], [15, 41.5]]]},
}


def spoilt(*goods: str) -> st.SearchStrategy[str]:
    """Good texts in which a few parts are cut out, doubled or replaced by scraps."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> str:
        text = draw(st.sampled_from(goods))
        for _ in range(draw(st.integers(0, 3))):
            start = draw(st.integers(0, len(text)))
            end = min(len(text), start + draw(st.integers(0, 12)))
            text = text[:start] + draw(st.sampled_from([*SCRAPS, text[start:end] * 2])) + text[end:]
        return text

    return draw_one() | st.text(max_size=40)


def of_check(name: str) -> Callable[[str], object]:
    return lambda text: check_values(name, [text])


def of_shape(text: str) -> None:
    value = parse_json(text, "body")
    if isinstance(value, dict):
        check_shape(value)


def of_recipe(text: str) -> None:
    validate(read_yaml(text.encode("utf-8", "surrogatepass"), "r.yaml"))


PARSERS: dict[str, tuple[Callable[[str], object], st.SearchStrategy[str]]] = {
    "remap": (Remap, spoilt("1 1;2 1;3 1", "0 50 0;50 100 1;NODATA 255")),
    "list of bands": (lambda text: common_names(text.split(",")), spoilt("blue,green,red,nir", "B02,B03,B8A,B11")),
    "band names": (
        lambda text: numbers_of(text.split(","), LABELS, names_first=True),
        spoilt("blue,B03,b1", "red,3"),
    ),
    "names in expressions": (
        lambda text: check_expression(numbered(text, LABELS, names_first=True)),
        spoilt("(red-blue)/(red+blue)", "where(b1>5,b1,1e3)"),
    ),
    "expression": (check_expression, spoilt("(b4-b3)/(b4+b3);b1", "where((b1>5)&(b2<3), sqrt(b1), -b2**2)")),
    "CRS": (
        parse_crs,
        spoilt(
            "EPSG:4326",
            "urn:ogc:def:crs:EPSG::3857",
            "http://www.opengis.net/def/crs/EPSG/0/32633",
            "+proj=utm +zone=33 +datum=WGS84 +units=m",
            pyproj.CRS(32633).to_wkt(),
            pyproj.CRS(4326).to_json(),
        ),
    ),
    "JSON": (lambda text: parse_json(text, "x"), spoilt('{"a": [1, 2.5e3, null, "\\u00e9"], "b": {"c": false}}')),
    "GeoJSON": (of_shape, spoilt(json.dumps(FEATURE), json.dumps(FEATURE["geometry"]))),
    "recipe": (of_recipe, spoilt(*(path.read_text() for path in sorted(EXAMPLES.rglob("*.yaml"))))),
    "address": (parse_address, spoilt("https://example.com:8443/a/b.tif?x=1&y=%20", "s3://bucket/a/b.tif", "https://[2a00::1]/x")),
    **{
        name: (of_check(name), spoilt(*goods))
        for name, goods in {
            "rescale": ["0,3000"],
            "colormap": ['{"1": [255, 0, 0, 255], "2": "#00ff00"}', "[[[0, 1], [255, 0, 0, 255]]]"],
            "algorithm_params": ['{"window": 80, "buffer": 4}'],
            "histogram_bins": ["10", "1,2,3"],
            "histogram_range": ["0,9.5"],
            "bbox": ["15,41.54,15.005,41.55"],
            "zooms": ["WebMercatorQuad::8,12"],
            "nodata": ["nan", "-9999"],
            "color_formula": ["gamma RGB 1.2, saturation 1.1"],
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_any_text_has_a_value_or_an_error_of_the_tree(name: str) -> None:
    parse, texts = PARSERS[name]
    values = 0

    @given(texts)
    def parse_one(text: str) -> None:
        nonlocal values
        with suppress(InputError, SourceError):
            parse(text)
            values += 1

    parse_one()
    assert values > 0, "no text was understood at all"


RANGES = {
    "Raster": variable("mask"),
    "InputRanges": doubles(0, 1, 1, 4),
    "OutputValues": doubles(0, 1),
    "AllowUnmatched": "<AnyType xsi:type='xs:boolean'>true</AnyType>",
}


@given(spoilt(slra(), slra(input_mask=function("Remap", RANGES, tag="AnyType"))), st.booleans())
def test_any_template_is_a_recipe_or_an_error(tmp_path: Path, text: str, exact: bool) -> None:
    file = tmp_path / "x.rft.xml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(RecipeError):
        written, _ = write_recipe(read_template(file), target="t.tif", replacements=("r.tif",), exact=exact)
        validate(read_yaml(written.encode(), "r.yaml"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Polygon", "GeometryCollection", "Point", "x"])},
        optional={"coordinates": JSON_VALUES, "geometries": JSON_VALUES, "geometry": JSON_VALUES},
    )
)
def test_any_shape_is_an_area_or_refused(shape: dict[str, Any]) -> None:
    with suppress(ParameterError):
        check_shape(shape)
