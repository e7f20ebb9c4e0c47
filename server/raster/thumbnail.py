"""A small picture of a raster, for what is judged by its values as a whole: a bounded read, from overviews."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.windows import Window

from server.raster.dataset import Dataset
from server.raster.sources import Sources

THUMBNAIL_PIXELS: Final = 256
"""Pixels along the longer side."""
MOST_DECODED_PIXELS: Final = 2048
"""Pixels along the longer side of the coarsest overview up to which it is read; of others a few windows are."""
WINDOWS_ACROSS: Final = 3
"""Windows along each side of a raster without overviews."""
WINDOW_PIXELS: Final = 64
"""Pixels along each side of such a window."""


def thumbnail(sources: Sources, dataset: Dataset) -> npt.NDArray[np.float64]:
    """Some of a raster's values as they are stored: about evenly spaced ones, or windows where it has no overviews.

    Returns:
        bands x pixels, NaN where there is no data.

    Raises:
        SourceError: the raster cannot be read.
    """
    longest = max(dataset.shape)
    with sources.open_described(dataset) as src:
        coarsest = max(src.overviews(dataset.indexes[0]), default=1)
        if longest / coarsest <= MOST_DECODED_PIXELS:
            step = max(1, longest / THUMBNAIL_PIXELS)
            height, width = (max(1, round(side / step)) for side in dataset.shape)
            parts = [_values(src, dataset, out_shape=(height, width))]
        else:
            parts = [_values(src, dataset, window=window) for window in _windows(*dataset.shape)]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _values(src: Any, dataset: Dataset, **place: Any) -> npt.NDArray[np.float64]:
    shape = {} if "out_shape" not in place else {"out_shape": (len(dataset.indexes), *place["out_shape"])}
    values: npt.NDArray[np.float64] = src.read(
        dataset.indexes, resampling=Resampling.nearest, out_dtype="float64", **(place | shape)
    )
    if dataset.nodata is None:
        values[:, src.dataset_mask(**place) == 0] = np.nan
    else:
        values[values == dataset.nodata] = np.nan
    return values


def _windows(height: int, width: int) -> Iterator[Window]:
    rows, cols = (
        [max(0, side * (2 * k + 1) // (2 * WINDOWS_ACROSS) - WINDOW_PIXELS // 2) for k in range(WINDOWS_ACROSS)]
        for side in (height, width)
    )
    for row, col in product(rows, cols):
        yield Window(col, row, min(WINDOW_PIXELS, width - col), min(WINDOW_PIXELS, height - row))
