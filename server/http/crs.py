"""The one parser for the coordinate reference systems that requests name.

rasterio hands text to GDAL's `SetFromUserInput`, which fetches addresses and opens files. Here a text is recognised by
its form first, and each form goes to a function of GDAL or PROJ that accepts nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import pyproj
import pyproj.database
import rasterio
from pyproj.exceptions import CRSError as ProjError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from algorithms.errors import ParameterError
from server.http.jsontext import parse_json

LONGEST_CRS: Final = 16_384
"""Characters of a CRS: the longest WKT in EPSG's register has 11,000."""
SHOWN: Final = 80
"""Characters of it that an error repeats."""

_CODE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,31}):([A-Za-z0-9][A-Za-z0-9_]{0,31})")
_URI: Final = re.compile(
    r"https?://(?:www\.)?opengis\.net/def/crs/([A-Za-z][A-Za-z0-9_]{0,31})/([0-9A-Za-z.]{1,8})/([A-Za-z0-9]{1,32})"
)
_URN: Final = re.compile(
    r"urn:(?:x-)?ogc:def:crs:([A-Za-z][A-Za-z0-9_]{0,31}):([0-9A-Za-z.]{0,8}):([A-Za-z0-9]{1,32})", re.IGNORECASE
)
_WKT: Final = re.compile(r"\s*[A-Z][A-Z0-9_]{2,31}\s*[\[(]", re.IGNORECASE)
_PROJ: Final = re.compile(r"(?:\+[a-z]\w{0,15}(?:=[\w.,+-]{1,64})?\s+)*\+[a-z]\w{0,15}(?:=[\w.,+-]{1,64})?", re.ASCII)
_NAMES: Final = {"CRS84": ("OGC", "CRS84"), "CRS:84": ("OGC", "CRS84"), "WGS84": ("EPSG", "4326")}

_PROJ_KEYS: Final = frozenset(
    ("proj", "zone", "south", "datum", "ellps", "a", "b", "r", "rf", "f", "r_a", "lat_0", "lat_1", "lat_2", "lat_ts",
     "lon_0", "lon_1", "lon_2", "lonc", "alpha", "gamma", "k", "k_0", "x_0", "y_0", "h", "sweep", "units", "to_meter",
     "axis", "pm", "towgs84", "no_defs", "no_uoff", "no_off", "over", "type", "wktext")
)  # fmt: skip
"""Parameters of PROJ strings that name no file, no pipeline and no other definition."""
_FILES: Final = re.compile(
    r"parameter_?file|bound_?crs|grids\s*=\s*(?!@null(?![\w,./]))|\+init\b|\+proj\s*=\s*pipeline|@(?!null\b)",
    re.IGNORECASE,
)
"""What refers to files in WKT and PROJJSON, or in a PROJ string that WKT has as an extension. `+nadgrids=@null`, "no
grid", occurs in GDAL's own WKT of EPSG:3857."""


def _refusal(text: str, why: str) -> ParameterError:
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    return ParameterError(f"CRS {shown!r} {why}; write a code such as EPSG:4326, an OGC URI or URN, WKT or PROJJSON")


@lru_cache(maxsize=1)
def _authorities() -> dict[str, str]:
    """PROJ's names of authorities by their upper case."""
    return {name.upper(): name for name in pyproj.database.get_authorities()}


def _by_code(text: str, authority: str, code: str, version: str = "") -> CRS:
    """The CRS of an authority; `version` counts where it is part of the authority's name, as in `IAU_2015`."""
    wanted = authority.upper()
    known = _authorities()
    name = known.get(f"{wanted}_{version}") or known.get(wanted)
    if name is None:
        raise _refusal(text, f"names the authority {authority!r}, which is not one of {', '.join(sorted(known))}")
    if name == "EPSG" and not (code.isdecimal() and len(code) <= 9):
        raise _refusal(text, "has no number after the authority")
    return CRS.from_authority(name, code.upper())


def _by_proj_string(text: str) -> CRS:
    keys = {part.split("=", 1)[0].lstrip("+").lower() for part in text.split()}
    if strange := sorted(keys - _PROJ_KEYS):
        raise _refusal(text, f"uses +{', +'.join(strange)}, which a request must not")
    return CRS.from_wkt(pyproj.CRS.from_string(text).to_wkt())


def _by_wkt(text: str) -> CRS:
    if _FILES.search(text):
        raise _refusal(text, "refers to grids or other files, which a request must not")
    return CRS.from_wkt(text)


def _by_projjson(text: str) -> CRS:
    described = parse_json(text, "crs")
    if not isinstance(described, dict) or _FILES.search(text):
        raise _refusal(text, "is not PROJJSON, or refers to grids or other files")
    return CRS.from_wkt(pyproj.CRS.from_json(json.dumps(described)).to_wkt())


def _recognised(text: str) -> CRS:
    if name := _NAMES.get(text.upper()):
        return CRS.from_authority(*name)
    if found := _URI.fullmatch(text) or _URN.fullmatch(text):
        authority, version, code = found.groups()
        return _by_code(text, authority, code, version)
    if found := _CODE.fullmatch(text):
        return _by_code(text, *found.groups())
    forms: tuple[tuple[bool, Callable[[str], CRS]], ...] = (
        (text.startswith("{"), _by_projjson),
        (_WKT.match(text) is not None, _by_wkt),
        (_PROJ.fullmatch(text) is not None, _by_proj_string),
    )
    for fits, parse in forms:
        if fits:
            return parse(text)
    raise _refusal(text, "has none of the accepted forms")


@lru_cache(maxsize=512)
def parse_crs(text: str) -> CRS:
    """The CRS that a text describes, without opening a file or an address.

    Args:
        text: a code (`EPSG:4326`, `OGC:CRS84`, `IAU_2015:30100`; in brackets, too, as OGC API writes CURIEs), an OGC
            URI or URN, WKT, PROJJSON, or a PROJ string of parameters alone.

    Raises:
        ParameterError: anything else, a CRS that does not exist, or one that is neither geographic nor projected.
    """
    if len(text) > LONGEST_CRS:
        raise _refusal(text, f"has {len(text)} characters, more than {LONGEST_CRS}")
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        with rasterio.Env():  # else GDAL writes what it refuses to stderr
            crs = _recognised(bare)
        usable = crs.is_geographic or crs.is_projected
    except (RasterioError, ProjError, ValueError, RecursionError) as error:
        if isinstance(error, ParameterError):
            raise
        raise _refusal(text, "does not exist or cannot be read") from error
    if not usable:
        raise _refusal(text, "is neither geographic nor projected")
    return crs


@lru_cache(maxsize=512)
def canonical_crs(text: str) -> str:
    """The same CRS in the form that rasterio reads as nothing else: an authority's code, or WKT.

    Raises:
        ParameterError: see `parse_crs`.
    """
    crs = parse_crs(text)
    authority = crs.to_authority(confidence_threshold=100)
    if authority is not None and CRS.from_authority(*authority) == crs:
        return ":".join(authority)
    wkt: str = crs.to_wkt()
    return wkt
