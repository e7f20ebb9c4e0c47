"""The TiTiler algorithms: pure functions of an image and the side-car the reader attached to it.

The only module of `algorithms` that imports pydantic, rio-tiler and TiTiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import attr
import numpy as np
from pydantic import ConfigDict, Field, create_model
from rio_tiler.models import ImageData
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import ParameterError
from algorithms.fill import UNFILLED
from algorithms.options import OPTIONS, CloudOptions, Option
from algorithms.sidecar import CloudSidecar, Needs, hidden_pixels


class CloudImage(ImageData):
    """An image with its side-car; everything else is as any reader gives it."""

    clouds: CloudSidecar | None = None

    @classmethod
    def of(cls, image: ImageData, clouds: CloudSidecar) -> CloudImage:
        """The same image with a side-car."""
        result = cls(**{a.name: getattr(image, a.name) for a in attr.fields(ImageData) if a.init})
        result.clouds = clouds
        return result


def _sidecar(img: ImageData) -> CloudSidecar:
    clouds = getattr(img, "clouds", None)
    if not isinstance(clouds, CloudSidecar):
        raise ParameterError(
            "this algorithm works on images of ClearSky's own reader; use it below /cog, /stac or /recipes"
        )
    return clouds


def _field(option: Option) -> Any:
    """An option as a field of a pydantic model."""
    limits: dict[str, Any] = {}
    if (values := option.range) is not None:
        limits = {"ge": values.least, "le": values.most} | ({"multiple_of": values.step} if values.step > 1 else {})
    return Field(default=option.default, description=option.description, **limits)


if TYPE_CHECKING:

    class _Declared(CloudOptions, BaseAlgorithm):
        """The model made below, as checkers of types see it."""

else:
    _Declared = create_model(
        "_Declared",
        __base__=BaseAlgorithm,
        **{name: (option.type, _field(option)) for name, option in OPTIONS.items()},
    )


class CloudAlgorithm(_Declared):
    """Options of every cloud algorithm, so that one set of parameters serves them all."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    needs: ClassVar[Needs] = "classes"

    @property
    def options(self) -> CloudOptions:
        """The options as a value without TiTiler."""
        return _options(*(getattr(self, name) for name in OPTIONS))


@lru_cache(maxsize=256)
def _options(*values: Any) -> CloudOptions:
    return CloudOptions(**dict(zip(OPTIONS, values, strict=True)))


class CloudRemoval(CloudAlgorithm):
    """Fill clouds and their shadows from another date."""

    title: str = "Cloud removal"
    description: str = "Replace clouds and shadows with another date, radiometrically adjusted to the scene around them"
    needs: ClassVar[Needs] = "fill"

    def __call__(self, img: ImageData) -> ImageData:
        """The filled image; `bidx`, `unscale` and `expression` apply to it."""
        clouds = _sidecar(img)
        data, mask = img.array.data.copy(), np.array(np.ma.getmaskarray(img.array))
        if clouds.fill is not None:
            hidden = hidden_pixels(img) if clouds.hidden is None else clouds.hidden
            clouds.fill.into(data, mask, hidden, img.nodata)
        alpha = img.alpha_mask
        if self.unfilled == "nodata" and clouds.source is not None:
            mask |= clouds.source == UNFILLED
            alpha = None if alpha is None else np.where(clouds.source == UNFILLED, 0, alpha).astype(alpha.dtype)
        filled = ImageData(
            np.ma.MaskedArray(data, mask=mask),
            assets=img.assets,
            crs=img.crs,
            bounds=img.bounds,
            band_names=img.band_names,
            band_descriptions=img.band_descriptions,
            dataset_statistics=img.dataset_statistics,
            cutline_mask=img.cutline_mask,
            metadata=img.metadata,
            nodata=img.nodata,
            scales=img.scales,
            offsets=img.offsets,
            alpha_mask=alpha,
        )
        if clouds.unscale:
            filled = _unscaled(filled)
        if not clouds.expression:
            return filled
        result = as_numbers(filled.apply_expression(clouds.expression))
        if clouds.names is not None:
            result.band_descriptions = list(clouds.names)
        return result


def as_numbers(img: ImageData) -> ImageData:
    """The image with 0 and 1 for what an expression finds false and true: no picture holds truth values."""
    if img.array.dtype == np.bool_:
        img.array = np.ma.MaskedArray(img.array.data.view(np.uint8), mask=img.array.mask)
    return img


def _unscaled(img: ImageData) -> ImageData:
    """The image in physical units, as rio-tiler's `unscale` gives it."""
    scales = np.asarray(img.scales, np.float32)[:, None, None]
    offsets = np.asarray(img.offsets, np.float32)[:, None, None]
    img.array = np.ma.MaskedArray(img.array.data.astype(np.float32) * scales + offsets, mask=img.array.mask)
    if img.dataset_statistics:
        img.dataset_statistics = [
            (low * scale + offset, high * scale + offset)
            for (low, high), scale, offset in zip(img.dataset_statistics, img.scales, img.offsets, strict=True)
        ]
    img.scales, img.offsets = [1.0] * len(img.scales), [0.0] * len(img.offsets)
    return img


class SidecarBand(CloudAlgorithm):
    """Base of the algorithms that show an array of the side-car."""

    description: str = ""
    output_nbands: int = 1
    output_dtype: str = "uint8"
    output_min: Sequence[int] = (0,)
    band: ClassVar[str]
    """What the image's metadata call it."""
    array: ClassVar[str]
    """Field of the side-car."""
    missing: ClassVar[str]
    """The error where the side-car does not have it."""

    def __call__(self, img: ImageData) -> ImageData:
        """The array as a one-band image of the same place; transparent where the image is."""
        values = getattr(_sidecar(img), self.array)
        if values is None:
            raise ParameterError(self.missing)
        outside = hidden_pixels(img)
        return ImageData(
            np.ma.MaskedArray(values[None], mask=outside[None]),
            assets=img.assets,
            crs=img.crs,
            bounds=img.bounds,
            band_names=["b1"],
            band_descriptions=[self.description],
            metadata={"band": self.band},
            cutline_mask=img.cutline_mask,
        )


class CloudMask(SidecarBand):
    """Classes of the cloud model, or of the user's mask."""

    title: str = "Cloud mask"
    description: str = "0 clear, 1 cloud, 2 cloud shadow, 255 nodata"
    output_max: Sequence[int] = (2,)
    band: ClassVar[str] = "cloud_mask"
    array: ClassVar[str] = "classes"
    missing: ClassVar[str] = "the image carries no cloud classes"


class CloudProbability(SidecarBand):
    """Probability of cloud."""

    title: str = "Cloud probability"
    description: str = "Probability of cloud in percent, 0-100, as the model gives it (not calibrated)"
    output_max: Sequence[int] = (100,)
    band: ClassVar[str] = "cloud_probability"
    array: ClassVar[str] = "probability"
    missing: ClassVar[str] = "the image carries no cloud probability"


class FillSource(SidecarBand):
    """Where every pixel comes from."""

    title: str = "Fill source"
    description: str = "0 original, 1.. number of the replacement, 255 nodata or unfilled cloud"
    needs: ClassVar[Needs] = "provenance"
    output_max: Sequence[int] = (255,)
    band: ClassVar[str] = "fill_source"
    array: ClassVar[str] = "source"
    missing: ClassVar[str] = "the image carries no fill source: give a `replacement`"


class FillConfidence(SidecarBand):
    """How far the fill can be trusted."""

    title: str = "Fill confidence"
    description: str = "Confidence of every pixel in percent: 100 original, 0 unfilled cloud"
    needs: ClassVar[Needs] = "provenance"
    output_max: Sequence[int] = (100,)
    band: ClassVar[str] = "fill_confidence"
    array: ClassVar[str] = "confidence"
    missing: ClassVar[str] = "the image carries no fill confidence: give a `replacement`"


CLOUD_ALGORITHMS: dict[str, type[CloudAlgorithm]] = {
    "cloud_removal": CloudRemoval,
    "cloud_mask": CloudMask,
    "cloud_probability": CloudProbability,
    "fill_source": FillSource,
    "fill_confidence": FillConfidence,
}
"""Registered next to TiTiler's own."""
