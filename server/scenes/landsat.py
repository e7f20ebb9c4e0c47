"""Bundles of Landsat Collection 2: what their `*_MTL.json` says, and where their pictures are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from algorithms.bands import numbered_name
from server.scenes.acquisition import Acquisition, Box, footprint, moment
from server.scenes.archive import ProductFiles, damaged
from server.scenes.bounded import mapping_of, read_json, short_texts
from server.scenes.reflectance import LANDSAT_SURFACE, landsat_top, reflectance_by_rules, text_number
from server.scenes.scene import Scene, SceneBand, SceneMask, missing_bands, standing_in

_MTL: Final = re.compile(r"_MTL\.json$")
_CORNERS: Final = ("UL", "UR", "LR", "LL")


def is_landsat_metadata(name: str) -> bool:
    """Whether a file of that name is a bundle's metadata."""
    return _MTL.search(name) is not None


def landsat_scene(files: ProductFiles, metadata: str) -> Scene:
    """The scene that a bundle is.

    Args:
        files: the bundle's.
        metadata: name of its `*_MTL.json`.

    Raises:
        SourceUnreadableError: the metadata cannot be read, or its pictures are missing.
    """
    try:
        document = read_json(files.read(metadata))
    except ValueError as error:
        raise damaged(files.url, f"{metadata!r} is not JSON ({str(error)[:80]})") from error
    parts = mapping_of(mapping_of(document).get("LANDSAT_METADATA_FILE"))
    contents, image = short_texts(parts.get("PRODUCT_CONTENTS")), short_texts(parts.get("IMAGE_ATTRIBUTES"))
    level = "l2a" if str(contents.get("PROCESSING_LEVEL")).startswith("L2") else "l1c"
    numbers = mapping_of(
        parts.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if level == "l2a" else "LEVEL1_RADIOMETRIC_RESCALING")
    )
    sensor = "oli" if str(image.get("SPACECRAFT_ID")) in ("LANDSAT_8", "LANDSAT_9") else "tm"
    folder = metadata[: metadata.rfind("/") + 1]
    # Level 1 is what a sun overhead would give: divided by the sine of its elevation it is reflectance (USGS, Landsat 8
    # Data Users Handbook, 5.3).
    elevation = text_number(image.get("SUN_ELEVATION"))
    light = 1.0 if level == "l2a" or not elevation or elevation <= 0 else math.sin(math.radians(elevation))
    by_level = LANDSAT_SURFACE if level == "l2a" else landsat_top(elevation) if sensor == "oli" else None
    bands, lost = [], []
    for band in range(1, 10):
        file = contents.get(f"FILE_NAME_BAND_{band}")
        name = f"{folder}{file}"
        scale, offset = (text_number(numbers.get(f"REFLECTANCE_{what}_BAND_{band}")) for what in ("MULT", "ADD"))
        common = numbered_name(sensor, f"B{band}")
        if file is None or common is None or common.startswith("lwir"):
            continue
        label, size = ("SR_" if level == "l2a" else "") + f"B{band}", 15.0 if common == "pan" else 30.0
        if name not in files.members:
            lost.append(label)
            continue
        place = {"scale": scale and scale / light, "offset": offset and offset / light}
        meaning = reflectance_by_rules([place], applied=None, sentinel2=False, baseline=None, landsat=by_level)
        url, member = files.place(name)
        source = "MTL metadata" if scale else meaning.source
        bands.append(
            SceneBand(common, label, url, 1, size, meaning.scale, meaning.offset, 0.0, source, member=member)
        )  # fmt: skip
    if not bands:
        raise damaged(files.url, f"the pictures that {metadata!r} names are missing")
    quality = f"{folder}{contents.get('FILE_NAME_QUALITY_L1_PIXEL')}"
    masks = (SceneMask("qa_pixel", "QA_PIXEL", *files.place(quality)),) if quality in files.members else ()
    acquisition = Acquisition(
        id=str(contents.get("LANDSAT_PRODUCT_ID")),
        when=moment(f"{image.get('DATE_ACQUIRED')}T{str(image.get('SCENE_CENTER_TIME'))[:8]}Z"),
        collection=f"landsat-c2-{level[:2]}",
        tile=f"{image.get('WRS_PATH')!s:0>3}{image.get('WRS_ROW')!s:0>3}",
        level=level,
        sun_elevation=elevation,
        cloud_cover=text_number(image.get("CLOUD_COVER")),
        box=_box(mapping_of(parts.get("PROJECTION_ATTRIBUTES"))),
    )
    warnings = missing_bands(files.url, lost)
    if level == "l1c" and light == 1.0:
        warnings += (f"{files.url!r} states no elevation of the sun: its reflectances are as under a sun overhead",)
    return Scene(files.url, standing_in(bands), level, acquisition=acquisition, masks=masks, warnings=warnings)


def _box(projection: Mapping[str, Any]) -> Box | None:
    places = [
        tuple(text_number(projection.get(f"CORNER_{corner}_{axis}_PRODUCT")) for axis in ("LON", "LAT"))
        for corner in _CORNERS
    ]
    return footprint([(lon, lat) for lon, lat in places if lon is not None and lat is not None])
