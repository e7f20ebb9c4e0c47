"""The fill: adjusted replacement plus residual correction, as fields per analysis cell and applied to pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.adjust import Estimate, estimate_target
from algorithms.cells import bilinear
from algorithms.masks import dilate
from algorithms.moments import WindowSums
from algorithms.options import CloudOptions, check_fields
from algorithms.residual import MEMBRANE_KAPPA, residual_reach, screened_membrane
from algorithms.scene import SceneFit

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

EXPLAINED_AT_BORDER: Final = 0.8
"""Share of the error's variance that the residual takes away right at the border."""
EXPLAINED_DECAY: Final = 1 / 12
"""Decay per native pixel of the share of the standard deviation."""
LONELY_GROWTH: Final = 0.25
"""Growth of the expected error where no ground in the narrowest window is clear."""
LEAST_CONFIDENCE_PERCENT: Final = 1
"""Of what is filled, however wrong it is expected to be: 0 says that a cloud is not filled."""
UNFILLED: Final = 255
"""Fill source of pixels without data, and of cloud no replacement could fill."""


@dataclass(frozen=True, slots=True)
class FillOptions:
    """The options that the fill depends on.

    Raises:
        ParameterError: a value that is not one of its option's.
    """

    window: int = CloudOptions.window
    """Radius W of the narrowest window in native pixels."""
    adjustment: str = CloudOptions.adjustment
    """`regression`, `moment` or `joint`."""
    residual: bool = CloudOptions.residual
    """Whether the residual at the mask's border is corrected."""

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def of(cls, options: CloudOptions) -> FillOptions:
        """Those among all."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Ground:
    """A region of cells on both dates, in any linear units."""

    target: Image
    """(B, h, w), with what earlier replacements filled."""
    replacement: Image
    """(J, h, w): B bands of one replacement, or of several one after the other."""
    usable: Mask
    """(h, w), where the replacement can be compared with the target."""
    known: Mask
    """(h, w), cells of the target the fill has to meet at the mask's border: clear ground and cells filled earlier."""
    wanted: Mask
    """(h, w), cells to fill."""

    @property
    def border(self) -> Mask:
        """(h, w), cells at which the residual is known.

        Where the replacement is cloud or missing there is no estimate, hence no residual to carry inwards either.
        """
        return self.known & self.usable


@dataclass(frozen=True, slots=True)
class FillFields:
    """The fill of a region of cells: `fill = gain * replacement + offset` at any finer resolution."""

    gain: Image
    """(B, h, w) slope of the target on the first replacement's same band."""
    offset: Image
    """(B, h, w), so that gain * r + offset is the finished fill at cells; the target itself where it is clear."""
    confidence: npt.NDArray[np.uint8]
    """(h, w) in percent: `LEAST_CONFIDENCE_PERCENT` to 99 where it is filled, 100 elsewhere."""
    meets: Mask
    """(h, w), cells of the target at which the residual is known."""


def _confidence(support: Image, error: Image, known: Mask, wanted: Mask, factor: int) -> npt.NDArray[np.uint8]:
    """100 exp(-expected error), the error in standard deviations of the scene.

    What the adjustment leaves unexplained, less near the border, where the residual is known, and more where little
    ground is clear (docs/algorithm.md gives the calibration).
    """
    # No deeper than a border reaches: what is beyond, a smaller region does not hold.
    depth = np.full(known.shape, residual_reach(factor), np.float32)
    if known.any():
        depth = np.minimum(depth, ndimage.distance_transform_edt(~known).astype(np.float32))
    expected = (
        error
        * np.sqrt(1 - EXPLAINED_AT_BORDER * np.exp(-2 * EXPLAINED_DECAY * factor * depth))
        * (1 + LONELY_GROWTH * (1 - support))
    )
    percent = np.rint(100 * np.exp(-expected)).clip(LEAST_CONFIDENCE_PERCENT, 99)
    return np.where(wanted, percent, 100).astype(np.uint8)


def fill_fields(
    ground: Ground, windows: WindowSums, scene: SceneFit, *, options: FillOptions, factor: int, parity: int = 0
) -> FillFields:
    """Compute the fill of a region of cells.

    A cell has the same bits in any region that holds what is within `residual_reach` of it.

    Args:
        ground: both dates on the region.
        windows: what the windows around the region hold.
        scene: the scene stage, from `fit_scene`.
        options: the user's choice.
        factor: native pixels per cell.
        parity: row plus column, in the scene, of the region's first cell.
    """
    estimate = _estimate(ground, windows, scene, adjustment=options.adjustment)
    target, replacement, wanted, border = ground.target, ground.replacement, ground.wanted, ground.border
    value = estimate.value
    if options.residual:
        guide = scene.standardise(replacement)
        value = value + screened_membrane(
            target - value, border, wanted, kappa=MEMBRANE_KAPPA * factor, guide=guide, parity=parity
        )
    else:
        value = np.where(border, target, value)
    return FillFields(
        gain=estimate.gain,
        offset=_extended(value - estimate.gain * replacement[: len(value)], border | wanted, wanted),
        confidence=_confidence(estimate.support, estimate.error, border, wanted, factor),
        meets=border,
    )


def _estimate(ground: Ground, windows: WindowSums, scene: SceneFit, *, adjustment: str) -> Estimate:
    """The part of `fill_fields` that looks at windows: of every cell on its own, whatever the region."""
    return estimate_target(
        ground.replacement,
        windows,
        scene,
        adjustment=adjustment,
        needed=~ground.border | dilate(ground.wanted, 1),  # elsewhere the target stands
    )


def _extended(offset: Image, defined: Mask, inside: Mask) -> Image:
    """Give undefined cells next to filled ones the mean of their defined neighbours.

    Interpolation to pixels reaches one cell over the edge of the fill; what it meets there must not come from a cloud
    or a hole of the replacement.
    """
    lacking = ~defined & dilate(inside, 1)
    if not lacking.any():
        return offset
    rows, cols = np.nonzero(lacking)
    flags = np.pad(defined, 1)
    values = np.pad(np.where(defined, offset, 0), [(0, 0), (1, 1), (1, 1)])
    total = np.zeros((len(offset), len(rows)), np.float32)
    count = np.zeros(len(rows), np.float32)
    for dy in range(3):
        for dx in range(3):
            total += values[:, rows + dy, cols + dx]
            count += flags[rows + dy, cols + dx]
    result = offset.copy()
    result[:, rows, cols] = total / count
    return result


def apply_fields(
    gain: Image, offset: Image, source: Image, rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> Image:
    """Apply the fill to points.

    Args:
        gain: (B, h, w) on cells.
        offset: (B, h, w) on cells.
        source: (B, p) replacement at the points.
        rows: (p,) positions of the points in cells from the fields' upper border.
        cols: (p,) positions from the left border.

    Returns:
        (B, p) float32.
    """
    bands = len(gain)
    sampled = bilinear(np.moveaxis(np.concatenate([gain, offset]), 0, -1), rows, cols).T
    return sampled[:bands] * source + sampled[bands:]


def padded(array: npt.NDArray[Scalar], alignment: int) -> npt.NDArray[Scalar]:
    """Zero-pad the last two axes below and to the right to multiples of `alignment`."""
    height, width = array.shape[-2:]
    if height % alignment == width % alignment == 0:
        return array
    pad = [(0, 0)] * (array.ndim - 2) + [(0, -height % alignment), (0, -width % alignment)]
    return np.pad(array, pad)


__all__ = [
    "LEAST_CONFIDENCE_PERCENT",
    "UNFILLED",
    "FillFields",
    "FillOptions",
    "Ground",
    "apply_fields",
    "fill_fields",
    "padded",
]
