"""Wide windows: on ground that both dates agree about, from wherever they are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.adjust import scene_prior
from algorithms.cells import Cells, cell_means
from algorithms.scene import SceneFit, fit_scene
from algorithms.wide import (
    WIDE_LEVELS,
    WIDE_TIMES,
    WideGround,
    comparable,
    wide_lattice,
    wide_nodes,
    wide_sums,
    wider_means,
)
from tests.helpers.landscapes import another_date, landscape

LATTICE = wide_lattice(20, 1)
SHAPE = (300, 420)


@pytest.fixture(scope="module")
def ground() -> tuple[WideGround, SceneFit]:
    """Both dates of a landscape on large cells, a quarter of it under cloud, and their scene stage."""
    r = landscape(SHAPE)
    t = another_date(r)
    clear = np.ones(SHAPE, bool)
    clear[:, :100] = False
    scene = fit_scene(t, r, clear)
    t[:, ~clear] += 3000
    target, other = (cell_means(a, np.ones(SHAPE, bool), WIDE_TIMES) for a in (t, r))
    return WideGround(target, other), scene


def nodes(length: int) -> range:
    """All nodes along an axis of so many cells."""
    return wide_nodes(range(length), LATTICE, -(-length // WIDE_TIMES))


def cut(ground: WideGround, rows: range, cols: range) -> WideGround:
    """The ground that some nodes look at, and no more."""
    down, across = (LATTICE.ground(side, level=WIDE_LEVELS - 1) for side in (rows, cols))
    at = np.s_[max(0, down.start) : down.stop, max(0, across.start) : across.stop]
    target, other = (Cells(c.values[:, *at], c.valid[at], c.full[at]) for c in (ground.target, ground.other))
    return WideGround(target, other)


def test_cloud_is_not_comparable_and_clear_ground_is(ground: tuple[WideGround, SceneFit]) -> None:
    dates, scene = ground
    found = comparable(dates.target.values, dates.other.values, scene)
    assert not found[:, :33].any()
    assert found[:, 34:].mean() > 0.9


@given(st.data())
def test_nodes_hold_the_same_from_no_more_than_the_ground_they_look_at(
    ground: tuple[WideGround, SceneFit], data: st.DataObject
) -> None:
    dates, scene = ground
    every = [nodes(length) for length in SHAPE]
    whole = wider_means(wide_sums(dates, scene, LATTICE), scene, LATTICE, rows=every[0], cols=every[1])
    some = []
    for side in every:
        start = data.draw(st.integers(0, len(side) - 1))
        some.append(range(start, data.draw(st.integers(start + 1, len(side)))))
    first = [max(0, LATTICE.ground(side, level=WIDE_LEVELS - 1).start) // LATTICE.spacing for side in some]
    rows, cols = (range(s.start - f, s.stop - f) for s, f in zip(some, first, strict=True))
    corner = tuple(WIDE_TIMES * LATTICE.spacing * f for f in first)
    sums = wide_sums(cut(dates, *some), scene, LATTICE)
    part = wider_means(sums, scene, LATTICE, rows=rows, cols=cols, corner=(corner[0], corner[1]))
    inside = np.s_[:, some[0].start : some[0].stop, some[1].start : some[1].stop]
    np.testing.assert_allclose(part.means, whole.means[inside], rtol=1e-6, atol=1e-9)
    y, x = ((np.array([side.start, side.stop - 1]) + 0.5) * part.side for side in some)
    np.testing.assert_allclose(part.at(y, x), whole.at(y, x), rtol=1e-6, atol=1e-9)


def test_where_nothing_is_comparable_the_scene_stands(ground: tuple[WideGround, SceneFit]) -> None:
    dates, scene = ground
    every = {"rows": nodes(SHAPE[0]), "cols": nodes(SHAPE[1])}
    cut_off = Cells(dates.target.values, dates.target.valid, np.zeros_like(dates.target.full))
    strange = Cells(dates.target.values + 5000, dates.target.valid, dates.target.full)
    for nothing in (WideGround(cut_off, dates.other), WideGround(strange, dates.other)):
        means = wider_means(
            wide_sums(nothing, scene, LATTICE), scene, LATTICE, rows=every["rows"], cols=every["cols"]
        ).means
        prior = scene_prior(scene, "regression")[:, None, None]
        np.testing.assert_allclose(means, np.broadcast_to(prior, means.shape))


@given(st.integers(0, 299), st.integers(1, 60), st.integers(20, 400))
def test_positions_lie_between_their_nodes(start: int, count: int, window: int) -> None:
    """Nothing is extrapolated but at the scene's ends."""
    lattice, length = wide_lattice(window, 2), 120
    cells = range(start, min(start + count, 360))
    found, side = wide_nodes(cells, lattice, length), WIDE_TIMES * lattice.spacing
    assert 0 <= found.start < found.stop <= -(-length // lattice.spacing)
    for cell in (cells[0] + 0.5, cells[-1] + 0.5):
        assert found.start == 0 or cell >= (found.start + 0.5) * side
        assert found.stop == -(-length // lattice.spacing) or cell <= (found.stop - 0.5) * side
