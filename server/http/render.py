"""Encoding of images: TiTiler's renderer, with PNG and WebP compressed fast."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rio_tiler.errors import InvalidFormat
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from algorithms.errors import ParameterError
from algorithms.palettes import colour_table
from server.http.encoders import OPAQUE_FORMATS, encoded_picture
from server.http.looks import pictured
from server.http.paletted import colour_map, palette_name, paletted_png
from server.http.rescaling import rescaled
from server.http.webp import WEBP_OPTIONS
from server.work.trace import stage

PNG_FORMATS: Final = (None, ImageType.png, ImageType.pngraw)
"""Formats of a paletted picture; None: where the address leaves it open."""
COLOUR_FORMATS: Final = (ImageType.webp, ImageType.jpg, ImageType.jpeg)
"""Formats whose pixels are colours."""


def render(
    image: ImageData,
    output_format: ImageType | None = None,
    *,
    rescale: Any = None,
    color_formula: str | None = None,
    style: str | None = None,
    **options: Any,
) -> tuple[bytes, str]:
    """Encode an image; arguments and result as TiTiler's `render_image`.

    What carries a look becomes that picture; masks, sources and the like have the colours of their legend in pictures,
    unless a colour map, a range or a `style` says otherwise.

    Grey and true-colour pictures of 8 bits are encoded by `encoders`, others by GDAL: PNG by zlib's level 1, a fifth
    of the time of level 6, TiTiler's own, for a tenth more bytes (docs/benchmarks.md). TiTiler lets its profile of a
    format win over options, so the level is chosen by the format whose profile has it, `pngraw`; that one takes the
    data as they are.

    Raises:
        ParameterError: a colour formula that cannot be read or does not fit the bands, an image without a CRS, which
            TiTiler's headers name, or more bands than the format has.
    """
    if image.crs is None:
        raise ParameterError("the raster has no coordinate reference system; assign one (gdal_edit -a_srs)")
    with stage("encode"), warnings.catch_warnings():
        # TiTiler warns on every tile whose data it rescales; the request asked for it.
        warnings.simplefilter("ignore")
        image, colours = pictured(image)
        options |= {"colormap": colours} if colours else {}
        if rescale:
            rescaled(image, rescale)
        if color_formula:
            try:
                image.apply_color_formula(color_formula)
            except (LookupError, ValueError) as error:
                raise ParameterError(
                    f"color_formula {color_formula[:200]!r} cannot be applied to {image.count} band(s): {error}; "
                    'write for example "gamma RGB 1.5" for three bands'
                ) from error
        plain = not (rescale or color_formula or options.get("colormap") or style)
        if plain and (palette := palette_name(image)) is not None:
            if output_format in PNG_FORMATS:
                return paletted_png(image, palette), ImageType.png.mediatype
            if output_format in COLOUR_FORMATS:
                options["colormap"] = colour_map(colour_table(palette))
        coloured = bool(options.get("colormap"))  # rio-tiler hands out {} for a raster without a colour table
        if output_format is None and image.array.dtype == np.uint8 and not coloured:
            output_format = ImageType.jpeg if image.mask.all() else ImageType.png
        if output_format is ImageType.png and (coloured or image.array.dtype in (np.uint8, np.uint16)):
            output_format = ImageType.pngraw
        return _encoded(image, output_format, options)


def _encoded(image: ImageData, output_format: ImageType | None, options: dict[str, Any]) -> tuple[bytes, str]:
    """An image in the format of its colours."""
    if output_format is not None and not options.get("colormap"):
        transparent = options.get("add_mask", True) and output_format not in OPAQUE_FORMATS
        mask = _visible(image) if transparent else None
        if (content := encoded_picture(image.array.data, mask, output_format)) is not None:
            return content, output_format.mediatype
    if output_format is ImageType.webp:
        options |= WEBP_OPTIONS
    if output_format is ImageType.jp2:  # else GDAL writes a bare codestream, which says nothing of place and colours
        options |= {"CODEC": "JP2", "crs": image.crs, "transform": image.transform}
    try:
        rendered: tuple[bytes, str] = render_image(image, output_format=output_format, **options)
    except InvalidFormat as error:
        if image.count <= 3:
            raise
        form = output_format.value if output_format else "a picture"
        raise ParameterError(
            f"{image.count} bands cannot be written as {form}; choose bands: `assets=red,green,blue` or `bidx`, or "
            "another format such as tif"
        ) from error
    return rendered


def _visible(image: ImageData) -> npt.NDArray[np.uint8]:
    """(H, W), 255 where any band has data and 0 elsewhere, or the image's own transparency: its `mask` in less time."""
    if image.alpha_mask is not None or image.array.dtype != np.uint8:
        mask: npt.NDArray[np.uint8] = image.mask
        return mask
    shown = ~np.ma.getmaskarray(image.array).all(axis=0)
    return np.asarray(shown.view(np.uint8) * np.uint8(255), np.uint8)
