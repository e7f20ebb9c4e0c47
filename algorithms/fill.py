"""The fill: adjusted replacement plus residual correction, as fields per analysis cell and applied to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.adjust import ADJUSTMENTS, estimate_target, pooled_sums
from algorithms.cells import bilinear, cell_any, cell_means, check_factor
from algorithms.errors import ParameterError, ShapeError, whole_number
from algorithms.moments import LEVELS, NodeLattice, node_lattice
from algorithms.reclassify import NODATA, dilate
from algorithms.residual import KAPPA, screened_membrane
from algorithms.sample import sampled
from algorithms.scene import SceneFit, fit_scene

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

WINDOWS: Final = range(20, 401, 20)
"""Radii in native pixels that can be asked for."""
LARGEST: Final = 1e15
"""Values beyond are taken for missing data."""
NEAR: Final = 0.9
"""Share of the error's variance that the residual takes away right at the border."""
LONELY: Final = 0.25
"""Growth of the expected error where no ground in the narrowest window is clear."""
UNFILLED: Final = 255
"""Fill source of pixels without data, and of cloud no replacement could fill."""


def check_window(window: int) -> int:
    """`window` itself if it is a multiple of 20 from 20 to 400.

    Raises:
        ParameterError: otherwise.
    """
    message = f"window {window} is out of range: give a multiple of 20 from 20 to 400 (pixels)"
    if whole_number(window, least=WINDOWS.start, most=WINDOWS.stop - 1, message=message) not in WINDOWS:
        raise ParameterError(message)
    return int(window)


def check_adjustment(adjustment: str) -> str:
    """`adjustment` itself if there is such a one.

    Raises:
        ParameterError: otherwise.
    """
    if adjustment not in ADJUSTMENTS:
        raise ParameterError(f"adjustment {adjustment!r} is unknown: choose from {', '.join(ADJUSTMENTS)}")
    return adjustment


@dataclass(frozen=True, slots=True)
class FillOptions:
    """What a user can choose about the fill."""

    window: int = 80
    """Radius W of the narrowest window in native pixels."""
    adjustment: str = "regression"
    """`regression` or `moment`."""
    residual: bool = True
    """Whether the residual at the mask's border is corrected."""

    def __post_init__(self) -> None:
        check_window(self.window)
        check_adjustment(self.adjustment)


@dataclass(frozen=True, slots=True)
class FillFields:
    """The fill of a region of cells: `fill = gain * replacement + offset` at any finer resolution."""

    gain: Image
    """(B, h, w) slope of the target on the replacement's same band."""
    offset: Image
    """(B, h, w), so that gain * r + offset is the finished fill at cells; the target itself where it is clear."""
    confidence: npt.NDArray[np.uint8]
    """(h, w) 0-100."""


def _confidence(support: Image, error: Image, known: Mask, wanted: Mask, kappa: float) -> npt.NDArray[np.uint8]:
    """100 exp(-expected error), the error in standard deviations of the scene.

    What the adjustment leaves unexplained, less near the border, where the residual is known, and more where little
    ground is clear (docs/algorithm.md gives the calibration).
    """
    if known.any():
        depth = ndimage.distance_transform_edt(~known).astype(np.float32)
    else:
        depth = np.full(known.shape, np.inf, np.float32)
    expected = error * np.sqrt(1 - NEAR * np.exp(-2 * kappa * depth)) * (1 + LONELY * (1 - support))
    percent = np.rint(100 * np.exp(-expected)).clip(0, 99)
    return np.where(wanted, percent, 100).astype(np.uint8)


def fill_fields(
    target: Image,
    replacement: Image,
    *,
    usable: Mask,
    known: Mask,
    wanted: Mask,
    sums: npt.NDArray[np.float64],
    scene: SceneFit,
    lattice: NodeLattice,
    rows: range,
    cols: range,
    options: FillOptions,
    factor: int,
    levels: int = LEVELS,
) -> FillFields:
    """Compute the fill of a region of cells.

    Args:
        target: (B, h, w) cells of the region, in any linear unit.
        replacement: (B, h, w).
        usable: (h, w), where the replacement can be compared with the target.
        known: (h, w), cells of the target the fill has to meet at the mask's border.
        wanted: (h, w), cells to fill.
        sums: (1 + C, m, n) from `pooled_sums` over an extent around the region.
        scene: the scene stage, from `fit_scene`.
        lattice: nodes and windows, from `node_lattice`.
        rows: rows of the region, in cells from the extent's first.
        cols: columns of the region.
        options: the user's choice.
        factor: native pixels per cell.
        levels: levels of windows the extent has room for.
    """
    estimate = estimate_target(
        replacement, sums, scene, lattice, rows=rows, cols=cols, adjustment=options.adjustment, levels=levels
    )
    # Where the replacement is cloud or missing there is no estimate, hence no residual to carry inwards either.
    border = known & usable
    value = estimate.value
    if options.residual:
        value = value + screened_membrane(
            target - value, border, wanted, kappa=KAPPA * factor, guide=scene.standardise(replacement)
        )
    else:
        value = np.where(border, target, value)
    return FillFields(
        gain=estimate.gain,
        offset=_extended(value - estimate.gain * replacement, border | wanted, wanted),
        confidence=_confidence(estimate.support, estimate.error, border, wanted, KAPPA * factor),
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


def padded(array: npt.NDArray[Scalar], alignment: int) -> npt.NDArray[Scalar]:
    """Zero-pad the last two axes below and to the right to multiples of `alignment`."""
    height, width = array.shape[-2:]
    pad = [(0, 0)] * (array.ndim - 2) + [(0, -height % alignment), (0, -width % alignment)]
    return np.pad(array, pad)


def _check_pair(
    target: npt.NDArray[np.generic], replacement: npt.NDArray[np.generic], mask: npt.NDArray[np.generic]
) -> None:
    if target.ndim != 3 or 0 in target.shape:
        raise ShapeError(f"target must be (bands, rows, cols) and not empty, not {target.shape}")
    if replacement.shape != target.shape:
        raise ShapeError(f"replacement {replacement.shape} must have the target's shape {target.shape}")
    if mask.shape != target.shape[1:]:
        raise ShapeError(f"mask {mask.shape} must have the target's rows and columns {target.shape[1:]}")
    for name, array in (("target", target), ("replacement", replacement)):
        if not (np.issubdtype(array.dtype, np.number) and not np.issubdtype(array.dtype, np.complexfloating)):
            raise ParameterError(f"{name} has dtype {array.dtype}: give real numbers")


def _validity(array: npt.NDArray[np.generic], given: npt.ArrayLike) -> Mask:
    """Pixels valid in every band: finite, within reason, and not masked."""
    # Beyond LARGEST squares overflow; such values stand for missing data (-3.4e38 is a common one).
    valid = np.asarray((np.isfinite(array) & (np.abs(array.astype(np.float64)) <= LARGEST)).all(axis=0))
    hidden = np.ma.getmask(given)
    return valid if hidden is np.ma.nomask else valid & ~np.asarray(hidden).any(axis=0)


def _cloudy(mask: npt.ArrayLike) -> Mask:
    """Pixels to fill: non-zero, and neither 255, NaN nor masked."""
    values: npt.NDArray[Any] = np.ma.getdata(np.ma.asanyarray(mask))
    cloudy = values if values.dtype == np.bool_ else (values != 0) & (values != NODATA) & ~np.isnan(values)
    return np.asarray(cloudy & ~np.ma.getmaskarray(np.ma.asanyarray(mask)))


def fill_clouds(
    target: npt.ArrayLike,
    replacement: npt.ArrayLike,
    mask: npt.ArrayLike,
    *,
    window: int = 80,
    adjustment: str = "regression",
    residual: bool = True,
    valid: npt.ArrayLike | None = None,
    analysis_factor: int = 1,
) -> Image:
    """Fill the clouds of a whole array from another date: the reference for what the server sends.

    The method is SLRA (Li, Shen, Cheng, Li, Zhang 2019, Remote Sensing 11(16):1925) turned from rings into scales, so
    that every value depends on fixed windows around it alone (docs/algorithm.md). Same input, same bytes.

    Args:
        target: (B, H, W) of any number type; NaN or masked where there is no data.
        replacement: (B, H, W), the same bands at another date, in any linear unit.
        mask: (H, W), non-zero where the target is to be filled (buffer included); 255 is nodata, not cloud.
        window: radius W of the narrowest window in pixels, a multiple of 20 from 20 to 400.
        adjustment: `regression` (all bands) or `moment` (std ratio per band, SLRA proper).
        residual: whether the fill is made to meet the target at the mask's border.
        valid: (H, W), pixels where the replacement can be used (its own clouds excluded). Default: all.
        analysis_factor: pixels per side of an analysis cell; statistics are taken on cells, the fill applied to pixels.

    Returns:
        (B, H, W) float32: the target, bit for bit, outside the mask and where the replacement cannot be used
        (NaN under masked or NaN target pixels stays NaN); the fill inside. Where nothing is clear, the fill is the
        plain replacement.

    Raises:
        ShapeError: shapes that do not fit. ParameterError: an option out of range.
    """
    arrays: list[npt.NDArray[Any]] = [np.ma.getdata(np.ma.asanyarray(given)) for given in (target, replacement, mask)]
    t, r, m = arrays
    _check_pair(t, r, m)
    options = FillOptions(window=window, adjustment=adjustment, residual=bool(residual))
    factor = min(check_factor(analysis_factor), max(t.shape[1:]))
    t_valid, r_valid = _validity(t, target), _validity(r, replacement)
    if valid is not None:
        usable = np.asarray(valid)
        if usable.shape != m.shape:
            raise ShapeError(f"valid {usable.shape} must have the mask's shape {m.shape}")
        r_valid = r_valid & (usable != 0)
    cloudy = _cloudy(mask)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, as it is missing data anyway
        result = t.astype(np.float32)
    pixels = cloudy & t_valid & r_valid
    if not pixels.any():
        return result

    t_cells, r_cells = cell_means(t, t_valid, factor), cell_means(r, r_valid, factor)
    masked = cell_any(cloudy, factor)
    clear = t_cells.full & r_cells.full & ~masked
    scene = fit_scene(sampled(t_cells.values), sampled(r_cells.values), sampled(clear))
    lattice = node_lattice(options.window, factor)
    step = lattice.spacing
    fields = fill_fields(
        t_cells.values,
        r_cells.values,
        usable=r_cells.full,
        known=t_cells.full & ~masked,
        wanted=masked & t_cells.valid & r_cells.valid,
        sums=pooled_sums(
            padded(t_cells.values, step),
            padded(r_cells.values, step),
            padded(clear, step),
            scene,
            lattice,
            adjustment=options.adjustment,
        ),
        scene=scene,
        lattice=lattice,
        rows=range(clear.shape[0]),
        cols=range(clear.shape[1]),
        options=options,
        factor=factor,
    )
    rows, cols = np.nonzero(pixels)
    source = r[:, rows, cols].astype(np.float32)
    result[:, rows, cols] = apply_fields(
        fields.gain, fields.offset, source, (rows + 0.5) / factor, (cols + 0.5) / factor
    )
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


__all__ = [
    "FillFields",
    "FillOptions",
    "apply_fields",
    "check_adjustment",
    "check_window",
    "fill_clouds",
    "fill_fields",
]
