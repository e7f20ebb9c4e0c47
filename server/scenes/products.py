"""Scenes from products as they are downloaded: a `.SAFE` of Sentinel-2, a bundle of Landsat Collection 2."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from algorithms.bands import numbered_name
from server.scenes.archive import ProductFiles, damaged, product_files
from server.scenes.reflectance import baseline_of, number, reflectance_by_rules
from server.scenes.scene import Scene, SceneBand, SceneMask, standing_in
from server.scenes.similar import Acquisition

_SAFE: Final = re.compile(r"(?:^|/)MTD_MSIL(1C|2A)\.xml$")
_MTL: Final = re.compile(r"_MTL\.json$")
_PICTURE: Final = re.compile(r"/IMG_DATA/(?:R\d\dm/)?[^/]*_(B\d\d|B8A|SCL)(?:_(\d\d)m)?\.(?:jp2|tif)$")
_BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands of Sentinel-2 as the metadata number them from 0."""
_SIZES: Final = {"B02": 10.0, "B03": 10.0, "B04": 10.0, "B08": 10.0, "B01": 60.0, "B09": 60.0, "B10": 60.0}
"""Metres of a pixel; the others have 20."""


def is_product(url: str) -> bool:
    """Whether a local path is that of a product: `.SAFE`, `.zip`, `.tar`, or a folder with a product's metadata."""
    if "://" in url:
        return False
    if url.lower().endswith((".zip", ".tar")):
        return True
    try:
        return any(_SAFE.search(path.name) or _MTL.search(path.name) for path in Path(url).iterdir())
    except (OSError, ValueError):
        return False


def product_scene(url: str) -> Scene:
    """The scene that a product is.

    Args:
        url: path of a folder, or of an archive whose pictures are not compressed.

    Raises:
        SourceUnreadableError: it holds no such product, or its pictures are compressed.
    """
    files = product_files(url)
    for name in sorted(files.members, key=lambda name: (name.count("/"), name)):
        if found := _SAFE.search(name):
            return _safe(files, name, f"l{found[1].lower()}")
        if _MTL.search(name):
            return _landsat(files, name)
    raise damaged(url, "it holds neither MTD_MSIL1C.xml or MTD_MSIL2A.xml nor *_MTL.json")


def _safe(files: ProductFiles, metadata: str, level: str) -> Scene:
    text = files.read(metadata).decode("utf-8", "replace")
    baseline = baseline_of([_value(text, "PROCESSING_BASELINE"), _value(text, "PRODUCT_URI")])
    scale = _numeric(text, "(?:BOA_)?QUANTIFICATION_VALUE")
    pairs = re.findall(r'<(?:BOA|RADIO)_ADD_OFFSET band_id="(\d{1,2})">\s*(-?\d{1,6})\s*<', text)
    offsets = {_BANDS[int(k)]: int(value) for k, value in pairs if int(k) < len(_BANDS)}
    folder = metadata[: metadata.rfind("/") + 1]
    best: dict[str, tuple[float, str]] = {}
    for name in files.members:
        if name.startswith(folder) and (found := _PICTURE.search(name)):
            size = float(found[2]) if found[2] else _SIZES.get(found[1], 20.0)
            best[found[1]] = min(best.get(found[1], (size, name)), (size, name))
    bands, masks = [], []
    for label, (size, name) in sorted(best.items()):
        url, member = files.place(name)
        if label == "SCL":
            masks.append(SceneMask("scl", label, url, member))
            continue
        place = {"scale": 1 / scale, "offset": offsets.get(label, 0) / scale} if scale else {}
        meaning = reflectance_by_rules([place], applied=False, sentinel2=True, baseline=baseline, landsat=False)
        source = "MTD_MSI metadata" if scale else meaning.source
        bands.append(
            SceneBand(
                numbered_name("msi", label), label, url, 1, size, meaning.scale, meaning.offset, 0.0, source,
                member=member,
            )
        )  # fmt: skip
    if not bands:
        raise damaged(files.url, "its pictures (GRANULE/*/IMG_DATA) are missing")
    product = _value(text, "PRODUCT_URI") or metadata
    tile, orbit = re.search(r"_T(\d\d[A-Z]{3})", next(iter(best.values()))[1]), re.search(r"_R(\d{3})_", product)
    acquisition = Acquisition(
        id=product.removesuffix(".SAFE"),
        when=_when(_value(text, "PRODUCT_START_TIME")),
        collection=f"sentinel-2-{level}",
        tile=tile[1] if tile else None,
        level=level,
        relative_orbit=int(orbit[1]) if orbit else None,
        cloud_cover=_numeric(text, "Cloud_Coverage_Assessment"),
        baseline=baseline,
    )
    return Scene(files.url, standing_in(bands), level, acquisition=acquisition, masks=tuple(masks))


def _landsat(files: ProductFiles, metadata: str) -> Scene:
    try:
        document = json.loads(files.read(metadata))
    except (ValueError, RecursionError) as error:
        raise damaged(files.url, f"{metadata!r} is not JSON ({str(error)[:80]})") from error
    parts = _mapping(_mapping(document).get("LANDSAT_METADATA_FILE"))
    contents, image = _mapping(parts.get("PRODUCT_CONTENTS")), _mapping(parts.get("IMAGE_ATTRIBUTES"))
    level = "l2a" if str(contents.get("PROCESSING_LEVEL")).startswith("L2") else "l1c"
    numbers = _mapping(
        parts.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if level == "l2a" else "LEVEL1_RADIOMETRIC_RESCALING")
    )
    sensor = "oli" if str(image.get("SPACECRAFT_ID")) in ("LANDSAT_8", "LANDSAT_9") else "tm"
    folder = metadata[: metadata.rfind("/") + 1]
    # Level 1 is what a sun overhead would give: divided by the sine of its elevation it is reflectance (USGS, Landsat 8
    # Data Users Handbook, 5.3).
    elevation = _text_number(image.get("SUN_ELEVATION"))
    light = 1.0 if level == "l2a" or not elevation or elevation <= 0 else math.sin(math.radians(elevation))
    bands = []
    for band in range(1, 10):
        name = f"{folder}{contents.get(f'FILE_NAME_BAND_{band}')}"
        scale, offset = (_text_number(numbers.get(f"REFLECTANCE_{what}_BAND_{band}")) for what in ("MULT", "ADD"))
        common = numbered_name(sensor, f"B{band}")
        if name not in files.members or common is None or common.startswith("lwir"):
            continue
        place = {"scale": scale and scale / light, "offset": offset and offset / light}
        meaning = reflectance_by_rules([place], applied=False, sentinel2=False, baseline=None, landsat=level == "l2a")
        url, member = files.place(name)
        source = "MTL metadata" if scale else meaning.source
        label, size = ("SR_" if level == "l2a" else "") + f"B{band}", 15.0 if common == "pan" else 30.0
        bands.append(
            SceneBand(common, label, url, 1, size, meaning.scale, meaning.offset, 0.0, source, member=member)
        )  # fmt: skip
    if not bands:
        raise damaged(files.url, f"the pictures that {metadata!r} names are missing")
    quality = f"{folder}{contents.get('FILE_NAME_QUALITY_L1_PIXEL')}"
    masks = (SceneMask("qa_pixel", "QA_PIXEL", *files.place(quality)),) if quality in files.members else ()
    acquisition = Acquisition(
        id=str(contents.get("LANDSAT_PRODUCT_ID")),
        when=_when(f"{image.get('DATE_ACQUIRED')}T{str(image.get('SCENE_CENTER_TIME'))[:8]}Z"),
        collection=f"landsat-c2-{level[:2]}",
        tile=f"{image.get('WRS_PATH')!s:0>3}{image.get('WRS_ROW')!s:0>3}",
        level=level,
        sun_elevation=elevation,
        cloud_cover=_text_number(image.get("CLOUD_COVER")),
    )
    return Scene(files.url, standing_in(bands), level, acquisition=acquisition, masks=masks)


def _value(text: str, tag: str) -> str | None:
    """The text of the first element of a name; the documents are read without entities or references."""
    found = re.search(rf"<{tag}(?:\s[^>]{{0,200}})?>([^<]{{1,200}})</", text)
    return found[1].strip() if found else None


def _numeric(text: str, tag: str) -> float | None:
    return _text_number(_value(text, tag))


def _text_number(value: object) -> float | None:
    try:
        return number(float(value)) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def _when(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
