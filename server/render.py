"""Encoding of images: TiTiler's renderer with settings fit for maps."""

from __future__ import annotations

import warnings
from typing import Any, Final

from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from server.trace import stage

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    # Level 1 is about half the time of GDAL's default 6 for some more bytes.
    "PNG": {"zlevel": 1},
    "WEBP": {"quality": 80},
    "JPEG": {"quality": 85},
}
"""GDAL creation options by driver."""


def render(image: ImageData, output_format: ImageType | None = None, **options: Any) -> tuple[bytes, str]:
    """Encode an image; arguments and result as TiTiler's `render_image`."""
    with stage("encode"), warnings.catch_warnings():
        # TiTiler warns on every tile whose data it rescales; the request asked for it.
        warnings.simplefilter("ignore")
        extra = OPTIONS.get(output_format.driver, {}) if output_format else {}
        content: tuple[bytes, str] = render_image(image, output_format=output_format, **{**extra, **options})
    return content
