"""Whether an image of a raster is made: values that it can hold, and a size within the limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rio_tiler.expression import get_expression_blocks

from algorithms.errors import ParameterError
from server.http.budget import AnswerSize, admit, value_bytes
from server.raster.usable import check_nodata, check_real, check_statistics
from server.settings import Settings
from server.work.ticket import check_wanted

PICTURE_BANDS: Final = 4
"""Bands that a PNG, JPEG or WebP holds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a raster for one image."""

    shape: tuple[int, int]
    """Rows and columns, with what is read around them."""
    bands: int
    """Bands that are read."""
    expression: str | None
    """Band arithmetic on them."""
    nodata: float | None
    """Value without data, in place of the raster's own."""
    unscaled: bool
    """Whether the raster's scale and offset are applied."""
    fills: bool
    """Whether clouds are filled."""
    algorithm: bool
    """Whether another algorithm than ours runs."""
    coverage: int
    """Cells per side into which each pixel is cut for a polygon; 0: none."""
    picture: bool
    """Whether these bands, or the expression's parts, become a PNG, JPEG or WebP."""


def admit_image(asked: Asked, raster: Any, url: str, settings: Settings) -> None:
    """Refuse an image that the server does not make, or that nobody waits for.

    Raises:
        TooLargeError: it takes too much. ParameterError: there is no such nodata, or a picture has too many bands.
            SourceUnreadableError: a raster of complex numbers, or of statistics that are none. AbandonedError: nobody
                waits.
    """
    check_wanted()
    check_real(raster, url)
    check_statistics(raster, url)
    check_nodata(asked.nodata, raster)
    answer = AnswerSize(
        *asked.shape,
        bands=asked.bands,
        itemsize=value_bytes(raster),
        parts=len(get_expression_blocks(asked.expression)) if asked.expression else 0,
        unscaled=asked.unscaled,
        fills=asked.fills,
        algorithm=asked.algorithm,
        coverage=asked.coverage,
    )
    admit(answer, max_pixels=settings.max_pixels, max_bytes=settings.max_request_bytes)
    if asked.picture:
        check_picture(answer.parts or answer.bands)


def check_picture(bands: int) -> None:
    """Refuse what no PNG, JPEG or WebP holds.

    Raises:
        ParameterError: more bands than that.
    """
    if bands > PICTURE_BANDS:
        raise ParameterError(
            f"{bands} bands are too many for a picture; choose bands: `assets=red,green,blue` or `bidx`, or another "
            "format such as tif"
        )
