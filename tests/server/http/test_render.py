"""Encoding: the same pictures as TiTiler's, PNG by the fast setting."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rio_tiler.colormap import cmap
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image
from webp import WebPPicture

from algorithms.errors import ParameterError
from server.http.encoders import png
from server.http.render import render
from server.http.webp import WEBP_OPTIONS, WEBP_PIXELS
from tests.helpers.scenes import smooth_noise
from tests.helpers.stock import check_same_samples


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
        method: dict[str, Any] = dict(WEBP_OPTIONS) if kind is ImageType.webp else {}
        expected, expected_media = render_image(picture(**shape), output_format=kind, **options, **method)
    assert media == expected_media
    check_same_samples(content, expected, media)


@pytest.mark.parametrize("bands", [1, 3])
def test_a_jpeg_is_as_close_to_its_pixels_as_titilers(bands: int) -> None:
    pixels = picture("uint8", bands=bands).array.data
    off = []
    for content in (
        render(picture("uint8", bands=bands), ImageType.jpeg)[0],
        render_image(picture("uint8", bands=bands), output_format=ImageType.jpeg)[0],
    ):
        decoded = np.asarray(Image.open(io.BytesIO(content))).reshape(200, 240, bands)
        off.append(np.abs(np.moveaxis(decoded, -1, 0).astype(int) - pixels).mean())
    assert off[0] < 1.1 * off[1]


@pytest.mark.parametrize("kind", [ImageType.png, ImageType.pngraw, ImageType.webp])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_picture_without_a_mask_has_no_transparency(kind: ImageType, bands: int) -> None:
    content, _ = render(picture("uint8", bands=bands, masked=True), kind, add_mask=False)
    assert Image.open(io.BytesIO(content)).mode == ("L" if bands == 1 and kind is not ImageType.webp else "RGB")


def test_a_webp_has_a_longest_side() -> None:
    longest, longer = (
        ImageData(np.zeros((3, 1, side), np.uint8), crs=CRS.from_epsg(32633), bounds=(0, 0, side, 1))
        for side in (WEBP_PIXELS, WEBP_PIXELS + 1)
    )
    assert Image.open(io.BytesIO(render(longest, ImageType.webp)[0])).size == (WEBP_PIXELS, 1)
    with pytest.raises(ParameterError, match="at most 16383 pixels a side"):
        render(longer, ImageType.webp)


def test_a_webp_that_libwebp_gives_up_is_an_error_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise TypeError('can only concatenate str (not "int") to str')  # what `webp` makes of it

    monkeypatch.setattr(WebPPicture, "encode", refuse)
    with pytest.raises(MemoryError, match="240 x 200"):
        render(picture("uint8"), ImageType.webp)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (300, 257)])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_png_holds_its_pixels(shape: tuple[int, int], count: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (*shape, count), np.uint8)
    opened = Image.open(io.BytesIO(png(pixels)))
    assert opened.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[count]
    np.testing.assert_array_equal(np.asarray(opened).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_jpeg_2000_file_says_where_it_lies(dtype: str) -> None:
    image = picture(dtype, bands=3)
    with MemoryFile(render(image, ImageType.jp2)[0]) as file, file.open() as found:
        assert file.read(12) == b"\0\0\0\x0cjP  \r\n\x87\n"  # not a bare codestream
        assert (found.count, found.crs, found.transform) == (4, image.crs, image.transform)


def test_sixteen_bits_take_the_fast_setting() -> None:
    image = picture("uint16", masked=True)
    assert render(picture("uint16", masked=True), ImageType.png)[0] == image.render(img_format="PNG", zlevel=1)
    assert image.render(img_format="PNG", zlevel=1) != image.render(img_format="PNG", zlevel=6)


@pytest.mark.parametrize(
    ("bands", "formula"),
    [(1, "gamma RGB 1.5"), (3, "nonsense"), (3, "gamma RGB x"), (2, "saturation 2"), (3, "gamma Q 1")],
)
def test_a_formula_that_does_not_fit_is_named(bands: int, formula: str) -> None:
    with pytest.raises(ParameterError, match=r"color_formula.*cannot be applied"):
        render(picture("uint8", bands=bands), ImageType.png, color_formula=formula)
