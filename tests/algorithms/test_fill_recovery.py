"""Relations between two dates that a fill must recover under the cloud."""

import numpy as np
import pytest
from scipy import ndimage

from algorithms import fill_clouds
from tests.helpers.landscapes import (
    ADJUSTMENTS,
    another_date,
    both_adjustments,
    both_residuals,
    clouds,
    covered,
    landscape,
    related,
    rmse,
    smooth,
)


@both_adjustments
@both_residuals
def test_a_gain_and_an_offset_per_band_are_recovered(adjustment: str, residual: bool) -> None:
    r, mask = landscape(), clouds()
    t = related(r)
    found = fill_clouds(covered(t, mask), r, mask, adjustment=adjustment, residual=residual)
    assert np.abs(found / t - 1).max() < 1e-3


@both_adjustments
@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("shape", [(160, 180), (161, 179), (97, 103)])
def test_a_gain_and_an_offset_are_recovered_on_cells(adjustment: str, factor: int, shape: tuple[int, int]) -> None:
    r, mask = landscape(shape), clouds(shape)
    t = related(r)
    found = fill_clouds(covered(t, mask), r, mask, adjustment=adjustment, analysis_factor=factor)
    assert found.shape == t.shape
    np.testing.assert_array_equal(found[:, ~mask], t[:, ~mask])
    assert np.abs(found / t - 1).max() < 0.02  # slopes shrunk towards zero, over cells where the ground is rough
    assert rmse(found, t, mask) < 1.5e-3 * t.mean()


def test_a_mixture_of_all_bands_is_recovered_by_the_regression() -> None:
    r, mask = landscape(), clouds()
    mix = np.array([[0.5, 0.4, 0.0], [0.2, 0.6, 0.3], [-0.5, 0.1, 1.2]])
    t = (np.einsum("bj,jyx->byx", mix, r) + 200).astype(np.float32)
    regression, moment = (fill_clouds(covered(t, mask), r, mask, adjustment=a) for a in ADJUSTMENTS)
    assert rmse(regression, t, mask) < 0.01 * t.std()
    assert rmse(regression, t, mask) < 0.1 * rmse(moment, t, mask)


def test_bands_that_change_sides_are_recovered_by_the_regression() -> None:
    r, mask = landscape(), clouds()
    t = (5000 - 0.8 * r).astype(np.float32)
    assert rmse(fill_clouds(covered(t, mask), r, mask), t, mask) < 0.02 * t.std()


def test_moment_keeps_the_contrast_of_the_target() -> None:
    r, mask = landscape((200, 220)), clouds((200, 220))
    t = (2000 + 3 * 150 * smooth(r.shape, 2, 77)).astype(np.float32)  # nothing to do with the other date
    moment, regression = (
        fill_clouds(covered(t, mask), r, mask, adjustment=a, residual=False) for a in reversed(ADJUSTMENTS)
    )
    assert moment[:, mask].std() == pytest.approx(t[:, ~mask].std(), rel=0.25)
    assert regression[:, mask].std() < 0.4 * t[:, ~mask].std()


def test_residual_meets_the_target_at_the_border_and_helps_inside() -> None:
    r, mask = landscape(), clouds()
    t = another_date(r) + (80 * smooth((3, 160, 180), 8, 5)).astype(np.float32)
    without, with_it = (fill_clouds(covered(t, mask), r, mask, residual=on) for on in (False, True))
    assert rmse(with_it, t, mask) < 0.9 * rmse(without, t, mask)
    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    assert rmse(with_it, t, edge) < 0.7 * rmse(without, t, edge)


def test_residual_fades_over_pixels_whatever_the_cells() -> None:
    shape = (180, 180)
    # Even ground: texture steers the flow of the residual, and cells see less of it than pixels.
    r, mask = np.full((1, *shape), 1000, np.float32), np.zeros(shape, bool)
    mask[45:135, 45:135] = True
    depth = ndimage.distance_transform_edt(mask)
    t = r + np.float32(200) * ndimage.binary_dilation(mask, iterations=5)  # a rim that the windows hardly see
    shares = []
    for factor in (1, 3):
        on, off = (fill_clouds(covered(t, mask), r, mask, residual=v, analysis_factor=factor) for v in (True, False))
        added = (on - off)[0]
        shares.append(added[(depth > 20) & (depth < 25)].mean() / added[(depth > 3) & (depth < 6)].mean())
    assert 0.05 < shares[0] < 0.6
    assert shares[1] == pytest.approx(shares[0], rel=0.15)


def test_narrow_windows_follow_a_relation_that_changes_from_place_to_place() -> None:
    shape = (400, 400)
    r, mask = landscape(shape), clouds(shape, 0.1, 4)
    t = (r * (1 + 0.3 * smooth((3, *shape), 30, 9))).astype(np.float32)

    def error(window: int, adjustment: str) -> float:
        fill = fill_clouds(covered(t, mask), r, mask, window=window, adjustment=adjustment, residual=False)
        return rmse(fill, t, mask)

    errors = [error(window, "moment") for window in (20, 80, 400)]
    assert errors[0] < 0.7 * errors[1] < 0.9 * errors[2]
    # Below 80 pixels the regression narrows its windows by itself, below 400 it has none to take.
    assert error(80, "regression") < 0.3 * error(400, "regression")


@both_adjustments
def test_small_differences_on_a_large_offset_survive(adjustment: str) -> None:
    shape = (160, 180)
    mask = clouds(shape)
    r = 60000 + 5 * smooth((2, *shape), 3, 1)
    t = 60000 + (r - 60000) * 0.9 - 2
    found = fill_clouds(t.astype(np.float32), r.astype(np.float32), mask, adjustment=adjustment)
    assert np.abs(found - t).max() < 0.1  # float32 itself has 0.004
    counts = np.rint(r).astype(np.uint16)
    found = fill_clouds(np.rint(t).astype(np.uint16), counts, mask, adjustment=adjustment, analysis_factor=2)
    assert rmse(found, t, mask) < 0.7  # whole numbers have 0.3 on either date
