"""Ground of two dates, made in code, and clouds over it: arrays for the tests of the fill."""

import numpy as np
import pytest
from scipy import ndimage

ADJUSTMENTS = ("regression", "moment")
GAINS = np.array([0.7, 1.0, 1.6])
OFFSETS = np.array([250.0, 0.0, -150.0])
both_adjustments = pytest.mark.parametrize("adjustment", ADJUSTMENTS)
both_residuals = pytest.mark.parametrize("residual", [False, True])


def smooth(shape: tuple[int, ...], scale: float, seed: int) -> np.ndarray:
    """Noise with structures of a size in pixels, standard deviation 1."""
    sigma = [0] * (len(shape) - 2) + [scale, scale]
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field / field.std()


def landscape(shape: tuple[int, int] = (160, 180), bands: int = 3, seed: int = 0) -> np.ndarray:
    """Ground with structures of several sizes; bands alike but not the same."""
    cube = (bands, *shape)
    texture = smooth(cube, 2, seed) + smooth(cube, 12, seed + 1) + 0.8 * smooth((1, *shape), 4, seed + 2)
    level = np.linspace(1500, 3000, bands)[:, None, None]
    return (level + 150 * texture).astype(np.float32)


def related(r: np.ndarray) -> np.ndarray:
    """Another date with a gain and an offset per band."""
    return (r * GAINS[: len(r), None, None] + OFFSETS[: len(r), None, None]).astype(np.float32)


def another_date(r: np.ndarray, seed: int = 100) -> np.ndarray:
    """Another date whose relation to `r` changes from place to place, and which has detail of its own."""
    gain = 1.1 + 0.1 * smooth(r.shape, 25, seed)
    return (r * gain + 60 * smooth(r.shape, 1.5, seed + 1) + 100).astype(np.float32)


def clouds(shape: tuple[int, int] = (160, 180), share: float = 0.15, scale: float = 9, seed: int = 50) -> np.ndarray:
    field = smooth(shape, scale, seed)
    return field > np.quantile(field, 1 - share)


def covered(t: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The target with cloud on it: what is under the mask must not matter."""
    cloudy = t.copy()
    cloudy[:, mask] = 9000 + 500 * np.random.default_rng(1).normal(size=(len(t), mask.sum()))
    return cloudy


def rmse(found: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    return float(np.sqrt(((found - truth)[:, mask].astype(float) ** 2).mean()))


def scarce(shape: tuple[int, int], share: float) -> np.ndarray:
    return ~clouds(shape, 1 - share, 8, 60)
