"""Dates that do not lie on each other: the shift is found, and undone exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject
from scipy import ndimage

from algorithms import fill_clouds
from algorithms.sample import sample_squares
from algorithms.shift import (
    LEAST_SHIFT,
    MOST_SHIFT,
    NO_SHIFT,
    SHIFT_MARGIN,
    SHIFT_STEPS,
    estimate_shift,
    move,
    shift_patches,
)
from tests.helpers.scenes import UTM, Pair, make_pair, put_off, smooth_noise

fractions = st.floats(-MOST_SHIFT, MOST_SHIFT).map(lambda v: round(v * SHIFT_STEPS) / SHIFT_STEPS)


def texture(seed: int, shape: tuple[int, int] = (40, 36), bands: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (1000 + 300 * ndimage.gaussian_filter(rng.normal(size=(bands, *shape)), (0, 1, 1))).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(-3, 3), cols=st.integers(-3, 3), seed=st.integers(0, 9))
def test_whole_pixels_move_exactly(rows: int, cols: int, seed: int) -> None:
    image = texture(seed)
    moved = move(image, np.ones(image.shape[1:], bool), (float(rows), float(cols)))
    inner = np.s_[:, SHIFT_MARGIN:-SHIFT_MARGIN, SHIFT_MARGIN:-SHIFT_MARGIN]
    np.testing.assert_array_equal(moved[inner], np.roll(image, (rows, cols), (1, 2))[inner])


@settings(max_examples=15, deadline=None)
@given(shift=st.tuples(fractions, fractions), seed=st.integers(0, 9))
def test_parts_of_pixels_move_as_gdal_moves_them(shift: tuple[float, float], seed: int) -> None:
    image = texture(seed)
    expected = np.zeros_like(image)
    reproject(
        image,
        expected,
        src_transform=Affine.translation(shift[1], shift[0]),
        dst_transform=Affine.identity(),
        src_crs=UTM,
        dst_crs=UTM,
        resampling=Resampling.cubic,
    )
    moved = move(image, np.ones(image.shape[1:], bool), shift)
    inner = np.s_[:, SHIFT_MARGIN:-SHIFT_MARGIN, SHIFT_MARGIN:-SHIFT_MARGIN]
    np.testing.assert_allclose(moved[inner], expected[inner], atol=0.02)


@settings(max_examples=30, deadline=None)
@given(shift=st.tuples(fractions, fractions), seed=st.integers(0, 9), top=st.integers(0, 12), left=st.integers(0, 12))
def test_a_part_is_the_whole(shift: tuple[float, float], seed: int, top: int, left: int) -> None:
    image = texture(seed)
    valid = np.random.default_rng(seed).random(image.shape[1:]) < 0.98
    rows, cols = slice(top, top + 24), slice(left, left + 22)
    part = move(image[:, rows, cols], valid[rows, cols], shift)
    inner = np.s_[:, SHIFT_MARGIN:-SHIFT_MARGIN, SHIFT_MARGIN:-SHIFT_MARGIN]
    np.testing.assert_array_equal(part[inner], move(image, valid, shift)[:, rows, cols][inner])


def test_missing_pixels_spread_to_none() -> None:
    image = texture(3)
    valid = np.ones(image.shape[1:], bool)
    valid[20, 15] = False
    image[:, 20, 15] = 60_000
    moved = move(image, valid, (0.5, 0.5))
    assert moved[:, valid].max() < 3000
    np.testing.assert_array_equal(moved[:, 19:23, 14:18], image[:, 19:23, 14:18])  # whom it would reach stays


def patches(pair: Pair, replacement: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    target, other = pair.target.astype(np.float32), replacement.astype(np.float32)
    return [
        (target[:, y, x], other[:, y, x], ~pair.mask[y, x])
        for y, x in shift_patches((pair.mask.shape[0] // 2, pair.mask.shape[1] // 2), 2)
    ]


sides = st.one_of(st.integers(1, 3000), st.integers(1, 130))


@given(sides, sides, st.integers(1, 3))
@example(10, 3000, 2)
@example(3000, 60, 1)
def test_patches_lie_inside_the_scene_and_its_sample(rows: int, cols: int, factor: int) -> None:
    """Of strips narrower than a square, too."""
    whole = [(slice(0, rows), slice(0, cols))]
    squares = sample_squares((rows, cols)) or whole
    for patch in shift_patches((rows, cols), factor):
        assert any(
            all(
                factor * side.start <= part.start < part.stop <= factor * side.stop
                for side, part in zip(at, patch, strict=True)
            )
            for at in squares
        )


@pytest.mark.parametrize("off", [(0.5, 0.0), (0.0, -0.75), (1.0, 1.0), (-1.5, 0.5), (2.0, -1.0)])
@pytest.mark.parametrize("size", [(300, 310), (500, 700)])
def test_the_shift_is_found(off: tuple[float, float], size: tuple[int, int]) -> None:
    pair = make_pair(size=size, seed=2)
    found = estimate_shift(patches(pair, ndimage.shift(pair.replacement.astype(np.float32), (0, *off), order=3)))
    assert np.hypot(found[0] + off[0], found[1] + off[1]) < 0.1
    assert all((value * SHIFT_STEPS).is_integer() for value in found)


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.1, -0.1), (6.0, 0.0)])
def test_short_and_unbelievable_shifts_are_none(off: tuple[float, float]) -> None:
    pair = make_pair(size=(300, 310), seed=2)
    moved = ndimage.shift(pair.replacement.astype(np.float32), (0, *off), order=3, mode="nearest")
    found = estimate_shift(patches(pair, moved))
    assert found == NO_SHIFT or np.hypot(*found) >= LEAST_SHIFT  # far off, another place may pass for this one, but
    assert np.hypot(*found) <= MOST_SHIFT
    if np.hypot(*off) < LEAST_SHIFT:
        assert found == NO_SHIFT


@pytest.mark.parametrize("kind", ["flat", "stripes", "few", "other place"])
def test_where_nothing_can_be_told_nothing_moves(kind: str) -> None:
    pair = make_pair(size=(300, 310), seed=2)
    target, other = pair.target.astype(np.float32), pair.replacement.astype(np.float32)
    clear = np.ones(target.shape[1:], bool)
    if kind == "flat":
        target[:], other[:] = 1000, 2000
    elif kind == "stripes":
        target[:] = other[:] = 1000 + 100 * np.sin(np.arange(310) / 5)[None, None]
    elif kind == "few":
        clear[:] = False
        clear[100:150, 100:150] = True
    else:
        other = make_pair(size=(300, 310), seed=77).replacement.astype(np.float32)
    found = estimate_shift([(target, other, clear)])
    assert found == NO_SHIFT or kind == "other place"


def test_little_clear_ground_moves_nothing_far_off() -> None:
    """Whether the dates are off or not: the error stays well below that of standing still, at most."""
    errors = []
    for seed, off in [(seed, off) for seed in range(6) for off in (0.0, 0.6)]:
        pair = make_pair(size=(160, 160), seed=seed)
        rng = np.random.default_rng(seed)
        # Fields that changed between the dates, alike in neighbouring pixels and in all bands.
        changed = pair.truth + 150 * smooth_noise(rng, (1, 160, 160), 6)
        moved = ndimage.shift(pair.replacement.astype(np.float32), (0, off, 0), order=3, mode="nearest")
        clear = np.zeros((160, 160), bool)
        clear[60:100, 55:105] = True
        found = estimate_shift([(changed.astype(np.float32), moved, clear)])
        errors.append((off, np.hypot(found[0] + off, found[1])))
    still = [error for off, error in errors if off == 0]
    assert np.sqrt(np.mean(np.square(still))) < LEAST_SHIFT
    assert np.mean([error for off, error in errors if off > 0]) < 0.3  # half of standing still


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_fill_is_nearly_as_good_as_without_shift(factor: int) -> None:
    pair = make_pair(size=(300, 312), seed=4)
    off = put_off(pair)

    def error(replacement: np.ndarray) -> float:
        fill = fill_clouds(pair.target, replacement, pair.mask, analysis_factor=factor)
        return float(np.sqrt(((fill - pair.truth)[:, pair.mask] ** 2).mean()))

    aligned, moved = error(pair.replacement), error(off)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("algorithms.whole.shift.MOVED_FACTORS", range(0))
        unmoved = error(off)
    assert moved < aligned + 0.3 * (unmoved - aligned)
    assert unmoved > 1.2 * aligned
