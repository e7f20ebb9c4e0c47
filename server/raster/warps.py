"""Warps of geographic rasters whose longitudes leave the usual range, which GDAL would not find."""

from __future__ import annotations

import math
import re
from typing import Any

from rasterio.crs import CRS
from rasterio.transform import Affine

from server.raster.dataset import Dataset
from server.raster.turns import full_turn


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
