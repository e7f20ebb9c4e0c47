"""Cells under an image's pixels: compiled and in numpy the same bytes, those of looking up each position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from algorithms import placing, sampling
from algorithms.fill import UNFILLED
from algorithms.placing import CellsUnder, FillPlaces

SPACING, SHAPE, FACTOR = 16, (75, 120), 2


def nodes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in pixels of an image that is turned a little, and reaches beyond the cells."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(6) * SPACING, np.arange(9) * SPACING, indexing="ij")
    rows, cols = 0.9 * y + 0.05 * x - 9 + rng.uniform(0, 1), 0.8 * x - 0.03 * y - 5 + rng.uniform(0, 1)
    return rows, cols


def cells(pooled: int, *, data: bool) -> CellsUnder:
    rng = np.random.default_rng(pooled)
    squares = 40 >> pooled, 56 >> pooled
    source = rng.choice(np.array([0, 0, 1, 2, UNFILLED], np.uint8), squares)
    amounts = rng.choice(np.array([0, 1, 2, 2, 2], np.uint8), squares)
    for array in (source, amounts):
        array.setflags(write=False)
    return CellsUnder(source, amounts if data else None, 2, (4, 8), (40, 56), pooled)


CASES = [(pooled, data) for pooled in (0, 1, 2) for data in (False, True)]


def placed(place: Any, pooled: int, *, data: bool) -> tuple[np.ndarray, FillPlaces, int]:
    shown = np.random.default_rng(9).random(SHAPE) < 0.7
    found: tuple[np.ndarray, FillPlaces, int] = place(
        nodes(pooled), SPACING, SHAPE, FACTOR, cells(pooled, data=data), shown
    )
    return found


@pytest.mark.parametrize(("pooled", "data"), CASES)
def test_compiled_loops_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch, pooled: int, data: bool) -> None:
    compiled = pytest.importorskip("algorithms.compiled_placing", reason="numba is not installed")

    class Loaded:
        loops = compiled

    monkeypatch.setattr(placing, "compiled_loops", Loaded)
    ours, expected = (placed(place, pooled, data=data) for place in (placing.place_pixels, placing.numpy_place_pixels))
    assert ours[0].tobytes() == expected[0].tobytes()
    for name in ("at", "rows", "cols"):
        assert getattr(ours[1], name).tobytes() == getattr(expected[1], name).tobytes()
    assert ours[2] == expected[2]


@pytest.mark.parametrize(("pooled", "data"), CASES)
def test_each_pixel_has_the_cell_at_its_position(pooled: int, data: bool) -> None:
    source, places, unsure = placed(placing.place_pixels, pooled, data=data)
    under = cells(pooled, data=data)
    rows, cols = (sampling.spread_nodes(axis, SPACING, *SHAPE, FACTOR) for axis in nodes(pooled))
    y, x = (
        np.floor(axis + sampling.EDGE_CELLS).astype(int) - first
        for axis, first in zip((rows, cols), under.origin, strict=True)
    )
    inside = (y >= 0) & (y < under.shape[0]) & (x >= 0) & (x < under.shape[1])
    y, x = y.clip(0, under.shape[0] - 1) >> pooled, x.clip(0, under.shape[1] - 1) >> pooled
    expected = np.where(inside, under.source[y, x], UNFILLED)
    np.testing.assert_array_equal(source, expected)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(places.at, np.flatnonzero((expected != 0) & (expected != UNFILLED)))
    np.testing.assert_array_equal(places.rows, rows.ravel()[places.at])
    np.testing.assert_array_equal(places.cols, cols.ravel()[places.at])
    shown = np.random.default_rng(9).random(SHAPE) < 0.7
    lacking = shown & (~inside | (under.data[y, x] < under.full)) if under.data is not None else np.zeros(SHAPE, bool)
    assert unsure == lacking.sum()
    assert (unsure > 0) == data


def test_places_are_chosen_in_order() -> None:
    _, places, _ = placed(placing.place_pixels, 0, data=False)
    chosen = np.arange(len(places.at)) % 3 == 0
    assert places.where(np.ones(len(places.at), bool)) is places
    for name in ("at", "rows", "cols"):
        np.testing.assert_array_equal(getattr(places.where(chosen), name), getattr(places, name)[chosen])
