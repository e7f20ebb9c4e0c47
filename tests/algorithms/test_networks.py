"""What a card says of input and output is what a network gets and what becomes of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from algorithms.errors import ModelError
from algorithms.models import INPUT_CELLS, RGB_RULES, CloudModel, FixedStatistics, ModelFile, SizeRule
from algorithms.networks import (
    check_input,
    class_probabilities,
    covered_probabilities,
    fixed_statistics,
    network_input,
)
from algorithms.rules import cloud_by_rules

MODEL = CloudModel("m", ("red", "nir"), None, ModelFile("m.onnx", ""), normalisation="none")
RNG = np.random.default_rng(0)
VALUES = RNG.uniform(0, 0.5, (2, INPUT_CELLS, INPUT_CELLS)).astype(np.float32)
EVERY = np.ones((INPUT_CELLS, INPUT_CELLS), bool)


def made(model: CloudModel, values: np.ndarray = VALUES, valid: np.ndarray = EVERY) -> np.ndarray:
    return network_input(model, values, valid, fixed_statistics(model))


def test_scale_and_fixed_statistics_apply_in_this_order() -> None:
    assert made(MODEL).tobytes() == VALUES.tobytes()
    model = replace(MODEL, scale=100.0, normalisation=FixedStatistics((10, 20), (2, 4)))
    expected = (VALUES * 100 - np.array([10, 20])[:, None, None]) / np.array([2, 4])[:, None, None]
    np.testing.assert_allclose(made(model)[0], expected, rtol=1e-5, atol=1e-5)


def test_a_windows_own_statistics_are_those_of_its_data() -> None:
    valid = EVERY.copy()
    valid[:, 100:] = False
    other = VALUES.copy()
    other[:, :, 100:] = 9
    model = replace(MODEL, normalisation="window")
    found = made(model, other, valid)[0][:, :, :100]
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, made(model, VALUES, valid)[0][:, :, :100])
    assert np.isfinite(made(model, np.ones_like(VALUES))).all()


@pytest.mark.parametrize(
    ("rule", "side"),
    [((256, 256, 256), 256), ((32, 1, 1024), 256), ((1, 320, 512), 320), ((100, 1, 512), 300), ((512, 1, 512), 512)],
)
def test_windows_grow_to_what_the_network_takes(rule: tuple[int, int, int], side: int) -> None:
    model = replace(MODEL, size=SizeRule(*rule))
    assert model.size.side == side
    image = made(model)
    assert image.shape == (1, 2, side, side)
    np.testing.assert_array_equal(image[0, :, :INPUT_CELLS, :INPUT_CELLS], VALUES)
    output = np.zeros((1, 3, side, side), np.float32)
    output[0, 1, :INPUT_CELLS, :INPUT_CELLS] = 50
    assert (class_probabilities(model, output)[1] > 0.99).all()


def test_sizes_that_no_window_has() -> None:
    assert SizeRule(128, 1, 128).side is None


def test_kinds_of_output() -> None:
    logits = RNG.normal(0, 2, (1, 3, INPUT_CELLS, INPUT_CELLS)).astype(np.float32)
    shares = class_probabilities(MODEL, logits)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-5)
    given = class_probabilities(replace(MODEL, output="probabilities"), shares[None])
    np.testing.assert_array_equal(given, shares)
    for numbers in (logits.argmax(axis=1), logits.argmax(axis=1)[None]):
        single = class_probabilities(replace(MODEL, output="classes"), numbers)
        np.testing.assert_array_equal(single.argmax(axis=0), shares.argmax(axis=0))
        assert set(np.unique(single)) == {0, 1}
    two = replace(MODEL, classes=("clear", "cloud"))
    one = class_probabilities(two, logits[:, :1])
    np.testing.assert_allclose(one[1], 1 / (1 + np.exp(-logits[0, 0])), rtol=1e-4)
    np.testing.assert_allclose(one.sum(axis=0), 1, rtol=1e-5)


def test_classes_become_cloud_and_shadow() -> None:
    model = replace(MODEL, classes=("clear", "a", "b", "c", "d"), cloud=(1, 2), shadow=(4,))
    shares = RNG.dirichlet(np.ones(5), (4, 4)).transpose(2, 0, 1).astype(np.float32)
    cloud, shadow = covered_probabilities(model, shares)
    np.testing.assert_allclose(cloud, shares[1] + shares[2], rtol=1e-6)
    np.testing.assert_array_equal(shadow, shares[4])
    assert (covered_probabilities(replace(model, shadow=()), shares)[1] == 0).all()


@pytest.mark.parametrize(
    ("changes", "output"),
    [
        ({}, np.zeros((1, 4, INPUT_CELLS, INPUT_CELLS))),
        ({}, np.zeros((1, 3, 128, 128))),
        ({}, np.zeros((1, 1, INPUT_CELLS, INPUT_CELLS))),
        ({}, np.full((1, 3, INPUT_CELLS, INPUT_CELLS), np.nan)),
        ({"output": "classes"}, np.zeros((1, 3, INPUT_CELLS, INPUT_CELLS))),
    ],
)
def test_an_answer_that_is_none_names_the_card(changes: dict[str, Any], output: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"'m' gives .*(correct|check)"):
        class_probabilities(replace(MODEL, **changes), output)


@pytest.mark.parametrize("shape", [[1, 3, 256, 256], [1, 2, 512, 512], [2, 256, 256], [4, 2, "h", "w"]])
def test_an_input_that_does_not_fit_names_the_card(shape: list[Any]) -> None:
    with pytest.raises(ModelError, match=r"'m': the network takes .*correct `bands` or `size`"):
        check_input(MODEL, shape)


@pytest.mark.parametrize("shape", [[1, 2, 256, 256], ["n", 2, "h", "w"], [-1, 2, -1, -1], [None, None, None, None]])
def test_an_input_that_fits(shape: list[Any]) -> None:
    check_input(MODEL, shape)


def test_rules_find_what_is_bright_white_and_hazy() -> None:
    reflectance = {  # blue, green, red
        (0.5, 0.5, 0.5): 1, (0.25, 0.23, 0.22): 1,
        (0.08, 0.07, 0.05): 0,  # water
        (0.05, 0.08, 0.05): 0,  # forest
        (0.15, 0.25, 0.35): 0,  # sand
        (0.3, 0.1, 0.05): 0,  # a blue roof
        (0.12, 0.1, 0.1): 0,  # haze over dark ground
    }  # fmt: skip
    image = np.array([*reflectance], np.float32).T[:, :, None]
    shares = cloud_by_rules(image)
    np.testing.assert_array_equal(shares[1, :, 0], [*reflectance.values()])
    np.testing.assert_array_equal(shares.sum(axis=0), 1)
    assert RGB_RULES.present
