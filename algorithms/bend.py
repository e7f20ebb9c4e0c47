"""The bend of the scene stage: what a straight relation between the dates misses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.products import combined, median, product

Floats = npt.NDArray[np.float64]

TUKEY: Final = 4.685
"""Tukey's biweight constant: 95 % efficiency under normal noise, zero weight for cloud the mask missed."""
LEAST_NOISE: Final = 0.01
"""Noise below this share of the target's spread makes no outliers, however exact the rest of the fit is."""
RIDGE: Final = 1e-3
"""Shrinkage of the slopes per clear cell, in units of the replacement's variance; tames collinear bands."""
CENTRES: Final = 64
"""Centres of the bend: spectra typical of the scene. 32 to 200 and widths of 0.7 to 1.5 times theirs differ little."""
LEAST_VARIANCE: Final = 0.02
"""Least variance of a whitened direction, so that the noise of collinear bands makes no spectra."""
BEND_RIDGE: Final = 3e-2
"""Shrinkage of the bend per clear cell, in units of a kernel's mean square."""
BEND_REACH: Final = 2.0
"""Cells further from the line than this times Tukey's constant have no part in the bend from the start."""
BEND_SAMPLE: Final = 15_000
"""Cells the bend is fitted on at most."""


@dataclass(frozen=True)
class Bend:
    """What a straight relation between the dates misses: a sum of Gaussian kernels of the replacement's spectrum.

    Fields that are bare on one date and green on the other, forest and water each follow a line of their own; kernels
    follow all of them (radial basis functions, Broomhead and Lowe 1988; centres by k-means as in the Nystroem method,
    Williams and Seeger 2001), are bounded, and vanish for spectra unlike any the scene has shown.
    """

    axes: Floats
    """(B, B), z -> whitened spectrum."""
    centres: Floats
    """(K, B) whitened."""
    width: float
    """Standard deviation of the kernels, in whitened units."""
    weights: Floats
    """(B, K) in the target's units."""

    def kernels(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, K) kernels at standardised replacement spectra (B, n)."""
        scale = np.float32(1 / (np.sqrt(2) * self.width))
        spectra = self.axes.astype(np.float32) * scale @ z
        centres = self.centres.astype(np.float32) * scale
        # Minus the squared distance, 2 s.c - |c|^2 - |s|^2, in place: passes over memory take the time. One product
        # with the norms as further columns would be quicker still, but its bits depend on the number of threads.
        near = spectra.T @ (2 * centres).T
        near -= (centres**2).sum(axis=1)
        near -= (spectra**2).sum(axis=0)[:, None]
        np.minimum(near, 0, out=near)
        result: npt.NDArray[np.float32] = np.exp(near, out=near)
        return result


def fit_bend(x: Floats, y: Floats, spread: Floats) -> Bend:
    """Fit the bend, together with a straight part that is thrown away.

    Args:
        x: (1 + B, n) ones and the standardised replacement.
        y: (B, n) what the straight fit leaves of the standardised target.
        spread: (B,) target units per standard unit.
    """
    # In the order of the spectra, so that it does not matter in which order the cells come.
    order = np.argsort(x[1:].sum(axis=0), kind="stable")[:: -(-x.shape[1] // BEND_SAMPLE)]
    x, y = x[:, order], y[:, order]
    z, bands = x[1:], len(y)
    values, vectors = np.linalg.eigh(product(z, z) / z.shape[1])
    axes = (vectors / np.sqrt(np.maximum(values, 0) + LEAST_VARIANCE)).T
    centres = _centres(combined(axes.T, z))
    apart = ((centres[:, None] - centres[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(apart, np.inf)
    width = float(np.sqrt(max(np.median(apart.min(axis=1)), 1e-3)))
    bend = Bend(axes=axes, centres=centres, width=width, weights=np.zeros((bands, len(centres))))
    phi = bend.kernels(z.astype(np.float32)).T.astype(np.float64)
    both = np.concatenate([x, phi])
    penalty = np.concatenate([[1e-6], np.full(len(z), RIDGE), np.full(len(phi), BEND_RIDGE * (phi**2).mean())])
    coefficients = np.zeros((len(both), bands))
    # Ground that keeps to another line than most is what the bend is for; cloud the mask missed lies much further off.
    size = np.mean((y / np.maximum(1.4826 * median(np.abs(y)), LEAST_NOISE)[:, None]) ** 2, axis=0)
    weight = np.clip(1 - size / (BEND_REACH * TUKEY) ** 2, 0, None) ** 2
    for _ in range(4):
        normal, moment = (both * weight) @ both.T, (both * weight) @ y.T
        coefficients = np.linalg.solve(normal + np.diag(penalty * x.shape[1]), moment)
        residual = y - coefficients.T @ both
        scale = np.maximum(1.4826 * median(np.abs(residual)), LEAST_NOISE)
        weight = np.clip(1 - np.mean((residual / scale[:, None]) ** 2, axis=0) / TUKEY**2, 0, None) ** 2
    return replace(bend, weights=(coefficients[1 + len(z) :] * spread).T)


def _centres(spectra: Floats) -> Floats:
    """(K, B) centres of (B, n) spectra: Lloyd's k-means from a fixed draw, so that the same input gives the same."""
    spectra = spectra[:, :: -(-spectra.shape[1] // 8000)]
    count = min(CENTRES, spectra.shape[1])
    centres = spectra[:, np.random.default_rng(0).choice(spectra.shape[1], count, replace=False)].T
    for _ in range(10):
        # The squared distance but for what is the same for all centres.
        distance = (centres**2).sum(axis=1)[:, None] - combined(2 * centres.T, spectra)
        nearest = distance.argmin(axis=0)
        held = np.bincount(nearest, minlength=count)
        for b, values in enumerate(spectra):
            sums = np.bincount(nearest, values, minlength=count)
            centres[:, b] = np.where(held > 0, sums / np.maximum(held, 1), centres[:, b])
    return centres
