"""The side-car of an image that the reader has read: where its pixels lie, and what fills them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.windows import Window
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from algorithms.sidecar import CloudSidecar, Needs, hidden_pixels
from server.analysis.engine import Analysis
from server.analysis.outputs import completed, read_layer
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.analysis.task import Task
from server.raster.evenness import is_even
from server.raster.sampling import OutputGrid
from server.raster.upright import is_north_up


def output_grid(reader: Reader, image: ImageData, options: dict[str, Any]) -> OutputGrid:
    """Where the pixels of an image lie that a reader read with some options."""
    raster: Any = reader.dataset
    crs = "" if image.crs is None else image.crs.wkt
    of_pixels = "bounds_crs" not in options and options.get("dst_crs") in (None, reader.crs)
    if is_north_up(raster.transform) or not of_pixels or options.get("vrt_options"):
        return OutputGrid.from_bounds(crs, image.bounds or reader.bounds, image.width, image.height)
    window = options.get("window") or Window(0, 0, raster.width, raster.height)
    affine = raster.transform @ Affine.translation(window.col_off, window.row_off)
    affine @= Affine.scale(window.width / image.width, window.height / image.height)
    return OutputGrid(crs, tuple(affine)[:6], image.width, image.height)


def image_sidecar(
    analysis: Analysis,
    task: Task,
    needs: Needs,
    image: ImageData,
    output: OutputGrid,
    wanted: tuple[int, ...],
    options: dict[str, Any],
    every: Callable[[npt.NDArray[np.bool_]], ImageData],
) -> CloudSidecar:
    """What an algorithm needs next to an image of the target.

    Args:
        analysis: masks and fills.
        task: what is analysed.
        needs: what the algorithm reads.
        image: the target's pixels.
        output: where they lie.
        wanted: 1-based bands of the image.
        options: how the image was read, and replacements are.
        every: reads the same image of all bands of the target, where some of its (H, W) pixels are.
    """
    hidden = hidden_pixels(image)
    if needs == "classes":
        return classes_sidecar(analysis, task, output, shown=~hidden)
    target = task.target.dataset
    # Bands of alpha stay as they are.
    filled = tuple(at for at, index in enumerate(wanted) if index in target.indexes)
    positions = tuple(target.indexes.index(wanted[at]) for at in filled) or (0,)
    kept = ("nodata", "resampling_method", "reproject_method")
    passed: dict[str, Any] = {name: options[name] for name in kept if name in options}

    def read_replacement(k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        return read_layer(analysis.rasters, task.replacement(k), positions, output, image.crs, passed)

    methods = (passed.get(name, "nearest") for name in ("resampling_method", "reproject_method"))
    smooth = any(method != "nearest" for method in methods)

    def sidecar(hidden: npt.NDArray[np.bool_]) -> CloudSidecar:
        return fill_sidecar(
            analysis,
            task,
            output,
            needs=needs if filled else "provenance",
            bands=positions,
            read_replacement=read_replacement,
            smooth=smooth,
            shown=~hidden,
        )

    clouds = sidecar(hidden)
    partly = target.nodata is not None and not set(target.indexes) <= set(wanted) and clouds.fills(hidden)
    if partly and not is_even(analysis.rasters, task.target, output, image.crs, options):
        # Without data in the bands asked for, but perhaps not in the others: all bands decide. Not from which pixels
        # are hidden in each image: at the edge of data a warp of other bands differs.
        missing = np.ma.getmaskarray(every(hidden).array)
        partial = hidden & missing[list(positions)].all(axis=0) & ~missing.all(axis=0)
        if partial.any():
            hidden = hidden & ~partial
            clouds = replace(sidecar(hidden), hidden=hidden)
    if clouds.fill is not None and len(filled) < len(wanted):
        clouds = replace(clouds, fill=replace(clouds.fill, bands=filled))
    return completed(clouds, hidden)
