"""The two-date refinement of the mask: what it gives back, what it takes, and that blocks of a scene agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from algorithms.bands import ROLES
from algorithms.errors import ParameterError, ShapeError
from algorithms.masks import NODATA
from algorithms.refine import (
    CERTAIN_PROBABILITY,
    ENOUGH_FIT_CELLS,
    FIT_BUFFER,
    GROWTH_CELLS,
    REFINE_RADIUS,
    fit_cells,
    refine_mask,
    trusted,
)
from algorithms.scene import fit_scene

NOISE = np.array([30, 40, 50, 150, 100, 80], np.float64)
CLOUD_LIGHT = np.array([5000, 4900, 4900, 5200, 4000, 3200], np.float32)[:, None, None]
SHADE = np.array([0.6, 0.65, 0.7, 0.77, 0.85, 0.87], np.float32)[:, None, None]


class Scene:
    """Ground with texture, its estimate from another date, and what the model said."""

    def __init__(self, shape: tuple[int, int] = (60, 60), *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        level = np.array([500, 700, 800, 2600, 1800, 1200], np.float32)[:, None, None]
        texture = ndimage.gaussian_filter(rng.standard_normal((6, *shape)), (0, 2, 2)) * 600
        self.estimate = (level + texture).astype(np.float32)
        self.target = (self.estimate + NOISE[:, None, None] * rng.standard_normal((6, *shape))).astype(np.float32)
        self.classes = np.zeros(shape, np.uint8)
        self.probability = np.full((2, *shape), 30, np.uint8)
        self.usable = np.ones(shape, bool)

    def say(self, where: Any, kind: int, probability: float) -> None:
        """What the model makes of some cells."""
        self.classes[where] = kind
        self.probability[(kind - 1, *where)] = round(probability * 255)

    def cloud(self, where: Any, alpha: float = 1.0) -> None:
        mask = np.zeros(self.classes.shape, np.float32)
        mask[where] = alpha
        self.target = (1 - mask) * self.target + mask * CLOUD_LIGHT

    def shade(self, where: Any, strength: float = 1.0) -> None:
        mask = np.zeros(self.classes.shape, np.float32)
        mask[where] = strength
        self.target = self.target * (1 - mask * SHADE)

    def refine(self, cut: Any = np.s_[:, :], bands: Sequence[str] = ROLES, take: slice = slice(None)) -> np.ndarray:
        planes = (slice(None), *cut)
        return refine_mask(
            self.classes[cut],
            self.probability[planes],
            self.target[planes][take],
            self.estimate[planes][take],
            NOISE[take],
            self.usable[cut],
            bands=bands,
        )


BOX = np.s_[20:40, 20:40]
INNER = np.s_[21:39, 21:39]


def random_scene(seed: int, shape: tuple[int, int]) -> Scene:
    """Clouds, shadows, false alarms, holes and change of the ground wherever they fall."""
    rng = np.random.default_rng(seed)
    scene = Scene(shape, seed=seed)

    def blobs(share: float, sigma: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
        return field > np.quantile(field, 1 - share)

    cloud, shadow = blobs(0.2, 4), blobs(0.15, 4)
    scene.shade(np.nonzero(shadow), 0.8)
    alpha = np.clip(ndimage.gaussian_filter(cloud.astype(np.float32), 2) * 1.6 - 0.3, 0, 1)
    scene.target = ((1 - alpha) * scene.target + alpha * CLOUD_LIGHT).astype(np.float32)
    scene.target[:, blobs(0.1, 3)] *= 1.2
    scene.probability = np.clip(
        255 * ndimage.gaussian_filter(np.stack([cloud, shadow]).astype(np.float32), (0, 2, 2))
        + 90 * ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 3, 3)) * 8,
        0,
        255,
    ).astype(np.uint8)
    scene.probability[1] = np.minimum(scene.probability[1], 255 - scene.probability[0])
    top = scene.probability.max(axis=0)
    scene.classes = np.where(top >= 128, 1 + scene.probability.argmax(axis=0), 0).astype(np.uint8)
    scene.classes[blobs(0.05, 3)] = NODATA
    scene.usable = ~blobs(0.1, 3)
    return scene


@given(seed=st.integers(0, 10_000), top=st.integers(0, 30), left=st.integers(0, 30), size=st.integers(1, 25))
def test_a_crop_with_its_radius_equals_the_whole(seed: int, top: int, left: int, size: int) -> None:
    scene = random_scene(seed, (64, 70))
    whole = scene.refine()
    y0, x0 = max(top - REFINE_RADIUS, 0), max(left - REFINE_RADIUS, 0)
    crop = scene.refine(np.s_[y0 : top + size + REFINE_RADIUS, x0 : left + size + REFINE_RADIUS])
    inner = crop[top - y0 :, left - x0 :][:size, :size]
    np.testing.assert_array_equal(inner, whole[top : top + size, left : left + size])


@given(seed=st.integers(0, 10_000))
def test_what_never_changes(seed: int) -> None:
    scene = random_scene(seed, (50, 60))
    before = tuple(array.copy() for array in (scene.classes, scene.probability, scene.target, scene.estimate))
    result = scene.refine()
    np.testing.assert_array_equal(result, scene.refine())
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result == NODATA, scene.classes == NODATA)
    np.testing.assert_array_equal(result[~scene.usable], scene.classes[~scene.usable])
    # Cloud does not turn into shadow, nor shadow into cloud: cells are given back, or clear ones join.
    changed = result != scene.classes
    assert ((result == 0) | (scene.classes == 0))[changed].all()
    for array, copy in zip((scene.classes, scene.probability, scene.target, scene.estimate), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(seed=st.integers(0, 10_000), junk=st.sampled_from([np.nan, np.inf, -3.4e38, 65535.0]))
def test_nothing_unusable_is_looked_at(seed: int, junk: float) -> None:
    scene = random_scene(seed, (40, 40))
    result = scene.refine()
    hidden = ~scene.usable | (scene.classes == NODATA)
    scene.target[:, hidden] = junk
    scene.estimate[:, hidden] = junk
    np.testing.assert_array_equal(scene.refine(), result)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("probability", [0.55, 0.75, 0.9])
def test_a_false_alarm_on_clear_ground_is_given_back(kind: int, probability: float) -> None:
    scene = Scene()
    scene.say(BOX, kind, probability)
    result = scene.refine()
    assert (result[INNER] == 0).mean() > (0.97 if probability < 0.9 else 0.6)


def test_a_false_alarm_with_certainty_stays() -> None:
    scene = Scene()
    scene.say(BOX, 1, CERTAIN_PROBABILITY + 0.02)
    assert (scene.refine()[INNER] == 1).all()


@pytest.mark.parametrize("probability", [0.5, 0.7, 0.99])
@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0])
def test_cloud_is_never_freed(probability: float, alpha: float) -> None:
    scene = Scene()
    scene.cloud(BOX, alpha)
    scene.say(BOX, 1, probability)
    assert (scene.refine()[BOX] == 1).all()


def test_shadow_is_never_freed() -> None:
    scene = Scene()
    scene.shade(BOX, 0.7)
    scene.say(BOX, 2, 0.6)
    assert (scene.refine()[INNER] == 2).all()


@given(seed=st.integers(0, 10_000))
def test_random_thick_cloud_is_never_freed(seed: int) -> None:
    scene = Scene((48, 48), seed=seed)
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((48, 48)), 3)
    cloud = np.nonzero(field > np.quantile(field, 0.7))
    scene.cloud(cloud)
    scene.say(cloud, 1, 0.6)
    assert (scene.refine()[cloud] == 1).all()


def test_a_thin_rim_joins_its_cloud() -> None:
    scene = Scene()
    rim = np.s_[18:42, 18:42]
    scene.cloud(rim, 0.3)
    scene.probability[(0, *rim)] = 60
    scene.cloud(BOX)
    scene.say(BOX, 1, 0.99)
    result = scene.refine()
    # The outermost cells of a rim are half ground to the 3x3 mean: they are the buffer's.
    assert (result[19:41, 19:41] == 1).all()
    outside = np.ones((60, 60), bool)
    outside[rim] = False
    assert not result[outside].any()


def test_a_rim_the_model_sees_nothing_in_stays_out() -> None:
    scene = Scene()
    scene.cloud(np.s_[18:42, 18:42], 0.3)
    scene.probability[0] = 10
    scene.cloud(BOX)
    scene.say(BOX, 1, 0.99)
    np.testing.assert_array_equal(scene.refine(), scene.classes)


def test_the_edge_of_a_shadow_joins_it() -> None:
    scene = Scene()
    scene.shade(np.s_[18:42, 18:42], 0.8)
    scene.probability[(1, *np.s_[18:42, 18:42])] = 60
    scene.say(BOX, 2, 0.9)
    result = scene.refine()
    assert (result[19:41, 19:41] == 2).all()


def test_growth_ends_after_its_steps() -> None:
    scene = Scene((40, 80))
    streak = np.s_[15:25, 10:75]
    scene.cloud(streak, 0.6)
    scene.probability[(0, *streak)] = 40
    scene.say(np.s_[15:25, 10:20], 1, 0.99)
    result = scene.refine()
    assert (result[16:24, 20 : 20 + GROWTH_CELLS] == 1).all()
    assert not result[:, 20 + GROWTH_CELLS :].any()


def test_cloud_the_model_all_but_sees_starts_by_itself() -> None:
    scene = Scene()
    scene.cloud(BOX, 0.5)
    scene.probability[(0, *BOX)] = 120
    assert (scene.refine()[INNER] == 1).all()


def test_changed_fields_do_not_join() -> None:
    """Ripening brightens red and darkens the near infrared: neither cloud nor shadow."""
    scene = Scene()
    scene.say(BOX, 1, 0.99)
    scene.cloud(BOX)
    field = np.s_[20:40, 40:55]
    scene.probability[(slice(None), *field)] = 100
    scene.target[(2, *field)] += 20 * NOISE[2]
    scene.target[(3, *field)] -= 8 * NOISE[3]
    result = scene.refine()
    assert not result[20:40, 42:55].any()


def test_it_does_not_depend_on_the_unit() -> None:
    scene = random_scene(3, (50, 50))
    result = scene.refine()
    scaled = refine_mask(
        scene.classes,
        scene.probability,
        scene.target / np.float32(8192),
        scene.estimate / np.float32(8192),
        NOISE / 8192,
        scene.usable,
        bands=ROLES,
    )
    np.testing.assert_array_equal(scaled, result)


def test_four_bands_suffice() -> None:
    scene = Scene()
    scene.say(BOX, 1, 0.7)
    scene.say(np.s_[45:55, 5:55], 2, 0.7)
    scene.shade(np.s_[45:55, 5:55], 0.7)
    result = scene.refine(bands=ROLES[:4], take=slice(4))
    assert (result[INNER] == 0).mean() > 0.97
    assert (result[46:54, 6:54] == 2).all()


def test_the_fit_rests_on_clear_cells_then_on_doubtful_ones() -> None:
    scene = Scene()
    scene.say(np.s_[:, :], 1, 0.99)
    scene.say(np.s_[0:30, :], 1, 0.6)
    scene.classes[0:10] = 0
    scene.usable[:, :5] = False
    scene.classes[0, 10] = NODATA
    clear, doubtful = fit_cells(scene.classes, scene.probability, scene.usable)
    expected = np.zeros((60, 60), bool)
    expected[: 10 - FIT_BUFFER, 5:] = True
    expected[0, 10] = False
    np.testing.assert_array_equal(clear, expected)
    assert doubtful[:29, 5:].sum() == 29 * 55 - 1
    assert not doubtful[30:].any()
    assert not doubtful[:, :5].any()


def test_a_fit_that_explains_nothing_is_not_trusted() -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(1000, 100, (6, 40, 40)).astype(np.float32)
    other = rng.normal(1000, 100, (6, 40, 40)).astype(np.float32)
    clear = np.ones((40, 40), bool)
    assert trusted(fit_scene(ground, 1.1 * ground + 5, clear))
    assert not trusted(fit_scene(ground, other, clear))
    few = np.zeros((40, 40), bool)
    few.ravel()[: ENOUGH_FIT_CELLS - 1] = True
    assert not trusted(fit_scene(ground, 1.1 * ground, few))
    assert not trusted(fit_scene(ground, ground, np.zeros((40, 40), bool)))
    half = fit_scene(ground, (0.45 * ground + other).astype(np.float32), clear)
    assert trusted(half)
    assert not trusted(half, doubtful=True)


def test_bad_input_is_refused() -> None:
    scene = Scene((20, 20))
    with pytest.raises(ParameterError, match="visible and an infrared"):
        scene.refine(bands=ROLES[:3], take=slice(3))
    with pytest.raises(ShapeError, match="do not fit"):
        scene.refine(bands=ROLES[:5])
    scene.usable = scene.usable[:-1]
    with pytest.raises(ShapeError, match="do not fit"):
        scene.refine()
