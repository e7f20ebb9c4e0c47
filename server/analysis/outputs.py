"""What tiles and export do alike with an image: its replacement on the same grid, its gaps, its finished side-car."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from algorithms.masks import NODATA
from algorithms.removal import CloudSidecar
from server.raster.layer import Layer
from server.raster.opening import open_raster
from server.raster.sampling import OutputGrid
from server.work.trace import current, stage


def read_layer(
    layer: Layer, positions: tuple[int, ...], output: OutputGrid, crs: CRS, options: dict[str, Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Read bands of a layer, given by their 0-based positions, on an output grid.

    Returns:
        (B, H, W) values and (H, W) validity.
    """
    dataset = layer.dataset
    with stage("read"), open_raster(dataset.url, dataset.version) as src, Reader(None, dataset=src) as reader:
        there = reader.part(
            output.bounds,
            bounds_crs=crs,
            dst_crs=crs,
            width=output.width,
            height=output.height,
            indexes=tuple(layer.indexes[p] for p in positions),
            **options,
        )
    valid = ~np.asarray(np.ma.getmaskarray(there.array)).any(axis=0)
    return there.array.data.astype(np.float32, copy=False), np.asarray(valid)


def hidden_pixels(image: ImageData) -> npt.NDArray[np.bool_]:
    """(H, W), pixels without data in any band."""
    return np.asarray(np.asarray(np.ma.getmaskarray(image.array)).all(axis=0))


def completed(clouds: CloudSidecar, hidden: npt.NDArray[np.bool_]) -> CloudSidecar:
    """Note the fractions for the headers; spell out the provenance of an image without any cloud."""
    if (source := clouds.source) is None:
        source = hidden * np.uint8(NODATA)
        clouds = replace(clouds, source=source, confidence=~hidden * np.uint8(100))
    if (trace := current.get()) is not None:
        count = max(int((~hidden).sum()), 1)
        cloudy = (source != 0) & ~hidden
        trace.cloud_fraction = float(cloudy.sum() / count)
        trace.filled_fraction = float((cloudy & (source != NODATA)).sum() / count)
    return clouds
