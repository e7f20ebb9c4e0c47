"""Hidden truth of real scenes is found better than by simple means."""

from collections.abc import Callable

import numpy as np
import pytest

from algorithms import fill_clouds
from algorithms.bands import ROLES
from algorithms.mask import cloud_mask
from algorithms.masks import buffer_mask
from tests.helpers.landscapes import covered, rmse

Raster = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def lazio(real_raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two clear dates, and the clouds of a third with their buffer."""
    names = ("s2_lazio_20180720_clear", "s2_lazio_20180928_clear", "s2_lazio_20180705_cloudy")
    target, replacement, cloudy = (real_raster(name) for name in names)
    coarse = (cloudy / 1e4).reshape(6, 128, 2, 128, 2).mean(axis=(2, 4))
    classes = cloud_mask(coarse, ROLES)
    mask = buffer_mask(np.kron((classes == 1) | (classes == 2), np.ones((2, 2))), 2)
    assert 0.1 < mask.mean() < 0.7
    return target, replacement, mask


def regressed(t: np.ndarray, r: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One regression per band."""
    lines = [np.polyfit(b[~mask].astype(float), a[~mask].astype(float), 1) for a, b in zip(t, r, strict=True)]
    return np.stack([gain * b + offset for (gain, offset), b in zip(lines, r, strict=True)])


def matched(t: np.ndarray, r: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each band matched over the scene."""
    mean, std = (getattr(np, name) for name in ("mean", "std"))
    stats = [(mean(a[~mask]), std(a[~mask]), mean(b[~mask]), std(b[~mask])) for a, b in zip(t, r, strict=True)]
    return np.stack([mt + st / sr * (b - mr) for (mt, st, mr, sr), b in zip(stats, r, strict=True)])


@pytest.mark.parametrize("factor", [1, 2])
def test_hidden_truth_is_found_better_than_by_simple_means(
    factor: int, lazio: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    truth, replacement, mask = lazio
    cloudy = covered(truth, mask)
    error = rmse(fill_clouds(cloudy, replacement, mask, analysis_factor=factor), truth, mask)
    assert error < 0.75 * rmse(replacement, truth, mask)
    assert error < 0.9 * rmse(matched(cloudy, replacement, mask), truth, mask)
    assert error < 0.99 * rmse(regressed(cloudy, replacement, mask), truth, mask)
    plain = rmse(fill_clouds(cloudy, replacement, mask, analysis_factor=factor, residual=False), truth, mask)
    assert error < plain


def test_hidden_truth_by_moments_beats_pasting(lazio: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth, replacement, mask = lazio
    found = fill_clouds(covered(truth, mask), replacement, mask, adjustment="moment")
    assert rmse(found, truth, mask) < rmse(replacement, truth, mask)
    assert rmse(found, truth, mask) < 1.02 * rmse(matched(truth, replacement, mask), truth, mask)
