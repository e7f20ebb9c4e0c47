"""Pictures of 8 bits as WebP, with settings of libwebp that Pillow does not pass on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from webp import WebPConfig, WebPError, WebPPicture, ffi, lib  # type: ignore[attr-defined]  # what its own code calls, too

from algorithms.errors import ParameterError

WEBP_QUALITY: Final = 75
"""TiTiler's."""
WEBP_PIXELS: Final = 16383
"""A side's most."""
WEBP_OPTIONS: Final = {"METHOD": 2, "SEGMENTS": 1, "SNS_STRENGTH": 0}
"""What the encoder looks for, by GDAL's names: a file not quite as small as by its default method, 4, and one quantizer
for the whole picture instead of one for each of four kinds of blocks. Nine twentieths of the time of the defaults."""


def _settings() -> Any:
    config = WebPConfig.new(quality=WEBP_QUALITY, method=WEBP_OPTIONS["METHOD"])
    config.ptr.segments = WEBP_OPTIONS["SEGMENTS"]
    config.ptr.sns_strength = WEBP_OPTIONS["SNS_STRENGTH"]
    return config


_CONFIG: Final = _settings()
_IMPORTS: Final = {3: lib.WebPPictureImportRGB, 4: lib.WebPPictureImportRGBA}


def webp(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A WebP of (H, W, B) pixels: three colours, or four with alpha; runs without Python's lock.

    Raises:
        ParameterError: more than `WEBP_PIXELS` rows or columns. MemoryError: too many pixels for what memory there is.
    """
    height, width, count = pixels.shape
    if max(height, width) > WEBP_PIXELS:
        raise ParameterError(
            f"a WebP has at most {WEBP_PIXELS} pixels a side, not {width} x {height}: ask for fewer or another format"
        )
    pixels = np.ascontiguousarray(pixels)
    picture = WebPPicture(ffi.new("WebPPicture*"))
    form = picture.ptr
    lib.WebPPictureInit(form)
    form.width, form.height = width, height
    # Straight to what is encoded, brightness and colour: `WebPPicture.from_numpy` keeps a copy of the pixels between.
    form.use_argb = 0
    if not _IMPORTS[count](form, ffi.from_buffer("uint8_t[]", pixels), width * count):
        raise MemoryError(f"a WebP of {width} x {height} pixels")
    try:
        return bytes(picture.encode(_CONFIG).buffer())
    except (WebPError, TypeError) as error:  # which it makes of the number of libwebp's error
        raise MemoryError(f"a WebP of {width} x {height} pixels") from error
