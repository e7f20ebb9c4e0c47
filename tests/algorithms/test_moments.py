"""The window stage: windowed sums against brute force, and the blend over the levels as the formula says."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage

from algorithms.adjust import TAU, Estimate, estimate_target, pooled_sums
from algorithms.moments import (
    ENOUGH_CLEAR,
    PRIOR,
    NodeLattice,
    WiderMeans,
    WindowMeans,
    WindowSums,
    box_sums,
    halve,
    lacking,
    node_lattice,
    pool,
    stretch,
    window_means,
)
from algorithms.scene import SceneFit, fit_scene
from algorithms.wide import WIDE_LEVELS

ADJUSTMENTS = ("regression", "moment")
SMALL = NodeLattice(spacing=2, radius=2)


def blobs(shape: tuple[int, int], share: float, seed: int, scale: float = 6) -> np.ndarray:
    """A mask of roundish patches that covers a share of the ground."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), scale, mode="wrap")
    return field < np.quantile(field, share) if share > 0 else np.zeros(shape, bool)


def node_sums(clear: np.ndarray, *planes: np.ndarray) -> np.ndarray:
    """Sums per node of the clear cells and of the planes."""
    return np.stack([pool(plane.astype(np.float32), SMALL.spacing) for plane in (clear, *planes)])


def means_of(sums: np.ndarray, prior: np.ndarray, levels: int = 1) -> WindowMeans:
    """Blended means at all nodes."""
    return window_means(sums, prior, SMALL, rows=range(sums.shape[1]), cols=range(sums.shape[2]), levels=levels)


def window(nodes: np.ndarray, i: int, j: int, radius: int) -> np.ndarray:
    return nodes[..., max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 14), st.integers(0, 2**32 - 1))
def test_box_sums_equal_brute_force(channels: int, rows: int, cols: int, radius: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(channels, rows, cols)) * 1000
    expected = [
        [[window(values[c], i, j, radius).sum() for j in range(cols)] for i in range(rows)] for c in range(channels)
    ]
    np.testing.assert_allclose(box_sums(values, radius), expected, atol=1e-8)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_pool_sums_squares(rows: int, cols: int, spacing: int, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(size=(rows * spacing, cols * spacing)).astype(np.float32)
    expected = [
        [plane[i * spacing : (i + 1) * spacing, j * spacing : (j + 1) * spacing].sum(dtype=float) for j in range(cols)]
        for i in range(rows)
    ]
    found = pool(plane, spacing)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-10)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_halve_sums_two_by_two_with_zeros_outside(rows: int, cols: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, rows, cols))
    found = halve(values)
    assert found.shape == (2, -(-rows // 2), -(-cols // 2))
    np.testing.assert_allclose(found.sum(axis=(1, 2)), values.sum(axis=(1, 2)), atol=1e-12)
    np.testing.assert_allclose(found[:, 0, 0], values[:, :2, :2].sum(axis=(1, 2)), atol=1e-12)
    np.testing.assert_allclose(found[:, -1, -1], values[:, (rows - 1) // 2 * 2 :, (cols - 1) // 2 * 2 :].sum((1, 2)))


@given(st.integers(1, 6), st.lists(st.floats(-2, 9), min_size=1, max_size=6), st.integers(0, 1))
def test_stretch_equals_numpys_interpolation(length: int, positions: list[float], axis: int) -> None:
    rng = np.random.default_rng(length)
    field = rng.normal(size=(2, length, 3) if axis == 0 else (2, 3, length))
    found = stretch(field, axis + 1, np.array(positions))
    at = np.arange(length) + 0.5
    for c in range(2):
        for k in range(3):
            line, result = (field[c, :, k], found[c, :, k]) if axis == 0 else (field[c, k], found[c, k])
            np.testing.assert_allclose(result, np.interp(positions, at, line), atol=1e-12)


@given(st.sampled_from(range(20, 401, 20)), st.integers(1, 12))
def test_lattice_has_windows_of_the_radius_asked_for(radius: int, factor: int) -> None:
    lattice = node_lattice(radius, factor)
    assert lattice.radius >= 1
    assert lattice.spacing & (lattice.spacing - 1) == 0
    wanted = max(1, radius / factor)
    assert abs(lattice.radius * lattice.spacing - wanted) <= lattice.spacing / 2
    if wanted >= 9:
        assert 3 <= lattice.radius <= 7
    assert lattice.area == ((2 * lattice.radius + 1) * lattice.spacing) ** 2
    assert all(lattice.reach(k) < lattice.reach(k + 1) for k in range(1, WIDE_LEVELS))


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_means_over_all_clear_ground_are_direct_means(levels: int) -> None:
    rng = np.random.default_rng(3)
    plane = rng.normal(size=(2, 64, 80)).astype(np.float32)
    prior = np.array([1e6, -1e6])
    result = means_of(node_sums(np.ones((64, 80)), *plane), prior, levels=levels)
    for i in (0, 1, 7, 31):
        for j in (0, 5, 20, 39):
            top, left = max(0, i - 2) * 2, max(0, j - 2) * 2
            square = plane[:, top : (i + 3) * 2, left : (j + 3) * 2]
            np.testing.assert_allclose(result.means[:, i, j], square.mean(axis=(1, 2), dtype=float), atol=1e-9)
    assert (result.support == 1).all()


@given(st.floats(0, 0.97), st.integers(0, 999), st.integers(1, WIDE_LEVELS))
def test_constant_in_constant_out(share: float, seed: int, levels: int) -> None:
    clear = ~blobs((64, 64), share, seed)
    plane = np.full((64, 64), 7.25, np.float32) * clear
    result = means_of(node_sums(clear, plane), np.array([7.25]), levels=levels)
    np.testing.assert_allclose(result.means, 7.25, rtol=1e-12)
    assert result.support.min() >= 0
    assert result.support.max() <= 1


def test_without_clear_ground_stands_the_prior() -> None:
    prior = np.array([3.0, -4.0])
    result = means_of(np.zeros((3, 32, 32)), prior)
    np.testing.assert_allclose(result.means, np.broadcast_to(prior[:, None, None], result.means.shape))
    assert (result.support == 0).all()


@given(st.floats(0.2, 0.98), st.integers(0, 999), st.integers(1, WIDE_LEVELS))
def test_blend_is_the_formula(share: float, seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    clear = ~blobs((48, 80), share, seed)
    plane = rng.normal(size=(48, 80)).astype(np.float32) * clear
    result = means_of(node_sums(clear, plane), np.array([5.0]), levels=levels)

    def blended(level: int, i: int, j: int) -> float:
        """Mean at a node of a level, by brute force and recursion."""
        side = 2 << level
        top, left = max(0, (i - 2) * side), max(0, (j - 2) * side)
        part = np.s_[top : (i + 3) * side, left : (j + 3) * side]
        n, total = clear[part].sum(), plane[part].sum(dtype=float)
        area = (5 * side) ** 2
        pull = PRIOR * max(0, 1 - n / (ENOUGH_CLEAR * area)) * area
        return float((total + pull * wider(level, i, j)) / (n + pull)) if pull else float(total / n)

    def wider(level: int, i: int, j: int) -> float:
        if level == levels - 1:
            return 5.0
        shape = [-(-length // (4 << level)) for length in (48, 80)]
        value = 0.0
        corners = []
        for k, length in zip((i, j), shape, strict=True):
            at = min(max((k + 0.5) / 2 - 0.5, 0), length - 1)
            low = int(at)
            corners.append([(low, 1 - (at - low)), (min(low + 1, length - 1), at - low)])
        for row, wy in corners[0]:
            for col, wx in corners[1]:
                if wy * wx:
                    value += wy * wx * blended(level + 1, row, col)
        return value

    for i, j in [(0, 0), (11, 20), (23, 39), (12, 0), (5, 33)]:
        np.testing.assert_allclose(result.means[0, i, j], blended(0, i, j), rtol=1e-9, atol=1e-9)


def near_nodes(rows: range, cols: range) -> np.ndarray:
    """The finest nodes whose cells a region of 128 x 128 cells touches."""
    near = np.zeros((64, 64), bool)
    near[rows[0] // 2 : rows[-1] // 2 + 1, cols[0] // 2 : cols[-1] // 2 + 1] = True
    return near


def random_region(seed: int, size: int) -> tuple[range, range]:
    top, left, height, width = (
        int(v) for v in np.random.default_rng(seed).integers([0, 0, 1, 1], [120, 120, size, size])
    )
    return range(top, min(128, top + height)), range(left, min(128, left + width))


@given(st.floats(0.3, 0.99), st.floats(2, 15), st.integers(0, 9999))
def test_enough_is_counted_in_every_window_near_the_region(share: float, scale: float, seed: int) -> None:
    clear = ~blobs((128, 128), share, seed, scale)
    rows, cols = random_region(seed, 60)
    found = not lacking(node_sums(clear)[0], SMALL, near=near_nodes(rows, cols)).any()

    def least(margin: int) -> int:
        """Fewest clear cells in a window around the region's nodes and so many nodes beyond."""
        return min(
            int(clear[max(0, i - 2) * 2 : (i + 3) * 2, max(0, j - 2) * 2 : (j + 3) * 2].sum())
            for i in range(max(0, rows[0] // 2 - margin), min(63, rows[-1] // 2 + margin) + 1)
            for j in range(max(0, cols[0] // 2 - margin), min(63, cols[-1] // 2 + margin) + 1)
        )

    needed = ENOUGH_CLEAR * SMALL.area
    if found:
        assert least(0) >= needed
    else:  # it looks at the neighbours too, from which values are interpolated
        assert least(2) < needed


def test_enough_is_told_from_too_little() -> None:
    clear = np.ones((128, 128), bool)
    clear[:64] = False
    counts = node_sums(clear)[0]
    assert not lacking(counts, SMALL, near=near_nodes(range(96, 128), range(128))).any()
    assert lacking(counts, SMALL, near=near_nodes(range(16), range(16))).any()
    short = lacking(counts, SMALL, near=near_nodes(range(128), range(3)))
    # Windows of radius 2 nodes meet clear ground from the second node above it on.
    assert short[:30, :2].all()
    assert not short[32:].any()
    assert not short[:, 4:].any()


@given(st.floats(0.3, 0.97), st.floats(2, 12), st.integers(0, 9999))
def test_what_is_wider_changes_nothing_where_windows_hold_enough(share: float, scale: float, seed: int) -> None:
    shape = (128, 128)
    clear = ~blobs(shape, share, seed, scale)
    rows, cols = random_region(seed, 30)
    plane = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * clear
    sums = node_sums(clear, plane)
    assume(not lacking(sums[0], SMALL, near=near_nodes(rows, cols)).any())

    def at_cells(prior: np.ndarray) -> np.ndarray:
        means = means_of(sums, prior).means
        y, x = (np.arange(r.start, r.stop) + 0.5 for r in (rows, cols))
        return stretch(stretch(means, 1, y / SMALL.spacing), 2, x / SMALL.spacing)

    wider = WiderMeans(np.random.default_rng(seed).normal(size=(1, 5, 5)), -7.5, 3.25, 40)
    nodes = (np.arange(64, dtype=np.float64) + 0.5) * SMALL.spacing
    np.testing.assert_array_equal(at_cells(np.array([1e3])), at_cells(wider.at(nodes, nodes)))


@given(st.integers(0, 999), st.floats(0.3, 0.98), st.integers(1, WIDE_LEVELS), st.data())
def test_a_rectangle_of_nodes_is_part_of_all_nodes(seed: int, share: float, levels: int, data: st.DataObject) -> None:
    clear = ~blobs((48, 80), share, seed)
    plane = np.random.default_rng(seed).normal(size=(48, 80)) * clear
    sums, prior = node_sums(clear, plane), np.array([5.0])
    whole = means_of(sums, prior, levels)
    sides = []
    for length in sums.shape[1:]:
        start = data.draw(st.integers(0, length - 1))
        sides.append(range(start, data.draw(st.integers(start + 1, length))))
    rows, cols = sides
    part = window_means(sums, prior, SMALL, rows=rows, cols=cols, levels=levels)
    inside = np.s_[..., rows.start : rows.stop, cols.start : cols.stop]
    np.testing.assert_allclose(part.means, whole.means[inside], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(part.support, whole.support[inside])
    boxes = box_sums(sums, 3, rows, cols)
    np.testing.assert_array_equal(boxes, box_sums(sums, 3)[inside])


def test_sums_beyond_the_reach_have_no_influence() -> None:
    rng = np.random.default_rng(8)
    clear = np.ones((128, 256), bool)
    plane = rng.normal(size=(128, 256)).astype(np.float32)
    changed = plane.copy()
    changed[:, 128 + SMALL.reach(1) :] += 1000
    one, other = (means_of(node_sums(clear, p), np.array([0.0]), levels=1).means for p in (plane, changed))
    near = np.s_[:, :, : 128 // SMALL.spacing]
    np.testing.assert_allclose(one[near], other[near], atol=1e-9)
    assert np.abs(one - other).max() > 100


# The adjustment from the windows' statistics, against statistics taken window by window.


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit]:
    """Two dates of three bands whose relation changes from place to place, and clear cells."""
    rng = np.random.default_rng(5)
    shape = (64, 64)
    r = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(3)])
    r = (2000 + 300 * r / r.std()).astype(np.float32)
    gain = 1 + 0.5 * ndimage.gaussian_filter(rng.normal(size=shape), 12) / 0.03
    t = (0.4 * r + gain * r[[1, 2, 0]] * 0.3 + rng.normal(size=r.shape) * 40 + 100).astype(np.float32)
    clear = ~blobs(shape, 0.3, 11)
    return t, r, clear, fit_scene(t, r, clear, bends=False)


CELLS = node_lattice(20, 4)


def test_lattice_with_a_node_per_cell() -> None:
    assert NodeLattice(spacing=1, radius=5) == CELLS


def estimated(
    pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit],
    adjustment: str,
    rows: range = range(64),
    cols: range = range(64),
    lattice: NodeLattice = CELLS,
) -> Estimate:
    t, r, clear, scene = pair
    sums = pooled_sums(t, r, clear, scene, lattice, adjustment=adjustment)
    part = r[:, rows.start : rows.stop, cols.start : cols.stop]
    return estimate_target(part, WindowSums(sums, lattice, rows, cols), scene, adjustment=adjustment)


@pytest.mark.parametrize("adjustment", ADJUSTMENTS)
def test_only_what_is_needed_is_estimated(
    pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit], adjustment: str
) -> None:
    t, r, clear, scene = pair
    needed = ~blobs(clear.shape, 0.7, 5)
    needed[20:40] = False
    sums = pooled_sums(t, r, clear, scene, CELLS, adjustment=adjustment)
    windows = WindowSums(sums, CELLS, range(64), range(64))
    part = estimate_target(r, windows, scene, adjustment=adjustment, needed=needed)
    whole = estimated(pair, adjustment)
    np.testing.assert_array_equal(part.gain, whole.gain)
    for name in ("value", "support", "error"):
        found, expected = getattr(part, name), getattr(whole, name)
        np.testing.assert_allclose(found[..., needed], expected[..., needed], rtol=1e-5)
        assert not found[..., ~needed].any()


def around(values: np.ndarray, clear: np.ndarray, i: int, j: int) -> np.ndarray | None:
    """Clear values of the window of radius 5 around a cell, None where they are too few."""
    inside = window(clear, i, j, 5)
    return window(values, i, j, 5)[..., inside].astype(float) if inside.sum() >= 0.25 * 121 else None


def test_regression_is_a_ridge_regression_in_each_window(
    pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit],
) -> None:
    t, r, clear, scene = pair
    found = estimated(pair, "regression")
    z = (r - scene.mean[:, None, None]) / scene.std[:, None, None]
    base = scene.level[:, None, None] + np.einsum("bj,jyx->byx", scene.slope, z)
    left = (t - base) / scene.spread[:, None, None]
    checked = 0
    for i, j in np.random.default_rng(0).integers(0, 64, (60, 2)):
        zs, es = around(z, clear, i, j), around(left, clear, i, j)
        if zs is None or es is None:
            continue
        dz, de = zs - zs.mean(axis=1, keepdims=True), es - es.mean(axis=1, keepdims=True)
        n = zs.shape[1]
        slope = np.linalg.solve(dz @ dz.T / n + TAU * np.eye(3), dz @ de.T / n).T
        expected = base[:, i, j] + scene.spread * (es.mean(axis=1) + slope @ (z[:, i, j] - zs.mean(axis=1)))
        np.testing.assert_allclose(found.value[:, i, j], expected, atol=0.05)
        checked += 1
    assert checked > 40
    assert (found.error >= 0).all()


def test_moment_matches_mean_and_spread_in_each_window(
    pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit],
) -> None:
    t, r, clear, scene = pair
    found = estimated(pair, "moment")
    checked = 0
    for i, j in np.random.default_rng(1).integers(0, 64, (60, 2)):
        rs, ts = around(r, clear, i, j), around(t, clear, i, j)
        if rs is None or ts is None:
            continue
        gain = ts.std(axis=1) / rs.std(axis=1)
        steady = np.abs(np.log(gain / scene.ratio)) < np.log(2.5)
        expected = ts.mean(axis=1) + gain * (r[:, i, j] - rs.mean(axis=1))
        tolerance = 0.005 * scene.spread  # the touch of scene variance
        assert (np.abs(found.value[:, i, j] - expected) < tolerance + 0.02 * ts.std(axis=1))[steady].all()
        np.testing.assert_allclose(found.gain[:, i, j][steady], gain[steady], rtol=0.02)
        checked += steady.sum()
    assert checked > 100


def test_moment_gains_stay_near_the_scenes(pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit]) -> None:
    t, r, clear, scene = pair
    flat, wild = r.copy(), t.copy()
    flat[:, :25] = r.mean(axis=(1, 2), keepdims=True) + 0.02 * (r[:, :25] - r.mean(axis=(1, 2), keepdims=True))
    wild[:, 40:] = t.mean(axis=(1, 2), keepdims=True) + 0.02 * (t[:, 40:] - t.mean(axis=(1, 2), keepdims=True))
    found = estimated((wild, flat, clear, scene), "moment")
    ratio = scene.ratio[:, None, None]
    assert (found.gain <= 3 * ratio * 1.001).all()
    assert (found.gain >= ratio / 3 * 0.999).all()
    for rows, limit in ((slice(0, 18), 3 * scene.ratio), (slice(48, 64), scene.ratio / 3)):
        sure = found.support[rows] == 1
        assert sure.sum() > 200
        np.testing.assert_allclose(
            found.gain[:, rows][:, sure], np.broadcast_to(limit[:, None], (3, sure.sum())), rtol=1e-3
        )


@pytest.mark.parametrize("adjustment", ADJUSTMENTS)
@pytest.mark.parametrize(
    "lattice", [CELLS, node_lattice(60, 4), SMALL], ids=lambda lattice: f"spacing {lattice.spacing}"
)
@pytest.mark.parametrize(
    ("rows", "cols"), [(range(13, 40), range(7, 9)), (range(12, 40), range(63, 64)), (range(1), range(64))]
)
def test_an_estimate_on_a_part_is_the_part_of_the_estimate(
    adjustment: str,
    lattice: NodeLattice,
    rows: range,
    cols: range,
    pair: tuple[np.ndarray, np.ndarray, np.ndarray, SceneFit],
) -> None:
    whole = estimated(pair, adjustment, lattice=lattice)
    part = estimated(pair, adjustment, rows, cols, lattice)
    for name in ("value", "gain", "support", "error"):
        expected = getattr(whole, name)[..., rows.start : rows.stop, cols.start : cols.stop]
        np.testing.assert_array_equal(getattr(part, name), expected)


def test_values_that_are_not_clear_do_not_count() -> None:
    rng = np.random.default_rng(2)
    t, r = (rng.uniform(1000, 2000, (2, 32, 32)).astype(np.float32) for _ in range(2))
    clear = ~blobs((32, 32), 0.4, 7, 3)
    scene = fit_scene(t, r, clear, bends=False)
    for adjustment in ADJUSTMENTS:
        plain = pooled_sums(t, r, clear, scene, CELLS, adjustment=adjustment)
        junk = [np.where(clear, v, 1e6).astype(np.float32) for v in (t, r)]
        np.testing.assert_array_equal(pooled_sums(junk[0], junk[1], clear, scene, CELLS, adjustment=adjustment), plain)
