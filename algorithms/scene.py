"""The scene stage: one robust regression per pair of dates, the same for every tile."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from algorithms.models import WINDOW
from algorithms.windows import window_count, window_start

Floats = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)

RIDGE: Final = 1e-3
"""Shrinkage of the slopes per clear cell, in units of the replacement's variance; tames collinear bands."""
PSEUDO: Final = 2.0
"""Weight, in cells, of moment matching, to which slopes shrink where few cells are clear."""
FEW: Final = 64
"""Clear cells below which the fit moves on, in proportion, to the identity `t = r`: with none, that is all there is."""
TUKEY: Final = 4.685
"""Tukey's biweight constant: 95 % efficiency under normal noise, zero weight for cloud the mask missed."""
LEAST_NOISE: Final = 0.01
"""Noise below this share of the target's spread makes no outliers, however exact the rest of the fit is."""
ITERATIONS: Final = 6
SAMPLE: Final = 60_000
"""Cells used at most; a regular sub-sample beyond."""
SQUARES: Final = 12
"""Inference windows up to which a scene is taken whole; squares sampled from a larger one."""
SQUARE: Final = 96
"""Side in cells of a sampled square."""


FEW_BEND: Final = 1000
"""Clear cells from which on the relation may bend."""
CENTRES: Final = 64
"""Centres of the bend: spectra typical of the scene. 32 to 200 and widths of 0.7 to 1.5 times theirs differ little."""
WHITE: Final = 0.02
"""Least variance of a whitened direction, so that the noise of collinear bands makes no spectra."""
BEND_RIDGE: Final = 3e-2
"""Shrinkage of the bend per clear cell, in units of a kernel's mean square."""
BEND_REACH: Final = 2.0
"""Cells further from the line than this times Tukey's constant have no part in the bend from the start."""
BEND_SAMPLE: Final = 15_000
"""Cells the bend is fitted on at most."""
CHUNK: Final = 1 << 15
"""Cells whose kernels are held at once (8 MB)."""


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
        spectra = (self.axes.astype(np.float32) * scale @ z).T
        centres = self.centres.astype(np.float32) * scale
        distance = (spectra**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * (spectra @ centres.T)
        np.maximum(distance, 0, out=distance)
        np.negative(distance, out=distance)
        result: npt.NDArray[np.float32] = np.exp(distance, out=distance)
        return result


@dataclass(frozen=True)
class SceneFit:
    """The target explained from the replacement over the whole scene.

    Standardised replacement `z = (r - mean) / std`; scene estimate
    `G_b = level_b + sum_j slope_bj * z_j + bend_b(z)`.
    """

    mean: Floats
    """(B,) mean of the replacement's bands over clear cells."""
    std: Floats
    """(B,) standard deviation of the replacement's bands, never 0."""
    spread: Floats
    """(B,) standard deviation of the target's bands over clear cells, never 0."""
    level: Floats
    """(B,) value of G at z = 0, in the target's units."""
    slope: Floats
    """(B, B) slopes per standard deviation of the replacement, in the target's units."""
    gain: Floats
    """(B,) slope of each target band on its own replacement band alone, target units per replacement unit."""
    ratio: Floats
    """(B,) std(t) / std(r) of each band: the gain of moment matching."""
    correlation: Floats
    """(B,) correlation of each band between the dates."""
    noise: Floats
    """(B,) robust standard deviation of t - G, in the target's units."""
    count: int
    """Clear cells the fit rests on."""
    bend: Bend | None = None
    """Departure from the straight relation; None on little clear ground."""

    def standardise(self, replacement: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Z of (B, H, W) replacement bands."""
        mean, std = (v.astype(np.float32)[:, None, None] for v in (self.mean, self.std))
        return (replacement - mean) / std

    def estimate(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """G, (B, H, W), from standardised (B, H, W) replacement bands."""
        out = np.empty((len(self.level), *z.shape[1:]), np.float32)
        for b in range(len(self.level)):
            out[b] = self.level[b]
            for j in range(len(self.mean)):
                out[b] += np.float32(self.slope[b, j]) * z[j]
        if self.bend is not None:
            flat = z.reshape(len(z), -1)
            weights = self.bend.weights.T.astype(np.float32)
            for start in range(0, flat.shape[1], CHUNK):
                part = slice(start, start + CHUNK)
                out.reshape(len(out), -1)[:, part] += (self.bend.kernels(flat[:, part]) @ weights).T
        return out


def _positive(std: Floats, mean: Floats, otherwise: Floats) -> Floats:
    """Standard deviations fit to divide by; those of constant bands replaced."""
    return np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-6), std, otherwise)


def fit_scene(
    target: npt.NDArray[np.float32],
    replacement: npt.NDArray[np.float32],
    clear: npt.NDArray[np.bool_],
    *,
    bends: bool = True,
) -> SceneFit:
    """Fit one ridge regression of every target band on the replacement's bands over the clear cells.

    Iteratively reweighted least squares with Tukey's biweight on the combined residual of all bands, so that
    cloud the mask missed does not bend the fit. With few clear cells it moves to moment matching and on to the
    identity; with none the fit is the plain replacement.

    Args:
        target: (B, H, W).
        replacement: (B, H, W), band for band the same as the target's.
        clear: (H, W), cells clear and valid in both.
        bends: whether the relation may depart from a straight line where there is ground enough to tell.
    """
    t = target[:, clear].astype(np.float64)
    r = replacement[:, clear].astype(np.float64)
    step = max(1, -(-t.shape[1] // SAMPLE))
    t, r = t[:, ::step], r[:, ::step]
    n = t.shape[1]
    bands = len(target)
    if n == 0:
        return _identity(bands)
    mean, t_mean = r.mean(axis=1), t.mean(axis=1)
    std = _positive(r.std(axis=1), mean, np.maximum(np.abs(mean), 1.0))
    spread = _positive(t.std(axis=1), t_mean, std)
    z = (r - mean[:, None]) / std[:, None]
    x = np.concatenate([np.ones((1, n)), z])
    y = (t - t_mean[:, None]) / spread[:, None]

    # Moment matching in these units: it does not depend on those of the data.
    matched = np.concatenate([np.zeros((1, bands)), np.eye(bands)])
    penalty = np.full(1 + bands, PSEUDO)
    penalty[0] = PSEUDO / 10

    bend = None
    coefficients, weight, scale = _robust_line(x, y, matched, penalty)
    if bends and n >= FEW_BEND:
        # Fitted to what the line leaves, so that a straight relation stays straight; then the line again beside it.
        bend = _fit_bend(x, y - np.einsum("ib,in->bn", coefficients, x), spread)
        rest = y - ((bend.weights / spread[:, None]) @ bend.kernels(z.astype(np.float32)).T)
        coefficients, weight, scale = _robust_line(x, rest, matched, penalty)

    total = max(weight.sum(), 1e-9)
    dy = y - (y * weight).sum(axis=1, keepdims=True) / total
    dz = z - (z * weight).sum(axis=1, keepdims=True) / total
    vy, vz = (weight * dy**2).sum(axis=1) / total, (weight * dz**2).sum(axis=1) / total
    cov = (weight * dy * dz).sum(axis=1) / total
    trust = total / (total + PSEUDO)
    fit = SceneFit(
        mean=mean,
        std=std,
        spread=spread,
        level=t_mean + spread * coefficients[0],
        slope=(coefficients[1:] * spread).T,
        gain=(trust * cov / np.maximum(vz, 1e-9) + 1 - trust) * spread / std,
        ratio=(trust * np.sqrt(vy / np.maximum(vz, 1e-9)) + 1 - trust) * spread / std,
        correlation=cov / np.sqrt(np.maximum(vy * vz, 1e-18)),
        noise=scale * spread,
        count=n * step,
        bend=bend,
    )
    return fit if n >= FEW else _towards_identity(fit, n / FEW)


def _robust_line(x: Floats, y: Floats, matched: Floats, penalty: Floats) -> tuple[Floats, Floats, Floats]:
    """Ridge regression of y on x by iterated reweighting.

    Returns:
        (1 + B, B) coefficients, (n,) weights of the cells, (B,) robust standard deviation of what is left.
    """
    weight = np.ones(x.shape[1])
    for _ in range(ITERATIONS):
        normal = np.einsum("in,jn->ij", x * weight, x)
        moment = np.einsum("in,bn->ib", x * weight, y)
        ridge = np.full(len(penalty), RIDGE * weight.sum())
        ridge[0] = 0.0
        coefficients = np.linalg.solve(normal + np.diag(penalty + ridge), moment + penalty[:, None] * matched)
        residual = y - np.einsum("ib,in->bn", coefficients, x)
        scale = np.maximum(1.4826 * np.median(np.abs(residual), axis=1), LEAST_NOISE)
        size = np.sqrt(np.mean((residual / scale[:, None]) ** 2, axis=0))
        weight = np.clip(1 - (size / TUKEY) ** 2, 0, None) ** 2
    return coefficients, weight, scale


def _fit_bend(x: Floats, y: Floats, spread: Floats) -> Bend:
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
    values, vectors = np.linalg.eigh(np.einsum("in,jn->ij", z, z) / z.shape[1])
    axes = (vectors / np.sqrt(np.maximum(values, 0) + WHITE)).T
    centres = _centres(np.einsum("ij,jn->in", axes, z))
    apart = ((centres[:, None] - centres[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(apart, np.inf)
    width = float(np.sqrt(max(np.median(apart.min(axis=1)), 1e-3)))
    bend = Bend(axes=axes, centres=centres, width=width, weights=np.zeros((bands, len(centres))))
    phi = bend.kernels(z.astype(np.float32)).T.astype(np.float64)
    both = np.concatenate([x, phi])
    penalty = np.concatenate([[1e-6], np.full(len(z), RIDGE), np.full(len(phi), BEND_RIDGE * (phi**2).mean())])
    coefficients = np.zeros((len(both), bands))
    # Ground that keeps to another line than most is what the bend is for; cloud the mask missed lies much further off.
    size = np.mean((y / np.maximum(1.4826 * np.median(np.abs(y), axis=1), LEAST_NOISE)[:, None]) ** 2, axis=0)
    weight = np.clip(1 - size / (BEND_REACH * TUKEY) ** 2, 0, None) ** 2
    for _ in range(4):
        normal, moment = (both * weight) @ both.T, (both * weight) @ y.T
        coefficients = np.linalg.solve(normal + np.diag(penalty * x.shape[1]), moment)
        residual = y - coefficients.T @ both
        scale = np.maximum(1.4826 * np.median(np.abs(residual), axis=1), LEAST_NOISE)
        weight = np.clip(1 - np.mean((residual / scale[:, None]) ** 2, axis=0) / TUKEY**2, 0, None) ** 2
    return replace(bend, weights=(coefficients[1 + len(z) :] * spread).T)


def _centres(spectra: Floats) -> Floats:
    """(K, B) centres of (B, n) spectra: Lloyd's k-means from a fixed draw, so that the same input gives the same."""
    spectra = spectra[:, :: -(-spectra.shape[1] // 8000)]
    count = min(CENTRES, spectra.shape[1])
    centres = spectra[:, np.random.default_rng(0).choice(spectra.shape[1], count, replace=False)].T
    for _ in range(10):
        distance = np.zeros((spectra.shape[1], count))
        for b, values in enumerate(spectra):
            distance += (values[:, None] - centres[:, b]) ** 2
        nearest = distance.argmin(axis=1)
        held = np.bincount(nearest, minlength=count)
        for b, values in enumerate(spectra):
            sums = np.bincount(nearest, values, minlength=count)
            centres[:, b] = np.where(held > 0, sums / np.maximum(held, 1), centres[:, b])
    return centres


def _towards_identity(fit: SceneFit, share: float) -> SceneFit:
    """A fit on few cells, of which only a share is believed; the rest is the replacement as it is."""
    own = np.diag(fit.std)
    return replace(
        fit,
        level=share * fit.level + (1 - share) * fit.mean,
        slope=share * fit.slope + (1 - share) * own,
        gain=share * fit.gain + (1 - share),
        ratio=share * fit.ratio + (1 - share),
        correlation=share * fit.correlation,
    )


def _identity(bands: int) -> SceneFit:
    """The fit that leaves the replacement as it is."""
    zeros, ones = np.zeros(bands), np.ones(bands)
    return SceneFit(
        mean=zeros,
        std=ones,
        spread=ones,
        level=zeros,
        slope=np.eye(bands),
        gain=ones,
        ratio=ones,
        correlation=zeros,
        noise=ones,
        count=0,
    )


def sample_squares(shape: tuple[int, int]) -> list[tuple[slice, slice]] | None:
    """Squares of cells from which the scene stage is fitted; None for the whole of a small scene.

    A fixed sample keeps the first tile of a large scene quick. Each square lies in the middle of an inference window,
    and the squares are spread evenly over the scene, no two of them overlapping.

    Args:
        shape: rows and columns of the scene in cells.
    """
    counts = [window_count(n) for n in shape]
    if counts[0] * counts[1] <= SQUARES:
        return None
    side = round(math.sqrt(SQUARES))
    rows = min(counts[0], max(side, SQUARES // min(counts[1], side)))
    cols = min(counts[1], SQUARES // rows)

    def spread(wanted: int, length: int) -> list[slice]:
        count = window_count(length)
        picked = sorted({round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)})
        starts = [window_start(k, length) + (WINDOW - SQUARE) // 2 for k in picked]
        # The last window may overlap the one before by more than usual; squares must not.
        apart = [s for before, s in zip([-SQUARE, *starts], starts, strict=False) if s - before >= SQUARE]
        return [slice(s, s + SQUARE) for s in apart]

    return [(y, x) for y in spread(rows, shape[0]) for x in spread(cols, shape[1])]


def sampled(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """The cells of a whole scene that the scene stage is fitted on.

    Args:
        array: (..., H, W) over the whole scene.

    Returns:
        (..., 1, n): square by square, each row by row; a small scene as it is.
    """
    squares = sample_squares((array.shape[-2], array.shape[-1]))
    if squares is None:
        return array
    flat = [array[(..., *square)].reshape(*array.shape[:-2], 1, -1) for square in squares]
    return np.concatenate(flat, axis=-1)
