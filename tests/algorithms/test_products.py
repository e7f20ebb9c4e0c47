"""Products of rows and medians, against those of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from algorithms import products
from algorithms.products import combined, median, product


@pytest.mark.parametrize("columns", [1, 2, 1000, 4001])
def test_products_and_medians_are_those_of_numpy(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(7, columns)), rng.normal(size=(13, columns))
    coefficients = rng.normal(size=(7, 6))
    for multiplications in (1, 10_000, products.PART_MULTIPLICATIONS):
        monkeypatch.setattr(products, "PART_MULTIPLICATIONS", multiplications)
        np.testing.assert_allclose(product(first, second), first @ second.T, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(combined(coefficients, first), coefficients.T @ first, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(median(first.copy()), np.median(first, axis=1))
    np.testing.assert_array_equal(median(np.ones((3, columns))), 1)
