"""Bands by name, in lists and in expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.errors import ParameterError
from server.scenes.bandnames import band_number, numbered, numbers_of

LABELS = [("blue", "B02"), ("green", "B03"), ("red", "B04"), ("nir", "B08"), ("B8A",), ()]


@pytest.mark.parametrize(
    ("word", "scene", "file"),
    [("red", 3, 3), ("RED", 3, 3), ("B04", 3, 4), ("b4", 4, 4), ("b2", 2, 2), ("B8A", 5, 5), ("b6", 6, 6)],
)
def test_a_band_is_known_by_name_and_number(word: str, scene: int, file: int) -> None:
    assert band_number(word, LABELS, names_first=True) == scene
    assert band_number(word, LABELS, names_first=False) == file


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("(nir-red)/(nir+red)", "(b4-b3)/(b4+b3)"),
        ("(B08-B04)/(B08+B04)", "(b4-b3)/(b4+b3)"),
        ("b1*2;red", "b1*2;b3"),
        ("where(red>1e3, nir, blue)", "where(b3>1e3, b4, b1)"),
        ("sqrt (green)+1.5e+3", "sqrt (b2)+1.5e+3"),
        ("1e3*red", "1e3*b3"),
    ],
)
def test_expressions_name_bands(expression: str, numbers: str) -> None:
    assert numbered(expression, LABELS, names_first=True) == numbers


def test_unknown_bands_are_named_with_those_that_are_known() -> None:
    with pytest.raises(ParameterError, match="'swir' is not a band; there are 1 blue/B02, 2 green/B03"):
        numbers_of(["red", "swir"], LABELS, names_first=True)
    with pytest.raises(ParameterError, match="'swir' is not a band"):
        numbered("red-swir", LABELS, names_first=True)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_an_expression_of_numbers_stays_as_it_is(bands: list[int]) -> None:
    expression = "+".join(f"b{band}" for band in bands)
    assert numbered(expression, LABELS, names_first=True) == expression
