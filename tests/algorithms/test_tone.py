"""The tone curve: one for all scenes, grey stays grey, brighter is never darker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.tone import HAZE_REFLECTANCE, natural_tones, without_haze

VISIBLE = ("red", "green", "blue")


def tones_of(values: np.ndarray, **options: object) -> np.ndarray:
    return natural_tones(values, **options)  # type: ignore[arg-type]


def test_tones_depend_on_nothing_but_the_value() -> None:
    """A tile cut out of a scene has the scene's tones, whatever else is in it."""
    scene = np.random.default_rng(0).uniform(0, 1, (3, 40, 50)).astype(np.float32)
    for level in ("l1c", "l2a"):
        whole = tones_of(scene, level=level)
        np.testing.assert_array_equal(whole[:, 7:19, 11:30], tones_of(scene[:, 7:19, 11:30], level=level))


@given(st.floats(-2, 3), st.floats(-2, 3), st.sampled_from(["l1c", "l2a"]))
def test_brighter_is_never_darker(one: float, other: float, level: str) -> None:
    low, high = sorted((one, other))
    values = np.array([low, high], np.float32)[None, None].repeat(3, 0)
    dark, bright = tones_of(values, level=level)[:, 0].T.astype(int)
    assert (dark <= bright).all()


@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_the_ends_are_black_and_white(level: str) -> None:
    ends = np.array([-0.5, 0.0, 1.0, 1.7, np.nan], np.float32)[None, None].repeat(3, 0)
    np.testing.assert_array_equal(tones_of(ends, level=level)[:, 0], [[0, 0, 255, 255, 0]] * 3)


def test_grey_ground_is_grey_through_the_air() -> None:
    """At the ground all bands share one curve; seen through clear air grey ground is as grey."""
    ground = np.linspace(0, 1, 64, dtype=np.float32)[None, None].repeat(3, 0)
    expected = tones_of(ground, level="l2a")
    assert (expected == expected[:1]).all()
    haze = np.array([HAZE_REFLECTANCE[name] for name in VISIBLE], np.float32)[:, None, None]
    above = ground * (1 - haze) + haze
    assert np.abs(tones_of(above, level="l1c").astype(int) - expected).max() <= 1
    np.testing.assert_allclose(without_haze(above, VISIBLE, level="l1c"), ground, atol=1e-6)


def test_land_has_most_of_the_tones_and_clouds_are_not_flat() -> None:
    """Forest is dark and not black, dry fields are in the middle, and clouds of 0.5 and 0.9 can be told apart."""
    values = np.array([0.02, 0.05, 0.2, 0.5, 0.9], np.float32)[None, None].repeat(3, 0)
    water, forest, field, thin, thick = tones_of(values, level="l2a")[0, 0].astype(int)
    assert 20 < water < forest < 100
    assert 120 < field < 190
    assert thick - thin > 20


def test_infrared_has_no_haze_and_its_own_exposure() -> None:
    values = np.full((1, 1, 1), 0.3, np.float32)
    assert without_haze(values, ("nir",), level="l1c") == values
    half = natural_tones(values, ("nir",), exposure=0.5)
    np.testing.assert_array_equal(half, natural_tones(values / 2, ("nir",)))
