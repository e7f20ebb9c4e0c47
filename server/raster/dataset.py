"""What the analysis needs to know of a raster: identity, grid, bands, reflectance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rio_tiler.utils import non_alpha_indexes

from algorithms.bands import common_names
from server.raster.stack import StackBand
from server.raster.turns import full_turn
from server.raster.upright import georeferenced, hull
from server.raster.usable import check_place, check_real
from server.scenes.bandlist import band_of_file
from server.scenes.masks import MaskCode
from server.scenes.productnames import levels_stated
from server.scenes.reflectance import LANDSAT

_L2A: Final = re.compile(r"L2A|LEVEL[-_ ]?2A|L2SP|L2SR|SURFACE[-_ ]REFLECTANCE|\bBOA\b", re.IGNORECASE)
_RGB: Final = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)

REQUESTED: Final = "the request"
"""Where scale and offset come from that a request gives."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A raster as the analysis sees it: immutable and hashable, so that it can be part of a cache key."""

    url: str
    """What to open."""
    version: str
    """Changes when the file changes."""
    crs: str
    """CRS as WKT."""
    transform: tuple[float, ...]
    """Affine coefficients a-f, pixel to CRS."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    indexes: tuple[int, ...]
    """1-based numbers of the bands with data (no alpha)."""
    dtype: str
    """Data type of the bands."""
    nodata: float | None
    """Value without data."""
    names: tuple[str | None, ...]
    """Common name of each band of `indexes`."""
    scales: tuple[float, ...]
    """Reflectance per digital number, per band."""
    offsets: tuple[float, ...]
    """Reflectance at digital number 0, per band."""
    reflectance_source: str
    """Where scale and offset come from."""
    level: str
    """Processing level."""
    bounds: tuple[float, float, float, float]
    """Least x and y, greatest x and y in the CRS, whichever way the raster is turned."""
    parts: tuple[StackBand, ...] = ()
    """Of a scene of several files what holds each band of `indexes`; empty for a raster of one file."""
    code: MaskCode | None = None
    """How the numbers of a mask become classes; None: they are classes."""

    def __hash__(self) -> int:
        # Looked up thousands of times per tile: what tells datasets apart nearly always, not every field.
        return hash((self.url, self.version, self.nodata))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def reflectance_sources(self) -> tuple[str, ...]:
        """Where scale and offset of each band come from."""
        if self.parts and self.reflectance_source != REQUESTED:
            return tuple(part.source for part in self.parts)
        return (self.reflectance_source,) * len(self.indexes)

    @property
    def fractions(self) -> bool:
        """Whether values are stored as floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def affine(self) -> Affine:
        """Pixel to CRS."""
        return _affine(self.transform)

    def same_grid(self, other: Dataset) -> tuple[int, int] | None:
        """Rows and columns from `other`'s first pixel to this one's, if both lie on one pixel lattice."""
        if self.crs != other.crs:
            return None
        a, b = self.affine, other.affine
        size = max(abs(b.a), abs(b.e), abs(b.b), abs(b.d))
        if any(abs(getattr(a, step) - getattr(b, step)) > 1e-6 * size for step in "abde"):
            return None
        turn = full_turn(self.crs)
        turns = 0.0 if turn is None else turn * round((a.c - b.c) / turn)
        col, row = ~b @ (a.c - turns, a.f)
        if abs(col - round(col)) > 1e-3 or abs(row - round(row)) > 1e-3:
            return None
        return round(row), round(col)


def reflectance_of(
    src: Any, indexes: tuple[int, ...], *, label: str = ""
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Scales, offsets and where they come from.

    Args:
        src: the raster.
        indexes: 1-based numbers of the bands.
        label: what the file's name calls its band, as good as a description: `SR_B2`.
    """
    scales = tuple(float(src.scales[i - 1] or 1.0) for i in indexes)
    offsets = tuple(float(src.offsets[i - 1] or 0.0) for i in indexes)
    if any(s != 1 for s in scales) or any(o != 0 for o in offsets):
        return scales, offsets, "the dataset's scale and offset"
    dtype = src.dtypes[0]
    surface = any((d or "").upper().startswith("SR_B") for d in (*src.descriptions, label))
    if surface and dtype == "uint16":
        scale, offset, source = *LANDSAT, "Landsat Collection 2 surface reflectance (band names SR_B*)"
    elif dtype in ("uint16", "int16"):
        scale, offset, source = 1e-4, 0.0, f"default for {dtype}: 0.0001 per digital number"
    elif dtype == "uint8":
        scale, offset, source = 1 / 255, 0.0, "default for uint8: 1/255 per digital number"
    else:
        scale, offset, source = 1.0, 0.0, f"default for {dtype}: the values are reflectance"
    return (scale,) * len(indexes), (offset,) * len(indexes), source


def band_texts(src: Any, url: str) -> tuple[str | None, ...]:
    """What describes each band of a raster.

    Without descriptions it is what the file's name says of a single band, and the colours of a picture of exactly red,
    green and blue, with alpha or without.
    """
    texts = list(src.descriptions)
    data = non_alpha_indexes(src)
    if src.colorinterp[:3] == _RGB and src.colorinterp[3:] in ((), (ColorInterp.alpha,)) and not any(texts):
        return (*(colour.name for colour in _RGB), *texts[3:])
    if len(data) == 1 and not texts[data[0] - 1]:
        texts[data[0] - 1] = band_of_file(url)
    return tuple(texts)


def _level(src: Any, url: str) -> str:
    """Processing level from tags, band names or the file name; top of atmosphere where nothing states it."""
    texts = [f"{key}={value}" for key, value in src.tags().items() if key.upper() not in ("LICENSE", "SOURCE")]
    texts += [d for d in src.descriptions if d and d.upper().startswith("SR_B")]
    surface = any(_L2A.search(text) for text in texts) or any(text.upper().startswith("SR_B") for text in texts)
    return "l2a" if surface or "l2a" in levels_stated(url) else "l1c"


def describe(src: Any, url: str, version: str) -> Dataset:
    """Read what the analysis needs to know of an open raster, in its own words.

    Args:
        src: the raster.
        url: what it is opened by.
        version: its state.

    Raises:
        SourceUnreadableError: its georeferencing or its data type cannot be used.
    """
    with georeferenced(src) as ground:
        indexes = tuple(non_alpha_indexes(src))
        check_place(ground, url)
        check_real(src, url)
        scales, offsets, source = reflectance_of(src, indexes)
        texts = band_texts(src, url)
        return Dataset(
            url=url,
            version=version,
            crs=ground.crs.to_wkt(),
            transform=tuple(ground.transform)[:6],
            width=ground.width,
            height=ground.height,
            indexes=indexes,
            dtype=src.dtypes[0],
            nodata=src.nodata,
            names=common_names([texts[i - 1] for i in indexes]),
            scales=scales,
            offsets=offsets,
            reflectance_source=source,
            level=_level(src, url),
            bounds=hull(ground.transform, ground.width, ground.height),
        )


def dataset_crs(dataset: Dataset) -> CRS:
    """The CRS as an object."""
    return CRS.from_wkt(dataset.crs)


@lru_cache(maxsize=256)
def _affine(coefficients: tuple[float, ...]) -> Affine:
    return Affine(*coefficients)
