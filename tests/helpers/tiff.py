"""TIFF files made by hand, with tags that no library writes on purpose."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

import numpy as np

Tags = dict[int, tuple[int, list[float] | list[int] | bytes]]

_ASCII, _SHORT, _LONG, _DOUBLE = 2, 3, 4, 12
_FORMATS = {_ASCII: "s", _SHORT: "H", _LONG: "I", _DOUBLE: "d"}
_SIZES = {_ASCII: 1, _SHORT: 2, _LONG: 4, _DOUBLE: 8}

METADATA = 42112
"""GDAL's metadata as XML."""
MODEL_PIXEL_SCALE, MODEL_TIEPOINT, GEO_KEYS, GEO_ASCII = 33550, 33922, 34735, 34737


def gdal_metadata(domains: Mapping[str, Mapping[str, str]]) -> tuple[int, bytes]:
    """GDAL's metadata tag: items by domain; the domain "" is the dataset's own."""
    items = "".join(
        f"<Item name={quoteattr(name)}{f' domain={quoteattr(domain)}' if domain else ''}>{value}</Item>"
        for domain, pairs in domains.items()
        for name, value in pairs.items()
    )
    return _ASCII, f"<GDALMetadata>{items}</GDALMetadata>\0".encode()


def projection(wkt: str) -> Tags:
    """Geokeys of a user-defined projection, given as Esri's string in the citation."""
    text = f"ESRI PE String = {wkt}|".encode() + b"\0"
    keys = [1, 1, 0, 3, 1024, 0, 1, 32767, 3072, 0, 1, 32767, 3073, GEO_ASCII, len(text) - 1, 0]
    return {GEO_KEYS: (_SHORT, keys), GEO_ASCII: (_ASCII, text)}


def epsg(code: int) -> Tags:
    """Geokeys of a projected CRS of the EPSG register."""
    return {GEO_KEYS: (_SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code])}


NORTH_UP: Tags = {
    MODEL_PIXEL_SCALE: (_DOUBLE, [10.0, 10.0, 0.0]),
    MODEL_TIEPOINT: (_DOUBLE, [0.0, 0.0, 0.0, 500_000.0, 4_600_000.0, 0.0]),
}
"""Pixels of 10 m from a corner in UTM."""


def make_tiff(pixels: np.ndarray, tags: Tags | None = None) -> bytes:
    """A TIFF of (H, W) uint8 pixels in one strip, uncompressed, its pixels last.

    Args:
        pixels: the values.
        tags: further tags: number -> (type, values); these win over those made here.
    """
    height, width = pixels.shape
    every: Tags = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8]),
        259: (_SHORT, [1]),
        262: (_SHORT, [1]),
        273: (_LONG, [0]),
        277: (_SHORT, [1]),
        278: (_LONG, [height]),
        279: (_LONG, [width * height]),
    }
    every |= tags or {}
    head = 8 + 2 + 12 * len(every) + 4
    size = head + sum(_length(tag) for tag in every.values() if _length(tag) > 4)
    if every[273][1] == [0]:
        every[273] = (_LONG, [size])
    entries, beyond = b"", b""
    for number, (kind, values) in sorted(every.items()):
        packed = _packed(kind, values)
        count = len(packed) // _SIZES[kind]
        if len(packed) <= 4:
            place = packed.ljust(4, b"\0")
        else:
            place = struct.pack("<I", head + len(beyond))
            beyond += packed
        entries += struct.pack("<HHI", number, kind, count) + place
    directory = struct.pack("<H", len(every)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + directory + beyond + pixels.astype(np.uint8).tobytes()


def _packed(kind: int, values: list[float] | list[int] | bytes) -> bytes:
    return values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)


def _length(tag: tuple[int, list[float] | list[int] | bytes]) -> int:
    return len(_packed(*tag))
