"""The bend of the scene stage: what a straight relation between the dates misses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.products import PART_MULTIPLICATIONS, combined, median, product

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

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
PIECE_CELLS: Final = 1 << 10
"""Cells that are estimated at once without a bend: always so many, as with one."""
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

    @cached_property
    def _products(self) -> tuple[Image, Image]:
        """From z to scaled spectra s, and from (z, 1, |s|^2) to minus the squared distance, 2 s.c - |c|^2 - |s|^2."""
        scale = 1 / (np.sqrt(2) * self.width)
        axes, centres = self.axes * scale, self.centres * scale
        near = [2 * centres @ axes, -(centres**2).sum(axis=1, keepdims=True), np.full((len(centres), 1), -1.0)]
        return axes.astype(np.float32), np.concatenate(near, axis=1).astype(np.float32)

    @property
    def piece(self) -> int:
        """Cells whose kernels are made at once: always so many, or the bits of a cell would depend on those around."""
        return max(64, PART_MULTIPLICATIONS // self._products[1].size // 64 * 64)

    def write_kernels(self, rows: Image, out: Image) -> None:
        """Write kernels at replacement spectra.

        Args:
            rows: (B + 2, n) float32: standardised spectra, ones, and room for a row.
            out: (K, n) float32.
        """
        axes, near = self._products
        spectra = axes @ rows[:-2]
        np.square(spectra, out=spectra).sum(axis=0, out=rows[-1])
        np.matmul(near, rows, out=out)
        np.minimum(out, 0, out=out)
        np.exp(out, out=out)


def related(weights: Image, bend: Bend | None, z: Image) -> Image:
    """(B, n) float32: what follows from standardised replacement spectra (J, n).

    Args:
        weights: (B, K + J + 1) of the bend's kernels, of the bands of z, and of one.
        bend: what makes the kernels; None without any.
        z: (J, n) float32.
    """
    kernels = weights.shape[1] - len(z) - 1
    piece = PIECE_CELLS if bend is None else bend.piece
    rows = np.zeros((kernels + len(z) + 2, piece), np.float32)
    rows[-2] = 1
    found = np.empty((len(weights), z.shape[1]), np.float32)
    for start in range(0, z.shape[1], piece):
        some = z[:, start : start + piece]
        count = some.shape[1]
        rows[kernels:-2, :count] = some
        if bend is not None:
            bend.write_kernels(rows[kernels:], rows[:kernels])
        found[:, start : start + count] = (weights @ rows[:-1])[:, :count]
    return found


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
    phi = _kernels(bend, z)
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


def _kernels(bend: Bend, z: Floats) -> Floats:
    """(K, n) kernels at standardised spectra (B, n)."""
    rows = np.concatenate([z, np.ones((2, z.shape[1]))]).astype(np.float32)
    kernels = np.empty((len(bend.centres), z.shape[1]), np.float32)
    for start in range(0, z.shape[1], bend.piece):
        part = slice(start, start + bend.piece)
        bend.write_kernels(rows[:, part], kernels[:, part])
    return kernels.astype(np.float64)


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
