"""Ground without data, in every form in which an array can say so."""

import numpy as np
import pytest
from scipy import ndimage

from algorithms import fill_clouds
from tests.helpers.landscapes import another_date, both_adjustments, clouds, covered, landscape, related, rmse


@both_adjustments
@pytest.mark.parametrize("factor", [1, 2])
def test_missing_ground_stays_and_is_not_used(adjustment: str, factor: int) -> None:
    r, mask = landscape(), clouds()
    t = related(r)
    cloudy = covered(t, mask)
    gone, r_hole = (np.kron(clouds((80, 90), 0.2, 5, seed), np.ones((2, 2))) > 0 for seed in (54, 55))
    assert (gone & mask).sum() > 100
    assert (r_hole & mask).sum() > 100
    cloudy[1, gone], r[2, r_hole] = np.nan, np.nan
    found = fill_clouds(cloudy, r, mask, adjustment=adjustment, analysis_factor=factor)
    np.testing.assert_array_equal(found[:, gone | r_hole], cloudy[:, gone | r_hole])
    filled = mask & ~gone & ~r_hole
    assert np.abs(found / t - 1)[:, filled].max() < 5e-3
    assert np.isfinite(found[:, ~gone]).all()


@both_adjustments
@pytest.mark.parametrize(("factor", "along_cells"), [(1, True), (2, True), (3, True), (2, False), (3, False)])
def test_valid_keeps_a_cloudy_replacement_out(adjustment: str, factor: int, along_cells: bool) -> None:
    shape = (162, 180)
    r, mask = landscape(shape), clouds(shape)
    t = related(r)
    valid = ~clouds(shape, share=0.2, seed=51)
    if along_cells:
        valid = np.kron(valid[::factor, ::factor], np.ones((factor, factor))) > 0
    assert (mask & ~valid).sum() > 100
    bright = np.where(valid, r, 8000).astype(np.float32)
    cloudy = covered(t, mask)
    found = fill_clouds(cloudy, bright, mask, adjustment=adjustment, valid=valid, analysis_factor=factor)
    np.testing.assert_array_equal(found[:, ~(mask & valid)], cloudy[:, ~(mask & valid)])
    assert np.abs(found / t - 1)[:, mask & valid].max() < 5e-3
    for other in (np.where(valid, r, np.nan), np.where(valid, r, -1e5)):
        again = fill_clouds(cloudy, other, mask, adjustment=adjustment, valid=valid, analysis_factor=factor)
        np.testing.assert_array_equal(again, found)


@both_adjustments
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_no_fringe_beside_holes_of_the_replacement(adjustment: str, factor: int) -> None:
    shape = (168, 180)
    r, mask = landscape(shape), clouds(shape, 0.3)
    mix = np.array([[0.5, 0.4, 0.0], [0.2, 0.6, 0.3], [-0.5, 0.1, 1.2]])
    t = (np.einsum("bj,jyx->byx", mix, r) + 200).astype(np.float32)
    valid = ~clouds(shape, share=0.2, seed=51)
    valid = np.kron(valid[::factor, ::factor], np.ones((factor, factor))) > 0
    found = fill_clouds(covered(t, mask), r, mask, valid=valid, adjustment=adjustment, analysis_factor=factor)
    rim = ndimage.binary_dilation(~valid, iterations=2) & valid & mask
    assert rim.sum() > 100
    assert rmse(found, t, rim) < 1.5 * rmse(found, t, mask & valid & ~rim)


def test_valid_of_any_type_and_missing_values_agree() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    valid = ~clouds(share=0.2, seed=51)
    found = fill_clouds(t, r, mask, valid=valid)
    np.testing.assert_array_equal(fill_clouds(t, r, mask, valid=valid.astype(np.uint8) * 255), found)
    np.testing.assert_array_equal(fill_clouds(t, np.where(valid, r, np.nan), mask), found)
    np.testing.assert_array_equal(fill_clouds(t, np.where(valid, r, np.inf), mask), found)
    hidden = np.ma.array(r, mask=np.broadcast_to(~valid, r.shape))
    np.testing.assert_array_equal(fill_clouds(t, hidden, mask), found)
    one_band = np.zeros(r.shape, bool)
    one_band[1] = ~valid
    np.testing.assert_array_equal(fill_clouds(t, np.ma.array(r, mask=one_band), mask), found)


def test_masked_targets_are_as_nan() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    hidden = clouds(share=0.1, seed=52)
    masked = np.ma.array(np.where(hidden, -9999, t), mask=np.broadcast_to(hidden, t.shape))
    found = fill_clouds(masked, r, mask)
    with_nan = fill_clouds(np.where(hidden, np.nan, t), r, mask)
    np.testing.assert_array_equal(found[:, ~hidden], with_nan[:, ~hidden])
    assert np.isnan(with_nan[:, hidden]).all()
    assert (found[:, hidden] == -9999).all()
    assert not np.ma.isMaskedArray(found)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int64, np.float32])
def test_masked_cells_of_the_mask_are_not_cloud(dtype: type) -> None:
    r, mask = landscape((40, 60)), clouds((40, 60))
    t = covered(another_date(r), mask)
    hidden = clouds((40, 60), share=0.5, seed=53)
    found = fill_clouds(t, r, np.ma.array(mask.astype(dtype), mask=hidden))
    np.testing.assert_array_equal(found[:, ~mask | hidden], t[:, ~mask | hidden])
    np.testing.assert_array_equal(found, fill_clouds(t, r, mask & ~hidden))


def test_nan_in_the_mask_is_nodata_and_not_cloud() -> None:
    r, mask = landscape((40, 60)), clouds((40, 60))
    t = another_date(r)
    found = fill_clouds(t, r, np.where(mask, np.nan, 0.0))
    np.testing.assert_array_equal(found, t)


@both_adjustments
@pytest.mark.parametrize("factor", [1, 2])
def test_no_common_ground_at_all(adjustment: str, factor: int) -> None:
    r, mask = landscape((40, 60)), clouds((40, 60))
    t = covered(another_date(r), mask)
    t[:, ~mask] = np.nan
    found = fill_clouds(t, r, mask, adjustment=adjustment, analysis_factor=factor)
    np.testing.assert_allclose(found[:, mask], r[:, mask], rtol=1e-5)
    assert np.isnan(found[:, ~mask]).all()


@pytest.mark.parametrize("stray", [1e15, 1e30, -3.4e38])
@pytest.mark.parametrize("date", ["target", "replacement"])
def test_a_stray_value_that_is_no_measurement_spoils_no_fill(date: str, stray: float) -> None:
    """A nodata value that the file does not declare, in one pixel of clear ground."""
    rng = np.random.default_rng(0)
    replacement = (0.2 + 0.02 * rng.normal(size=(4, 160, 160))).astype(np.float32)
    target = (1.2 * replacement + 0.03 * replacement[::-1] + 0.01).astype(np.float32)
    mask = np.zeros((160, 160), bool)
    mask[100:140, 60:110] = True
    expected = fill_clouds(target, replacement, mask)
    (target if date == "target" else replacement)[:, 20, 5] = stray
    filled = fill_clouds(target, replacement, mask)
    np.testing.assert_allclose(filled[:, mask], expected[:, mask], atol=1e-4)
