"""Boxes: part of a scene, given in any CRS."""

from __future__ import annotations

from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from algorithms.errors import ParameterError
from clearsky.tiles import BBox
from server.http.budget import image_bounds


def check_box(bbox: BBox, crs: CRS, *, bounds: BBox, scene_crs: CRS) -> None:
    """Refuse a box that cannot be a part of the scene.

    Args:
        bbox: west, south, east, north.
        crs: its CRS.
        bounds: of the scene.
        scene_crs: theirs.

    Raises:
        ParameterError: it is not four numbers, not in its CRS, has no area, or lies off the scene.
    """
    try:
        west, south, east, north = map(float, bbox)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bbox {bbox!r} is not a box: give west, south, east, north") from error
    shown, name = _written((west, south, east, north)), crs.to_string()[:40]
    if crs.is_geographic and (max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 90):
        raise ParameterError(
            f"bbox {shown} is not in degrees, as crs={name} has them: give its own CRS, e.g. crs=scene.crs"
        )
    left, bottom, right, top = image_bounds((west, south, east, north), crs, scene_crs)
    if left >= bounds[2] or right <= bounds[0] or bottom >= bounds[3] or top <= bounds[1]:
        try:
            where = f"{_written(transform_bounds(scene_crs, crs, *bounds))} in crs={name}"
        except CRSError:
            where = f"{_written(bounds)} in crs={scene_crs.to_string()[:40]}"
        raise ParameterError(
            f"bbox {shown} lies off the scene, which covers {where}: give a box within it, or with `crs` the "
            "box's own CRS"
        )


def read_crs(value: Any) -> CRS:
    """A CRS as rasterio reads it.

    Raises:
        ParameterError: it cannot be read.
    """
    try:
        return CRS.from_user_input(value)
    except (CRSError, ValueError, TypeError) as error:
        raise ParameterError(f"crs {value!r} cannot be read; give for example EPSG:4326") from error


def _written(bbox: BBox) -> str:
    return "(" + ", ".join(f"{edge:.8g}" for edge in bbox) + ")"
