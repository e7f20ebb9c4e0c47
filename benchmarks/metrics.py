"""How far a fill is from the truth, inside the mask."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Figures of one fill; of bands, the mean over bands."""

    rmse: float
    """Root of the mean squared error, digital numbers (reflectance x 10000)."""
    mae: float
    """Mean absolute error, digital numbers."""
    cc: float
    """Pearson's correlation with the truth."""
    ssim: float
    """Structural similarity (Wang et al. 2004, IEEE TIP 13(4), as in scikit-image, window 7), mean inside the mask."""
    sam: float
    """Spectral angle (Kruse et al. 1993, RSE 44), mean over pixels in degrees."""
    jump: float
    """Border jump: mean of |jump across the mask's border - true jump|, digital numbers."""

    def values(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def border_pairs(judged: Mask, mask: Mask) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Flat indices (inside, outside) of 4-neighbours on both sides of the mask's border, per direction."""
    number = np.arange(judged.size).reshape(judged.shape)
    clear = ~mask
    pairs = []
    for a, b in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[1:], np.s_[:-1]),
    ):
        crossing = judged[a] & clear[b]
        pairs.append((number[a][crossing], number[b][crossing]))
    return pairs


def border_jump(fill: Image, truth: Image, judged: Mask, mask: Mask) -> float:
    """Mean over bands and 4-neighbours p in, q out of the mask of |(f_p - t_q) - (truth_p - truth_q)|."""
    flat, real = fill.reshape(len(fill), -1), truth.reshape(len(truth), -1)
    differences = [np.abs((flat[:, p] - flat[:, q]) - (real[:, p] - real[:, q])) for p, q in border_pairs(judged, mask)]
    return float(np.concatenate(differences, axis=1).mean())


def spectral_angle(fill: Image, truth: Image, judged: Mask) -> npt.NDArray[np.float64]:
    """(p,) angles between the spectra of the judged pixels, in degrees."""
    a, b = fill[:, judged].astype(np.float64), truth[:, judged].astype(np.float64)
    cosine = (a * b).sum(axis=0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), 1e-9)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def similarity(fill: Image, truth: Image, judged: Mask) -> float:
    """SSIM of the fill set into the truth, so that what lies outside the mask is the same for every method."""
    composed = np.where(judged, fill, truth)
    scores = []
    for a, b in zip(composed, truth, strict=True):
        low, high = np.percentile(b, (0.1, 99.9))
        full = structural_similarity(b, a, data_range=float(high - low), full=True)[1]
        scores.append(full[judged].mean())
    return float(np.mean(scores))


def score(fill: Image, truth: Image, judged: Mask, mask: Mask) -> Scores:
    """All figures.

    Args:
        fill: (B, H, W), equal to the truth on clear ground.
        truth: (B, H, W).
        judged: (H, W), where figures are taken.
        mask: (H, W), all that was filled; `judged` is a part of it.
    """
    a, b = fill[:, judged].astype(np.float64), truth[:, judged].astype(np.float64)
    error = a - b
    return Scores(
        rmse=float(np.sqrt((error**2).mean(axis=1)).mean()),
        mae=float(np.abs(error).mean()),
        cc=float(np.mean([np.corrcoef(x, y)[0, 1] if x.std() > 0 else 0.0 for x, y in zip(a, b, strict=True)])),
        ssim=similarity(fill, truth, judged),
        sam=float(spectral_angle(fill, truth, judged).mean()),
        jump=border_jump(fill, truth, judged, mask),
    )


__all__ = ["Scores", "border_jump", "score", "similarity", "spectral_angle"]
