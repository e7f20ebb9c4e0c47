"""Clouds over half of the scene, nearly all and all of it."""

import numpy as np
import pytest
from scipy import ndimage

from algorithms import fill_clouds
from algorithms.moments import node_lattice
from algorithms.scene import fit_scene
from tests.helpers.landscapes import (
    another_date,
    both_adjustments,
    both_residuals,
    covered,
    landscape,
    rmse,
    scarce,
    smooth,
)


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
    found = fill_clouds(covered(t, mask), r, mask, window=80, adjustment=adjustment, residual=False)
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
