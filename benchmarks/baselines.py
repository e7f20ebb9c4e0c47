"""Published ways to fill a masked part of a picture from another date, written from their formulas.

All take target `t`, replacement `r` (B, H, W) and the mask (H, W), and fit on clear pixels only, colocated in both
pictures. What they leave outside the mask is the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from skimage.exposure import match_histograms

from algorithms.stepwise import stepwise_adjustment

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SIMILAR: Final = 20
"""MNSPI: similar pixels per filled one."""
CLASSES: Final = 4
"""MNSPI: estimated number of land-cover classes, which sets the threshold of similarity."""
CANDIDATES: Final = 1000
"""MNSPI: clear pixels looked at per filled one, nearest first."""


def paste(t: Image, r: Image, mask: Mask) -> Image:
    """The replacement as it is."""
    return np.where(mask, r, t)


def global_moment(t: Image, r: Image, mask: Mask) -> Image:
    """Mean and standard deviation of every band matched over all clear ground."""
    clear = ~mask
    out = t.copy()
    for b in range(len(t)):
        gain = t[b][clear].std() / max(r[b][clear].std(), 1e-6)
        out[b][mask] = gain * (r[b][mask] - r[b][clear].mean()) + t[b][clear].mean()
    return out


def band_regression(t: Image, r: Image, mask: Mask) -> Image:
    """One ordinary least squares line per band over all clear ground."""
    return np.where(mask, _lines(t, r, ~mask), t)


def _lines(t: Image, r: Image, clear: Mask) -> Image:
    """The regressed replacement, everywhere."""
    out = np.empty_like(t)
    for b in range(len(t)):
        x, y = r[b][clear].astype(np.float64), t[b][clear].astype(np.float64)
        slope = np.mean((x - x.mean()) * (y - y.mean())) / max(x.var(), 1e-6)
        out[b] = slope * (r[b] - x.mean()) + y.mean()
    return out


def histogram_matching(t: Image, r: Image, mask: Mask) -> Image:
    """Histogram matching as in scikit-image.

    The map is made from the same clear pixels on both dates and then looked up for the masked ones; matching the whole
    replacement to the target's clear part would compare different ground.
    """
    clear = ~mask
    out = t.copy()
    for b in range(len(t)):
        x, y = r[b][clear], t[b][clear]
        matched = match_histograms(x, y)
        levels, first = np.unique(x, return_index=True)
        out[b][mask] = np.interp(r[b][mask], levels, matched[first])
    return out


class Membrane:
    """Exact Poisson blending: Lap f = Lap guide inside the mask, f = t on the ring of clear pixels around it.

    Perez, Gangnet, Blake 2003, ACM ToG 22(3); for clouds Lin et al. 2013, IEEE TGRS 51(1). Five-point Laplacian solved
    directly; no flow across the edge of the picture. Solved for u = f - guide, which is harmonic with u = t - guide
    on the ring: the guide has to be the adjusted replacement on the ring, too, or u is zero throughout.
    """

    def __init__(self, mask: Mask) -> None:
        height, width = mask.shape
        number = np.full((height + 2, width + 2), -1, np.int64)
        number[1:-1, 1:-1][mask] = np.arange(mask.sum())
        outside = np.ones((height + 2, width + 2), bool)
        outside[1:-1, 1:-1] = False
        here = np.flatnonzero(number.ravel() >= 0)
        rows, cols, degree = [], [], np.full(len(here), 1e-9)
        self._ring: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
        for shift in (-(width + 2), -1, 1, width + 2):
            near = here + shift
            inside = number.ravel()[near] >= 0
            known = ~inside & ~outside.ravel()[near]
            degree += inside | known
            rows.append(np.flatnonzero(inside))
            cols.append(number.ravel()[near[inside]])
            self._ring.append((np.flatnonzero(known), near[known]))
        row, col = np.concatenate(rows), np.concatenate(cols)
        count = len(here)
        matrix = sparse.csc_array((-np.ones(len(row)), (row, col)), shape=(count, count)) + sparse.diags_array(degree)
        self._solver: Any = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        self._mask = mask

    def blend(self, t: Image, guide: Image) -> Image:
        """The guide set into the target without a seam.

        Args:
            t: (B, H, W) target.
            guide: (B, H, W), the adjusted replacement inside the mask and at least one pixel around it.
        """
        known = np.pad((t - guide).astype(np.float64), [(0, 0), (1, 1), (1, 1)]).reshape(len(t), -1)
        source = np.zeros((int(self._mask.sum()), len(t)))
        for index, place in self._ring:
            source[index] += known[:, place].T
        out = t.copy()
        out[:, self._mask] = guide[:, self._mask] + self._solver.solve(source).T
        return out


def mnspi(t: Image, r: Image, mask: Mask) -> Image:
    """Modified neighborhood similar pixel interpolator, Zhu, Gao, Liu, Chen 2012, IEEE GRSL 9(3), 521-525.

    For a pixel under a cloud: the `SIMILAR` nearest clear pixels whose replacement is spectrally like its own
    (RMSD <= mean over bands of 2 std / classes), weighted w = 1/(D' RMSD'), distance D and RMSD each scaled to 1..2.
    Spectro-spatial prediction L1 = sum w t_i; spectro-temporal L2 = r + sum w (t_i - r_i). Result
    (R2 L1 + R1 L2) / (R1 + R2), R1 the mean distance of the similar pixels, R2 that from the cloud's centre.

    Simplified: std over all clear ground instead of a window around each cloud; the cloud's centre is the middle of the
    bounding box of the connected mask; at most `CANDIDATES` clear pixels are looked at, without a limit of distance;
    no check of the range of L2. Where nothing is similar, r + mean(t - r).
    """
    clear = ~mask
    height, width = mask.shape
    limit = float(np.mean([2 * r[b][clear].std() / CLASSES for b in range(len(r))]))
    found, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    labels = found.astype(np.int32)
    boxes = ndimage.find_objects(labels)
    centres = np.array([[(s.start + s.stop - 1) / 2 for s in box] for box in boxes], np.float64)
    dy, dx = np.mgrid[-height + 1 : height, -width + 1 : width]
    order = np.argsort((dy**2 + dx**2).ravel(), kind="stable")
    offsets = np.stack([dy.ravel()[order], dx.ravel()[order]], axis=1).astype(np.int32)
    stacked_t, stacked_r = (np.ascontiguousarray(np.moveaxis(a, 0, -1)) for a in (t, r))
    fallback = (t - r)[:, clear].mean(axis=1)
    out = _similar_pixels(stacked_t, stacked_r, clear, labels, centres, offsets, limit, fallback)
    return np.ascontiguousarray(np.moveaxis(out, -1, 0))


@numba.njit(cache=True)
def _similar_pixels(
    t: Image,
    r: Image,
    clear: Mask,
    labels: npt.NDArray[np.int32],
    centres: Floats,
    offsets: npt.NDArray[np.int32],
    limit: float,
    fallback: Image,
) -> Image:
    height, width, bands = t.shape
    out = t.copy()
    place = np.empty((SIMILAR, 2), np.int64)
    distance, unlike = np.empty(SIMILAR), np.empty(SIMILAR)
    for y in range(height):
        for x in range(width):
            if clear[y, x]:
                continue
            found, seen = 0, 0
            for k in range(len(offsets)):
                v, u = y + offsets[k, 0], x + offsets[k, 1]
                if v < 0 or u < 0 or v >= height or u >= width or not clear[v, u]:
                    continue
                seen += 1
                total = 0.0
                for b in range(bands):
                    total += (r[v, u, b] - r[y, x, b]) ** 2
                rmsd = np.sqrt(total / bands)
                if rmsd <= limit:
                    place[found, 0], place[found, 1] = v, u
                    distance[found] = np.sqrt(float((v - y) ** 2 + (u - x) ** 2))
                    unlike[found] = rmsd
                    found += 1
                if found == SIMILAR or seen == CANDIDATES:
                    break
            if found == 0:
                for b in range(bands):
                    out[y, x, b] = r[y, x, b] + fallback[b]
                continue
            d, s = distance[:found], unlike[:found]
            weight = 1 / (
                ((d - d.min()) / (d.max() - d.min() + 1e-6) + 1) * ((s - s.min()) / (s.max() - s.min() + 1e-6) + 1)
            )
            weight /= weight.sum()
            centre = centres[labels[y, x] - 1]
            r1, r2 = d.mean(), np.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2)
            for b in range(bands):
                spatial, change = 0.0, 0.0
                for i in range(found):
                    v, u = place[i, 0], place[i, 1]
                    spatial += weight[i] * t[v, u, b]
                    change += weight[i] * (t[v, u, b] - r[v, u, b])
                out[y, x, b] = (r2 * spatial + r1 * (r[y, x, b] + change)) / (r1 + r2)
    return out


def baselines(t: Image, r: Image, mask: Mask) -> dict[str, Callable[[], Image]]:
    """The baselines by name, in the order of the table."""
    membrane = Membrane(mask)

    def stepwise_poisson() -> Image:
        # One pixel more, so that the ring around the mask holds the adjusted replacement and not the target.
        return membrane.blend(t, stepwise_adjustment(t, r, ndimage.binary_dilation(mask), window=40, buffer=0))

    return {
        "paste": lambda: paste(t, r, mask),
        "global moment": lambda: global_moment(t, r, mask),
        "one regression per band": lambda: band_regression(t, r, mask),
        "histogram matching": lambda: histogram_matching(t, r, mask),
        "MNSPI": lambda: mnspi(t, r, mask),
        "stepwise esri, W = 80": lambda: stepwise_adjustment(t, r, mask, window=80, buffer=0, statistics="esri"),
        "stepwise colocated, W = 40": lambda: stepwise_adjustment(t, r, mask, window=40, buffer=0),
        "stepwise colocated + Poisson": stepwise_poisson,
        "Poisson of the replacement": lambda: membrane.blend(t, r),
        "Poisson of one regression per band": lambda: membrane.blend(t, _lines(t, r, ~mask)),
    }


__all__ = ["Membrane", "band_regression", "baselines", "global_moment", "histogram_matching", "mnspi", "paste"]
