"""A fill changes as its input does: units, order of the bands, transposition."""

from typing import Any

import numpy as np
import pytest

from algorithms import fill_clouds
from tests.helpers.landscapes import another_date, both_adjustments, clouds, covered, landscape, rmse


@both_adjustments
@pytest.mark.parametrize(("a", "b"), [(1e-4, 0.0), (1e-4, -0.1), (30.0, 0.0), (1.0, 2e4)])
def test_fill_follows_the_units_of_the_target(adjustment: str, a: float, b: float) -> None:
    r, mask = landscape(), clouds()
    t = another_date(r)
    plain = fill_clouds(covered(t, mask), r, mask, adjustment=adjustment)
    scaled = fill_clouds((a * t.astype(float) + b).astype(np.float32), r, mask, adjustment=adjustment)
    assert rmse((scaled.astype(float) - b) / a, plain, mask) < 0.01 * t.std()


@both_adjustments
@pytest.mark.parametrize(("a", "b"), [(1e-4, 0.0), (1e-4, -0.1), (30.0, 0.0), (1.0, 2e4)])
def test_units_of_the_replacement_do_not_matter(adjustment: str, a: float, b: float) -> None:
    r, mask = landscape(), clouds()
    t = another_date(r)
    plain = fill_clouds(covered(t, mask), r, mask, adjustment=adjustment)
    scaled = fill_clouds(covered(t, mask), (a * r.astype(float) + b).astype(np.float32), mask, adjustment=adjustment)
    assert rmse(scaled, plain, mask) < 0.01 * t.std()


@both_adjustments
def test_order_of_the_bands_does_not_matter(adjustment: str) -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    order = [2, 0, 1]
    plain = fill_clouds(t, r, mask, adjustment=adjustment)
    np.testing.assert_allclose(fill_clouds(t[order], r[order], mask, adjustment=adjustment), plain[order], atol=0.05)


@both_adjustments
@pytest.mark.parametrize("factor", [1, 2])
def test_transposed_arrays_have_a_transposed_fill(adjustment: str, factor: int) -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    options: dict[str, Any] = {"adjustment": adjustment, "analysis_factor": factor, "window": 40}
    plain = fill_clouds(t, r, mask, **options)
    turned = fill_clouds(np.swapaxes(t, 1, 2), np.swapaxes(r, 1, 2), mask.T, **options)
    np.testing.assert_allclose(np.swapaxes(turned, 1, 2), plain, atol=0.05)
