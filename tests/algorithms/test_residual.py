"""The residual correction against a direct solver, and what a membrane must do."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from algorithms.errors import ParameterError
from algorithms.residual import MEMBRANE_KAPPA, MEMBRANE_REACH, residual_reach, screened_membrane

LEFT_OF_ERROR = 0.06
"""Of the border's value, after the steps that are made."""


def direct(border: np.ndarray, known: np.ndarray, unknown: np.ndarray, kappa: float) -> np.ndarray:
    """Solves the five-point equations cell by cell with a sparse direct solver."""
    height, width = known.shape
    cells = [(int(i), int(j)) for i, j in np.argwhere(unknown)]
    number = {cell: k for k, cell in enumerate(cells)}
    matrix = sparse.lil_array((len(cells), len(cells)))
    right = np.zeros((len(cells), len(border)))
    for k, (i, j) in enumerate(cells):
        matrix[k, k] = kappa**2
        for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if not (0 <= y < height and 0 <= x < width):
                continue
            if known[y, x]:
                matrix[k, k] += 1
                right[k] += border[:, y, x]
            elif unknown[y, x]:
                matrix[k, k] += 1
                matrix[k, number[y, x]] = -1
    result = np.where(known, border, 0).astype(float)
    if cells:
        result[:, unknown] = spsolve(matrix.tocsr(), right).reshape(len(cells), -1).T
    return result


def scenery(shape: tuple[int, int], seed: int, walls: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Border values in two bands, known cells, unknown cells; the rest are walls."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    unknown = field > np.quantile(field, rng.uniform(0.1, 0.9))
    wall = rng.random(shape) < walls
    border = rng.normal(size=(2, *shape)).astype(np.float32) * 100
    return border, ~unknown & ~wall, unknown & ~wall


@given(
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 9999), st.sampled_from([0.02, MEMBRANE_KAPPA, 0.2, 1.0, 5.0])
)
def test_comes_near_a_direct_solution(rows: int, cols: int, seed: int, kappa: float) -> None:
    border, known, unknown = scenery((rows, cols), seed)
    found = screened_membrane(border, known, unknown, kappa=kappa)
    expected = direct(border, known, unknown, kappa)
    assert found.dtype == np.float32
    scale = max(np.abs(border[:, known]).max(initial=0), 1e-9)
    assert np.abs(found - expected).max() < LEFT_OF_ERROR * scale


def test_comes_near_a_direct_solution_in_a_large_hole() -> None:
    known = np.ones((90, 90), bool)
    known[5:85, 5:85] = False
    rng = np.random.default_rng(1)
    border = (rng.normal(size=(1, 90, 90)) * 5 + 300).astype(np.float32)
    found = screened_membrane(border, known, ~known, kappa=MEMBRANE_KAPPA)
    assert np.abs(found - direct(border, known, ~known, MEMBRANE_KAPPA)).max() < LEFT_OF_ERROR * np.abs(border).max()


@given(st.integers(0, 9999), st.floats(0.03, 2))
def test_stays_between_zero_and_the_border(seed: int, kappa: float) -> None:
    border, known, unknown = scenery((20, 25), seed)
    found = screened_membrane(border, known, unknown, kappa=kappa)
    for b in range(2):
        values = border[b, known]
        low, high = min(0, values.min(initial=0)), max(0, values.max(initial=0))
        margin = 1e-3 * max(high - low, 1e-9)
        assert found[b].min() >= low - margin
        assert found[b].max() <= high + margin


@pytest.mark.parametrize("kappa", [1 / 15, 2 / 15, 0.4])
def test_decays_exponentially_in_one_dimension(kappa: float) -> None:
    known = np.zeros((1, 200), bool)
    known[0, 0] = True
    border = np.zeros((1, 1, 200), np.float32)
    border[0, 0, 0] = 1000
    found = screened_membrane(border, known, ~known, kappa=kappa)[0, 0]
    rate = math.acosh(1 + kappa**2 / 2)  # of the five-point equations; kappa itself in the limit
    distance = np.arange(60)
    np.testing.assert_allclose(found[:60], 1000 * np.exp(-rate * distance), atol=20)
    assert not found[residual_reach(1, kappa) + 1 :].any()
    assert rate == pytest.approx(kappa, rel=0.01)


@pytest.mark.parametrize("factor", [1, 2, 5])
@pytest.mark.parametrize("odd", [0, 1])
def test_a_padded_crop_is_that_of_the_whole(factor: int, odd: int) -> None:
    kappa = MEMBRANE_KAPPA * factor
    reach = residual_reach(factor)
    assert reach == math.ceil(MEMBRANE_REACH / kappa)
    rng = np.random.default_rng(7)
    shape = 41 + 2 * reach, 61 + 3 * reach
    known = rng.random(shape) < 0.0005
    known[:3] = known[-3:] = known[:, :3] = known[:, -3:] = True
    border = rng.normal(100, 20, (2, *shape)).astype(np.float32)
    guide = rng.normal(0, 0.1, (3, *shape)).astype(np.float32)
    whole = screened_membrane(border, known, ~known, kappa=kappa, guide=guide)
    left = reach // 2 + odd
    crop = np.s_[:, :, left : left + 60 + 2 * reach]
    given = border[crop], known[crop[1:]], ~known[crop[1:]]
    right, wrong = (
        screened_membrane(*given, kappa=kappa, guide=guide[crop], parity=parity) for parity in (left, left + 1)
    )
    middle = np.s_[:, :, reach : 60 + reach]
    np.testing.assert_array_equal(right[middle], whole[crop][middle])
    assert not np.array_equal(wrong[middle], whole[crop][middle])


def test_nothing_flows_through_walls() -> None:
    known, unknown = np.zeros((5, 9), bool), np.ones((5, 9), bool)
    known[:, 0], unknown[:, 0] = True, False
    unknown[:, 4] = False  # a wall right across
    border = np.full((1, 5, 9), 50, np.float32)
    found = screened_membrane(border, known, unknown, kappa=MEMBRANE_KAPPA)
    assert (found[0, :, 1:4] > 40).all()
    np.testing.assert_array_equal(found[0, :, 4:], 0)


def test_known_cells_keep_their_value_and_others_are_zero() -> None:
    border, known, unknown = scenery((30, 30), 3, walls=0.3)
    border[:, ~known] = np.nan
    found = screened_membrane(border, known, unknown, kappa=MEMBRANE_KAPPA)
    np.testing.assert_array_equal(found[:, known], border[:, known])
    np.testing.assert_array_equal(found[:, ~known & ~unknown], 0)
    assert np.isfinite(found).all()


def test_nothing_unknown_or_nothing_known() -> None:
    border = np.ones((2, 4, 5), np.float32)
    every, none = np.ones((4, 5), bool), np.zeros((4, 5), bool)
    np.testing.assert_array_equal(screened_membrane(border, every, none, kappa=0.1), border)
    np.testing.assert_array_equal(screened_membrane(border, none, every, kappa=0.1), 0)
    np.testing.assert_array_equal(screened_membrane(border, none, none, kappa=0.1), 0)


def test_same_input_same_bytes_and_bands_do_not_mix() -> None:
    border, known, unknown = scenery((60, 70), 5)
    found = screened_membrane(border, known, unknown, kappa=MEMBRANE_KAPPA)
    assert found.tobytes() == screened_membrane(border, known, unknown, kappa=MEMBRANE_KAPPA).tobytes()
    for b in range(2):
        alone = screened_membrane(border[b : b + 1], known, unknown, kappa=MEMBRANE_KAPPA)
        np.testing.assert_array_equal(found[b], alone[0])


def test_it_is_linear() -> None:
    border, known, unknown = scenery((30, 40), 6)
    one, two = (screened_membrane(border[b : b + 1], known, unknown, kappa=MEMBRANE_KAPPA) for b in range(2))
    both = screened_membrane(border[:1] + 3 * border[1:], known, unknown, kappa=MEMBRANE_KAPPA)
    np.testing.assert_allclose(both, one + 3 * two, atol=0.01)


@pytest.mark.parametrize("kappa", [0, -0.1, float("nan"), float("-inf")])
def test_kappa_must_be_positive(kappa: float) -> None:
    known = np.ones((2, 2), bool)
    with pytest.raises(ParameterError, match=rf"kappa {re.escape(str(kappa))}"):
        screened_membrane(np.ones((1, 2, 2), np.float32), known, ~known, kappa=kappa)


def test_a_very_stiff_membrane_is_zero_at_once() -> None:
    known = np.zeros((9, 9), bool)
    known[4, 4] = True
    border = np.full((1, 9, 9), 100, np.float32)
    found = screened_membrane(border, known, ~known, kappa=1000.0)
    assert np.abs(found[0][~known]).max() < 0.1


def test_a_guide_keeps_the_correction_in_its_field() -> None:
    """Two fields side by side under the cloud; what is known of one stays out of the other."""
    known, unknown = np.zeros((21, 60), bool), np.zeros((21, 60), bool)
    known[:, :2] = known[:, -2:] = True
    unknown[:, 2:-2] = True
    border = np.zeros((1, 21, 60), np.float32)
    border[:, :, :2], border[:, :, -2:] = 100, -100
    guide = np.zeros((2, 21, 60), np.float32)
    guide[:, :, 30:] = 3
    plain = screened_membrane(border, known, unknown, kappa=0.05)[0, 10]
    kept = screened_membrane(border, known, unknown, kappa=0.05, guide=guide)[0, 10]
    assert abs(kept[29] - kept[30]) > 5 * abs(plain[29] - plain[30])
    assert kept[29] > 3 * plain[29] > 0
    even = screened_membrane(border, known, unknown, kappa=0.05, guide=np.zeros_like(guide))[0, 10]
    np.testing.assert_array_equal(even, plain)
