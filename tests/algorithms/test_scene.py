"""The scene stage: it finds the relation between the dates, whatever the clouds it was not told of."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import ndimage

from algorithms import fill_clouds
from algorithms.sample import PLOT_CELLS, SQUARE_CELLS, SQUARES, sample_plots, sample_squares, sampled
from algorithms.scene import FEW_BEND, SAMPLE_CELLS, SceneFit, fit_scene
from algorithms.windows import window_count

MIX = np.array([[0.9, 0.2, -0.1], [0.1, 0.7, 0.3], [-0.2, 0.4, 1.1]])
OFFSET = np.array([150.0, -80.0, 400.0])


def values(fit: SceneFit) -> dict[str, np.ndarray]:
    """Every number of a fit, those of its bend included."""
    flat = {f.name: getattr(fit, f.name) for f in fields(fit) if f.name != "bend"}
    bend = {} if fit.bend is None else {f"bend {f.name}": getattr(fit.bend, f.name) for f in fields(fit.bend)}
    return flat | bend


def replacement(shape: tuple[int, int] = (160, 160), bands: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 3) for _ in range(bands)])
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    level = np.linspace(800, 3000, bands)[:, None, None]
    return (level + 300 * (smooth + 0.4 * smooth[:1])).astype(np.float32)


def mixed(r: np.ndarray) -> np.ndarray:
    return (np.einsum("bj,jyx->byx", MIX, r.astype(float)) + OFFSET[:, None, None]).astype(np.float32)


def all_clear(r: np.ndarray) -> np.ndarray:
    return np.ones(r.shape[1:], bool)


def estimate(fit: SceneFit, r: np.ndarray) -> np.ndarray:
    return fit.estimate(fit.standardise(r))


def test_a_linear_relation_of_all_bands_is_recovered() -> None:
    r = replacement()
    t = mixed(r)
    fit = fit_scene(t, r, all_clear(r))
    error = np.abs(estimate(fit, r) - t)
    spread = t.std(axis=(1, 2))
    rms = np.sqrt((error**2).mean(axis=(1, 2)))
    assert (rms < 1e-3 * t.mean(axis=(1, 2))).all()
    assert (rms < 4e-3 * spread).all()
    np.testing.assert_allclose(fit.slope / fit.std, MIX, atol=0.01)
    np.testing.assert_allclose(fit.spread, spread, rtol=1e-4)
    np.testing.assert_allclose(fit.ratio, spread / r.std(axis=(1, 2)), rtol=0.01)
    assert fit.count == 160 * 160


def test_the_shrinkage_fades_with_the_evidence() -> None:
    errors = []
    for side in (20, 60, 240):
        r = replacement((side, side))
        t = mixed(r)
        fit = fit_scene(t, r, all_clear(r))
        errors.append(np.abs(estimate(fit, r) - t).mean() / t.std())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2e-3


def test_own_band_statistics_are_those_of_each_band() -> None:
    r = replacement(bands=2)
    rng = np.random.default_rng(1)
    t = r * np.array([1.5, -0.4])[:, None, None].astype(np.float32) + rng.normal(size=r.shape) * 60
    fit = fit_scene(t.astype(np.float32), r, all_clear(r))
    for b in range(2):
        slope, _ = np.polyfit(r[b].ravel(), t[b].ravel(), 1)
        assert fit.gain[b] == pytest.approx(slope, rel=0.02)
        assert fit.correlation[b] == pytest.approx(np.corrcoef(r[b].ravel(), t[b].ravel())[0, 1], abs=0.01)
        assert fit.noise[b] == pytest.approx(60, rel=0.03)


@pytest.mark.parametrize("pattern", ["scattered", "patch"])
@pytest.mark.parametrize("height", [5000, -2000])
def test_cloud_the_mask_missed_does_not_bend_the_fit(pattern: str, height: float) -> None:
    r = replacement()
    t = mixed(r) + np.random.default_rng(2).normal(size=r.shape).astype(np.float32) * 30
    hit = np.random.default_rng(3).random(r.shape[1:]) < 0.15
    if pattern == "patch":
        hit[:] = False
        hit[:62, :62] = True
    cloudy = t + (height * hit).astype(np.float32)
    clean, bent = (estimate(fit_scene(x, r, all_clear(r)), r) for x in (t, cloudy))
    spread = t.std(axis=(1, 2), keepdims=True)
    assert (np.abs(clean - bent) / spread).max() < 0.03


def test_a_change_in_one_band_alone_is_an_outlier_too() -> None:
    r = replacement()
    t = mixed(r) + np.random.default_rng(2).normal(size=r.shape).astype(np.float32) * 30
    changed = t.copy()
    changed[1, :24] += 4000
    clean, bent = (estimate(fit_scene(x, r, all_clear(r)), r) for x in (t, changed))
    assert (np.abs(clean - bent) / t.std(axis=(1, 2), keepdims=True)).max() < 0.03


def test_without_clear_cells_the_replacement_stays_as_it_is() -> None:
    r = replacement()
    fit = fit_scene(mixed(r), r, np.zeros(r.shape[1:], bool))
    np.testing.assert_array_equal(estimate(fit, r), r)
    assert fit.count == 0
    np.testing.assert_array_equal(fit.gain, 1)
    np.testing.assert_array_equal(fit.ratio, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_clear_cells_shift_the_replacement_and_change_its_slopes_little(count: int) -> None:
    r = replacement()
    t = r + np.float32(500)
    clear = np.zeros(r.shape[1:], bool)
    clear.ravel()[np.random.default_rng(4).choice(clear.size, count, replace=False)] = True
    fit = fit_scene(t, r, clear)
    assert all(np.isfinite(value).all() for value in values(fit).values())
    found = estimate(fit, r)
    assert np.isfinite(found).all()
    moved = found - r
    assert (moved > -1).all()
    assert (moved < 501).all()


def test_constant_bands_are_no_trouble() -> None:
    r = replacement()
    t = mixed(r)
    r[1], t[2] = 1234, 77
    fit = fit_scene(t, r, all_clear(r))
    for name, value in values(fit).items():
        assert np.isfinite(value).all(), name
    assert (fit.std > 0).all()
    assert (fit.spread > 0).all()
    flat = estimate(fit, r)[2]
    assert np.sqrt(((flat - 77) ** 2).mean()) < 2  # the weight of the identity, against a spread of 300


@pytest.mark.parametrize("value", [0, 5, -3000, 1e-5])
def test_everything_constant(value: float) -> None:
    t = np.full((2, 40, 40), value, np.float32)
    r = np.full((2, 40, 40), 3 * value, np.float32)
    found = estimate(fit_scene(t, r, np.ones((40, 40), bool)), r)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, t, atol=abs(value) * 0.02 + 1e-6)


def test_identical_bands_share_the_slope() -> None:
    r = replacement()
    r[1] = r[0]
    t = 2 * r
    fit = fit_scene(t, r, all_clear(r))
    np.testing.assert_allclose(estimate(fit, r), t, atol=0.02 * t.std(axis=(1, 2)).min())
    assert np.abs(fit.slope).max() < 3 * fit.spread.max()


UNITS = pytest.mark.parametrize(("a", "b"), [(1e-4, -0.1), (40.0, 0.0), (1.0, 1e4)])


@UNITS
def test_units_of_the_target_do_not_matter(a: float, b: float) -> None:
    r = replacement()
    t = mixed(r) + np.random.default_rng(2).normal(size=r.shape).astype(np.float32) * 30
    scaled = (a * t.astype(np.float64) + b).astype(np.float32)
    plain, other = (estimate(fit_scene(x, r, all_clear(r)), r) for x in (t, scaled))
    spread = t.std(axis=(1, 2), keepdims=True)
    assert np.abs(((other.astype(float) - b) / a - plain) / spread).max() < 0.02


@UNITS
def test_units_of_the_replacement_do_not_matter(a: float, b: float) -> None:
    r = replacement()
    t = mixed(r) + np.random.default_rng(2).normal(size=r.shape).astype(np.float32) * 30
    scaled = (a * r.astype(np.float64) + b).astype(np.float32)
    plain, other = (estimate(fit_scene(t, x, all_clear(r)), x) for x in (r, scaled))
    spread = t.std(axis=(1, 2), keepdims=True)
    assert np.abs((other.astype(float) - plain) / spread).max() < 0.02


def test_what_is_not_clear_has_no_influence() -> None:
    r = replacement()
    t = mixed(r)
    clear = all_clear(r)
    clear[40:90, 20:70] = False
    one = fit_scene(t, r, clear)
    t[:, ~clear], r[:, ~clear] = np.nan, 1e30
    other = fit_scene(t, r, clear)
    for name, value in values(one).items():
        np.testing.assert_array_equal(value, values(other)[name])


def test_a_large_scene_is_sampled_and_hardly_changes() -> None:
    r = replacement((500, 500))
    assert r[0].size > 3 * SAMPLE_CELLS
    t = mixed(r) + np.random.default_rng(2).normal(size=r.shape).astype(np.float32) * 30
    clear = np.random.default_rng(5).random(r.shape[1:]) < 0.9
    fit = fit_scene(t, r, clear)
    assert abs(fit.count - clear.sum()) < 10
    assert np.abs(estimate(fit, r) - mixed(r)).max() < 0.02 * t.std()


lengths = st.one_of(st.integers(1, 3000), st.integers(256, 12000))


@given(lengths, lengths)
@example(641, 1000)
@example(449, 12000)
@example(833, 833)
@example(2369, 1)
@example(100, 3000)
@example(2500, 150)
def test_squares_stand_in_plots_apart_from_each_other(rows: int, cols: int) -> None:
    squares, plots = sample_squares((rows, cols)), sample_plots((rows, cols))
    if window_count(rows) * window_count(cols) <= SQUARES:
        assert squares is plots is None
        return
    assert squares is not None
    assert plots is not None
    assert 4 <= len(squares) == len(plots) <= SQUARES
    for square, plot in zip(squares, plots, strict=True):
        for side, around, length in zip(square, plot, (rows, cols), strict=True):
            assert side.stop - side.start == min(SQUARE_CELLS, length)
            assert around.stop - around.start == min(PLOT_CELLS, length)
            assert around.start % PLOT_CELLS == 0
            assert 0 <= around.start <= side.start < side.stop <= around.stop <= length
            before, after = side.start - around.start, around.stop - side.stop
            assert 0 <= after - before <= 1, "a square has as much around it on every side"
    for axis in (0, 1):
        sides = sorted({(plot[axis].start, plot[axis].stop) for plot in plots})
        assert all(one[1] <= two[0] for one, two in pairwise(sides)), "plots overlap"


@pytest.mark.parametrize("width", [1, 60, 100])
def test_a_narrow_strip_is_filled_as_its_dates_relate(width: int) -> None:
    """All of a strip's squares lie inside it, so that its scene stage rests on its ground."""
    rng = np.random.default_rng(0)
    r = rng.uniform(500, 3000, (2, 3000, width)).astype(np.float32)
    t = 2 * r + 300
    mask = np.zeros(t.shape[1:], bool)
    mask[1400:1600] = True  # wider than windows of 20 pixels reach
    found = fill_clouds(np.where(mask, 9999, t), r, mask, window=20)
    np.testing.assert_allclose(found, t, rtol=0.02)


@given(st.integers(1500, 12000), st.integers(1500, 12000))
def test_squares_are_spread_over_the_scene(rows: int, cols: int) -> None:
    squares = sample_squares((rows, cols))
    assert squares is not None
    assert len(squares) == len({(y.start, x.start) for y, x in squares})
    for axis, length in ((0, rows), (1, cols)):
        middles = sorted({(s[axis].start + s[axis].stop) / 2 / length for s in squares})
        assert len(middles) >= 3
        assert middles[0] < 0.35
        assert middles[-1] > 0.65
        assert max(np.diff(middles)) < 0.5


def test_sample_of_the_clear_cells() -> None:
    rng = np.random.default_rng(6)
    small = rng.random((300, 300)) < 0.5
    np.testing.assert_array_equal(sampled(small), small)
    large = rng.random((1100, 1300)) < 0.5
    chosen = sampled(large)
    squares = sample_squares(large.shape)
    assert squares is not None
    assert chosen.shape == (1, len(squares) * SQUARE_CELLS**2)
    for square, part in zip(squares, np.split(chosen[0], len(squares)), strict=True):
        np.testing.assert_array_equal(part.reshape(SQUARE_CELLS, SQUARE_CELLS), large[square])
    several = sampled(np.stack([large, ~large]))
    np.testing.assert_array_equal(several, np.stack([chosen, ~chosen]))


def two_covers(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Ground of two kinds, each of which keeps to a line of its own."""
    rng = np.random.default_rng(8)
    kind = rng.random((n, n)) < 0.5
    r = np.where(kind, 1000, 3000) + rng.normal(0, 150, (2, n, n))
    t = np.where(kind, 2.0 * r + 500, 6000 - 1.5 * r) + rng.normal(0, 20, (2, n, n))
    return t.astype(np.float32), r.astype(np.float32)


def test_a_bend_follows_two_kinds_of_ground() -> None:
    t, r = two_covers()
    clear = all_clear(r)
    straight, bent = (estimate(fit_scene(t, r, clear, bends=bends), r) for bends in (False, True))
    assert rms(bent - t) < 0.6 * rms(straight - t)


def test_a_bend_says_nothing_of_spectra_it_has_not_seen() -> None:
    t, r = two_covers()
    fit = fit_scene(t, r, all_clear(r))
    assert fit.bend is not None
    strange = np.full((2, 4, 4), 60000, np.float32)
    np.testing.assert_allclose(estimate(fit, strange), estimate(replace(fit, bend=None), strange), rtol=1e-6)
    few = np.s_[:, :1, : FEW_BEND - 1]
    t, r = (a.reshape(2, 1, -1)[few] for a in (t, r))
    assert fit_scene(t, r, all_clear(r)).bend is None


@pytest.mark.parametrize("replacements", [1, 2])
def test_an_estimate_is_the_sum_of_line_and_kernels_cell_by_cell(replacements: int) -> None:
    t, r = two_covers(60)
    r = np.concatenate([r, r[:, ::-1]])[: 2 * replacements]
    fit = fit_scene(t, r, all_clear(r))
    assert fit.bend is not None
    z = fit.standardise(r)
    z[:, 5, 7] = 1e15  # no ground; no others are the worse for it
    found, straight = fit.estimate(z), replace(fit, bend=None).estimate(z)
    flat = z.reshape(len(z), -1).astype(np.float64)
    line = fit.level[:, None] + fit.slope @ flat
    apart = (fit.bend.axes @ flat)[None] - fit.bend.centres[..., None]
    kernels = np.exp(-(apart**2).sum(axis=1) / (2 * fit.bend.width**2))
    for values, expected in ((straight, line), (found, line + fit.bend.weights @ kernels)):
        np.testing.assert_allclose(values.reshape(len(t), -1), expected, rtol=1e-5, atol=1e-3 * t.std())
    order = np.random.default_rng(0).permutation(flat.shape[1])[:1111]
    some = fit.estimate(z.reshape(len(z), -1)[:, order][:, None])[:, 0]
    np.testing.assert_array_equal(some, found.reshape(len(t), -1)[:, order])


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values.astype(float) ** 2).mean()))
