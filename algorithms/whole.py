"""`fill_clouds`: the fill of a whole array, the reference for what the server sends."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms import shift
from algorithms.adjust import pooled_sums
from algorithms.border import CORRECTED_FACTORS, correct_border
from algorithms.cells import cell_any, cell_means, check_factor, on_pixels
from algorithms.errors import ParameterError, ShapeError
from algorithms.fill import FillOptions, Ground, Image, Mask, apply_fields, fill_fields, padded
from algorithms.labelled import takes_labelled
from algorithms.masks import NODATA
from algorithms.moments import WindowSums, node_lattice
from algorithms.options import WHOLE_ADJUSTMENT, CloudOptions
from algorithms.sample import sampled
from algorithms.scene import fit_scene

LARGEST_VALUE: Final = 1e15
"""Values beyond are taken for missing data."""


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
    # Beyond LARGEST_VALUE squares overflow; such values stand for missing data (-3.4e38 is a common one).
    valid = np.asarray((np.isfinite(array) & (np.abs(array.astype(np.float64)) <= LARGEST_VALUE)).all(axis=0))
    hidden = np.ma.getmask(given)
    return valid if hidden is np.ma.nomask else valid & ~np.asarray(hidden).any(axis=0)


def _cloudy(mask: npt.ArrayLike) -> Mask:
    """Pixels to fill: non-zero, and neither 255, NaN nor masked."""
    values: npt.NDArray[Any] = np.ma.getdata(np.ma.asanyarray(mask))
    cloudy = values if values.dtype == np.bool_ else (values != 0) & (values != NODATA) & ~np.isnan(values)
    return np.asarray(cloudy & ~np.ma.getmaskarray(np.ma.asanyarray(mask)))


@takes_labelled
def fill_clouds(
    target: npt.ArrayLike,
    replacement: npt.ArrayLike,
    mask: npt.ArrayLike,
    *,
    window: int = CloudOptions.window,
    adjustment: str = CloudOptions.adjustment,
    residual: bool = CloudOptions.residual,
    valid: npt.ArrayLike | None = None,
    analysis_factor: int = 1,
) -> Image:
    """Fill the clouds of a whole array from another date: the reference for what the server sends.

    The method is SLRA (Li, Shen, Cheng, Li, Zhang 2019, Remote Sensing 11(16):1925) turned from rings into scales, so
    that every value depends on fixed windows around it alone (docs/algorithm.md). Same input, same bytes. A replacement
    that is a quarter of a pixel or more off the target is moved first.

    Args:
        target: (B, H, W) of any number type; NaN or masked where there is no data.
        replacement: (B, H, W), the same bands at another date, in any linear unit; in the target's where little
            may be clear, since what is not measured on clear ground is taken from it as it is.
        mask: (H, W), non-zero where the target is to be filled (buffer included); 255 is nodata, not cloud.
        window: radius W of the narrowest window in pixels, as `CloudOptions.window`.
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
    if adjustment == WHOLE_ADJUSTMENT:
        raise ParameterError(f"adjustment={adjustment} is a function of its own: call `stepwise_adjustment`")
    options = FillOptions(window=window, adjustment=adjustment, residual=bool(residual))
    factor = min(check_factor(analysis_factor), max(t.shape[1:]))
    t_valid, r_there = _validity(t, target), _validity(r, replacement)
    r_valid = r_there
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

    t_cells = cell_means(t, t_valid, factor)
    masked = cell_any(cloudy, factor)
    clear = t_cells.full & ~cell_any(~r_valid, factor) & ~masked
    source = np.where(r_there, r, 0).astype(np.float32)
    if factor in shift.MOVED_FACTORS:
        source = shift.move(source, r_there, _shift(result, source, clear, factor))
    r_cells = cell_means(source, r_valid, factor)
    scene = fit_scene(sampled(t_cells.values), sampled(r_cells.values), sampled(clear))
    lattice = node_lattice(options.window, factor)
    sums = pooled_sums(
        padded(t_cells.values, lattice.spacing),
        padded(r_cells.values, lattice.spacing),
        padded(clear, lattice.spacing),
        scene,
        lattice,
        adjustment=options.adjustment,
    )
    fields = fill_fields(
        Ground(
            t_cells.values,
            r_cells.values,
            usable=r_cells.full,
            known=t_cells.full & ~masked,
            wanted=masked & t_cells.valid & r_cells.valid,
        ),
        WindowSums(sums, lattice, range(clear.shape[0]), range(clear.shape[1])),
        scene,
        options=options,
        factor=factor,
    )
    rows, cols = np.nonzero(pixels)
    fill = apply_fields(fields.gain, fields.offset, source[:, rows, cols], (rows + 0.5) / factor, (cols + 0.5) / factor)
    result[:, rows, cols] = fill
    if options.residual and factor in CORRECTED_FACTORS:
        # Pixels of clear cells, and the clear ones of cells that the mask covers in part.
        known = on_pixels(fields.meets | masked, factor, m.shape) & ~cloudy & t_valid & r_valid
        border = correct_border(
            fields.gain, fields.offset, result, source, known=known, wanted=pixels, scene=scene, factor=factor
        )
        near = pixels[border.rows, border.cols]
        result[:, border.rows[near], border.cols[near]] += border.values[near].T
    return result


def _shift(target: Image, replacement: Image, clear: Mask, factor: int) -> shift.Shift:
    """How far the replacement has to be moved to lie on the target."""
    known = on_pixels(clear, factor, target.shape[1:])
    patches = shift.shift_patches(clear.shape, factor)
    return shift.estimate_shift([(target[:, y, x], replacement[:, y, x], known[y, x]) for y, x in patches])
