"""Pixels taken by their rows and columns: compiled and in numpy the same bytes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from algorithms import taking

SHAPE = (30, 20)


def taken(kind: str, low: int, only: np.ndarray | None) -> tuple[object, bytes]:
    """The extent of some pixels, and an image of two bands made of them."""
    rng = np.random.default_rng(1)
    rows, cols = (rng.integers(low, size - low, (16, 12), np.int32) for size in SHAPE)
    extent, count = taking.taken_extent(rows, cols, SHAPE, only)
    stored = rng.integers(0, 99, (2, *SHAPE)).astype(kind)
    result = np.full((2, *rows.shape), 100, kind)
    top, bottom, left, right = extent
    taking.take_pixels(result, stored[:, top:bottom, left:right], rows, cols, extent, only)
    inside = taking.within(rows, cols, SHAPE, only)
    assert count == inside.sum()
    assert (result[:, ~inside] == 100).all()
    np.testing.assert_array_equal(result[:, inside], stored[:, rows[inside], cols[inside]])
    return extent, result.tobytes()


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64", "complex128"])
@pytest.mark.parametrize(("low", "some"), [(0, None), (-4, None), (0, 0.3), (-4, 0.3), (0, 0.0)])
def test_pixels_are_taken_from_within(kind: str, low: int, some: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    only = None if some is None else np.random.default_rng(2).random((16, 12)) < some
    monkeypatch.setattr(taking, "compiled_loops", lambda: SimpleNamespace(loops=None))
    expected = taken(kind, low, only)
    compiled = pytest.importorskip("algorithms.compiled_taking", reason="numba is not installed")
    monkeypatch.setattr(taking, "compiled_loops", lambda: SimpleNamespace(loops=compiled))
    assert taken(kind, low, only) == expected
