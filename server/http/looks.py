"""Looks: which style a request's picture has, and an image of reflectance as that picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from fastapi import Query
from fastapi import Request as HttpRequest
from rio_tiler.colormap import cmap
from rio_tiler.models import ImageData
from rio_tiler.types import ColorMapType
from titiler.core.dependencies import ImageRenderingParams

from algorithms.errors import ParameterError, check_choice
from algorithms.pixels import look_up_tones
from algorithms.styles import DEFAULT_STYLE, STYLES, Style
from algorithms.tone import natural_tones, without_haze
from server.analysis.task import Task
from server.raster.dataset import Dataset
from server.scenes.scene import PICTURE

if TYPE_CHECKING:
    StyleName = str
else:  # the names are known at import only
    StyleName = Literal[tuple(STYLES)]

PICTURE_FORMATS: Final = frozenset({"png", "pngraw", "jpg", "jpeg", "webp"})
"""Formats of pictures; all others carry values."""
OWN_COLOURS: Final = frozenset(
    {"bidx", "assets", "expression", "unscale", "rescale", "color_formula", "colormap", "colormap_name"}
)
"""Parameters that say what the values are to look like: with any of these TiTiler's way."""
LOOK: Final = "look"
"""What an image's metadata call its look."""
PERCENTILES: Final = (2, 98)
"""Of the filled picture: what becomes black and white in stretched styles."""
STRETCHED: Final = ("common", "each")
"""Scalings by the values of the picture."""
STRETCH_PIXELS: Final = 256
"""Longer side of the picture that these are taken from."""

ToneRange = tuple[float, float]


@dataclass(frozen=True, slots=True)
class StretchKey:
    """What the ranges of a stretched picture depend on."""

    subject: Task | Dataset
    """What is filled, or else shown."""
    style: str
    """How."""
    places: tuple[int, ...]
    """The bands, by their places in the description."""


@dataclass
class PictureParams(ImageRenderingParams):
    """How values become a picture: TiTiler's parameters, and styles."""

    style: Annotated[
        StyleName | None,
        Query(
            description="Named rendering of a scene by the common names of its bands; `natural`, from reflectance by "
            "one tone curve, is what pictures have by default where nothing else says how they look"
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class AskedStyle:
    """The style of a request."""

    style: Style
    """Which."""
    by_name: bool
    """Whether the request, or its recipe, names it; otherwise it is the default."""


def makes_picture(request: HttpRequest) -> bool:
    """Whether the answer is a picture, also where the address leaves the format open."""
    form = request.path_params.get("format")
    if form is not None:
        return form in PICTURE_FORMATS
    path = str(getattr(request.scope.get("route"), "path", request.url.path))
    if path.endswith("/map"):  # OGC Maps
        return request.query_params.get("f", "png") in PICTURE_FORMATS
    return any(part in path for part in ("/tiles/", "/preview", "/bbox/", "/feature"))


def style_named(name: str, query: Mapping[str, str]) -> AskedStyle:
    """A style that a request names.

    Raises:
        ParameterError: there is none of this name, or other parameters contradict it.
    """
    check_choice(name, STYLES, what="style")
    style = STYLES[name]
    contradicting = {"expression", "rescale", "colormap", "colormap_name", "unscale"}
    if not style.own_bands:
        contradicting |= {"bidx", "assets"}
    if style.scaling != "none" and (both := sorted(contradicting & query.keys())):
        raise ParameterError(f"style={name} and {both[0]} both say what the picture shows: leave one out")
    if style.scaling != "none" and query.get("algorithm", "cloud_removal") != "cloud_removal":
        raise ParameterError(f"style={name} shows the scene, not the algorithm's result: leave one out")
    return AskedStyle(style, by_name=True)


def asked_style(
    request: HttpRequest, style: Annotated[StyleName | None, Query(include_in_schema=False)] = None
) -> AskedStyle | None:
    """The style of a request's picture; None for values, and for what looks as TiTiler has it.

    Raises:
        ParameterError: see `style_named`.
    """
    query, form = request.query_params, request.path_params.get("format")
    if style is not None:
        asked = style_named(style, query)
        if form is not None and form not in PICTURE_FORMATS and asked.style.scaling != "none":
            raise ParameterError(f"style={style} is for pictures, and {form[:20]} carries values: leave it out")
        return asked if makes_picture(request) else None
    if not makes_picture(request):
        return None
    if OWN_COLOURS & query.keys() or query.get("algorithm", "cloud_removal") != "cloud_removal":
        return None
    return AskedStyle(DEFAULT_STYLE, by_name=False)


def suits(names: Sequence[str | None], dtype: str) -> bool:
    """Whether a raster's pictures have the default style: it has red, green and blue, and is no picture already.

    Args:
        names: common names of its bands.
        dtype: of its values; up to three bands of bytes are a picture.
    """
    return set(PICTURE) <= set(names) and not (dtype == "uint8" and len(names) <= len(PICTURE))


@dataclass(frozen=True, slots=True)
class Look:
    """How one image becomes a picture."""

    style: Style
    """The style."""
    names: tuple[str | None, ...]
    """Common name of each band of the image."""
    scales: tuple[float, ...]
    """Reflectance per digital number, per band."""
    offsets: tuple[float, ...]
    """Reflectance at digital number 0, per band."""
    level: str
    """Processing level."""
    ready: bool = False
    """Whether the values are tones already, as in rasters of bytes."""
    ranges: tuple[ToneRange, ...] = ()
    """Of a stretched style: the reflectance without haze that becomes black and white, per band."""

    @classmethod
    def of(cls, style: Style, dataset: Dataset, positions: tuple[int, ...]) -> Look:
        """The look of an image of some bands of a raster, by their positions in its description."""
        scales, offsets = (tuple(of_all[at] for at in positions) for of_all in (dataset.scales, dataset.offsets))
        plain = dataset.dtype == "uint8" and all(scale == 1 / 255 for scale in scales) and not any(offsets)
        names = tuple(dataset.names[at] for at in positions)
        return cls(style, names, scales, offsets, dataset.level, ready=plain)

    def reflectance(self, image: ImageData) -> npt.NDArray[np.float32]:
        """(B, H, W) reflectance of an image's digital numbers; NaN where it has no data."""
        scales, offsets = (np.asarray(x, np.float32)[:, None, None] for x in (self.scales, self.offsets))
        values: npt.NDArray[np.float32] = image.array.data.astype(np.float32) * scales + offsets
        values[np.ma.getmaskarray(image.array)] = np.nan
        return values

    def stretched(self, reflectance: npt.NDArray[np.float32]) -> tuple[ToneRange, ...]:
        """The ranges of a stretched style, from the reflectance of the whole picture."""
        cleared = without_haze(reflectance, self.names, level=self.level)
        parts = [cleared] if self.style.scaling == "common" else list(cleared)
        ranges = []
        for part in parts:
            known = part[np.isfinite(part)]
            low, high = np.percentile(known, PERCENTILES).tolist() if known.size else (0.0, 1.0)
            ranges.append((low, high if high > low else low + 1e-4))
        return tuple(ranges) * (len(reflectance) if len(ranges) == 1 else 1)

    def picture(self, image: ImageData) -> tuple[ImageData, ColorMapType | None]:
        """The image in bytes, with the colour map of an index."""
        if self.style.scaling == "index":
            return self._index(image)
        if self.ready and not self.ranges:
            return image, None
        if self.ranges:
            values = self.reflectance(image)
            low, high = (np.array(ends, np.float32)[:, None, None] for ends in zip(*self.ranges, strict=True))
            cleared = without_haze(values, self.names, level=self.level)
            shares = np.clip(np.nan_to_num((cleared - low) / (high - low), nan=0.0), 0, 1)
            tones = np.rint(255 * shares).astype(np.uint8)
        else:
            tones = self._toned(image)
        return _like(image, tones, np.ma.getmaskarray(image.array)), None

    def _toned(self, image: ImageData) -> npt.NDArray[np.uint8]:
        """(B, H, W) tones by the curve; of whole numbers looked up, which takes a thirtieth of the time."""
        exposure = self.style.exposure
        if image.array.dtype != np.uint16:
            return natural_tones(self.reflectance(image), self.names, level=self.level, exposure=exposure)
        bands = zip(self.scales, self.offsets, self.names, strict=True)
        tables = np.stack([_tone_table(s, o, name, self.level, exposure) for s, o, name in bands])
        return look_up_tones(image.array.data, np.ma.getmaskarray(image.array), tables)

    def _index(self, image: ImageData) -> tuple[ImageData, ColorMapType | None]:
        first, second = self.reflectance(image)
        low, high = self.style.limits
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = ((first - second) / (first + second) - low) / (high - low)
        known = np.isfinite(shares)
        tones = np.rint(255 * np.clip(np.where(known, shares, 0), 0, 1)).astype(np.uint8)
        return _like(image, tones[None], ~known[None]), cmap.get(self.style.colormap)


@lru_cache(maxsize=64)
def _tone_table(scale: float, offset: float, name: str | None, level: str, exposure: float) -> npt.NDArray[np.uint8]:
    """The tone of every digital number of 16 bits of a band."""
    reflectance = np.arange(1 << 16).astype(np.float32) * np.float32(scale) + np.float32(offset)
    table: npt.NDArray[np.uint8] = natural_tones(reflectance[None, None], (name,), level=level, exposure=exposure)[0, 0]
    return table


def _like(image: ImageData, tones: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> ImageData:
    """A picture of an image's place, as transparent as the image."""
    kept: dict[str, Any] = {name: getattr(image, name) for name in ("crs", "bounds", "assets", "cutline_mask")}
    alpha = image.alpha_mask
    if alpha is not None and alpha.dtype != np.uint8:
        alpha = np.where(alpha > 0, 255, 0).astype(np.uint8)
    return ImageData(np.ma.MaskedArray(tones, mask=mask), alpha_mask=alpha, **kept)


def pictured(image: ImageData) -> tuple[ImageData, ColorMapType | None]:
    """An image as the picture of the look that it carries, if any, and the picture's colour map."""
    look = (image.metadata or {}).get(LOOK)
    return look.picture(image) if isinstance(look, Look) else (image, None)
