"""The cloud mask: reflectance in, classes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.bands import common_names, role_indexes
from algorithms.cells import cell_means, check_factor, on_pixels
from algorithms.errors import BandError, ParameterError, ShapeError
from algorithms.labelled import OwnLabels, takes_labelled
from algorithms.masks import CLEAR, CLOUD, NODATA, SHADOW
from algorithms.models import INPUT_CELLS, CloudModel, select_model
from algorithms.networks import covered_probabilities
from algorithms.options import OPTIONS, CloudOptions
from algorithms.rules import cloud_by_rules
from algorithms.sessions import SESSIONS
from algorithms.windows import Window, blend, window_start

DEPENDABLE_METRES: Final = 30.0
"""Ground size of a cell up to which the networks' probabilities mean the same."""
MOST_REFLECTANCE: Final = 2.0
"""Median beyond which values cannot be reflectance."""
FAINTNESS: Final = 3.3
"""Power of the size by which the odds of cloud fall beyond: at 60 m to a tenth (docs/masks.md)."""
CLASS_LABELS: Final = OwnLabels(
    "cloud_mask",
    {
        "long_name": "cloud mask",
        "flag_values": np.array([CLEAR, CLOUD, SHADOW], np.uint8),
        "flag_meanings": "clear cloud cloud_shadow",
        "_FillValue": np.uint8(NODATA),
    },
)
"""What a mask says of its classes, in CF's terms."""


def reflect_invalid(values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Fill cells without data by mirroring the data at the nearest valid cell.

    Of zeros, the mean and mirroring, mirroring changes the classes of the neighbourhood least.

    Args:
        values: (B, H, W).
        valid: (H, W), at least one cell of it True.

    Returns:
        (B, H, W), finite everywhere.
    """
    if valid.all():
        return values
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    here = np.indices(valid.shape)
    mirrored = np.clip(2 * nearest - here, 0, np.array(valid.shape)[:, None, None] - 1)
    source = np.where(valid[tuple(mirrored)], mirrored, nearest)
    filled: npt.NDArray[np.float32] = values[:, source[0], source[1]]
    return filled


def window_probabilities(
    reflectance: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], model: CloudModel
) -> npt.NDArray[np.uint8]:
    """Probabilities of cloud and shadow in one inference window.

    Args:
        reflectance: (B, h, w) float32, the model's bands; h and w up to 256 (less at the border of a small scene).
        valid: (h, w).
        model: the network.

    Returns:
        (2, 256, 256) uint8, 255 = 1; zeros where the window has no valid cell at all (no inference is run).
    """
    if not valid.any():
        return np.zeros((2, INPUT_CELLS, INPUT_CELLS), np.uint8)
    pad = [(0, INPUT_CELLS - n) for n in valid.shape]
    full = np.pad(reflectance, [(0, 0), *pad])
    known = np.pad(valid, pad)
    # Clipped to the physical range: a single extreme value would shift the whole window's statistics.
    values = np.clip(reflect_invalid(full, known), -0.2, 2.0)
    probabilities = cloud_by_rules(values) if model.network is None else SESSIONS.probabilities(model, values, known)
    return np.asarray(np.rint(covered_probabilities(model, probabilities) * 255), np.uint8)


def covered_from(sensitivity: int, metres: float = DEPENDABLE_METRES) -> float:
    """Probability of cloud or shadow from which on a cell is covered.

    `1 - sensitivity / 100` on cells up to `DEPENDABLE_METRES`. On larger ones the networks give small clouds less
    probability than they should: the odds fall with a power of the size.

    Args:
        sensitivity: as the option of `algorithms.options`.
        metres: ground size of a cell.

    Raises:
        ParameterError: sensitivity out of range.
    """
    share = OPTIONS["sensitivity"].check(sensitivity) / 100
    fainter = max(1.0, metres / DEPENDABLE_METRES) ** FAINTNESS
    return float((1 - share) / (1 - share + share * fainter))


def classify(
    probabilities: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.bool_],
    *,
    sensitivity: int = CloudOptions.sensitivity,
    metres: float = DEPENDABLE_METRES,
) -> npt.NDArray[np.uint8]:
    """Class per cell: covered where cloud and shadow together are probable enough, by the likelier of the two.

    Args:
        probabilities: (2, H, W) uint8 of cloud and shadow, 255 = 1.
        valid: (H, W).
        sensitivity: as in `covered_from`; at 100 every cell that is not certainly clear is covered.
        metres: ground size of a cell.

    Returns:
        (H, W) uint8: 0 clear, 1 cloud, 2 shadow, 255 nodata.

    Raises:
        ParameterError: sensitivity out of range.
    """
    cloud, shadow = probabilities.astype(np.int16)
    enough = max(1, math.ceil(255 * covered_from(sensitivity, metres)))
    kind = np.where(cloud >= shadow, np.uint8(CLOUD), np.uint8(SHADOW))
    classes: npt.NDArray[np.uint8] = np.where(cloud + shadow >= enough, kind, np.uint8(CLEAR))
    classes[~valid] = NODATA
    return classes


def _check_reflectance(values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> None:
    """Refuse digital numbers, which the networks would take for a picture of cloud.

    Raises:
        ParameterError: half of the values are beyond what any ground or cloud reflects.
    """
    middle = float(np.median(values[:, valid])) if valid.any() else 0.0
    if middle > MOST_REFLECTANCE:
        raise ParameterError(
            f"reflectance must be 0..1, and half of the values are above {middle:.4g}: these are digital numbers; "
            "multiply by the product's scale and add its offset (Sentinel-2: 0.0001 and, from baseline 04.00, -0.1)"
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """What a network looks at."""

    values: npt.NDArray[np.float32]
    """(B, H, W) reflectance in the bands of the network."""
    valid: npt.NDArray[np.bool_]
    """(H, W)."""
    model: CloudModel
    """The network."""

    @classmethod
    def at(cls, reflectance: npt.ArrayLike, bands: Sequence[str], level: str, model: str | None) -> _Look:
        """The bands of an array that its network needs; errors as in `cloud_mask`."""
        values = np.ma.getdata(reflectance).astype(np.float32)
        if values.ndim != 3 or 0 in values.shape:
            raise ShapeError(f"reflectance must be (bands, rows, cols) and not empty, not {values.shape}")
        if len(bands) != values.shape[0]:
            raise ShapeError(f"{len(bands)} band names {list(bands)} for {values.shape[0]} bands of {values.shape}")
        names = common_names(bands)
        chosen = select_model(names, level=level, model=model)
        picked = list(role_indexes(names, chosen.bands))
        values = values[picked]
        masked = np.ma.getmask(reflectance)
        valid = np.asarray(np.isfinite(values).all(axis=0))
        if masked is not np.ma.nomask:
            valid &= ~np.asarray(masked)[picked].any(axis=0)
        _check_reflectance(values, valid)
        return cls(values, valid, chosen)

    def on_cells(self, factor: int) -> _Look:
        """The same on means over cells of so many pixels per side."""
        cells = cell_means(self.values, self.valid, factor)
        return _Look(cells.values, cells.valid, self.model)

    def probabilities(self) -> npt.NDArray[np.uint8]:
        """(2, H, W) uint8 of cloud and of shadow, 255 = 1."""
        height, width = self.valid.shape

        def infer(window: Window) -> npt.NDArray[np.uint8]:
            y, x = window_start(window[0], height), window_start(window[1], width)
            part = np.s_[y : y + INPUT_CELLS, x : x + INPUT_CELLS]
            return window_probabilities(self.values[(slice(None), *part)], self.valid[part], self.model)

        return blend(infer, (0, height), (0, width), (height, width))


def cloud_probability(
    reflectance: npt.ArrayLike, bands: Sequence[str], *, level: str = "l1c", model: str | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Probabilities of cloud and shadow over a whole array; arguments and errors as in `cloud_mask`.

    Returns:
        (2, H, W) uint8 (255 = 1; cloud, shadow) and the (H, W) bool validity.
    """
    look = _Look.at(reflectance, bands, level, model)
    return look.probabilities(), look.valid


@takes_labelled(CLASS_LABELS, names="bands")
def cloud_mask(
    reflectance: npt.ArrayLike,
    bands: Sequence[str] | None = None,
    *,
    level: str = "l1c",
    model: str | None = None,
    sensitivity: int = CloudOptions.sensitivity,
    analysis_factor: int = 1,
) -> npt.NDArray[np.uint8]:
    """Find clouds and their shadows with a pretrained deep model.

    The models are U-Nets of `ukis-csmask` (DLR); they are at their best at a ground resolution of 10-30 m
    and lose accuracy beyond 60 m. Windows of 256 cells stand on a fixed lattice with stride 240 from the
    array's first cell, and their probabilities are blended.

    Args:
        reflectance: (B, H, W) float, 0..1; NaN or masked where there is no data.
        bands: B names, `blue`, `B02`, `SR_B2`, ...; the model needs blue, green, red and nir, and uses
            swir16 and swir22 where both are there. Of a labelled array by default the names in its `band` coordinate.
        level: `l1c` (top of atmosphere) or `l2a` (surface reflectance).
        model: id of a model instead of the choice by bands and level.
        sensitivity: 0-100, how readily the mask takes ground; see `covered_from`.
        analysis_factor: pixels per side of an analysis cell; the network looks at means over cells. With the factor of
            the server's grid (`/cog/info`), 2 at 10 m, the mask is the server's without refinement.

    Returns:
        (H, W) uint8: 0 clear, 1 cloud, 2 shadow, 255 nodata.

    Raises:
        ShapeError: not three-dimensional, empty, or not one name per band.
        BandError: a band the model needs is missing, or the bands have no names.
        ParameterError: unknown level; sensitivity or factor out of range.
        ModelError: unknown model, or its file is missing or damaged.
    """
    OPTIONS["sensitivity"].check(sensitivity)
    if bands is None:
        raise BandError('name the bands in their order, for example bands=["blue", "green", "red", "nir"]')
    look, factor = _Look.at(reflectance, bands, level, model), check_factor(analysis_factor)
    cells = look.on_cells(factor)
    classes = on_pixels(classify(cells.probabilities(), cells.valid, sensitivity=sensitivity), factor, look.valid.shape)
    classes[~look.valid] = NODATA
    return classes
