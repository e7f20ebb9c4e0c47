"""The cloud mask: the real networks on real rasters, and the way from windows to classes with a network of our own."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from algorithms.bands import ROLES
from algorithms.cells import cell_means, on_pixels
from algorithms.errors import BandError, ModelError, ParameterError, ShapeError
from algorithms.mask import (
    classify,
    cloud_mask,
    cloud_probability,
    covered_from,
    reflect_invalid,
    window_probabilities,
)
from algorithms.models import INPUT_CELLS, MODELS, CloudModel
from algorithms.sessions import SESSIONS, Sessions
from algorithms.windows import STRIDE

Raster = Callable[..., np.ndarray]
MODEL = MODELS["ukis-6b-l1c"]
CLEAR = [
    "s2_congo_p100_clear",
    "s2_congo_p500_clear",
    "s2_congo_p838_clear",
    "s2_lazio_20180210_clear",
    "s2_lazio_20180720_clear",
    "s2_lazio_20180928_clear",
    "s2_tatarstan_p100_clear",
]
SCORED = {"s2_congo_p100_cloudy": 0.2, "s2_lazio_20180705_cloudy": 0.1}


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A network without weights: cloud where blue is bright, shadow where it is dark. Returns what it was given."""
    given: list[np.ndarray] = []

    def probabilities(sessions: Sessions, model: CloudModel, reflectance: np.ndarray, valid: np.ndarray) -> np.ndarray:
        given.append(reflectance.copy())
        blue = np.clip(reflectance[0], 0, 1)
        # Squeeze-and-excitation: the output at a cell depends on the whole window.
        cloud = np.clip(blue - 0.1 * float(reflectance.mean()), 0, 1)
        shadow = (1 - cloud) * (blue < 0.1) * 0.9
        return np.stack([1 - cloud - shadow, cloud, shadow]).astype(np.float32)

    monkeypatch.setattr(Sessions, "probabilities", probabilities)
    return given


def cells(values: np.ndarray, factor: int = 2) -> np.ndarray:
    """Reflectance averaged over squares of pixels."""
    bands, height, width = values.shape
    squares = values[:, : height // factor * factor, : width // factor * factor] / 1e4
    shape = (bands, height // factor, factor, width // factor, factor)
    return squares.reshape(shape).mean(axis=(2, 4), dtype=np.float32)


def test_score_on_the_labelled_landsat_scene(real_raster: Raster) -> None:
    truth = real_raster("ukis_landsat7_labelled_mask", 1)[0]
    found = cloud_mask(real_raster("ukis_landsat7_labelled_image") / 1e4, ROLES, level="l1c", model="ukis-6b-l1c")
    assert found.shape == truth.shape
    assert found.dtype == np.uint8
    cloud, true_cloud = found == 1, truth == 1
    assert 2 * (cloud & true_cloud).sum() / (cloud.sum() + true_cloud.sum()) >= 0.85
    shadow, true_shadow = found == 2, truth == 2
    assert 2 * (shadow & true_shadow).sum() / (shadow.sum() + true_shadow.sum()) >= 0.5


@pytest.mark.parametrize("name", CLEAR)
def test_clear_scenes_stay_clear(name: str, real_raster: Raster) -> None:
    classes = cloud_mask(cells(real_raster(name)), ROLES)
    assert ((classes == 1) | (classes == 2)).mean() < 0.02


@pytest.mark.parametrize(("name", "share"), SCORED.items())
def test_cloudy_scenes_do_not(name: str, share: float, real_raster: Raster) -> None:
    assert (cloud_mask(cells(real_raster(name)), ROLES) == 1).mean() > share


def test_a_hole_is_nodata_and_leaves_distant_classes_alone(real_raster: Raster) -> None:
    values = real_raster("ukis_landsat7_labelled_image")[:, :256, :256] / 1e4
    whole = cloud_mask(values, ROLES)
    holed = values.copy()
    holed[2, 20:60, 30:80] = np.nan
    classes = cloud_mask(holed, ROLES)
    hole = np.zeros(whole.shape, bool)
    hole[20:60, 30:80] = True
    np.testing.assert_array_equal(classes == 255, hole)
    assert (whole != 255).all()
    assert (classes[100:, 110:] != whole[100:, 110:]).mean() < 0.01
    assert (classes != whole)[~hole].mean() < 0.03


def test_real_network_gives_probabilities(real_raster: Raster) -> None:
    values = real_raster("ukis_landsat7_labelled_image")[:, :256, :256] / 1e4
    before = SESSIONS.inferences(MODEL)
    probabilities = SESSIONS.probabilities(MODEL, np.ascontiguousarray(values))
    assert SESSIONS.inferences(MODEL) == before + 1
    assert probabilities.shape == (3, INPUT_CELLS, INPUT_CELLS)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 40), (256, 256), (300, 500)])
def test_all_nodata_needs_no_inference(shape: tuple[int, int]) -> None:
    before = SESSIONS.inferences()
    classes = cloud_mask(np.full((6, *shape), np.nan), ROLES)
    assert classes.shape == shape
    assert (classes == 255).all()
    assert SESSIONS.inferences() == before


def scene(shape: tuple[int, int], bands: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.uniform(0, 1, (bands, -(-shape[0] // 16), -(-shape[1] // 16)))
    return np.kron(rough, np.ones((1, 16, 16)))[:, : shape[0], : shape[1]].astype(np.float32)


def test_whole_array_is_assembled_from_anchored_windows(inputs: list[np.ndarray]) -> None:
    values = scene((300, 500))
    classes = cloud_mask(values, ROLES)
    assert len(inputs) == 2 * 3
    starts = [(y, x) for y in (0, 44) for x in (0, STRIDE, 244)]
    for (y, x), window in zip(starts, inputs, strict=True):
        np.testing.assert_array_equal(window, values[:, y : y + 256, x : x + 256])
    overlap = 256 - STRIDE
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
    profile = np.concatenate([ramp, np.ones(256 - 2 * overlap), ramp[::-1]])
    total, weight = np.zeros((2, 300, 500)), np.zeros((300, 500))
    for (y, x), window in zip(starts, list(inputs), strict=True):
        probabilities = np.rint(255 * SESSIONS.probabilities(MODEL, window, np.ones((256, 256), bool))[1:])
        total[:, y : y + 256, x : x + 256] += np.outer(profile, profile) * probabilities
        weight[y : y + 256, x : x + 256] += np.outer(profile, profile)
    cloud, shadow = total / weight
    both = cloud + shadow
    sure = (abs(both - 0.9 * 255) > 2) & (abs(cloud - shadow) > 2)  # rounding may decide the rest
    assert sure.mean() > 0.85
    expected = np.where(both > 0.9 * 255, np.where(cloud > shadow, 1, 2), 0)
    np.testing.assert_array_equal(classes[sure], expected[sure])
    assert set(np.unique(classes)) == {0, 1, 2}


def test_the_network_never_sees_nan(inputs: list[np.ndarray]) -> None:
    values = scene((300, 280))
    rng = np.random.default_rng(1)
    values[:, rng.random((300, 280)) < 0.2] = np.nan
    values[3, 100:200, 50:150] = np.inf
    values[0, 5, 5] = 1e30
    values[0, 6, 6] = -1e30
    cloud_mask(values, ROLES)
    assert len(inputs) == 4
    for window in inputs:
        assert window.shape == (6, INPUT_CELLS, INPUT_CELLS)
        assert window.dtype == np.float32
        assert np.isfinite(window).all()
        assert window.min() >= -0.2
        assert window.max() <= 2.0


def test_nodata_in_any_band_of_the_model_is_nodata(inputs: list[np.ndarray]) -> None:
    values = scene((40, 50))
    values[5, 3, 4] = np.nan
    values[0, 7, 8] = np.inf
    expected = np.zeros((40, 50), bool)
    expected[3, 4] = expected[7, 8] = True
    np.testing.assert_array_equal(cloud_mask(values, ROLES) == 255, expected)
    _, valid = cloud_probability(values, ROLES)
    np.testing.assert_array_equal(valid, ~expected)


def test_nodata_in_a_band_no_model_needs_does_not_matter(inputs: list[np.ndarray]) -> None:
    values = scene((40, 50), bands=7)
    hidden = np.zeros(values.shape, bool)
    hidden[6] = True
    names = [*ROLES, "cirrus"]
    plain = cloud_mask(values, names)
    assert (plain != 255).all()
    np.testing.assert_array_equal(cloud_mask(np.where(hidden, np.nan, values), names), plain)
    np.testing.assert_array_equal(cloud_mask(np.ma.array(values, mask=hidden), names), plain)


def test_masked_arrays_are_as_nan(inputs: list[np.ndarray]) -> None:
    values = scene((60, 70))
    hidden = np.zeros(values.shape, bool)
    hidden[:, 10:20, 30:50] = True
    hidden[2, 40, 40] = True
    masked = cloud_mask(np.ma.array(values, mask=hidden), ROLES)
    np.testing.assert_array_equal(masked, cloud_mask(np.where(hidden, np.nan, values), ROLES))
    np.testing.assert_array_equal(masked == 255, hidden.any(axis=0))


def test_bands_are_found_by_name_in_any_order(inputs: list[np.ndarray]) -> None:
    values = scene((50, 60))
    expected = cloud_mask(values, ROLES)
    first = inputs[-1]
    order = [4, 2, 0, 5, 1, 3]
    shuffled = np.concatenate([scene((50, 60), bands=1, seed=9), values[order]])
    classes = cloud_mask(shuffled, ["coastal", *(ROLES[k] for k in order)])
    np.testing.assert_array_equal(inputs[-1], first)
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(cloud_mask(values, ["B02", "B03", "B04", "B08", "B11", "B12"]), expected)


def test_input_is_left_alone(inputs: list[np.ndarray]) -> None:
    values = scene((50, 60))
    values[:, 3:9, 4:9] = np.nan
    before = values.copy()
    cloud_mask(values, ROLES)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("side", [1, 2, 255, 256, 257])
def test_scenes_of_any_size(side: int, inputs: list[np.ndarray]) -> None:
    values = scene((side, 3))
    classes = cloud_mask(values, ROLES)
    assert classes.shape == (side, 3)
    assert (classes != 255).all()


def test_mirroring_fills_from_the_nearest_ground() -> None:
    values = np.arange(10, dtype=np.float32).reshape(1, 1, 10)
    valid = np.array([[True] * 6 + [False] * 4])
    np.testing.assert_array_equal(reflect_invalid(values, valid)[0, 0], [0, 1, 2, 3, 4, 5, 4, 3, 2, 1])
    valid = np.array([[False] * 4 + [True] * 6])
    np.testing.assert_array_equal(reflect_invalid(values, valid)[0, 0], [8, 7, 6, 5, 4, 5, 6, 7, 8, 9])
    valid = np.array([[False] * 4 + [True] * 2 + [False] * 4])
    np.testing.assert_array_equal(reflect_invalid(values, valid)[0, 0], [4, 4, 4, 5, 4, 5, 4, 5, 5, 5])


def test_mirroring_is_finite_whatever_the_holes() -> None:
    rng = np.random.default_rng(4)
    for share in (0.01, 0.5, 0.999):
        values = rng.uniform(0, 1, (3, 30, 40)).astype(np.float32)
        valid = rng.random((30, 40)) > share
        valid[3, 5] = True
        ground = values[:, valid]
        values[:, ~valid] = np.nan
        filled = reflect_invalid(values, valid)
        np.testing.assert_array_equal(filled[:, valid], ground)
        assert np.isin(filled[0], ground[0]).all()


def test_a_window_without_data_is_clear_without_inference(inputs: list[np.ndarray]) -> None:
    nothing = window_probabilities(np.zeros((6, 80, 256), np.float32), np.zeros((80, 256), bool), MODEL)
    assert nothing.shape == (2, INPUT_CELLS, INPUT_CELLS)
    assert not nothing.any()
    assert not inputs


@pytest.mark.parametrize(
    ("sensitivity", "classes"),
    [
        (0, [0, 1, 2, 1, 0, 0, 0, 255]),
        (15, [0, 1, 2, 1, 0, 2, 0, 255]),
        (50, [0, 1, 2, 1, 1, 2, 0, 255]),
        (99, [0, 1, 2, 1, 1, 2, 1, 255]),
        (100, [0, 1, 2, 1, 1, 2, 1, 255]),
    ],
)
def test_covered_is_what_cloud_and_shadow_together_make_probable(sensitivity: int, classes: list[int]) -> None:
    cloud = np.array([[0, 255, 0, 128, 86, 106, 3, 200]], np.uint8)
    shadow = np.array([[0, 0, 255, 127, 84, 112, 0, 56]], np.uint8)
    valid = np.arange(8)[None] < 7
    found = classify(np.stack([cloud, shadow]), valid, sensitivity=sensitivity)
    np.testing.assert_array_equal(found, [classes])


def test_cells_of_several_pixels_share_a_class(inputs: list[np.ndarray]) -> None:
    """`analysis_factor` has the network look at means over cells; pixels without data are told apart."""
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 1, (6, 61, 40)).astype(np.float32)
    values[:, 7, 9] = np.nan
    means = cell_means(values, np.isfinite(values[0]), 3)
    expected = on_pixels(cloud_mask(means.values, ROLES), 3, (61, 40))
    expected[7, 9] = 255
    np.testing.assert_array_equal(cloud_mask(values, ROLES, analysis_factor=3), expected)


def test_the_mask_grows_with_the_sensitivity_and_with_the_size_of_cells() -> None:
    """Each mask holds the one before it, and a cell keeps its kind."""
    cloud, shadow = np.mgrid[:256, :256]
    valid = cloud + shadow <= 255
    both = np.stack([cloud, shadow]).astype(np.uint8)
    for metres in ((30.0,), (60.0,), (20.0, 30.0, 45.0, 60.0, 90.0)):
        steps = [(s, m) for m in metres for s in (range(101) if len(metres) == 1 else (15,))]
        before = np.zeros(valid.shape, np.uint8)
        shares = []
        for sensitivity, size in steps:
            found = classify(both, valid, sensitivity=sensitivity, metres=size)
            assert (found == before)[(before > 0) & valid].all()
            before = found
            shares.append(float((found[valid] > 0).mean()))
        assert shares[0] < shares[-1]
    assert classify(both, valid, sensitivity=100)[valid].astype(bool).sum() == valid.sum() - 1


def test_up_to_30_m_the_sensitivity_is_the_share_that_may_be_clear() -> None:
    for sensitivity in range(0, 101, 5):
        for metres in (0.5, 10.0, 30.0):
            assert covered_from(sensitivity, metres) == pytest.approx(1 - sensitivity / 100)
    assert covered_from(10, 60) == pytest.approx(0.48, abs=0.01)


@pytest.mark.parametrize("sensitivity", [-1, 101, 50.5, "15", None, True])
def test_sensitivities_that_do_not_exist(sensitivity: Any) -> None:
    with pytest.raises(ParameterError, match="sensitivity"):
        covered_from(sensitivity)
    with pytest.raises(ParameterError, match="sensitivity"):
        cloud_mask(np.zeros((6, 5, 7), np.float32), ROLES, sensitivity=sensitivity)


@pytest.mark.parametrize(
    ("shape", "names"),
    [((6, 10), ROLES), ((10,), ROLES), ((0, 4, 4), ()), ((6, 0, 4), ROLES), ((6, 4, 0), ROLES), ((1, 6, 4, 4), ROLES)],
)
def test_shapes_that_make_no_image(shape: tuple[int, ...], names: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError, match=re.escape(str(shape))):
        cloud_mask(np.zeros(shape), names)


def test_one_name_per_band() -> None:
    with pytest.raises(ShapeError, match=r"4 band names .* for 6 bands of \(6, 5, 7\)"):
        cloud_mask(np.zeros((6, 5, 7)), ROLES[:4])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": "l3"}, ParameterError, "'l3'"),
        ({"model": "nope"}, ModelError, "ukis-6b-l1c, ukis-4b-l1c"),
        ({"bands": ["blue", "green", "red", "", "", ""]}, BandError, "nir"),
        ({"bands": ["blue", "green", "red", "nir", "x_y", ""], "model": "ukis-6b-l2a"}, BandError, "swir16, swir22"),
    ],
)
def test_options_that_do_not_exist(options: dict[str, Any], error: type[Exception], message: str) -> None:
    names = options.pop("bands", ROLES)
    with pytest.raises(error, match=message):
        cloud_mask(np.zeros((6, 5, 7), np.float32), names, **options)
