"""Longitudes: 192.5 degrees and -167.5 are one place, which affine transforms do not know; `warps` is about GDAL."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyproj

Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=256)
def full_turn(crs: str) -> float | None:
    """A whole turn in the unit of the longitudes of a geographic CRS (WKT); None for any other CRS."""
    parsed = pyproj.CRS.from_wkt(crs)
    if not parsed.is_geographic:
        return None
    return round(math.tau / parsed.axis_info[0].unit_conversion_factor, 6)


def nearest_turn(x: Floats, about: float, turn: float | None) -> Floats:
    """Longitudes turned to at most half a turn from `about`; as they are where there is no turn."""
    return x if turn is None else x + turn * np.rint((about - x) / turn)
