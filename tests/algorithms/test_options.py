"""Options are declared once: whatever takes them has the same names, values and defaults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from algorithms import buffer_mask, fill_clouds, stepwise_adjustment
from algorithms.errors import ParameterError
from algorithms.fill import FillOptions
from algorithms.options import OPTIONS, CloudOptions, Option, Range
from algorithms.removal import CLOUD_ALGORITHMS, CloudAlgorithm
from server.export.command import export

options = st.sampled_from(list(OPTIONS.values()))
values = st.one_of(
    st.integers(-50, 450), st.sampled_from([c for option in OPTIONS.values() for c in option.choices]), st.booleans()
)


def accepts(option: Option, value: Any) -> bool:
    try:
        option.check(value)
    except ParameterError:
        return False
    return True


def model_accepts(option: Option, value: Any) -> bool:
    """As a recipe reads it, where nothing is converted."""
    try:
        CLOUD_ALGORITHMS["cloud_removal"].model_validate({option.name: value}, strict=True)
    except ValidationError:
        return False
    return True


def test_names_and_defaults_are_the_contracts() -> None:
    assert {name: option.default for name, option in OPTIONS.items()} == {
        "window": 80,
        "buffer": 2,
        "sensitivity": 10,
        "adjustment": "regression",
        "residual": True,
        "refine": True,
        "unfilled": "keep",
    }


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_default_is_a_value_of_its_option(option: Option) -> None:
    assert option.check(option.default) == option.default
    assert type(option.check(option.default)) is type(option.default)
    assert option.description
    assert not option.description.endswith(".")
    if option.range is not None:
        assert option.range.least % option.range.step == option.range.most % option.range.step == 0


@given(options, values)
def test_the_algorithms_accept_just_what_is_declared(option: Option, value: Any) -> None:
    assert model_accepts(option, value) == accepts(option, value)


@given(options, values)
def test_the_frozen_value_accepts_just_what_is_declared(option: Option, value: Any) -> None:
    if accepts(option, value):
        assert getattr(CloudOptions(**{option.name: value}), option.name) == value
    else:
        with pytest.raises(ParameterError, match=option.name):
            CloudOptions(**{option.name: value})


@pytest.mark.parametrize("algorithm", CLOUD_ALGORITHMS.values(), ids=CLOUD_ALGORITHMS)
def test_the_published_schema_says_what_is_declared(algorithm: type[CloudAlgorithm]) -> None:
    published = algorithm.model_json_schema()["properties"]
    own = [
        name
        for name in published
        if not name.startswith(("input_", "output_")) and name not in ("title", "description")
    ]
    assert own == list(OPTIONS)
    for name, option in OPTIONS.items():
        assert published[name]["default"] == option.default
        assert published[name]["description"] == option.description
        assert tuple(published[name].get("enum", ())) == option.choices
        if option.range is not None:
            limits = [published[name].get(key) for key in ("minimum", "maximum", "multipleOf")]
            assert limits == [
                option.range.least,
                option.range.most,
                option.range.step if option.range.step > 1 else None,
            ]


def test_the_command_line_has_every_option() -> None:
    with export.make_context("export", ["target.tif", "out.tif"]) as context:
        said = context.params
    helped = {parameter.name: parameter.help for parameter in export.params if isinstance(parameter, click.Option)}
    for name, option in OPTIONS.items():
        assert said[name] is None, "a recipe's value stands where the command line says nothing"
        assert helped[name] == f"{option.description}."


def test_options_of_the_fill_are_some_of_all() -> None:
    assert {f.name: f.default for f in fields(FillOptions)}.items() <= {
        f.name: f.default for f in fields(CloudOptions)
    }.items()


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CloudOptions().window = 40  # type: ignore[misc,unused-ignore]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (Range(20, 400, step=20, pixels=1), "a multiple of 20 from 20 to 400 (pixels)"),
        (Range(0, 15, pixels=2), "a whole number from 0 to 15 (steps of 2 pixels)"),
        (Range(0, 100), "a whole number from 0 to 100"),
    ],
)
def test_a_range_in_words(values: Range, words: str) -> None:
    assert str(values) == words


def test_functions_tell_the_same_about_the_same_value() -> None:
    image, mask = np.zeros((1, 4, 5)), np.zeros((4, 5))
    said = []
    for call in (
        lambda: fill_clouds(image, image, mask, window=81),
        lambda: stepwise_adjustment(image, image, mask, window=81),
        lambda: CloudOptions(window=81),
    ):
        with pytest.raises(ParameterError) as caught:
            call()
        said.append(str(caught.value))
    assert set(said) == {"window 81 is out of range: give a multiple of 20 from 20 to 400 (pixels)"}
    for other in (lambda: buffer_mask(mask, 16), lambda: stepwise_adjustment(image, image, mask, buffer=16)):
        with pytest.raises(ParameterError, match="buffer 16 is out of range: give a whole number from 0 to 15"):
            other()
