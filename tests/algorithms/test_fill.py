"""The fill of whole arrays: what it must leave alone, what it must recover, and what must not change it."""

import hashlib
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from algorithms import fill_clouds
from algorithms.adjust import pooled_sums
from algorithms.bands import ROLES
from algorithms.errors import ClearSkyError, ParameterError, ShapeError
from algorithms.fill import FillOptions, fill_fields
from algorithms.mask import cloud_mask
from algorithms.masks import buffer_mask
from algorithms.moments import LEVELS, lacking, node_lattice, pool
from algorithms.removal import to_dtype
from algorithms.residual import residual_reach
from algorithms.scene import fit_scene

ROOT = Path(__file__).parents[2]
Raster = Callable[..., np.ndarray]
ADJUSTMENTS = ("regression", "moment")
GAINS = np.array([0.7, 1.0, 1.6])
OFFSETS = np.array([250.0, 0.0, -150.0])
both_adjustments = pytest.mark.parametrize("adjustment", ADJUSTMENTS)
both_residuals = pytest.mark.parametrize("residual", [False, True])


def smooth(shape: tuple[int, ...], scale: float, seed: int) -> np.ndarray:
    """Noise with structures of a size in pixels, standard deviation 1."""
    sigma = [0] * (len(shape) - 2) + [scale, scale]
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field / field.std()


def landscape(shape: tuple[int, int] = (160, 180), bands: int = 3, seed: int = 0) -> np.ndarray:
    """Ground with structures of several sizes; bands alike but not the same."""
    cube = (bands, *shape)
    texture = smooth(cube, 2, seed) + smooth(cube, 12, seed + 1) + 0.8 * smooth((1, *shape), 4, seed + 2)
    level = np.linspace(1500, 3000, bands)[:, None, None]
    return (level + 150 * texture).astype(np.float32)


def related(r: np.ndarray) -> np.ndarray:
    """Another date with a gain and an offset per band."""
    return (r * GAINS[: len(r), None, None] + OFFSETS[: len(r), None, None]).astype(np.float32)


def another_date(r: np.ndarray, seed: int = 100) -> np.ndarray:
    """Another date whose relation to `r` changes from place to place, and which has detail of its own."""
    gain = 1.1 + 0.1 * smooth(r.shape, 25, seed)
    return (r * gain + 60 * smooth(r.shape, 1.5, seed + 1) + 100).astype(np.float32)


def clouds(shape: tuple[int, int] = (160, 180), share: float = 0.15, scale: float = 9, seed: int = 50) -> np.ndarray:
    field = smooth(shape, scale, seed)
    return field > np.quantile(field, 1 - share)


def covered(t: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The target with cloud on it: what is under the mask must not matter."""
    cloudy = t.copy()
    cloudy[:, mask] = 9000 + 500 * np.random.default_rng(1).normal(size=(len(t), mask.sum()))
    return cloudy


def rmse(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    return float(np.sqrt(((found - truth)[:, mask].astype(float) ** 2).mean()))


# What must not change.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("factor", [1, 2])
def test_outside_the_mask_the_target_is_untouched(dtype: type, factor: int) -> None:
    r, mask = landscape(), clouds()
    scale = 0.05 if dtype == np.uint8 else 1
    t = (related(r) * scale).astype(dtype)
    before = t.copy(), mask.copy()
    found = fill_clouds(t, (r * scale).astype(dtype), mask, analysis_factor=factor)
    assert found.dtype == np.float32
    assert found.shape == t.shape
    assert found[:, ~mask].tobytes() == t.astype(np.float32)[:, ~mask].tobytes()
    assert (found[:, mask] != t[:, mask]).mean() > 0.5
    np.testing.assert_array_equal(t, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_what_the_cloud_hides_does_not_matter() -> None:
    r, mask = landscape(), clouds()
    t = another_date(r)
    one = fill_clouds(covered(t, mask), r, mask)
    other = t.copy()
    other[:, mask] = -1e6
    np.testing.assert_array_equal(fill_clouds(other, r, mask), one)


@pytest.mark.parametrize("empty", [0, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_nothing_to_fill_returns_the_target(empty: int, dtype: type) -> None:
    r = landscape((30, 40))
    t = related(r)
    found = fill_clouds(t, r, np.full((30, 40), empty, dtype))
    np.testing.assert_array_equal(found, t)
    assert not np.shares_memory(found, t)


@both_adjustments
@both_residuals
@pytest.mark.parametrize("factor", [1, 3])
def test_nothing_clear_returns_the_plain_replacement(adjustment: str, residual: bool, factor: int) -> None:
    r = landscape((50, 64))
    options: dict[str, Any] = {"adjustment": adjustment, "residual": residual, "analysis_factor": factor}
    found = fill_clouds(covered(related(r), np.ones((50, 64), bool)), r, np.ones((50, 64), bool), **options)
    np.testing.assert_allclose(found, r, rtol=1e-6)


def test_any_class_but_nodata_is_filled() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    classes = np.where(mask, np.random.default_rng(0).integers(1, 255, mask.shape), 0).astype(np.uint8)
    np.testing.assert_array_equal(fill_clouds(t, r, classes), fill_clouds(t, r, mask))
    classes[:, :5] = 255
    found = fill_clouds(t, r, classes)
    np.testing.assert_array_equal(found[:, :, :5], t[:, :, :5])


# What must be recovered.


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
    errors = [rmse(fill_clouds(covered(t, mask), r, mask, window=w, residual=False), t, mask) for w in (20, 80, 400)]
    assert errors[0] < 0.7 * errors[1] < 0.9 * errors[2]


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


# What must change in the same way as the input.


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


def test_memory_layout_does_not_matter() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    plain = fill_clouds(t, r, mask)
    wide = np.zeros((3, 160, 360), np.float32)
    wide[:, :, ::2] = t
    np.testing.assert_array_equal(fill_clouds(wide[:, :, ::2], np.asfortranarray(r), np.asfortranarray(mask)), plain)
    np.testing.assert_array_equal(fill_clouds(t.astype(">f4"), r.astype(">f8"), mask.tolist()), plain)
    t.flags.writeable = r.flags.writeable = mask.flags.writeable = False
    np.testing.assert_array_equal(fill_clouds(t, r, mask), plain)


# Ground without data.


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


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (5, 5)])
@both_adjustments
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_tiny_arrays(shape: tuple[int, int], adjustment: str, factor: int) -> None:
    rng = np.random.default_rng(3)
    r = rng.uniform(1000, 2000, (2, *shape)).astype(np.float32)
    t = r + 10
    mask = np.zeros(shape, bool)
    mask[0, 0] = True
    found = fill_clouds(t, r, mask, adjustment=adjustment, analysis_factor=factor)
    assert np.isfinite(found).all()
    assert np.abs(found - t).max() <= 500
    np.testing.assert_array_equal(found[:, ~mask], t[:, ~mask])


def test_an_analysis_cell_larger_than_the_array_costs_no_more_than_the_array() -> None:
    r = landscape((16, 16), bands=1)
    mask = clouds((16, 16))
    fill_clouds(r + 5, r, mask)
    tracemalloc.start()
    try:
        found = fill_clouds(r + 5, r, mask, analysis_factor=3000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found[:, mask], r[:, mask], rtol=1e-5)
    assert peak < 5_000_000


# Bad input.


@pytest.mark.parametrize(
    ("target", "replacement", "mask", "named"),
    [
        ((4, 5), (4, 5), (4, 5), (4, 5)),
        ((2, 4, 5), (3, 4, 5), (4, 5), (3, 4, 5)),
        ((2, 4, 5), (2, 5, 4), (4, 5), (2, 5, 4)),
        ((2, 4, 5), (2, 4, 5), (5, 4), (5, 4)),
        ((2, 4, 5), (2, 4, 5), (1, 4, 5), (1, 4, 5)),
        ((2, 4, 5), (2, 4, 5), (), ()),
        ((0, 4, 5), (0, 4, 5), (4, 5), (0, 4, 5)),
        ((2, 0, 5), (2, 0, 5), (0, 5), (2, 0, 5)),
        ((1, 2, 4, 5), (1, 2, 4, 5), (4, 5), (1, 2, 4, 5)),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    target: tuple[int, ...], replacement: tuple[int, ...], mask: tuple[int, ...], named: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=re.escape(str(named))):
        fill_clouds(np.zeros(target), np.zeros(replacement), np.zeros(mask))


def test_valid_must_have_the_masks_shape() -> None:
    image, mask = np.zeros((2, 4, 5)), np.ones((4, 5), bool)
    with pytest.raises(ShapeError, match=r"valid \(5, 4\).*\(4, 5\)"):
        fill_clouds(image, image, mask, valid=np.ones((5, 4)))


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_, "U3", object, "datetime64[s]"])
@pytest.mark.parametrize("which", ["target", "replacement"])
def test_values_that_are_not_real_numbers_are_refused(dtype: Any, which: str) -> None:
    arrays = {"target": np.zeros((2, 4, 5)), "replacement": np.zeros((2, 4, 5))}
    arrays[which] = arrays[which].astype(np.int64).astype(dtype)
    with pytest.raises(ParameterError, match=f"{which} has dtype {re.escape(str(arrays[which].dtype))}"):
        fill_clouds(**arrays, mask=np.ones((4, 5), bool))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("window", 0),
        ("window", 10),
        ("window", 30),
        ("window", 420),
        ("window", -80),
        ("window", 80.5),
        ("window", True),
        ("window", None),
        ("window", "80"),
        ("window", float("nan")),
        ("adjustment", "magic"),
        ("adjustment", ""),
        ("adjustment", None),
        ("adjustment", ["regression"]),
        ("analysis_factor", 0),
        ("analysis_factor", -2),
        ("analysis_factor", 1.5),
        ("analysis_factor", True),
        ("analysis_factor", float("nan")),
        ("analysis_factor", float("inf")),
        ("analysis_factor", None),
        ("analysis_factor", "two"),
    ],
)
@pytest.mark.parametrize("cloudy", [True, False])
def test_options_out_of_range_are_named(option: str, value: Any, cloudy: bool) -> None:
    image = np.zeros((2, 4, 5))
    named = repr(value) if isinstance(value, str) and option == "adjustment" else str(value)
    with pytest.raises(ParameterError, match=re.escape(f"{option} {named}")):
        fill_clouds(image, image, np.full((4, 5), cloudy), **{option: value})


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
good_shape = st.just((2, 3, 4))
dtypes = st.sampled_from([np.uint8, np.int64, np.float16, np.float64, np.bool_, np.complex64, "U2", object])


@given(
    st.one_of(good_shape, shapes),
    st.one_of(good_shape, shapes),
    st.one_of(st.just((3, 4)), shapes),
    dtypes,
    st.one_of(st.just(80), st.integers(), st.text(max_size=3), st.none()),
    st.one_of(st.sampled_from(ADJUSTMENTS), st.text(max_size=3), st.none()),
    st.one_of(st.integers(1, 4), st.integers(-9, 0), st.floats(-3, 0.9)),
)
def test_bad_input_never_raises_anything_else(
    target: tuple[int, ...],
    replacement: tuple[int, ...],
    mask: tuple[int, ...],
    dtype: Any,
    window: Any,
    adjustment: Any,
    factor: Any,
) -> None:
    t, r = np.ones(target).astype(dtype), np.ones(replacement).astype(dtype)
    options = {"window": window, "adjustment": adjustment, "analysis_factor": factor}
    try:
        found = fill_clouds(t, r, np.ones(mask), **options)
    except ClearSkyError as error:
        assert len(str(error)) > 15  # noqa: PT017
    else:
        assert found.shape == target
        assert np.isfinite(found).all()


@given(
    st.integers(0, 9999),
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
    st.sampled_from(ADJUSTMENTS),
    st.booleans(),
    st.integers(1, 4),
)
def test_finite_in_finite_out(
    seed: int, dtype: Any, shape: tuple[int, int, int], share: float, adjustment: str, residual: bool, factor: int
) -> None:
    rng = np.random.default_rng(seed)

    def image() -> np.ndarray:
        """Noise, constants or mostly zeros, up to the limits of whole numbers and to 1e15."""
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        else:
            values = (rng.normal(size=shape) * 10.0 ** rng.uniform(-12, 15)).astype(dtype)
        kind = rng.integers(4)
        if kind == 0:
            values[:] = values.flat[0]
        elif kind == 1:
            values *= rng.random(shape) < 0.05
        return values

    mask = rng.random(shape[1:]) < share
    t = image()
    found = fill_clouds(t, image(), mask, adjustment=adjustment, residual=residual, analysis_factor=factor)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, ~mask], t.astype(np.float32)[:, ~mask])


@pytest.mark.parametrize("value", [1e300, -1e300, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("which", [0, 1])
def test_a_value_beyond_reason_is_refused_or_does_no_harm(value: float, which: int) -> None:
    r = landscape((40, 50)).astype(float)
    mask = np.zeros((40, 50), bool)
    mask[18:25, 18:30] = True
    pair = [r + 100, r.copy()]
    pair[which][0, 3, 4] = value
    try:
        found = fill_clouds(*pair, mask)
    except ClearSkyError as error:
        assert str(value)[:4] in str(error)  # noqa: PT017
    else:
        assert np.abs(found - (r + 100))[:, mask].max() < 100


# Same input, same bytes; near input only.

SCRIPT = """
import hashlib, sys, numpy as np
sys.path.insert(0, "tests")
from test_fill import another_date, clouds, covered, landscape
from algorithms import fill_clouds, stepwise_adjustment
r, mask = landscape(bands=6), clouds()
t = covered(another_date(r), mask)
for adjustment in ("regression", "moment"):
    print(hashlib.sha256(fill_clouds(t, r, mask, adjustment=adjustment, analysis_factor=2).tobytes()).hexdigest())
for statistics in ("colocated", "esri"):
    found = stepwise_adjustment(t, r, mask, window=20, buffer=0, statistics=statistics)
    print(hashlib.sha256(found.tobytes()).hexdigest())
"""


def test_number_of_threads_does_not_matter() -> None:
    results = set()
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
        results.add(done.stdout)
    assert len(results) == 1
    r, mask = landscape(bands=6), clouds()
    found = fill_clouds(covered(another_date(r), mask), r, mask, analysis_factor=2)
    assert hashlib.sha256(found.tobytes()).hexdigest() == results.pop().split()[0]


def grown(around: tuple[range, range], by: int, shape: tuple[int, int], align: int = 1) -> list[range]:
    return [
        range(max(0, (s.start - by) // align * align), min(n, -(-(s.stop + by) // align) * align))
        for s, n in zip(around, shape, strict=True)
    ]


def cut(array: np.ndarray, to: tuple[range, range] | list[range]) -> np.ndarray:
    return array[..., to[0].start : to[0].stop, to[1].start : to[1].stop]


def region_fill(
    t: np.ndarray, r: np.ndarray, mask: np.ndarray, region: tuple[range, range], levels: int, options: FillOptions
) -> np.ndarray:
    """The fill of a part of a scene, from an extent that reaches no farther than it says it has to."""
    lattice = node_lattice(options.window, 1)
    scene = fit_scene(t, r, ~mask)
    wide = grown(region, residual_reach(1), mask.shape)
    extent = grown((wide[0], wide[1]), lattice.reach(levels), mask.shape, lattice.alignment(levels))
    sums = pooled_sums(
        cut(t, extent), cut(r, extent), ~cut(mask, extent), scene, lattice, adjustment=options.adjustment
    )
    rows, cols = (range(w.start - e.start, w.stop - e.start) for w, e in zip(wide, extent, strict=True))
    clear = ~cut(mask, wide)
    fields = fill_fields(
        cut(t, wide),
        cut(r, wide),
        usable=np.ones_like(clear),
        known=clear,
        wanted=~clear,
        sums=sums,
        scene=scene,
        lattice=lattice,
        rows=rows,
        cols=cols,
        options=options,
        factor=1,
        levels=levels,
    )
    inner = [range(s.start - w.start, s.stop - w.start) for s, w in zip(region, wide, strict=True)]
    return cut(fields.gain * cut(r, wide) + fields.offset, inner)


@both_adjustments
@both_residuals
def test_a_part_of_the_scene_is_filled_as_in_the_whole(adjustment: str, residual: bool) -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.3, 6)
    t = covered(another_date(r), mask)
    options = FillOptions(window=20, adjustment=adjustment, residual=residual)
    lattice = node_lattice(20, 1)
    whole = region_fill(t, r, mask, (range(512), range(512)), LEVELS, options)
    region = range(210, 270), range(240, 300)
    assert cut(mask, region).any()
    near = np.zeros(shape, bool)
    cut(near, grown(region, residual_reach(1), shape))[:] = True
    counts, nodes = (pool(plane.astype(np.float32), lattice.spacing) for plane in (~mask, near))
    levels = next(n for n in range(1, 5) if not lacking(counts, lattice, level=n - 1, near=nodes > 0).any())
    assert levels < LEVELS
    part = region_fill(t, r, mask, region, levels, options)
    difference = np.abs(part - cut(whole, region))
    assert difference.max() < (0.005 * 500 if residual else 0.05)


def test_neighbours_agree_where_they_touch() -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.5, 10)
    t = covered(another_date(r), mask)
    options = FillOptions(window=20)
    parts = [(range(200, 300), cols) for cols in (range(180, 260), range(240, 330))]
    left, right = (region_fill(t, r, mask, part, LEVELS, options) for part in parts)
    np.testing.assert_allclose(left[:, :, 60:], right[:, :, :20], atol=1.0)


def test_far_away_nothing_changes() -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.2, 5)
    t = covered(another_date(r), mask)
    changed = t.copy()
    changed[:, :, 400:] += 40 * smooth((3, 512, 112), 3, 8).astype(np.float32)
    one, other = (fill_clouds(image, r, mask, window=20) for image in (t, changed))
    near = mask.copy()
    near[:, 250:] = False
    assert rmse(other, one, near) < 0.01 * t[:, ~mask].std()  # the scene's own fit is all that may change
    far = mask.copy()
    far[:, :400] = False
    assert rmse(other, one, far) > 5


# Large clouds.


def scarce(shape: tuple[int, int], share: float) -> np.ndarray:
    return ~clouds(shape, 1 - share, 8, 60)


@both_adjustments
def test_a_fill_of_nearly_everything_shows_no_lattice(adjustment: str) -> None:
    shape = (400, 400)
    r, mask = landscape(shape, bands=2), scarce(shape, 0.95)
    assert mask.mean() == pytest.approx(0.95, abs=0.01)
    t = another_date(r)
    found = fill_clouds(covered(t, mask), r, mask, window=40, adjustment=adjustment)
    assert np.isfinite(found).all()
    assert rmse(found, t, mask) < 1.2 * rmse(r, t, mask)
    spacing = node_lattice(40, 1).spacing
    assert spacing == 8
    added = (found - r).astype(float)  # what the adjustment did; the replacement's own texture taken away
    for axis, transform in enumerate((added, np.swapaxes(added, 1, 2))):
        whole = mask if axis == 0 else mask.T
        inside = whole[:-2] & whole[1:-1] & whole[2:]
        bend = np.abs(np.diff(transform, 2, axis=1)).mean(axis=0)
        position = np.arange(1, 399) % spacing
        medians = [np.median(bend[position == k][inside[position == k]]) for k in range(spacing)]
        assert max(medians) < 1.5 * np.median(medians), medians


@both_adjustments
def test_a_flat_replacement_gives_a_smooth_fill(adjustment: str) -> None:
    shape = (400, 400)
    mask = scarce(shape, 0.9)
    t = (2000 + 300 * smooth((1, *shape), 40, 3) + 20 * smooth((1, *shape), 1, 4)).astype(np.float32)
    r = np.full((1, *shape), 1000, np.float32)
    found = fill_clouds(covered(t, mask), r, mask, window=40, adjustment=adjustment, residual=False)
    inside = ndimage.binary_erosion(mask, iterations=2)
    for axis in (1, 2):
        steps = np.abs(np.diff(found, axis=axis)[0])
        inner = inside[:-1] & inside[1:] if axis == 1 else inside[:, :-1] & inside[:, 1:]
        assert steps[inner].max() < 0.1 * 300
        bends = np.abs(np.diff(found, 2, axis=axis)[0])
        inner = inner[:-1] if axis == 1 else inner[:, :-1]
        assert bends[inner[: bends.shape[0], : bends.shape[1]]].max() < 0.05 * 300


DEEP = np.s_[20:480, 20:480]
"""One cloud of 460 px in a scene of 500 px: deeper than eight windows of 20 px."""


def deep_cloud() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, mask = landscape((500, 500), bands=2), np.zeros((500, 500), bool)
    mask[DEEP] = True
    return another_date(r), r, mask


@both_adjustments
@both_residuals
def test_a_cloud_deeper_than_eight_windows_shows_no_lattice(adjustment: str, residual: bool) -> None:
    t, r, mask = deep_cloud()
    found = fill_clouds(covered(t, mask), r, mask, window=20, adjustment=adjustment, residual=residual)
    assert np.isfinite(found).all()
    assert rmse(found, t, mask) < 1.2 * rmse(r, t, mask)
    # Nodes of the widest windows stand on every eighth node of the narrowest.
    period = 8 * node_lattice(20, 1).spacing
    added = (found - r).astype(float)
    for inside in (added[:, 22:478, 22:478], np.swapaxes(added, 1, 2)[:, 22:478, 22:478]):
        bend = np.median(np.abs(np.diff(inside, 2, axis=1)).mean(axis=0), axis=1)  # one figure a row
        position = np.arange(23, 477) % period
        medians = [np.median(bend[position == k]) for k in range(period)]
        assert max(medians) < 1.5 * np.median(medians), medians


def test_far_from_clear_ground_the_scene_alone_speaks() -> None:
    t, r, mask = deep_cloud()
    found = fill_clouds(covered(t, mask), r, mask, window=20, residual=False)
    scene = fit_scene(t, r, ~mask)
    away = np.abs(found - scene.estimate(scene.standardise(r))).mean(axis=0)
    depth = ndimage.distance_transform_cdt(mask, metric="chessboard")
    means = [away[(depth > a) & (depth <= b)].mean() for a, b in ((0, 10), (40, 80), (200, 230))]
    assert means[0] > 0.02 * t[:, ~mask].std()
    assert means[0] > means[1] > 10 * means[2], means


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("factor", [1, 2])
def test_clouds_over_half_nearly_all_and_all_of_the_scene_are_filled(share: float, factor: int) -> None:
    shape = (240, 260)
    r = landscape(shape)
    t = another_date(r)
    mask = np.ones(shape, bool) if share == 1 else scarce(shape, share)
    assert mask.mean() == pytest.approx(share, abs=0.01)
    cloudy = covered(t, mask)
    found = fill_clouds(cloudy, r, mask, analysis_factor=factor)
    assert np.isfinite(found).all()
    assert rmse(found, t, mask) <= rmse(r, t, mask) * (1 if share < 1 else 1 + 1e-5)
    assert found[:, ~mask].tobytes() == t[:, ~mask].tobytes()


def test_the_less_is_clear_the_nearer_to_the_replacement_without_a_leap() -> None:
    """From some clear ground to none, one cell at a time."""
    shape = (60, 70)
    r = landscape(shape)
    t = covered(r + np.float32(500), np.zeros(shape, bool))
    order = np.random.default_rng(5).permutation(shape[0] * shape[1])
    means = []
    for count in range(80, -1, -1):
        mask = np.ones(shape, bool)
        mask.ravel()[order[:count]] = False
        found = fill_clouds(t, r, mask, residual=False)
        means.append(float((found - r)[:, mask].mean()))
    assert means[0] == pytest.approx(500, abs=10)
    assert means[-1] == pytest.approx(0, abs=1e-2)
    steps = np.diff(means)
    assert np.abs(steps).max() < 0.05 * 500
    assert steps.max() < 0.01 * 500  # it never goes back by more than noise


# Numbers a data type cannot hold.


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_results_are_rounded_and_clipped_never_wrapped_and_never_nodata(dtype: type) -> None:
    kind = np.dtype(dtype)
    values = np.array([[-1e9, -40000.6, -1.2, -0.4, 0.4, 0.6, 1.5, 2.5, 254.7, 255.4, 300.0, 32767.6, 65535.6, 1e9]])
    values = values.astype(np.float32)
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    for nodata in (None, 0, 255, *(() if limits is None else (limits.min, limits.max))):
        found = to_dtype(values, kind, nodata)
        assert found.dtype == kind
        if limits is None:
            np.testing.assert_array_equal(found, values)
            continue
        expected = [min(max(round(float(v)), limits.min), limits.max) for v in values[0]]  # exact, of any size
        kept = np.array([v != nodata for v in expected])
        np.testing.assert_array_equal(found[0][kept], np.array(expected)[kept])
        if nodata is not None:
            assert (found != nodata).all()
            np.testing.assert_array_equal(np.abs(found[0][~kept].astype(int) - nodata), 1)


# How sure it is of itself.


def test_confidence_falls_as_the_cloud_grows() -> None:
    shape = (480, 480)
    r = landscape(shape)
    t = another_date(r)
    lattice = node_lattice(20, 1)
    middles = []
    frame = np.ones(shape, bool)
    frame[20:460, 20:460] = False  # clear for every cloud but the last: the scene's own figures stay the same
    for half in (10, 40, 80, 120, 220, 240):
        mask = np.zeros(shape, bool)
        mask[240 - half : 240 + half, 240 - half : 240 + half] = True
        scene = fit_scene(t, r, frame & ~mask)
        fields = fill_fields(
            t,
            r,
            usable=np.ones_like(mask),
            known=~mask,
            wanted=mask,
            sums=pooled_sums(t, r, ~mask, scene, lattice),
            scene=scene,
            lattice=lattice,
            rows=range(480),
            cols=range(480),
            options=FillOptions(window=20),
            factor=1,
        )
        middles.append(float(fields.confidence[232:248, 232:248].mean()))
    assert middles[0] > middles[1] > middles[2] > middles[-1] == 0, middles
    assert max(middles[3:-1]) <= middles[2] + 1, middles


def test_confidence_is_full_on_clear_ground_and_falls_inwards() -> None:
    shape = (256, 256)
    r = landscape(shape)
    t = another_date(r)
    mask = np.zeros(shape, bool)
    mask[64:192, 64:192] = True
    lattice = node_lattice(80, 1)
    assert shape[0] % lattice.alignment(LEVELS) == 0
    scene = fit_scene(t, r, ~mask)
    fields = fill_fields(
        t,
        r,
        usable=np.ones_like(mask),
        known=~mask,
        wanted=mask,
        sums=pooled_sums(t, r, ~mask, scene, lattice),
        scene=scene,
        lattice=lattice,
        rows=range(256),
        cols=range(256),
        options=FillOptions(),
        factor=1,
    )
    assert fields.confidence.dtype == np.uint8
    assert (fields.confidence[~mask] == 100).all()
    assert fields.confidence[mask].max() <= 99
    depth = ndimage.distance_transform_edt(mask)
    means = [fields.confidence[mask & (depth > a) & (depth <= a + 8)].mean() for a in (0, 8, 24, 48)]
    assert means[0] > max(means[1:]) + 3
    np.testing.assert_allclose((fields.gain * r + fields.offset)[:, ~mask], t[:, ~mask], atol=0.01)


# Real ground.


@pytest.fixture(scope="module")
def lazio(real_raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two clear dates, and the clouds of a third with their buffer."""
    names = ("s2_lazio_20180720_clear", "s2_lazio_20180928_clear", "s2_lazio_20180705_cloudy")
    target, replacement, cloudy = (real_raster(name) for name in names)
    coarse = (cloudy / 1e4).reshape(6, 128, 2, 128, 2).mean(axis=(2, 4))
    classes = cloud_mask(coarse, ROLES)
    mask = buffer_mask(np.kron((classes == 1) | (classes == 2), np.ones((2, 2))), 2)
    assert 0.1 < mask.mean() < 0.7
    return target, replacement, mask


def regressed(t: np.ndarray, r: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One regression per band."""
    lines = [np.polyfit(b[~mask].astype(float), a[~mask].astype(float), 1) for a, b in zip(t, r, strict=True)]
    return np.stack([gain * b + offset for (gain, offset), b in zip(lines, r, strict=True)])


def matched(t: np.ndarray, r: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each band matched over the scene."""
    mean, std = (getattr(np, name) for name in ("mean", "std"))
    stats = [(mean(a[~mask]), std(a[~mask]), mean(b[~mask]), std(b[~mask])) for a, b in zip(t, r, strict=True)]
    return np.stack([mt + st / sr * (b - mr) for (mt, st, mr, sr), b in zip(stats, r, strict=True)])


@pytest.mark.parametrize("factor", [1, 2])
def test_hidden_truth_is_found_better_than_by_simple_means(
    factor: int, lazio: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    truth, replacement, mask = lazio
    cloudy = covered(truth, mask)
    error = rmse(fill_clouds(cloudy, replacement, mask, analysis_factor=factor), truth, mask)
    assert error < 0.75 * rmse(replacement, truth, mask)
    assert error < 0.9 * rmse(matched(cloudy, replacement, mask), truth, mask)
    assert error < 0.99 * rmse(regressed(cloudy, replacement, mask), truth, mask)
    plain = rmse(fill_clouds(cloudy, replacement, mask, analysis_factor=factor, residual=False), truth, mask)
    assert error < plain


def test_hidden_truth_by_moments_beats_pasting(lazio: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, replacement, mask = lazio
    found = fill_clouds(covered(truth, mask), replacement, mask, adjustment="moment")
    assert rmse(found, truth, mask) < rmse(replacement, truth, mask)
    assert rmse(found, truth, mask) < 1.02 * rmse(matched(truth, replacement, mask), truth, mask)
