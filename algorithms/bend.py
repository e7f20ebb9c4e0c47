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
"""Centres of the bend: spectra typical of the scene. Up to 200, and widths of 0.7 to 1.5 times theirs, differ little;
32 raise the error under large clouds by 1 to 4 %."""
CENTRE_SAMPLE: Final = 8_000
"""Cells that centres are looked for among at most."""
LEAST_VARIANCE: Final = 0.02
"""Least variance of a whitened direction, so that the noise of collinear bands makes no spectra."""
BEND_RIDGE: Final = 3e-2
"""Shrinkage of the bend per clear cell, in units of a kernel's mean square."""
STARTING_CELLS: Final = 4_000
"""Cells that the first rounds of a fit take of more than twice as many: only the last rounds have to be exact."""
BEND_REACH: Final = 2.0
"""Cells further from the line than this times Tukey's constant have no part in the bend from the start."""


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


def rounds(cells: int, first: int, last: int) -> list[slice]:
    """Which cells the rounds of a fit take: so many first ones a part, so many last ones all."""
    return first * [slice(None, None, max(1, cells // STARTING_CELLS))] + last * [slice(None)]


def biweight(residual: Floats, limit: float) -> tuple[Floats, Floats]:
    """Tukey's weights (n,) of cells by the residuals (B, n) of all bands, and the bands' robust deviations (B,).

    Args:
        residual: what a fit leaves.
        limit: standard deviations from which on a cell has no weight.
    """
    scale = np.maximum(1.4826 * median(np.abs(residual)), LEAST_NOISE)
    size = np.mean((residual / scale[:, None]) ** 2, axis=0)
    return np.clip(1 - size / limit**2, 0, None) ** 2, scale


def fit_bend(x: Floats, y: Floats, spread: Floats) -> tuple[Bend, Floats]:
    """Fit the bend, together with a straight part that is thrown away.

    Args:
        x: (1 + B, n) ones and the standardised replacement, in an order that does not depend on the cells' places.
        y: (B, n) what the straight fit leaves of the standardised target.
        spread: (B,) target units per standard unit.

    Returns:
        The bend, and (B, n) what it adds in standard units.
    """
    z, bands = x[1:], len(y)
    values, vectors = np.linalg.eigh(product(z, z) / z.shape[1])
    axes = (vectors / np.sqrt(np.maximum(values, 0) + LEAST_VARIANCE)).T
    centres = _centres(combined(axes.T, z))
    apart = ((centres[:, None] - centres[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(apart, np.inf)
    width = float(np.sqrt(max(np.median(apart.min(axis=1)), 1e-3)))
    bend = Bend(axes=axes, centres=centres, width=width, weights=np.zeros((bands, len(centres))))
    phi = bend.kernels(z.astype(np.float32)).T.astype(np.float64)
    explaining = len(x) + len(phi)
    rows = np.concatenate([x, phi, y])
    penalty = np.concatenate([[1e-6], np.full(len(z), RIDGE), np.full(len(phi), BEND_RIDGE * (phi**2).mean())])
    coefficients = np.zeros((explaining, bands))
    for k, part in enumerate(rounds(x.shape[1], 3, 1)):
        some, rest = np.ascontiguousarray(rows[:, part]), y[:, part]
        if k == 0:
            # Ground that keeps to another line than most is what the bend is for; cloud the mask missed lies much
            # further off.
            weight = biweight(rest, BEND_REACH * TUKEY)[0]
        else:
            weight = biweight(rest - coefficients.T @ some[:explaining], TUKEY)[0]
        sums = (some[:explaining] * weight) @ some.T
        normal, moment = sums[:, :explaining], sums[:, explaining:]
        coefficients = np.linalg.solve(normal + np.diag(penalty * some.shape[1]), moment)
    bent = coefficients[len(x) :]
    return replace(bend, weights=(bent * spread).T), bent.T @ phi


def _centres(spectra: Floats) -> Floats:
    """(K, B) centres of (B, n) spectra: Lloyd's k-means from a fixed draw, so that the same input gives the same."""
    spectra = spectra[:, :: -(-spectra.shape[1] // CENTRE_SAMPLE)]
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
