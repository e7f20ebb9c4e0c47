"""The lattice of inference windows: it covers everything, and every rectangle sees the same blend."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.models import INPUT_CELLS
from algorithms.windows import STRIDE, Window, blend, window_count, window_start, windows_over

SHAPES = [(100, 700), (256, 256), (257, 481), (480, 705), (650, 300), (1, 1)]


@cache
def content(window: Window) -> np.ndarray:
    """Probabilities of a window, different in each."""
    return np.random.default_rng(window).integers(0, 256, (2, INPUT_CELLS, INPUT_CELLS), dtype=np.uint8)


@cache
def whole(shape: tuple[int, int]) -> np.ndarray:
    return blend(content, (0, shape[0]), (0, shape[1]), shape)


@given(st.integers(1, 2000))
def test_windows_cover_the_axis_and_the_last_ends_with_it(length: int) -> None:
    count = window_count(length)
    starts = [window_start(k, length) for k in range(count)]
    assert starts[0] == 0
    if length > INPUT_CELLS:
        assert starts[-1] + INPUT_CELLS == length
        assert starts[-2] + INPUT_CELLS < length  # none to spare
    else:
        assert count == 1
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps[:-1] == STRIDE).all()
    assert (steps <= STRIDE).all()
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + INPUT_CELLS] += 1
    assert covered.min() >= 1
    assert all(start % STRIDE == 0 for start in starts[:-1])


@given(st.integers(1, 2000), st.data())
def test_windows_over_a_stretch_are_those_that_touch_it(length: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    starts = {k: window_start(k, length) for k in range(window_count(length))}
    touching = [
        k for k, at in starts.items() if set(range(at, at + INPUT_CELLS)) & {start, stop - 1, (start + stop) // 2}
    ]
    found = windows_over(start, stop, length)
    assert set(touching) <= set(found)
    assert all(starts[k] < stop and starts[k] + INPUT_CELLS > start for k in found)
    needed = np.zeros(length, bool)
    for k in found:
        needed[starts[k] : starts[k] + INPUT_CELLS] = True
    assert needed[start:stop].all()


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 255), st.integers(0, 255))
def test_blend_of_a_constant_is_that_constant(rows: int, cols: int, cloud: int, shadow: int) -> None:
    flat = np.empty((2, INPUT_CELLS, INPUT_CELLS), np.uint8)
    flat[0], flat[1] = cloud, shadow
    result = blend(lambda _: flat, (0, rows), (0, cols), (rows, cols))
    assert result.shape == (2, rows, cols)
    assert result.dtype == np.uint8
    assert (result[0] == cloud).all()
    assert (result[1] == shadow).all()


@given(st.sampled_from(SHAPES), st.data())
def test_a_cell_is_the_same_in_whatever_rectangle_it_is_asked(shape: tuple[int, int], data: st.DataObject) -> None:
    sides = []
    for length in shape:
        start = data.draw(st.integers(0, length - 1))
        sides.append((start, data.draw(st.integers(start + 1, min(length, start + 80)))))
    rows, cols = sides
    part = blend(content, rows, cols, shape)
    np.testing.assert_array_equal(part, whole(shape)[:, rows[0] : rows[1], cols[0] : cols[1]])


@pytest.mark.parametrize("shape", SHAPES)
def test_blend_is_the_mean_under_squared_sine_weights(shape: tuple[int, int]) -> None:
    overlap = INPUT_CELLS - STRIDE
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
    profile = np.ones(INPUT_CELLS)
    profile[:overlap], profile[-overlap:] = ramp, ramp[::-1]
    total, weight = np.zeros((2, *shape)), np.zeros(shape)
    for i in range(max(1, math.ceil((shape[0] - 256) / STRIDE) + 1)):
        for j in range(max(1, math.ceil((shape[1] - 256) / STRIDE) + 1)):
            y, x = (min(k * STRIDE, max(0, n - 256)) for k, n in zip((i, j), shape, strict=True))
            h, w = min(256, shape[0]), min(256, shape[1])
            part = np.outer(profile, profile)[:h, :w]
            total[:, y : y + h, x : x + w] += part * content((i, j))[:, :h, :w]
            weight[y : y + h, x : x + w] += part
    assert weight.min() > 0
    np.testing.assert_allclose(whole(shape), total / weight, atol=0.5 + 1e-3)


def test_outside_the_overlaps_a_cell_has_its_windows_own_value() -> None:
    overlap = INPUT_CELLS - STRIDE
    result = whole((INPUT_CELLS + STRIDE, INPUT_CELLS + 2 * STRIDE))
    np.testing.assert_array_equal(result[:, :STRIDE, :STRIDE], content((0, 0))[:, :STRIDE, :STRIDE])
    inner = np.s_[:, overlap:, overlap:STRIDE]
    np.testing.assert_array_equal(result[:, 256:, 256 : 2 * STRIDE], content((1, 1))[inner])


def test_overlaps_go_smoothly_from_one_window_to_the_other() -> None:
    def step(window: Window) -> np.ndarray:
        return np.full((2, INPUT_CELLS, INPUT_CELLS), 255 * (window[1] % 2), np.uint8)

    length = INPUT_CELLS + STRIDE
    line = blend(step, (0, 1), (0, length), (1, length))[0, 0].astype(int)
    assert (line[:STRIDE] == 0).all()
    assert (line[INPUT_CELLS:] == 255).all()
    assert (np.diff(line) >= 0).all()
    overlap = INPUT_CELLS - STRIDE
    assert np.diff(line).max() <= 255 * np.pi / 2 / overlap + 1  # the steepest a squared sine gets
    ramp = line[STRIDE:INPUT_CELLS]
    np.testing.assert_allclose(ramp + ramp[::-1], 255, atol=1)


def test_only_the_windows_that_touch_the_rectangle_are_fetched() -> None:
    fetched = []

    def fetch(window: Window) -> np.ndarray:
        fetched.append(window)
        return content(window)

    blend(fetch, (0, 100), (256, 384), (2000, 2000))
    assert fetched == [(0, 1)]
    fetched.clear()
    blend(fetch, (STRIDE - 1, STRIDE + 1), (STRIDE - 1, STRIDE), (2000, 2000))
    assert fetched == [(0, 0), (1, 0)]
