"""Rescaling of images to bytes: rio-tiler's values, looked up where there are few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from rio_tiler.models import ImageData, rescale_image

from algorithms.pixels import look_up_tones

LOOKED_UP_TYPES: Final = ("uint16", "int16")
"""Types of 16 bits, of whose numbers a table is made."""


def rescaled(image: ImageData, ranges: Sequence[tuple[float, float]]) -> None:
    """Rescale an image in place, as its own `rescale` does.

    Args:
        image: of any type.
        ranges: what becomes 0 and 255, for each band or for all.
    """
    array = image.array
    if array.dtype.name not in LOOKED_UP_TYPES or image.alpha_mask is not None:
        image.rescale(ranges)
        return
    each = ranges if len(ranges) == image.count else [ranges[0]] * image.count
    tables = np.stack([_table(array.dtype.name, *map(float, pair)) for pair in each])
    masked = np.ma.getmaskarray(array)
    image.array = np.ma.MaskedArray(look_up_tones(array.data.view(np.uint16), masked, tables), mask=masked)
    image.scales, image.offsets = [1.0] * image.count, [0.0] * image.count


@lru_cache(maxsize=64)
def _table(dtype: str, low: float, high: float) -> npt.NDArray[np.uint8]:
    """(65536,), what rio-tiler makes of every number, by the number's bits."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    alone = np.ma.MaskedArray(numbers[None, None].copy(), mask=np.zeros((1, 1, len(numbers)), bool))
    table: npt.NDArray[np.uint8] = rescale_image(alone, ((low, high),)).data[0, 0]
    return table
