"""`fill_clouds`: the fill of a whole array, the reference for what the server sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms import shift
from algorithms.adjust import pooled_sums
from algorithms.border import CORRECTED_FACTORS, correct_border
from algorithms.cells import Cells, cell_any, cell_means, check_factor, on_pixels, stacked_cells
from algorithms.errors import ParameterError, ShapeError
from algorithms.fill import FillOptions, Ground, Image, Mask, apply_fields, fill_fields, padded
from algorithms.labelled import takes_labelled
from algorithms.masks import NODATA
from algorithms.moments import WindowSums, node_lattice
from algorithms.narrow import sample_parts, with_narrow
from algorithms.options import WHOLE_ADJUSTMENT, CloudOptions
from algorithms.sample import sampled
from algorithms.scene import fit_scene
from algorithms.wide import WIDE_TIMES, WideGround, wide_lattice, wide_nodes, wide_sums, wider_means

LARGEST_VALUE: Final = 1e15
"""Values beyond are taken for missing data."""


def _check_pair(
    target: npt.NDArray[np.generic], replacement: npt.NDArray[np.generic], mask: npt.NDArray[np.generic]
) -> None:
    if target.ndim != 3 or 0 in target.shape:
        raise ShapeError(f"target must be (bands, rows, cols) and not empty, not {target.shape}")
    if replacement.shape[-3:] != target.shape or replacement.ndim not in (3, 4) or len(replacement) == 0:
        raise ShapeError(
            f"replacement {replacement.shape} must have the target's shape {target.shape}, "
            "with adjustment=joint after the number of replacements"
        )
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


@takes_labelled()
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
            may be clear, since what is not measured on clear ground is taken from it as it is. With `joint`
            (K, B, H, W) of K other dates.
        mask: (H, W), non-zero where the target is to be filled (buffer included); 255 is nodata, not cloud.
        window: radius W of the narrowest window in pixels, as `CloudOptions.window`.
        adjustment: `regression` (all bands), `moment` (std ratio per band, SLRA proper), or `joint`: regression on all
            replacements together, and on each alone where another one cannot be used.
        residual: whether the fill is made to meet the target at the mask's border.
        valid: (H, W), pixels where the replacement can be used (its own clouds excluded), or (K, H, W) of each.
            Default: all.
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
    if r.ndim == 4 and adjustment != "joint":
        raise ShapeError(f"replacement {r.shape}: several of them take adjustment=joint, not {adjustment}")
    options = FillOptions(window=window, adjustment=adjustment, residual=bool(residual))
    factor = min(check_factor(analysis_factor), max(t.shape[1:]))
    t_valid = _validity(t, target)
    others = [_Other.of(one, given, valid, k) for k, (one, given) in enumerate(_each(r, replacement))]
    cloudy = _cloudy(mask)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, as it is missing data anyway
        result = t.astype(np.float32)
    wide_target = cell_means(result, t_valid, WIDE_TIMES * factor)
    open_ = cloudy & t_valid
    # Together first; then each alone where another one cannot be used.
    for turn in [others, *([one] for one in others if len(others) > 1)]:
        pixels = open_ & np.logical_and.reduce([one.valid for one in turn])
        if pixels.any():
            _fill(result, wide_target, t_valid, turn, cloudy, open_, pixels, options, factor)
            open_ &= ~pixels
    return result


@dataclass(frozen=True)
class _Other:
    """A replacement."""

    values: Image
    """(B, H, W), 0 where there is nothing."""
    there: Mask
    """(H, W), pixels it has."""
    valid: Mask
    """(H, W), pixels that can be used."""

    @classmethod
    def of(cls, array: npt.NDArray[np.generic], given: npt.ArrayLike, valid: npt.ArrayLike | None, k: int) -> _Other:
        """The k-th one, from 0; `valid` (H, W), or (K, H, W) for each."""
        there = usable = _validity(array, given)
        if valid is not None:
            mask = np.asarray(valid)
            mask = mask[k] if mask.ndim == 3 and k < len(mask) else mask
            if mask.shape != there.shape:
                raise ShapeError(f"valid {mask.shape} must have the mask's shape {there.shape}")
            usable = there & (mask != 0)
        return cls(np.where(there, array, 0).astype(np.float32), there, usable)


def _each(array: npt.NDArray[Any], given: npt.ArrayLike) -> list[tuple[npt.NDArray[Any], Any]]:
    """Each replacement of a (B, H, W) or (K, B, H, W) array, and the same as it was given, with its mask."""
    if array.ndim == 3:
        return [(array, given)]
    return list(zip(array, np.ma.asanyarray(given), strict=True))


def _fill(
    result: Image,
    wide_target: Cells,
    t_valid: Mask,
    others: list[_Other],
    cloudy: Mask,
    open_: Mask,
    pixels: Mask,
    options: FillOptions,
    factor: int,
) -> None:
    """Fill `pixels` of `result` from other dates together; `cloudy` is what no statistics are taken on.

    `wide_target` is the target as it was given, on the cells of wide windows.
    """
    t_cells = cell_means(result, t_valid, factor)
    masked, still = cell_any(cloudy, factor), cell_any(open_, factor)
    sources = []
    for one in others:
        clear = t_cells.full & ~cell_any(~one.valid, factor) & ~masked
        moved_by = _shift(result, one.values, clear, factor) if factor in shift.MOVED_FACTORS else shift.NO_SHIFT
        sources.append(shift.move(one.values, one.there, moved_by))
    r_cells = stacked_cells(
        [cell_means(source, one.valid, factor) for source, one in zip(sources, others, strict=True)]
    )
    r_valid = np.logical_and.reduce([one.valid for one in others])
    clear = t_cells.full & ~cell_any(~r_valid, factor) & ~masked
    scene = fit_scene(sampled(t_cells.values), sampled(r_cells.values), sampled(clear))
    scene = with_narrow(scene, sample_parts(t_cells.values, r_cells.values, clear), factor)
    lattice = node_lattice(options.window, factor)
    sums = pooled_sums(
        padded(t_cells.values, lattice.spacing),
        padded(r_cells.values, lattice.spacing),
        padded(clear, lattice.spacing),
        scene,
        lattice,
        adjustment=options.adjustment,
    )
    wide, large = wide_lattice(options.window, factor), WIDE_TIMES * factor
    wide_cells = [cell_means(source, one.valid, large) for source, one in zip(sources, others, strict=True)]
    wide_ground = WideGround(wide_target, stacked_cells(wide_cells))
    wider = wider_means(
        wide_sums(wide_ground, scene, wide, adjustment=options.adjustment),
        scene,
        wide,
        rows=wide_nodes(range(clear.shape[0]), wide, -(-result.shape[1] // large)),
        cols=wide_nodes(range(clear.shape[1]), wide, -(-result.shape[2] // large)),
        adjustment=options.adjustment,
    )
    fields = fill_fields(
        Ground(
            t_cells.values,
            r_cells.values,
            usable=r_cells.full,
            known=t_cells.full & ~still,
            wanted=still & t_cells.valid & r_cells.valid,
        ),
        WindowSums(sums, lattice, range(clear.shape[0]), range(clear.shape[1]), wider),
        scene,
        options=options,
        factor=factor,
    )
    rows, cols = np.nonzero(pixels)
    source = sources[0]  # finer detail than a cell's is the first one's
    fill = apply_fields(fields.gain, fields.offset, source[:, rows, cols], (rows + 0.5) / factor, (cols + 0.5) / factor)
    result[:, rows, cols] = fill
    if options.residual and factor in CORRECTED_FACTORS:
        # Pixels of clear cells, and the clear ones of cells that the mask covers in part.
        known = on_pixels(fields.meets | still, factor, cloudy.shape) & ~cloudy & t_valid & r_valid
        border = correct_border(
            fields.gain, fields.offset, result, source, known=known, wanted=pixels, scene=scene, factor=factor
        )
        near = pixels[border.rows, border.cols]
        result[:, border.rows[near], border.cols[near]] += border.values[near].T


def _shift(target: Image, replacement: Image, clear: Mask, factor: int) -> shift.Shift:
    """How far the replacement has to be moved to lie on the target."""
    known = on_pixels(clear, factor, target.shape[1:])
    patches = shift.shift_patches(clear.shape, factor)
    return shift.estimate_shift([(target[:, y, x], replacement[:, y, x], known[y, x]) for y, x in patches])
