"""Band names: which band of a raster is blue, green, red, near infrared, short-wave infrared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from algorithms.errors import BandError

ROLES: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""The STAC common names the cloud models know, in the models' order."""

_SENTINEL2: Final = {
    "1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "rededge1", "6": "rededge2", "7": "rededge3",
    "8": "nir", "8a": "nir08", "9": "watervapor", "10": "cirrus", "11": "swir16", "12": "swir22",
}  # fmt: skip
_LANDSAT_OLI: Final = {
    "1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir", "6": "swir16", "7": "swir22",
    "8": "pan", "9": "cirrus", "10": "lwir11", "11": "lwir12",
}  # fmt: skip
_LANDSAT_TM: Final = {"1": "blue", "2": "green", "3": "red", "4": "nir", "5": "swir16", "6": "lwir", "7": "swir22"}
_SYNONYMS: Final = {
    "b": "blue", "g": "green", "r": "red", "near infrared": "nir", "near-infrared": "nir", "nir1": "nir",
    "swir1": "swir16", "swir 1": "swir16", "swir-1": "swir16", "swir2": "swir22", "swir 2": "swir22",
    "swir-2": "swir22", "nir narrow": "nir08", "coastal aerosol": "coastal",
}  # fmt: skip
_NUMBERED: Final = re.compile(r"^(?:(?P<prefix>sr|toa|st|qa)_)?b(?:and)?[ _-]?0?(?P<number>\d{1,2}a?)(?:\.tif)?$")


def common_names(descriptions: Sequence[str | None]) -> tuple[str | None, ...]:
    """Translate band descriptions into STAC common names.

    Understands common names themselves (`blue`, `nir`, ...), Sentinel-2 (`B02`, `B2`, `B8A`, ...) and Landsat
    (`SR_B2`, `B5`, ...) band names. Which numbering `B2`, `B5`, ... means is told by the other bands: only
    Sentinel-2 has B8A, B08 with B12; Landsat 4-7 Collection 2 surface reflectance has SR_B1-SR_B5 and SR_B7.

    Args:
        descriptions: one description per band, None or empty where the raster has none.

    Returns:
        One common name per band, None where it cannot be told. A narrow near infrared band stands in for
        `nir` where there is no broad one (STAC names Landsat's near infrared `nir08`).
    """
    words = [(text or "").strip().lower() for text in descriptions]
    numbers = [_NUMBERED.match(word) for word in words]
    found = {match["number"] for match in numbers if match and match["prefix"] != "st"}
    surface = any(match and match["prefix"] for match in numbers)
    table = _LANDSAT_OLI if surface else _SENTINEL2
    if surface and "6" not in found and {"1", "5", "7"} <= found:
        table = _LANDSAT_TM
    elif not surface and "5" in found and not found & {"8a", "12"}:
        table = _LANDSAT_OLI
    names: list[str | None] = []
    for word, match in zip(words, numbers, strict=True):
        if match:
            names.append(None if match["prefix"] in ("st", "qa") else table.get(match["number"]))
        else:
            name = _SYNONYMS.get(word, word)
            names.append(name if re.fullmatch(r"[a-z]+\d*", name) else None)
    if "nir" not in names and "nir08" in names:
        names[names.index("nir08")] = "nir"
    return tuple(names)


def role_indexes(names: Sequence[str | None], roles: Sequence[str]) -> tuple[int, ...]:
    """0-based positions of `roles` in `names`.

    Raises:
        BandError: a role is missing.
    """
    missing = [role for role in roles if role not in names]
    if missing:
        known = ", ".join(name or "?" for name in names)
        raise BandError(
            f"band {', '.join(missing)} not found among [{known}]: the cloud model needs "
            f"{', '.join(roles)}; name the raster's bands with `bands=` or give the clouds as a raster with `mask=`"
        )
    return tuple(names.index(role) for role in roles)
