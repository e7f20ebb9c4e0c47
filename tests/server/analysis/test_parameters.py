"""The parameters of a request: declared once, for HTTP and the command line alike."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from algorithms.errors import ParameterError
from server.analysis.parameters import PARAMETERS, fields_of
from server.analysis.request import Request
from server.export.command import export
from server.http.params import RequestParams
from server.recipes.model import recipe_of
from server.recipes.schema import Written

OPTIONS = {option.name: option for option in export.params}


def test_http_and_the_command_line_have_every_parameter() -> None:
    """`nodata` is TiTiler's own below `/cog`."""
    assert {f.name for f in fields(RequestParams)} == {"url", *PARAMETERS} - {"nodata"}
    assert set(PARAMETERS) <= set(OPTIONS)
    assert [OPTIONS[name].multiple for name in PARAMETERS] == [p.repeated for p in PARAMETERS.values()]


def test_a_parameter_becomes_a_field_of_its_own() -> None:
    become = [parameter.field or name for name, parameter in PARAMETERS.items()]
    assert set(become) == {f.name for f in fields(Request)} - {"target", "shown"}
    assert len(set(become)) == len(become)


@pytest.mark.parametrize("declaration", [RequestParams, Written])
def test_levels_are_the_declared_ones(declaration: type) -> None:
    level = get_type_hints(declaration)["level"]
    (values,) = (get_args(kind) for kind in get_args(level) if kind is not type(None))
    assert values == PARAMETERS["level"].choices


RECIPES = (
    "mask: {source: b.tif, bits: [3], remap: '1 1'}",
    "mask: {model: ukis-6b-l1c}",
)
"""A mask by a raster and by a model, which exclude each other."""
COMMON = """
name: all
target: a.tif
replacements: [c.tif]
replacement_masks: [none]
bands: [red]
level: l2a
reflectance_scale: 0.1
reflectance_offset: 0.2
replacement_reflectance_scales: [0.3]
replacement_reflectance_offsets: [0.4]
nodata: 7
assets: [red]
"""


def test_a_recipe_says_whatever_a_request_can() -> None:
    requests = [recipe_of(f"{COMMON}{mask}\n".encode(), Path("all.yaml")).request for mask in RECIPES]
    said = {f.name for f in fields(Request) for request in requests if getattr(request, f.name) != f.default}
    assert said == {f.name for f in fields(Request)} - {"shown"}
    assert {parameter.field or name for name, parameter in PARAMETERS.items()} <= said


def test_what_is_not_given_becomes_nothing() -> None:
    assert fields_of(dict.fromkeys(PARAMETERS) | {"bands": "", "assets": (), "target": "x", "nodata": 0.0}) == {
        "nodata": 0.0
    }


def test_a_value_that_is_not_among_the_choices_is_refused() -> None:
    with pytest.raises(ParameterError, match="level 'l3' is unknown: choose from l1c, l2a"):
        fields_of({"level": "l3"})


@pytest.mark.parametrize("scale", [0.0, -1e-4, math.nan, math.inf])
def test_a_scale_that_makes_no_reflectance_is_refused(scale: float) -> None:
    for given in ({"reflectance_scale": scale}, {"replacement_reflectance_scale": [1e-4, scale]}):
        with pytest.raises(ParameterError, match="give one above 0"):
            fields_of(given)
