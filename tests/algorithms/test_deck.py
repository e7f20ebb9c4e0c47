"""Decks: bright cloud without texture is found by two dates; snow, sand, roofs and changed fields are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from algorithms.bands import ROLES
from algorithms.deck import DECK_RADIUS, SHADOW_CELLS, bright_as_cloud, with_decks
from algorithms.refine import REFINE_RADIUS

GROUND = np.array([0.08, 0.09, 0.1, 0.3, 0.2, 0.12], np.float32)[:, None, None]
DECK = np.array([0.6, 0.6, 0.6, 0.62, 0.5, 0.4], np.float32)[:, None, None]
SNOW = np.array([0.9, 0.9, 0.88, 0.8, 0.12, 0.08], np.float32)[:, None, None]
SAND = np.array([0.25, 0.32, 0.42, 0.5, 0.6, 0.55], np.float32)[:, None, None]
BARE = np.array([0.12, 0.15, 0.2, 0.28, 0.35, 0.3], np.float32)[:, None, None]
SHADE = np.array([0.7, 0.65, 0.6, 0.4, 0.3, 0.3], np.float32)[:, None, None]
PLACE = np.s_[:, 20:40, 20:40]


def ground(shape: tuple[int, int] = (60, 60), *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (GROUND * (1 + 0.1 * rng.standard_normal((6, *shape)))).astype(np.float32)


def found(target: np.ndarray, other: np.ndarray, **more: Any) -> np.ndarray:
    shape = target.shape[1:]
    classes, usable = np.zeros(shape, np.uint8), np.ones(shape, bool)
    given: dict[str, Any] = {"classes": classes, "usable": usable, "bands": ROLES} | more
    return with_decks(given["classes"], target, other, given["usable"], bands=given["bands"])


def test_a_deck_is_cloud() -> None:
    target = ground()
    target[PLACE] = DECK + 0.01 * np.random.default_rng(1).standard_normal((6, 20, 20))
    expected = np.zeros((60, 60), np.uint8)
    expected[20:40, 20:40] = 1
    result = found(target, ground(seed=2))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("before", "after"),
    [(GROUND, SNOW), (SAND, SAND), (SAND * 0.9, SAND), (GROUND, BARE), (SNOW, DECK * 0.9), (GROUND, GROUND * 1.5)],
    ids=["snow", "sand", "wetter sand", "ploughed", "cloud over snow", "haze"],
)
def test_ground_that_is_bright_or_brighter_stays(before: np.ndarray, after: np.ndarray) -> None:
    """Bright in the visible bands alone, bright on both dates, or not as bright as cloud."""
    target, other = ground(), ground(seed=2)
    target[PLACE], other[PLACE] = after, before
    if before is SNOW:
        other[PLACE] = np.maximum(SNOW, DECK)
    assert not found(target, other).any()


def test_shadow_next_to_a_deck_is_shadow_and_elsewhere_is_ground() -> None:
    target, other = ground(), ground(seed=2)
    target[:, 20:40, 5:20] = DECK
    target[:, 20:40, 20:50] *= SHADE
    result = found(target, other)
    assert (result[20:40, 20 : 20 + SHADOW_CELLS] == 2).all()
    assert not result[:, 20 + SHADOW_CELLS :].any()
    target[:, 20:40, 5:20] = other[:, 20:40, 5:20]
    assert not found(target, other).any()


@pytest.mark.parametrize("bands", [(*ROLES[:4], None, None), (None, None, None, *ROLES[3:])])
def test_without_bands_that_tell_snow_from_cloud_nothing_is_found(bands: tuple[str | None, ...]) -> None:
    target = np.broadcast_to(DECK, (6, 20, 20)).copy()
    assert not bright_as_cloud(target, bands).any()
    assert not found(target, ground((20, 20)), bands=bands).any()


def test_numbers_that_are_no_reflectance_say_nothing() -> None:
    target = ground() * 1e4
    target[PLACE] = DECK * 1e4
    assert not found(target, ground() * np.float32(1e4)).any()


def random_pair(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    target, other = ground(shape, seed=seed), ground(shape, seed=seed + 1)

    def blobs(share: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
        return field > np.quantile(field, 1 - share)

    target[:, blobs(0.3)] *= SHADE[..., 0]
    target[:, blobs(0.3)] = DECK[..., 0]
    classes = rng.choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), shape)
    return classes, target, other, ~blobs(0.1)


@given(seed=st.integers(0, 10_000))
def test_only_clear_cells_that_can_be_compared_change(seed: int) -> None:
    classes, target, other, usable = random_pair(seed, (40, 40))
    before = classes.copy()
    result = with_decks(classes, target, other, usable, bands=ROLES)
    np.testing.assert_array_equal(classes, before)
    kept = (classes != 0) | ~usable
    np.testing.assert_array_equal(result[kept], classes[kept])
    assert (result != classes).any()
    for junk in (np.nan, np.inf, -3e38):
        target[:, ~usable], other[:, ~usable] = junk, junk
        np.testing.assert_array_equal(with_decks(classes, target, other, usable, bands=ROLES), result)


@given(seed=st.integers(0, 10_000), top=st.integers(0, 30), left=st.integers(0, 30), size=st.integers(1, 25))
def test_a_crop_with_its_radius_equals_the_whole(seed: int, top: int, left: int, size: int) -> None:
    planes = random_pair(seed, (64, 60))
    whole = with_decks(*planes, bands=ROLES)
    y0, x0 = max(top - DECK_RADIUS, 0), max(left - DECK_RADIUS, 0)
    cut = np.s_[..., y0 : top + size + DECK_RADIUS, x0 : left + size + DECK_RADIUS]
    crop = with_decks(*(plane[cut] for plane in planes), bands=ROLES)
    inner = crop[top - y0 :, left - x0 :][:size, :size]
    np.testing.assert_array_equal(inner, whole[top : top + size, left : left + size])
    assert DECK_RADIUS <= REFINE_RADIUS, "blocks read no farther than the refinement does"


@pytest.mark.parametrize("target", ["20180210", "20180720", "20180928"])
@pytest.mark.parametrize("other", ["20180210", "20180720", "20180928"])
def test_clear_dates_have_no_decks(real_raster: Any, target: str, other: str) -> None:
    """Real ground half a year apart: at most a few cells in 16,384, and a raster's own cloud is found."""
    dates = [real_raster(f"s2_lazio_{date}_clear")[:6].reshape(6, 128, 2, 128, 2) for date in (target, other)]
    assert (found(*(d.mean(axis=(2, 4), dtype=np.float32) * np.float32(1e-4) for d in dates)) > 0).mean() < 1e-3
