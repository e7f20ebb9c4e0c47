"""Wrong scales and offsets show in the values; right ones of real scenes raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling

from algorithms.bands import ROLES
from server.scenes.plausible import reflectance_warning

Values = np.ndarray[Any, np.dtype[np.float64]]
Stored = Callable[[Values], Values]

RIGHT: Final[list[tuple[Stored, float, float]]] = [
    (lambda r: np.round(r * 1e4), 1e-4, 0.0),
    (lambda r: np.round((r + 0.1) * 1e4), 1e-4, -0.1),
    (lambda r: np.round((r + 0.2) / 2.75e-5), 2.75e-5, -0.2),
    (lambda r: r, 1.0, 0.0),
]
"""How reflectance is stored, and the scale and offset that go with it."""
WRONG: Final[list[tuple[Stored, float, float, str]]] = [
    (RIGHT[0][0], 1e-4, -0.1, "less than 0"),
    (RIGHT[1][0], 1e-4, 0.0, "missing"),
    (RIGHT[0][0], 1.0, 0.0, "scale"),
    (RIGHT[1][0], 1.0, 0.0, "scale"),
    (RIGHT[3][0], 1e-4, 0.0, "twice"),
    (RIGHT[2][0], 1e-4, 0.0, "scale"),
    (RIGHT[2][0], 1e-4, -0.1, "scale"),
    (RIGHT[2][0], 2.75e-5, 0.0, "-0.2 may be missing"),
    (RIGHT[0][0], 2.75e-5, -0.2, "less than 0"),
    (RIGHT[1][0], 2.75e-5, -0.2, "less than 0"),
]
"""Likewise, with a scale or offset that does not, and what is said of it."""


def said(values: Values, scale: float, offset: float, names: tuple[str | None, ...] = ROLES) -> str | None:
    count = len(values)
    return reflectance_warning(values, names[:count], scales=[scale] * count, offsets=[offset] * count)


@pytest.fixture(scope="module")
def real(real_data: Path) -> dict[str, Values]:
    """Reflectance of the shared rasters, at most 256 pixels a side, in the order of `ROLES`."""
    found = {}
    for path in sorted(real_data.glob("*.tif")):
        if "mask" in path.name:
            continue
        with rasterio.open(path) as src:
            shape = (min(src.count, 6), min(src.height, 256), min(src.width, 256))
            values = src.read(tuple(range(1, shape[0] + 1)), out_shape=shape, resampling=Resampling.nearest)
            assert src.descriptions[: shape[0]] == ROLES[: shape[0]]
        found[path.stem] = np.where((values == 0).all(axis=0), np.nan, values * 1e-4)
    assert len(found) >= 20
    return found


@pytest.mark.parametrize(("stored", "scale", "offset"), RIGHT)
def test_right_numbers_of_real_scenes_raise_no_alarm(
    real: dict[str, Values], stored: Stored, scale: float, offset: float
) -> None:
    assert {name: text for name, r in real.items() if (text := said(stored(r), scale, offset))} == {}


@pytest.mark.parametrize(("stored", "scale", "offset", "text"), WRONG)
def test_wrong_numbers_of_real_scenes_are_found(
    real: dict[str, Values], stored: Stored, scale: float, offset: float, text: str
) -> None:
    found = {name: said(stored(r), scale, offset) for name, r in real.items()}
    assert {name: told for name, told in found.items() if told is None or text not in told} == {}


@pytest.mark.parametrize(
    ("scene", "least", "most"),
    [
        ("snow", (0.7, 0.7, 0.7, 0.6, 0.05, 0.03), (0.95, 0.95, 0.95, 0.9, 0.15, 0.1)),
        ("closed cloud", (0.4, 0.4, 0.4, 0.4, 0.35, 0.25), (0.9, 0.9, 0.9, 0.9, 0.7, 0.5)),
        ("sand", (0.16, 0.2, 0.27, 0.32, 0.4, 0.35), (0.25, 0.35, 0.5, 0.55, 0.7, 0.65)),
        ("open sea", (-0.01, -0.01, -0.02, -0.02, -0.02, -0.02), (0.05, 0.04, 0.02, 0.01, 0.01, 0.01)),
    ],
)
def test_scenes_without_dark_ground_raise_no_alarm(
    scene: str, least: tuple[float, ...], most: tuple[float, ...]
) -> None:
    at = np.random.default_rng(0).random((64, 64))
    reflectance = np.array(least)[:, None, None] + at * np.subtract(most, least)[:, None, None]
    for stored, scale, offset in RIGHT:
        assert said(stored(reflectance), scale, offset) is None, scene


def test_values_of_unknown_bands_are_not_judged() -> None:
    heights = np.full((2, 64, 64), 700.0)
    assert said(heights, 1.0, 0.0, (None, "lwir11")) is None
    assert said(np.full((6, 64, 64), np.nan), 1.0, 0.0) is None
    assert said(heights, 1.0, 0.0, (None, "red")) is not None


def test_numbers_of_0_in_all_bands_are_outside_the_picture(real: dict[str, Values]) -> None:
    inside = np.round((real["s2_lazio_20180720_clear"] + 0.1) * 1e4)
    half = np.concatenate([inside, np.zeros_like(inside)], axis=2)
    assert said(half, 1e-4, -0.1) is None


@given(st.integers(0, 6), st.integers(0, 2**32 - 1), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_any_values_are_judged_without_failure(count: int, seed: int, scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([np.nan, np.inf, 0.0, 1e300, -5.0, 3000.0], size=(count, 150))
    text = said(values, scale, offset)
    assert text is None or text
