"""A scene's cloud mask as a file: classes or probabilities on its own pixels, or a picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.windows import Window
from rasterio.windows import transform as window_transform
from rio_tiler.reader import read
from titiler.core.resources.enums import ImageType

from algorithms.masks import NODATA
from algorithms.removal import CloudAlgorithm, CloudMask, CloudProbability
from algorithms.sidecar import hidden_pixels
from server.analysis.resolution import model_warnings
from server.analysis.sidecar import classes_sidecar
from server.analysis.tasking import make_task
from server.export.looking import Scenery
from server.export.output import write_bytes, written
from server.http.render import render
from server.raster.dataset import dataset_crs
from server.raster.sampling import OutputGrid

MASK_STRIP_ROWS: Final = 512
"""Rows of pixels that are looked at together."""
PICTURE_PIXELS: Final = 4096
"""Longer side of a picture of a mask at most."""
PICTURE_ENDING: Final = ".png"
"""Of outputs that become pictures."""
MASK_ENDINGS: Final = (".tif", ".tiff", PICTURE_ENDING)
"""Suffixes of outputs."""


def write_mask(scenery: Scenery, out: Path, algorithm: CloudMask | CloudProbability) -> float:
    """Write a mask, complete or not at all.

    Args:
        scenery: the scene.
        out: a file that ends in `.png` for a picture in the colours of the legend, or else a Cloud Optimized GeoTIFF of
            bytes on the scene's own pixels, 255 where it has no data.
        algorithm: what to write, and how clouds are found.

    Returns:
        The share of the pixels with data that are cloud or shadow.

    Raises:
        ClearSkyError: a raster that cannot be read, bands that no model knows, a file that cannot be written.
    """
    if out.suffix.lower() == PICTURE_ENDING:
        image = scenery.preview(algorithm, size=PICTURE_PIXELS)
        values, there = image.array.data[0], image.mask > 0
        write_bytes(out, lambda: render(image, ImageType.png)[0])
        return _cloudy(values[there], algorithm)
    task = make_task(scenery.request, scenery.sources, algorithm.options, "classes")
    target = task.target.dataset
    if task.clouds.model is not None:  # logged, hence on the terminal
        model_warnings(task.clouds.model, target)
    shares: list[tuple[float, int]] = []
    profile = {
        "driver": "COG",
        "width": target.width,
        "height": target.height,
        "count": 1,
        "dtype": "uint8",
        "crs": dataset_crs(target),
        "transform": target.affine,
        "nodata": NODATA,
        "compress": "deflate",
        "blocksize": 512,
        "overview_resampling": "mode" if isinstance(algorithm, CloudMask) else "average",
    }
    opened = scenery.sources.open_described(target)
    with written(out) as part, opened as src, rasterio.open(part, "w", **profile) as file:
        for row in range(0, target.height, MASK_STRIP_ROWS):
            window = Window(0, row, target.width, min(MASK_STRIP_ROWS, target.height - row))
            hidden = hidden_pixels(read(src, window=window, indexes=target.indexes, nodata=target.nodata))
            place = window_transform(window, target.affine)
            output = OutputGrid(target.crs, tuple(place)[:6], target.width, int(window.height))
            clouds = classes_sidecar(scenery.analysis, task, output, shown=~hidden)
            found = clouds.classes if isinstance(algorithm, CloudMask) else clouds.probability
            assert found is not None  # noqa: S101  (asked for)
            values = np.where(hidden, NODATA, found).astype(np.uint8)
            file.write(values, 1, window=window)
            shares.append((_cloudy(values[~hidden], algorithm), int((~hidden).sum())))
        file.set_band_description(1, algorithm.band)
        file.update_tags(MEANING=algorithm.description)
    total = sum(count for _, count in shares)
    return sum(share * count for share, count in shares) / total if total else 0.0


def _cloudy(values: np.ndarray, algorithm: CloudAlgorithm) -> float:
    """The share of values that mean cloud or shadow, or at least 50 %."""
    if not values.size:
        return 0.0
    cloudy = values >= 50 if isinstance(algorithm, CloudProbability) else (values == 1) | (values == 2)
    return float(cloudy.mean())
