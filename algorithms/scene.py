"""The scene stage: one robust regression per pair of dates, the same for every tile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.bend import RIDGE, TUKEY, Bend, biweight, fit_bend, related, rounds
from algorithms.products import combined, median, product

Floats = npt.NDArray[np.float64]

PSEUDO: Final = 8.0
"""Weight, in cells, of moment matching, to which slopes shrink where few cells are clear."""
TRUSTED_CELLS: Final = 64
"""Clear cells below which the fit moves on, in proportion, to the identity `t = r`: with none, that is all there is.
Both dates are in the same units here, the target's."""
MISFIT_LIMIT: Final = 6.0
"""Robust standard deviations beyond which a residual counts no more for the misfit."""
MEASURED_TIMES: Final = 1e6
"""Times the usual size of a band's values, 1 at least, beyond which a value is no measurement: one such cell, a nodata
value that the file does not declare, would leave nothing of the others in means and deviations. No 16 bits reach it."""
ITERATIONS: Final = 4, 2
"""Rounds on a part of the cells, see `algorithms.bend.rounds`, and on all."""
SAMPLE_CELLS: Final = 60_000
"""Cells looked at, at most; a regular sub-sample beyond."""
FITTED_CELLS: Final = 15_000
"""Cells of these that the fit rests on, at most, evenly by brightness. All lower no error: neighbours are alike."""
TIES: Final = 1e-3
"""What the squares of values count in their order, so that few cells are the same."""
FEW_BEND: Final = 200
"""Clear cells from which on the relation may bend."""


@dataclass(frozen=True)
class SceneFit:
    """The target explained from the replacement over the whole scene.

    Standardised replacement `z = (r - mean) / std`; scene estimate
    `G_b = level_b + sum_j slope_bj * z_j + bend_b(z)`.
    """

    mean: Floats
    """(J,) mean of the replacements' bands over clear cells: B of one, or of several one after the other."""
    std: Floats
    """(J,) standard deviation of the replacements' bands, never 0."""
    spread: Floats
    """(B,) standard deviation of the target's bands over clear cells, never 0."""
    level: Floats
    """(B,) value of G at z = 0, in the target's units."""
    slope: Floats
    """(B, J) slopes per standard deviation of the replacement, in the target's units."""
    gain: Floats
    """(B,) slope of each target band on its own band of the first replacement alone, in their units."""
    ratio: Floats
    """(B,) std(t) / std(r) of each band, r of the first replacement: the gain of moment matching."""
    correlation: Floats
    """(B,) correlation of each band between the target and the first replacement."""
    noise: Floats
    """(B,) robust standard deviation of t - G, in the target's units."""
    misfit: Floats
    """(B,) standard deviation of t - G with the ground that changed between the dates, in the target's units."""
    count: int
    """Clear cells the fit rests on."""
    bend: Bend | None = None
    """Departure from the straight relation; None on little clear ground."""
    narrow: float = 0.0
    """Trust in windows below W, 0..1, from `algorithms.narrow`."""

    def standardise(self, replacement: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Z of (J, H, W) replacement bands, or of the first of them."""
        mean, std = (v[: len(replacement)].astype(np.float32)[:, None, None] for v in (self.mean, self.std))
        z = replacement - mean
        z /= std
        return z

    def estimate(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """G, (B, H, W), from standardised (J, H, W) replacement bands."""
        found = related(self._total, self.bend, z.reshape(len(z), -1))
        return found.reshape(len(found), *z.shape[1:])

    @cached_property
    def _total(self) -> npt.NDArray[np.float32]:
        """(B, K + J + 1) weights of kernels, of standardised bands and of one in the estimate."""
        parts = [self.slope, self.level[:, None]]
        return np.concatenate(parts if self.bend is None else [self.bend.weights, *parts], axis=1).astype(np.float32)


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
        replacement: (J, H, W), band for band the same as the target's: B of one replacement, or of several one after
            the other.
        clear: (H, W), cells clear and valid in all.
        bends: whether the relation may depart from a straight line where there is enough clear ground.
    """
    here = np.flatnonzero(clear)
    step = max(1, -(-len(here) // SAMPLE_CELLS))
    here = here[::step]
    t, r = (image.reshape(len(image), -1).take(here, axis=1).astype(np.float64) for image in (target, replacement))
    if not (measured := _measured(t) & _measured(r)).all():
        t, r = t[:, measured], r[:, measured]
    bands, seen = len(target), t.shape[1]
    if seen == 0:
        return _identity(bands, len(replacement))
    mean, t_mean = r.mean(axis=1), t.mean(axis=1)
    std = _positive(r.std(axis=1), mean, np.maximum(np.abs(mean), 1.0))
    spread = _positive(t.std(axis=1), t_mean, std[:bands])
    z = (r - mean[:, None]) / std[:, None]
    # In the order of brightness, so that it does not matter in which order the cells come.
    brightness = z.sum(axis=0) + TIES * (z**2).sum(axis=0)
    order = np.argsort(brightness, kind="stable")[:: -(-seen // FITTED_CELLS)]
    z, t = z[:, order], t[:, order]
    n = len(order)
    x = np.concatenate([np.ones((1, n)), z])
    y = (t - t_mean[:, None]) / spread[:, None]

    # Moment matching in these units: it does not depend on those of the data.
    matched = np.concatenate([np.zeros((1, bands)), _own(len(replacement), bands)])
    penalty = np.full(1 + len(replacement), PSEUDO)
    penalty[0] = PSEUDO / 10

    bend = None
    coefficients, weight, scale = _robust_line(x, y, matched, penalty)
    if bends and n >= FEW_BEND:
        # Fitted to what the line leaves, so that a straight relation stays straight; then the line again with it.
        bend, bent = fit_bend(x, y - combined(coefficients, x), spread)
        rest = y - bent
        coefficients, weight, scale = _robust_line(x, rest, matched, penalty)

    # Ground that changed is part of what a fill has to expect; cloud that the mask missed is not.
    left = (y if bend is None else rest) - combined(coefficients, x)
    limit = MISFIT_LIMIT * scale[:, None]
    misfit = np.sqrt(np.mean(np.clip(left, -limit, limit) ** 2, axis=1))

    total = max(weight.sum(), 1e-9)
    dy = y - (y * weight).sum(axis=1, keepdims=True) / total
    dz = z[:bands] - (z[:bands] * weight).sum(axis=1, keepdims=True) / total
    vy, vz = (weight * dy**2).sum(axis=1) / total, (weight * dz**2).sum(axis=1) / total
    cov = (weight * dy * dz).sum(axis=1) / total
    trust = total / (total + PSEUDO)
    fit = SceneFit(
        mean=mean,
        std=std,
        spread=spread,
        level=t_mean + spread * coefficients[0],
        slope=(coefficients[1:] * spread).T,
        gain=(trust * cov / np.maximum(vz, 1e-9) + 1 - trust) * spread / std[:bands],
        ratio=(trust * np.sqrt(vy / np.maximum(vz, 1e-9)) + 1 - trust) * spread / std[:bands],
        correlation=cov / np.sqrt(np.maximum(vy * vz, 1e-18)),
        noise=scale * spread,
        misfit=np.maximum(misfit, scale) * spread,
        count=seen * step,
        bend=bend,
    )
    return fit if n >= TRUSTED_CELLS else _towards_identity(fit, n / TRUSTED_CELLS)


def _measured(values: Floats) -> npt.NDArray[np.bool_]:
    """(n,), cells of (B, n) values all of which can be measurements, see `MEASURED_TIMES`."""
    size = np.abs(values)
    if size.max(initial=0.0) <= MEASURED_TIMES:
        return np.ones(size.shape[1], bool)
    return np.asarray((size <= MEASURED_TIMES * np.maximum(median(size.copy()), 1.0)[:, None]).all(axis=0))


def _own(explaining: int, bands: int) -> Floats:
    """(J, B) slopes of the mean over all replacements of a band's own."""
    return np.tile(np.eye(bands), (explaining // bands, 1)) * (bands / explaining)


def _robust_line(x: Floats, y: Floats, matched: Floats, penalty: Floats) -> tuple[Floats, Floats, Floats]:
    """Ridge regression of y on x by iterated reweighting.

    Returns:
        (1 + J, B) coefficients, (n,) weights of the cells, (B,) robust standard deviation of what is left.
    """
    coefficients, both = matched, np.concatenate([x, y])
    for k, part in enumerate(rounds(x.shape[1], *ITERATIONS)):
        some = np.ascontiguousarray(both[:, part])
        around, values = some[: len(x)], some[len(x) :]
        weight = biweight(values - combined(coefficients, around), TUKEY)[0] if k else np.ones(some.shape[1])
        sums = product(around * weight, some)
        normal, moment = sums[:, : len(x)], sums[:, len(x) :]
        ridge = np.full(len(penalty), RIDGE * weight.sum())
        ridge[0] = 0.0
        shrunk = normal + np.diag(penalty + ridge), moment + penalty[:, None] * matched
        coefficients = np.asarray(np.linalg.solve(*shrunk), np.float64)
    weight, scale = biweight(y - combined(coefficients, x), TUKEY)
    return coefficients, weight, scale


def _towards_identity(fit: SceneFit, share: float) -> SceneFit:
    """A fit on few cells, of which only a share is believed; the rest is the replacement as it is."""
    weights = _own(len(fit.mean), len(fit.level)).T
    own = weights * fit.std
    return replace(
        fit,
        level=share * fit.level + (1 - share) * weights @ fit.mean,
        slope=share * fit.slope + (1 - share) * own,
        gain=share * fit.gain + (1 - share),
        ratio=share * fit.ratio + (1 - share),
        correlation=share * fit.correlation,
    )


def _identity(bands: int, explaining: int) -> SceneFit:
    """The fit that leaves the replacement, or the mean of several, as it is."""
    zeros, ones = np.zeros(bands), np.ones(bands)
    return SceneFit(
        mean=np.zeros(explaining),
        std=np.ones(explaining),
        spread=ones,
        level=zeros,
        slope=_own(explaining, bands).T,
        gain=ones,
        ratio=ones,
        correlation=zeros,
        noise=ones,
        misfit=ones,
        count=0,
    )
