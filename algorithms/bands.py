"""Band names: which band of a raster is blue, green, red, near infrared, short-wave infrared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from algorithms.errors import BandError

ROLES: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""The STAC common names the cloud models know, in the models' order."""
VISIBLE_BANDS: Final = ROLES[:3]
"""Bands of which one is dark somewhere in any scene but snow, bright sand and closed cloud."""
INFRARED_BANDS: Final = ROLES[3:]
"""Likewise: water and shadow are dark in all of them, snow in the last two."""
SHORT_WAVE_BANDS: Final = ROLES[4:]
"""The last two: what tells snow from cloud."""

_SENSORS: Final[dict[str, dict[str, str]]] = {
    "msi": {
        "1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "rededge1", "6": "rededge2", "7": "rededge3",
        "8": "nir", "8a": "nir08", "9": "watervapor", "10": "cirrus", "11": "swir16", "12": "swir22",
    },
    "oli": {
        "1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir", "6": "swir16", "7": "swir22",
        "8": "pan", "9": "cirrus", "10": "lwir11", "11": "lwir12",
    },
    "tm": {
        "1": "blue", "2": "green", "3": "red", "4": "nir", "5": "swir16", "6": "lwir", "7": "swir22", "8": "pan",
    },
}  # fmt: skip
"""What band numbers mean: Sentinel-2; Landsat 8 and 9, HLS L30 as well; Landsat 4 to 7."""

_NEAR: Final = "near ?infra ?red( nir)?"
_SHORT: Final = "((short ?wave ?infra ?red ?)?swir|short ?wave ?infra ?red)"
_WORDS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in {
        "coastal": r"coastal( ?(aerosol|blue))?|(ultra|deep) ?blue",
        "blue": "blue|b",
        "green": "green|g",
        "yellow": "yellow",
        "red": "red|r",
        "nir": rf"nir( ?1)?|{_NEAR}( ?1| 0p8)?|broad nir|nir broad",
        "nir08": rf"nir ?(2|08|8a)|(narrow|n) ?(nir|{_NEAR})|(nir|{_NEAR}) ?(narrow|2)",
        "watervapor": r"water ?vapou?r|nir ?(3|09)",
        "pan": "pan(chromatic)?",
        "cirrus": "cirrus",
        "swir16": rf"{_SHORT} ?(1|16|1p6( ?um)?)",
        "swir22": rf"{_SHORT} ?(2|22|2p2( ?um)?)",
        "lwir11": r"lwir ?11|tirs ?1|thermal ?infra ?red ?1",
        "lwir12": r"lwir ?12|tirs ?2|thermal ?infra ?red ?2",
        "lwir": r"lwir|thermal( ?infra ?red)?",
    }.items()
)
"""Common names and the words in use for them; separators are blanks, decimal points are `p`."""
_RED_EDGE: Final = re.compile(r"(?:vegetation ?)?red ?edge ?(\d{1,3})?")
_NOISE: Final = re.compile(
    r"\b(?:\d+ ?m|tiff?|jp2|img|reflectances?|surface|raw|mean|median|mosaic|central wavelength|\d+ ?nm)\b"
)
"""Words next to a name that carry no meaning for it."""
_NUMBER: Final = re.compile(
    r"\b(?:(?P<prefix>sr|toa|st|qa) )?(?P<style>b|band) ?(?P<zero>0?)(?P<number>1[0-2]|[1-9])(?P<narrow>a?)\b"
)
_FILE: Final = re.compile(
    r"(?P<start>\S+?[_.])(?P<band>(?:(?:sr|toa|st|qa)_)?b(?:and)?\d{1,2}a?(?:_\d+m)?(?:\.(?:tiff?|jp2))?)"
)
"""The name of a product's file, which ends in the band."""
_PRODUCTS: Final = {
    "msi": re.compile(r"(^|_)t\d\d[a-z]{3}_|s2[abc]_|hls\.s30"),
    "oli": re.compile(r"l[co]0[89]_|hls\.l30"),
    "tm": re.compile(r"l[te]0[4-7]_"),
}
"""What identifies the sensor in a file's name."""


@dataclass(frozen=True, slots=True)
class _Band:
    """What a description says of its band."""

    name: str | None = None
    """Common name, where words state it."""
    number: str | None = None
    """Number in the sensor's own counting."""
    counted: bool = False
    """Whether the number follows the word `band`, as software writes it that counts the bands of any file."""
    padded: bool = False
    """Whether the number has a leading zero."""
    landsat: bool = False
    """Whether the number has a prefix of Landsat's products."""
    sensor: str | None = None
    """Whose file it is."""


def _named(words: str) -> str | None:
    """The common name that words stand for."""
    if (edge := _RED_EDGE.fullmatch(words)) is not None:
        return f"rededge{edge[1] or ''}"
    return next((name for name, pattern in _WORDS if pattern.fullmatch(words)), None)


def _read(description: str | None) -> _Band:
    """Words win over numbers; words that are not understood make a number doubtful."""
    text = (description or "").strip().lower()
    found = _understood(text)
    if found is not None:
        return found
    if (file := _FILE.fullmatch(text)) is not None:
        for sensor, product in _PRODUCTS.items():
            if product.search(file["start"]):
                return replace(_understood(file["band"]) or _Band(), sensor=sensor)
    return _Band()


def _understood(text: str) -> _Band | None:
    """A description of which every word is known."""
    if re.fullmatch(r"[a-z]+\d*", text) and not re.fullmatch(r"b(and)?\d*", text):
        return _Band(_named(text) or text)
    text = re.sub(r"(\d)\.(\d)", r"\1p\2", text.replace("μ", "u").replace("µ", "u"))
    words = _squeezed(_NOISE.sub(" ", re.sub(r"[^a-z0-9]+", " ", text)))
    # Software that counts bands may put the band's own name after its number: "Band 1: B02".
    own = re.sub(r"^band ?\d+ (?=\S)", "", words)
    number = _NUMBER.search(own) or _NUMBER.search(words)
    rest = _squeezed(re.sub(r"\b(bands?|toa|boa)\b", " ", _NUMBER.sub(" ", words)))
    name = _named(rest)
    if (rest and name is None) or (number is None and name is None):
        return None
    if number is None:
        return _Band(name)
    if number["prefix"] in ("st", "qa"):
        return _Band()
    if name == "nir" and number["narrow"]:
        name = "nir08"
    landsat = number["prefix"] is not None
    return _Band(
        name,
        number["number"] + number["narrow"],
        counted=number["style"] == "band" and not landsat and name is None,
        padded=bool(number["zero"]),
        landsat=landsat,
    )


def _squeezed(words: str) -> str:
    return re.sub(r" +", " ", words).strip()


def _sensors(bands: Sequence[_Band]) -> set[str]:
    """The sensors whose numbering the numbers can be."""
    numbered = [band for band in bands if band.number is not None]
    found = {band.number or "" for band in numbered}
    hints = {band.sensor for band in numbered if band.sensor is not None}
    if hints:
        return hints if len(hints) == 1 else set()
    counting = found == {str(k) for k in range(1, len(found) + 1)}
    padded, landsat = any(band.padded for band in numbered), any(band.landsat for band in numbered)
    if counting and (any(band.counted for band in numbered) or (len(found) > 11 and not padded)):
        return set()  # any file's first, second, third band
    possible = {"oli", "tm"} if landsat else set(_SENSORS)
    unlikely = {
        "msi": ({"10", "11"} <= found and not found & {"8a", "12"})
        or ("5" in found and not found & {"8", "8a", "11", "12"}),
        "oli": bool(found & {"8a", "12"})
        or (padded and "8" in found)
        or ("8" in found and "5" not in found)
        or ({"1", "5", "7"} <= found and "6" not in found),
        # Without its first band there is no blue.
        "tm": padded or "1" not in found or bool(found & {"8a", "9", "10", "11", "12"}) or (landsat and "6" in found),
    }
    for band in numbered:  # what words say of a numbered band
        for sensor, table in _SENSORS.items():
            meant = table.get(band.number or "")
            unlikely[sensor] |= band.name is not None and {meant, band.name} not in ({meant}, {"nir", "nir08"})
    return {sensor for sensor in possible if not unlikely[sensor]}


def common_names(descriptions: Sequence[str | None]) -> tuple[str | None, ...]:
    """Translate band descriptions into STAC common names.

    Understands the words in use (`blue`, `Near Infrared`, `red_edge_1`, `SWIR 1.6μm - 20m`), the band numbers of
    Sentinel-2 (`B02`, `B8A`, `B02_10m`) and Landsat (`SR_B2`, `B5`), both together (`B04 - Red`, `Blue (B2)`), and
    names of the products' files. Which sensor's numbering it is, follows from the other bands: only Sentinel-2 has B8A
    and B12, only Landsat 4-7 has SR_B1, SR_B5 and SR_B7 without SR_B6.

    Args:
        descriptions: one description per band, None or empty where the raster has none.

    Returns:
        One common name per band, None where it is unknown: a number that means different bands of the sensors
        that come into question, or `Band 1`, `Band 2`, ..., which software writes for the bands of any file. A narrow
        near infrared band stands in for `nir` where there is no broad one (STAC names Landsat's near infrared `nir08`).
    """
    return _common_names(tuple(descriptions))


@lru_cache(maxsize=256)
def _common_names(descriptions: tuple[str | None, ...]) -> tuple[str | None, ...]:
    bands = [_read(description) for description in descriptions]
    tables = [_SENSORS[sensor] for sensor in _sensors(bands)]
    names: list[str | None] = []
    for band in bands:
        meant = {table.get(band.number) for table in tables} if band.name is None and band.number else set()
        names.append(meant.pop() if len(meant) == 1 else band.name)
    if "nir" not in names and "nir08" in names:
        names[names.index("nir08")] = "nir"
    return tuple(names)


def numbered_name(sensor: str, label: str) -> str | None:
    """The common name of a band by its number where the sensor is known: `msi`, `oli` or `tm`; None without one."""
    found = re.search(r"(?:^|[^a-z0-9])b(?:and)?0?(1[0-2]|[1-9])(a?)(?:[^a-z0-9]|$)", label.lower())
    return _SENSORS[sensor].get(found[1] + found[2]) if found else None


def australian_name(sensor: str | None, label: str) -> str | None:
    """The common name of a band as Digital Earth Australia calls it: `nbart_swir_2`; None where it is called otherwise.

    Its short-wave infrared bands of Sentinel-2 are the second and third, of Landsat the first and second.
    """
    found = re.fullmatch(r"nbart?_(\w+)", label.lower())
    if found is None:
        return None
    of_sentinel = {"swir_2": "swir16", "swir_3": "swir22"} if sensor == "msi" else {}
    return of_sentinel.get(found[1]) or _named(found[1].replace("_", " "))


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
            f"{', '.join(roles)}; name every band of the raster in its order with `bands=`, for example "
            f"bands={','.join(roles)}, or give the clouds as a raster with `mask=`"
        )
    return tuple(names.index(role) for role in roles)
