"""Analysis cells: means and interpolation against brute force and scipy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from algorithms.cells import bilinear, cell_any, cell_means, check_factor
from algorithms.errors import ParameterError

sides = st.tuples(st.integers(1, 13), st.integers(1, 13))


@given(sides, st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_cell_means_are_the_means_of_the_valid_pixels(
    shape: tuple[int, int], bands: int, factor: int, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1e4, 1e4, (bands, *shape))
    valid = rng.random(shape) < share
    values[:, ~valid] = rng.choice([np.nan, np.inf, -9999.0], (bands, (~valid).sum()))
    cells = cell_means(values, valid, factor)
    means, ok = cells.values, cells.valid
    rows, cols = -(-shape[0] // factor), -(-shape[1] // factor)
    assert means.shape == (bands, rows, cols)
    assert means.dtype == np.float32
    assert ok.shape == (rows, cols)
    for i in range(rows):
        for j in range(cols):
            square = np.s_[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            inside = values[(slice(None), *square)][:, valid[square]]
            assert ok[i, j] == (inside.shape[1] > 0)
            assert cells.full[i, j] == valid[square].all()
            expected = inside.mean(axis=1) if inside.shape[1] else np.zeros(bands)
            np.testing.assert_allclose(means[:, i, j], expected, rtol=1e-5, atol=5e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_means_of_any_number_type(dtype: Any) -> None:
    values = np.array([[[100, 120, 3], [0, 90, 7]]], dtype)
    cells = cell_means(values, np.array([[True, True, True], [False, True, False]]), 2)
    means, ok = cells.values, cells.valid
    np.testing.assert_allclose(means, [[[310 / 3, 3]]], rtol=1e-6)
    assert ok.all()


def test_large_values_do_not_overflow() -> None:
    means = cell_means(np.full((1, 8, 8), 65535, np.uint16), np.ones((8, 8), bool), 8).values
    np.testing.assert_array_equal(means, [[[65535]]])


def test_factor_one_is_the_pixels() -> None:
    values = np.array([[[1.5, np.nan]]])
    cells = cell_means(values, np.array([[True, False]]), 1)
    means, ok = cells.values, cells.valid
    np.testing.assert_array_equal(means, [[[1.5, 0]]])
    np.testing.assert_array_equal(ok, [[True, False]])


@given(sides, st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_cell_any_is_any_of_the_pixels(shape: tuple[int, int], factor: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.1
    found = cell_any(mask, factor)
    rows, cols = np.nonzero(mask)
    expected = np.zeros((-(-shape[0] // factor), -(-shape[1] // factor)), bool)
    expected[rows // factor, cols // factor] = True
    np.testing.assert_array_equal(found, expected)


fields = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
                    elements=st.floats(-1000, 1000, width=32))  # fmt: skip
points = st.lists(st.tuples(st.floats(-3, 9), st.floats(-3, 9)), min_size=1, max_size=8)


@given(fields, points)
def test_bilinear_equals_scipy(values: np.ndarray, at: list[tuple[float, float]]) -> None:
    rows, cols = np.array(at).T
    found = bilinear(values, rows, cols)
    assert found.shape == (len(at), values.shape[2])
    assert found.dtype == np.float32
    for k in range(values.shape[2]):
        plane = values[..., k].astype(np.float64)
        expected = ndimage.map_coordinates(plane, [rows - 0.5, cols - 0.5], order=1, mode="nearest")
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-4, atol=1e-3)


def test_bilinear_is_exact_on_linear_functions() -> None:
    rng = np.random.default_rng(0)
    rows, cols = rng.uniform(0.5, 7.5, 200), rng.uniform(0.5, 4.5, 200)
    y, x = np.mgrid[0:8, 0:5] + 0.5
    plane = (3 * y - 7 * x + 2).astype(np.float32)[..., None]
    np.testing.assert_allclose(bilinear(plane, rows, cols)[:, 0], 3 * rows - 7 * cols + 2, atol=1e-5)


def test_bilinear_is_the_field_itself_at_the_centres() -> None:
    values = np.random.default_rng(1).normal(size=(5, 7, 2)).astype(np.float32)
    rows, cols = np.indices((5, 7)).reshape(2, -1) + 0.5
    np.testing.assert_array_equal(bilinear(values, rows, cols), values.reshape(-1, 2))


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, float("nan"), float("inf"), None, "x", "2"])
def test_factors_that_are_none(factor: Any) -> None:
    with pytest.raises(ParameterError, match=rf"analysis_factor {factor}\b"):
        check_factor(factor)


def test_whole_numbers_of_any_type_are_factors() -> None:
    good: Any = (1, 2.0, np.int16(6))
    assert [check_factor(f) for f in good] == [1, 2, 6]
