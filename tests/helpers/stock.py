"""Stock TiTiler as an oracle: the same routes with rio-tiler's own reader, renderer and status codes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from titiler.core.factory import TilerFactory
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image

from server.http.webp import WEBP_OPTIONS

JPEG_DIFFERENCE = 3
"""Mean difference in grey levels of what two encoders of JPEG make of the same pixels, at most."""


class _Quiet:
    """ASGI middleware without warnings: TiTiler gives one for every picture that it rescales."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await self.app(scope, receive, send)


def _render(image: Any, output_format: ImageType | None = None, **options: Any) -> tuple[bytes, str]:
    """TiTiler's renderer, its WebP as quick as ours: its samples depend on that."""
    quick: dict[str, Any] = dict(WEBP_OPTIONS) if output_format is ImageType.webp else {}
    content: tuple[bytes, str] = render_image(image, output_format=output_format, **options, **quick)
    return content


@contextmanager
def stock_titiler() -> Iterator[TestClient]:
    """A client of an application that has the stock routes below `/cog`."""
    app = FastAPI()
    app.add_middleware(_Quiet)
    app.include_router(TilerFactory(router_prefix="/cog", add_ogc_maps=True, render_func=_render).router, prefix="/cog")
    add_exception_handlers(app, DEFAULT_STATUS_CODES)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def picture(content: bytes, media: str) -> np.ndarray:
    """Decoded samples of an image in an answer."""
    if media == "application/x-binary":
        return np.load(io.BytesIO(content))
    if media in ("image/png", "image/jpeg", "image/webp"):
        return np.asarray(Image.open(io.BytesIO(content)))
    with rasterio.open(io.BytesIO(content)) as src:
        return src.read()


def check_same_picture(ours: Any, theirs: Any) -> None:
    """Fail unless two answers have the same status and, where they are images, the same kind and samples."""
    assert (ours.status_code, ours.headers["content-type"]) == (theirs.status_code, theirs.headers["content-type"]), (
        ours.text[:300],
        theirs.text[:300],
    )
    if ours.status_code == 200:
        media = ours.headers["content-type"]
        check_same_samples(ours.content, theirs.content, media)


def check_same_samples(ours: bytes, theirs: bytes, media: str) -> None:
    """Fail unless two images are the same when decoded; a JPEG to `JPEG_DIFFERENCE`."""
    one, other = picture(ours, media), picture(theirs, media)
    if media == "image/jpeg":
        assert one.shape == other.shape
        assert np.abs(one.astype(int) - other).mean() < JPEG_DIFFERENCE
    else:
        np.testing.assert_array_equal(one, other)
