"""Encoding: the same pictures as TiTiler's, PNG by the fast setting."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rasterio.crs import CRS
from rio_tiler.colormap import cmap
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from algorithms.errors import ParameterError
from server.http.render import WEBP_METHOD, render
from tests.helpers.scenes import smooth_noise


def picture(dtype: str, *, bands: int = 3, masked: bool = False) -> ImageData:
    rng = np.random.default_rng(2)
    values = smooth_noise(rng, (bands, 200, 240), 3) * 300 + 1500
    if dtype == "uint8":
        values = values / 12
    mask = np.zeros(values.shape, bool)
    mask[:, :20] = masked
    return ImageData(
        np.ma.MaskedArray(values.astype(dtype), mask=mask), crs=CRS.from_epsg(32633), bounds=(0, 0, 240, 200)
    )


CASES: list[dict[str, Any]] = [
    {"dtype": "uint8"},
    {"dtype": "uint8", "masked": True},
    {"dtype": "uint16", "masked": True},
    {"dtype": "int16"},
    {"dtype": "float32"},
    {"dtype": "uint16", "rescale": [(500, 2500)], "masked": True},
    {"dtype": "float32", "rescale": [(500, 2500)]},
    {"dtype": "uint16", "rescale": [(500, 2500)], "color_formula": "gamma RGB 1.5"},
    {"dtype": "uint16", "bands": 1, "rescale": [(500, 2500)], "colormap": cmap.get("viridis")},
    # What rio-tiler hands out for a raster without a colour table.
    {"dtype": "uint8", "colormap": {}},
    {"dtype": "int16", "colormap": {}},
    {"dtype": "float32", "bands": 1, "masked": True, "colormap": {}},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case if isinstance(case, list) else map(str, case)))
@pytest.mark.parametrize("kind", [None, ImageType.png, ImageType.webp, ImageType.jpeg])
def test_pictures_are_titilers(case: dict[str, Any], kind: ImageType | None) -> None:
    shape = {k: case[k] for k in ("dtype", "bands", "masked") if k in case}
    options = {k: v for k, v in case.items() if k not in shape}
    content, media = render(picture(**shape), kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method: dict[str, Any] = {"METHOD": WEBP_METHOD} if kind is ImageType.webp else {}
        expected, expected_media = render_image(picture(**shape), output_format=kind, **options, **method)
    assert media == expected_media
    ours, theirs = (np.asarray(Image.open(io.BytesIO(data))) for data in (content, expected))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [ImageType.png, None])
def test_png_takes_the_fast_setting(kind: ImageType | None) -> None:
    image = picture("uint8", masked=True)
    assert render(picture("uint8", masked=True), kind)[0] == image.render(img_format="PNG", zlevel=1)
    assert image.render(img_format="PNG", zlevel=1) != image.render(img_format="PNG", zlevel=6)


@pytest.mark.parametrize(
    ("bands", "formula"),
    [(1, "gamma RGB 1.5"), (3, "nonsense"), (3, "gamma RGB x"), (2, "saturation 2"), (3, "gamma Q 1")],
)
def test_a_formula_that_does_not_fit_is_named(bands: int, formula: str) -> None:
    with pytest.raises(ParameterError, match=r"color_formula.*cannot be applied"):
        render(picture("uint8", bands=bands), ImageType.png, color_formula=formula)
