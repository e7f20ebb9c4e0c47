"""From cached analysis tiles to the side-car of one output image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA
from algorithms.placing import FillPlaces
from algorithms.sampling import sample_fill
from algorithms.shift import NO_SHIFT
from algorithms.sidecar import CloudSidecar, Needs, PixelFill
from server.analysis.blocks import NO_DATA, BlockFill
from server.analysis.engine import Analysis
from server.analysis.footing import WARPED, has_data_in, stand_on_data
from server.analysis.task import ReplacementIndex, Task
from server.analysis.view import View, cells_under, look_at, place_at_once, standing_pixels
from server.raster.assembling import assemble
from server.raster.grid import BlockNumber, Box, Grid
from server.raster.sampling import OutputGrid
from server.work.spare import side_by_side
from server.work.trace import stage

SHARED_PIXELS: Final = 1 << 14
"""Pixels from which a second thread pays: loops over them take a millisecond."""
SHARED_PART: Final = 2 / 3
"""Share of the pixels whose fields that thread samples; the first one reads the replacement, too, in a third of the
time of all fields."""

Sampled = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
"""(B, p) values at points and (p,) validity."""
ReadReplacement = Callable[[ReplacementIndex], tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]
"""Reads the k-th replacement on the output grid: (B, H, W) values and (H, W) validity."""


def classes_sidecar(
    analysis: Analysis, task: Task, output: OutputGrid, *, shown: npt.NDArray[np.bool_] | None = None
) -> CloudSidecar:
    """Classes and probability under every output pixel; `shown` as for `fill_sidecar`."""
    view = look_at(task, output)
    if view is None:
        nothing = np.zeros((output.height, output.width), np.uint8)
        return CloudSidecar(classes=nothing if shown is None else ~shown * np.uint8(NODATA), probability=nothing)
    with stage("mask"):
        classes = analysis.pairs.classes(view.plane, view.box)
        cloud = analysis.masks.tile(view.plane.target_clouds, view.box).probabilities[0]
        probability = np.rint(cloud * np.float32(100 / 255)).astype(np.uint8)
        data = analysis.rasters.data(view.plane.target, view.plane.grid, view.box)
        flat = replace(view, pooled=0)
        rows, cols, lost = standing_pixels(analysis, flat, view.box, data, shown)
    under = cells_under(flat, classes, view.box, rows, cols, NODATA)
    under[lost] = 0
    return CloudSidecar(classes=under, probability=cells_under(flat, probability, view.box, rows, cols, 0))


def fill_sidecar(
    analysis: Analysis,
    task: Task,
    output: OutputGrid,
    *,
    needs: Needs,
    bands: tuple[int, ...],
    read_replacement: ReadReplacement | None = None,
    grid: Grid | None = None,
    smooth: bool = False,
    shown: npt.NDArray[np.bool_] | None = None,
) -> CloudSidecar:
    """Source and confidence of every output pixel, and the fill of the cloudy ones.

    Args:
        analysis: cached tiles.
        task: what to analyse.
        output: the image's grid.
        needs: `provenance` leaves the fill out.
        bands: 0-based positions of the requested bands among the target's.
        read_replacement: reads a replacement on the output grid; called only where it fills something. Without it
            provenance takes cells for filled that the replacement covers in part.
        grid: level of the analysis grid, instead of the one for the image's resolution.
        smooth: whether pixels are resampled in any other way than to the nearest one.
        shown: (H, W), pixels that have data in the image, which warps may have put a pixel off; None where the image's
            pixels are the raster's own.
    """
    view = look_at(task, output, grid)
    if view is None:
        return CloudSidecar(source=None, confidence=None)
    box = view.box.align(1 << view.pooled).clip(view.plane.shape)
    numbers = list(view.plane.blocks(box, in_pixels=view.shows_pixels))
    fills = analysis.blocks(view.plane, numbers, power=view.pooled, in_pixels=view.shows_pixels)
    if view.pooled == 0:
        analysis.seen(view.plane, view.box, in_pixels=view.shows_pixels)
    source = _assembled(view, box, lambda n: fills[n].source)
    data = _assembled(view, box, lambda n: fills[n].data)
    if not ((source != 0) & (data != NO_DATA)).any():  # nothing but clear ground: no pixel needs a second look
        return CloudSidecar(source=None, confidence=None)
    quick = None
    if needs == "fill" and (shown is None or task.buffer > 0):
        with stage("adjust"):
            quick = place_at_once(view, box, source, data, shown)
    if quick is None:
        with stage("adjust"):
            rows, cols, lost = standing_pixels(analysis, view, box, data, shown)
            source_px = cells_under(view, source, box, rows, cols, UNFILLED)
            if shown is not None and task.buffer == 0:
                # Nothing is filled around the mask: a pixel next to it that shows one of its pixels would stay cloud.
                filled = has_data_in((source != 0) & (source != UNFILLED), box, side=1 << view.pooled)
                unit = max(1.0, view.pixel) / view.plane.factor
                rows, cols, _ = stand_on_data(rows, cols, shown & (source_px == 0), unit, filled, reaches=WARPED)
                source_px = cells_under(view, source, box, rows, cols, UNFILLED)
            source_px[lost] = 0
            places = FillPlaces.of(np.flatnonzero((source_px != 0) & (source_px != UNFILLED)), rows, cols)
    else:
        source_px, places = quick

    def replaced(k: ReplacementIndex, where: FillPlaces) -> Sampled:
        layer = task.replacement(k)
        shift = analysis.pairs.shift(view.plane, k)
        # Pixels on the target's lattice are at hand without a warp; moved ones are to be had nowhere else.
        at_hand = shift != NO_SHIFT or (not smooth and layer.dataset.same_grid(layer.target) is not None)
        if read_replacement is not None and not (view.shows_pixels and at_hand):
            values, valid = read_replacement(k)
            return values.reshape(len(values), -1).take(where.at, axis=1), valid.ravel().take(where.at)
        return analysis.rasters.sample(
            layer, shift, where.rows, where.cols, bands=bands, smooth=smooth, factor=view.plane.factor
        )

    if needs != "fill":
        confidence = cells_under(view, _assembled(view, box, lambda n: fills[n].confidence), box, rows, cols, 0)
        confidence[lost] = 100
        lacking = cells_under(view, _assembled(view, box, lambda n: fills[n].lacking), box, rows, cols, 0) > 0
        for k in np.unique(source_px[lacking]).tolist() if read_replacement is not None else ():
            if k in task.indexes:  # the replacement may have no data under some of these pixels
                at = np.flatnonzero(lacking & (source_px == k))
                _, valid = replaced(k, FillPlaces.of(at, rows, cols))
                source_px.put(at[~valid], UNFILLED)
                confidence.put(at[~valid], 0)
        return CloudSidecar(source=source_px, confidence=confidence)
    fill = _pixel_fill(view, fills, source_px, places, bands, replaced)
    return CloudSidecar(source=source_px, fill=fill)


def _assembled(view: View, box: Box, fetch: Callable[[BlockNumber], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Put the blocks' arrays over a box of cells together, in squares of 2^`pooled` cells."""
    size = 1 << view.pooled
    grid = view.plane.grid
    squares = Grid(grid.factor * size, -(-grid.rows // size), -(-grid.cols // size))
    return assemble(fetch, box.parts(size), squares, view.side // size).astype(np.uint8, copy=False)


def _pixel_fill(
    view: View,
    fills: dict[BlockNumber, BlockFill],
    source: npt.NDArray[np.uint8],
    places: FillPlaces,
    bands: tuple[int, ...],
    replaced: Callable[[ReplacementIndex, FillPlaces], Sampled],
) -> PixelFill | None:
    """Gain, offset and replacement under every pixel to fill; marks pixels the replacement lacks in `source`."""
    parts: list[PixelFill] = []
    for k in sorted({k for block in fills.values() for k in block.layers}):
        where = places.where(source.ravel().take(places.at) == k)
        if len(at := where.at) == 0:
            continue
        (values, valid), (gain, offset) = _sampled_fill(view, fills, k, where, bands, replaced)
        if not valid.all():
            source.put(at[~valid], UNFILLED)
            at = at[valid]
            values, gain, offset = (array[:, valid] for array in (values, gain, offset))
        if len(at):
            parts.append(PixelFill(at, gain, offset, values))
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    gain, offset, replacement = (
        np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("gain", "offset", "replacement")
    )
    return PixelFill(np.concatenate([p.at for p in parts]), gain, offset, replacement)


def _sampled_fill(
    view: View,
    fills: dict[BlockNumber, BlockFill],
    k: ReplacementIndex,
    where: FillPlaces,
    bands: tuple[int, ...],
    replaced: Callable[[ReplacementIndex, FillPlaces], Sampled],
) -> tuple[Sampled, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The k-th replacement at some places, and (B, p) gain and offset there; of many places on two threads."""
    count = len(where.at)
    fields = np.zeros((2 * len(bands), count), np.float32)
    sample = partial(_sample, fields, view, fills, k, where, bands)
    if count < SHARED_PIXELS:
        found = replaced(k, where)
        sample(slice(count))
    else:
        cut = int(SHARED_PART * count)

        def rest() -> Sampled:
            values = replaced(k, where)
            sample(slice(cut, count))
            return values

        found, _ = side_by_side(rest, partial(sample, slice(cut)))
    return found, (fields[: len(bands)], fields[len(bands) :])


def _sample(
    result: npt.NDArray[np.float32],
    view: View,
    fills: dict[BlockNumber, BlockFill],
    k: ReplacementIndex,
    where: FillPlaces,
    bands: tuple[int, ...],
    part: slice,
) -> None:
    """Write gain and offset at part of some places, each from the block that holds it, into (2 B, p) fields."""
    with stage("adjust"):
        side, size = view.side, 1 << view.pooled
        total = len(view.plane.target.indexes)
        columns = np.array([*bands, *(total + b for b in bands)])
        points = result[:, part], where.rows[part], where.cols[part]
        first, last = points[1].min() - 1, points[1].max() + 1
        for (i, j), block in fills.items():
            bounds = (i * side, (i + 1) * side, j * side, (j + 1) * side)
            if (layer := block.layers.get(k)) is None or bounds[1] < first or last < bounds[0]:
                continue
            origin, border = (layer.box.top, layer.box.left), layer.border if view.shows_pixels else None
            sample_fill(*points, bounds, layer.fields, columns, origin, size, border, view.plane.factor)
