"""Trust in narrow windows: wholly under haze, not at all where a straight relation holds or fields change."""

from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from algorithms import fill_clouds, whole
from algorithms.adjust import node_regression, pooled_sums, scene_prior
from algorithms.moments import NodeLattice, window_means
from algorithms.narrow import HIDDEN_NODES, TESTED, hidden_errors, sample_parts, with_narrow
from algorithms.sample import SQUARE_CELLS, sampled
from algorithms.scene import SceneFit, fit_scene

FACTOR = 2
CELLS = 160
LATTICE = NodeLattice(spacing=4, radius=4, narrower=(3, 2))


def smooth(seed: int, scale: float, bands: int = 3, side: int = CELLS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=(side, side)), scale) for _ in range(bands)])
    return (field / field.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def ground(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Target and replacement: the same ground under haze, with noise alone, or with fields that changed."""
    r = 1000 + 200 * smooth(seed, 2)
    t = 0.8 * r + 300 + 40 * smooth(seed + 1, 0.3)
    if kind == "haze":
        t += 150 * smooth(seed + 2, 16, 1) * np.array([1.0, 0.8, 0.6], np.float32)[:, None, None]
    if kind == "fields":
        squares = np.random.default_rng(seed + 2).normal(size=(3, CELLS // 8, CELLS // 8))
        t += 150 * np.kron(squares, np.ones((8, 8))).astype(np.float32)
    return t.astype(np.float32), r.astype(np.float32)


def fitted(t: np.ndarray, r: np.ndarray, clear: np.ndarray, factor: int = FACTOR) -> SceneFit:
    scene = fit_scene(sampled(t), sampled(r), sampled(clear))
    return with_narrow(scene, sample_parts(t, r, clear), factor)


@pytest.mark.parametrize("seed", [0, 10])
@pytest.mark.parametrize(("kind", "trust"), [("haze", 1.0), ("noise", 0.0), ("fields", 0.0)])
def test_it_tells_haze_from_fields(kind: str, trust: float, seed: int) -> None:
    t, r = ground(kind, seed)
    clear = np.random.default_rng(seed).random((CELLS // 10, CELLS // 10)).repeat(10, 0).repeat(10, 1) < 0.5
    assert fitted(t, r, clear).narrow == trust


def test_haze_is_filled_more_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    t, r = (array.repeat(FACTOR, 1).repeat(FACTOR, 2) for array in ground("haze", 0))
    field = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=t.shape[1:]), 12)
    mask = field > np.quantile(field, 0.5)

    def error() -> float:
        fill = fill_clouds(np.where(mask, 9000, t), r, mask, analysis_factor=FACTOR)
        return float(np.sqrt(((fill - t)[:, mask] ** 2).mean()))

    narrow = error()
    monkeypatch.setattr(whole, "with_narrow", lambda scene, *_: scene)
    assert narrow < 0.95 * error()


def test_little_clear_ground_says_nothing() -> None:
    t, r = ground("haze", 0)
    clear = np.zeros((CELLS, CELLS), bool)
    clear[:20, :20] = True
    assert fitted(t, r, clear).narrow == 0


def test_hidden_errors_equal_hiding() -> None:
    """The errors by subtraction are those of windows that never held the hidden nodes, cell by cell."""
    t, r = (array[:, :48, :48] for array in ground("haze", 3))
    clear = np.random.default_rng(1).random((48, 48)) < 0.6
    scene, step = fit_scene(t, r, clear), LATTICE.spacing
    sums = pooled_sums(t, r, clear, scene, LATTICE)
    z = scene.standardise(r)
    e = (t - scene.estimate(z)) / scene.spread[:, None, None]
    prior, expected = scene_prior(scene, "regression"), np.zeros((2, 3))
    for row, col in product(range(12), range(12)):
        hidden = sums.copy()
        hidden[:, max(0, row - HIDDEN_NODES) : row + HIDDEN_NODES + 1][
            ..., max(0, col - HIDDEN_NODES) : col + HIDDEN_NODES + 1
        ] = 0
        node = np.s_[:, row * step : (row + 1) * step, col * step : (col + 1) * step]
        here = clear[node[1:]]
        for k, trust in enumerate([0.0, TESTED]):
            rows, cols = range(row, row + 1), range(col, col + 1)
            means = window_means(hidden, prior, LATTICE, rows=rows, cols=cols, levels=1, narrow=trust)
            slope, _, intercept, _ = node_regression(means, scene)
            explained = slope[0, 0] @ z[node][:, here] + intercept[0, 0][:, None]
            expected[k] += ((e[node][:, here] - explained) ** 2).sum(axis=1)
    np.testing.assert_allclose(hidden_errors(sums, scene, LATTICE), expected, rtol=1e-4)


def test_whole_scenes_are_taken_in_squares() -> None:
    t, r = ground("haze", 0)
    clear = np.ones((CELLS, CELLS), bool)
    whole = sample_parts(t, r, clear)
    ends = [slice(0, SQUARE_CELLS), slice(CELLS - SQUARE_CELLS, CELLS)]
    squares = [(t[:, y, x], r[:, y, x], clear[y, x]) for y in ends for x in ends]
    scene = fit_scene(t, r, clear)
    assert with_narrow(scene, whole, FACTOR).narrow == with_narrow(scene, squares, FACTOR).narrow
