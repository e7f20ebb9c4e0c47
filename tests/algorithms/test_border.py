"""The residual's last step in pixels: exact, local, and worth its time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from algorithms import border, fill_clouds
from algorithms.border import BORDER_KAPPA, BORDER_MARGIN, BORDER_STEPS, Border, border_correction, sample_border
from algorithms.residual import GUIDE_EDGE
from tests.helpers.scenes import make_pair

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


def case(seed: int, shape: tuple[int, int] = (48, 40)) -> tuple[Floats, Bools, Bools, Floats]:
    """What is missed on known pixels, known, wanted, guide; a third of the pixels are neither."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    wanted = blobs > np.quantile(blobs, 0.6)
    known = ~wanted & (rng.random(shape) < 0.9)
    missed, guide = (rng.normal(0, size, (bands, *shape)).astype(np.float32) for size, bands in ((50, 3), (0.3, 2)))
    return missed, known, wanted, guide


def correction(missed: Floats, known: Bools, wanted: Bools, guide: Floats) -> Floats:
    """The library's result as (B, H, W), 0 where there is none."""
    ring = known & ndimage.binary_dilation(wanted)
    found = border_correction(missed[:, ring].T, ring, wanted, guide)
    result = np.zeros_like(missed)
    result[:, found.rows, found.cols] = found.values.T
    return result


def by_definition(missed: Floats, known: Bools, wanted: Bools, guide: Floats) -> Floats:
    """Jacobi steps pixel by pixel."""
    ring = known & ndimage.binary_dilation(wanted)
    inside = ring | wanted
    now = np.where(ring, missed, 0).astype(np.float64)
    for _ in range(BORDER_STEPS):
        after = now.copy()
        for y, x in zip(*np.nonzero(wanted), strict=True):
            total, flows, count = np.zeros(len(missed)), 0.0, 0
            for i, j in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= i < inside.shape[0] and 0 <= j < inside.shape[1] and inside[i, j]:
                    flow = 1 / (1 + ((guide[:, y, x] - guide[:, i, j]) ** 2).sum() / (len(guide) * GUIDE_EDGE**2))
                    total, flows, count = total + flow * now[:, i, j], flows + flow, count + 1
            after[:, y, x] = total / (flows * (1 + BORDER_KAPPA**2 / count)) if count else 0
        now = after
    return now.astype(np.float32)


@pytest.mark.parametrize("shape", [(48, 40), (1, 30), (33, 1), (120, 90)])
def test_the_compiled_loop_gives_numpy_s_bytes(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ground is unlike anything, too, and the fill misses by more than a number can hold."""
    compiled = pytest.importorskip("algorithms.compiled_border", reason="numba is not installed")
    for seed in range(3):
        missed, known, wanted, guide = case(seed, shape)
        missed[0, ::7], guide[0, ::5, ::3] = np.inf, 1e18
        found = []
        for loops in (None, compiled):
            monkeypatch.setattr(border, "compiled_loops", lambda loops=loops: type("Loading", (), {"loops": loops}))
            with np.errstate(all="ignore"):
                found.append(correction(missed, known, wanted, guide).tobytes())
        assert found[0] == found[1]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_definition(seed: int) -> None:
    given_case = case(seed, (24, 20))
    np.testing.assert_allclose(correction(*given_case), by_definition(*given_case), atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), top=st.integers(0, 30), left=st.integers(0, 25))
def test_a_margin_is_all_it_takes(seed: int, top: int, left: int) -> None:
    whole = case(seed, (72, 64))
    rows, cols = slice(top, top + 40), slice(left, left + 36)
    missed, known, wanted, guide = whole
    part = correction(missed[:, rows, cols], known[rows, cols], wanted[rows, cols], guide[:, rows, cols])
    # Where the crop ends at the image's own edge no ground is missing there; the inner part holds in any case.
    inner = np.s_[:, BORDER_MARGIN : 40 - BORDER_MARGIN, BORDER_MARGIN : 36 - BORDER_MARGIN]
    np.testing.assert_array_equal(part[inner], correction(*whole)[:, rows, cols][inner])


def test_it_fades_and_ends() -> None:
    wanted = np.zeros((60, 60), bool)
    wanted[15:, :] = True
    missed, guide = np.full((1, 60, 60), 100, np.float32), np.zeros((1, 60, 60), np.float32)
    profile = correction(missed, ~wanted, wanted, guide)[0, 14:, 30]
    assert profile[0] == 100  # the ring keeps what it misses
    assert np.all(np.diff(profile[: BORDER_STEPS + 2]) < 0)
    assert profile[BORDER_STEPS] > 0
    assert not profile[BORDER_STEPS + 1 :].any()


def test_it_keeps_to_its_field() -> None:
    wanted = np.ones((30, 30), bool)
    wanted[:, :2] = False
    missed = np.full((1, 30, 30), 100, np.float32)
    guide = np.zeros((1, 30, 30), np.float32)
    guide[:, :, 5:] = 2.0  # another field begins three pixels inside the mask
    result = correction(missed, ~wanted, wanted, guide)[0, 15]
    assert result[4] > 20 * result[5] > 0


def test_samples_at_centres_are_the_values() -> None:
    missed, known, wanted, guide = case(7)
    ring = known & ndimage.binary_dilation(wanted)
    border = border_correction(missed[:, ring].T, ring, wanted, guide)
    moved = Border(border.rows + 1000, border.cols + 500, border.values)
    y, x = (axis.ravel() for axis in np.mgrid[990:1060, 490:550])
    points, values = sample_border(moved, y + 0.5, x + 0.5, (2, 0))
    assert set(zip(y[points], x[points], strict=True)) == set(zip(moved.rows, moved.cols, strict=True))
    dense = correction(missed, known, wanted, guide)
    np.testing.assert_allclose(values.T, dense[[2, 0]][:, y[points] - 1000, x[points] - 500], atol=1e-3)


def test_the_border_jumps_less(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair(size=(256, 256), seed=11)
    mask = pair.mask
    with_step = fill_clouds(pair.target, pair.replacement, mask, analysis_factor=2)
    monkeypatch.setattr("algorithms.whole.CORRECTED_FACTORS", range(0))
    without = fill_clouds(pair.target, pair.replacement, mask, analysis_factor=2)
    beside = mask & ndimage.binary_dilation(~mask)  # what the clear side shows is the truth
    jumps = [np.abs(fill - pair.truth)[:, beside].mean() for fill in (with_step, without)]
    assert jumps[0] < 0.95 * jumps[1]
    # Deep inside nothing has changed.
    deep = ndimage.distance_transform_cdt(np.pad(mask, 1, constant_values=True), "taxicab")[1:-1, 1:-1] > BORDER_STEPS
    np.testing.assert_array_equal(with_step[:, deep], without[:, deep])
