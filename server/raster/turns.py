"""Longitudes: 192.5 degrees and -167.5 are one place, which neither affine transforms nor GDAL's warps know."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
from rasterio.crs import CRS
from rasterio.transform import Affine

if TYPE_CHECKING:
    from server.raster.dataset import Dataset

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


def _beyond(dataset: Dataset, turn: float) -> bool:
    """Whether longitudes leave the usual half turn to either side."""
    return dataset.bounds[0] < -turn / 2 - 1e-9 or dataset.bounds[2] > turn / 2 + 1e-9


def source_of_warp(dataset: Dataset, target: Dataset | None = None) -> dict[str, Any]:
    """Options of a warp that find a geographic raster's pixels by any longitude; none where every one is usual.

    Args:
        dataset: the raster to be warped.
        target: the geographic lattice it is warped to, if it is one.
    """
    turn = full_turn(dataset.crs)
    if turn is None:
        return {}
    away = target is not None and (other := full_turn(target.crs)) is not None and _beyond(target, other)
    if not (away or _beyond(dataset, turn)):
        return {}
    middle = (dataset.bounds[0] + dataset.bounds[2]) / 2
    turns = -math.ceil((middle - turn / 2) / turn)
    affine = Affine.translation(turns * turn, 0) @ dataset.affine
    return {"src_crs": _centred(dataset.crs, middle + turns * turn), "src_transform": affine}


def _centred(crs: str, middle: float) -> CRS:
    """A geographic CRS whose longitudes lie within half a turn of `middle`, by GDAL's extension of WKT.

    Its name and the order of its axes differ from the original's, since GDAL does not transform between CRS that it
    considers the same, and caches transforms by name.
    """
    text = CRS.from_wkt(crs).to_wkt(version="WKT1_GDAL")
    text = re.sub(r',AUTHORITY\["[^"]*","[^"]*"\]\]$', "]", text)
    text = re.sub(r'^GEOGCS\["[^"]*"', f'GEOGCS["longitudes about {middle:.9g}"', text)
    text = text.replace(
        'AXIS["Latitude",NORTH],AXIS["Longitude",EAST]', 'AXIS["Longitude",EAST],AXIS["Latitude",NORTH]'
    )
    return CRS.from_wkt(f'{text[:-1]},EXTENSION["CENTER_LONG","{middle:.9g}"]]')
