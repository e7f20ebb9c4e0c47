"""The TiTiler algorithms: pure functions of an image and the side-car the reader attached to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import attr
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from rio_tiler.models import ImageData
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import ParameterError
from algorithms.fill import UNFILLED, FillOptions

DEFAULT_BUFFER = 2
"""Buffer steps of 2 pixels around clouds."""

Needs = Literal["classes", "provenance", "fill"]


@dataclass(frozen=True, slots=True)
class PixelFill:
    """The fill of an image's cloudy pixels: `gain * replacement + offset`."""

    rows: npt.NDArray[np.intp]
    """(p,) image rows of the pixels."""
    cols: npt.NDArray[np.intp]
    """(p,) image columns."""
    gain: npt.NDArray[np.float32]
    """(B, p)."""
    offset: npt.NDArray[np.float32]
    """(B, p) in the target's units."""
    replacement: npt.NDArray[np.float32]
    """(B, p) replacement pixels at display resolution."""


@dataclass(frozen=True, slots=True)
class CloudSidecar:
    """What the reader knows about an image's clouds; arrays are (H, W) on the image's pixels."""

    classes: npt.NDArray[np.uint8] | None = None
    """0 clear, 1 cloud, 2 shadow, 255 nodata."""
    probability: npt.NDArray[np.uint8] | None = None
    """Probability of cloud, percent."""
    source: npt.NDArray[np.uint8] | None = None
    """0 original, k the k-th replacement, 255 nodata or unfilled cloud."""
    confidence: npt.NDArray[np.uint8] | None = None
    """0-100."""
    fill: PixelFill | None = None
    """None where no pixel is to be filled."""
    expression: str | None = None
    """Band arithmetic the request asks for; it applies to the filled image."""
    unscale: bool = False
    """Whether the dataset's scale and offset apply to the filled image."""


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
        raise ParameterError("this algorithm works on images of ClearSky's own reader; use it under /cog")
    return clouds


def to_dtype(values: npt.NDArray[np.float32], dtype: np.dtype[Any], nodata: Any) -> npt.NDArray[Any]:
    """Round and clip to a data type, never to wrap; a value that falls on nodata moves to the next one."""
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # float32 holds every 16-bit number exactly; wider types need more.
    exact = values if dtype.itemsize <= 2 else values.astype(np.float64)
    whole = np.clip(np.rint(exact), limits.min, limits.max).astype(dtype)
    if nodata is not None and np.isfinite(nodata) and (clash := whole == nodata).any():
        whole[clash] = dtype.type(nodata + 1 if nodata < limits.max else nodata - 1)
    return whole


class CloudAlgorithm(BaseAlgorithm):
    """Options of every cloud algorithm, so that one set of parameters serves them all."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    needs: ClassVar[Needs] = "classes"

    window: int = Field(
        default=80,
        ge=20,
        le=400,
        multiple_of=20,
        description="Radius of the adjustment's narrowest window in native pixels, a multiple of 20",
    )
    buffer: int = Field(
        default=DEFAULT_BUFFER, ge=0, le=15, description="Dilation of the cloud mask in steps of 2 native pixels"
    )
    adjustment: Literal["regression", "moment"] = Field(
        default="regression", description="Regression on all bands, or moment matching band by band (SLRA)"
    )
    residual: bool = Field(default=True, description="Make the fill meet the target at the border of the mask")
    refine: bool = Field(
        default=True, description="Let the replacement tell false alarms and thin rims of the model's mask"
    )
    unfilled: Literal["keep", "nodata"] = Field(
        default="keep", description="What becomes of cloud where no replacement is clear"
    )

    @property
    def options(self) -> FillOptions:
        """The part of the options that the adjustment depends on."""
        return FillOptions(window=self.window, adjustment=self.adjustment, residual=self.residual)

    def _single(self, img: ImageData, values: npt.NDArray[np.uint8], name: str, description: str) -> ImageData:
        """A one-band image of the same place; transparent where the image is."""
        outside = np.asarray(np.asarray(np.ma.getmaskarray(img.array)).all(axis=0))
        return ImageData(
            np.ma.MaskedArray(values[None], mask=outside[None]),
            assets=img.assets,
            crs=img.crs,
            bounds=img.bounds,
            band_names=["b1"],
            band_descriptions=[description],
            metadata={"band": name},
            cutline_mask=img.cutline_mask,
        )


class CloudRemoval(CloudAlgorithm):
    """Fill clouds and their shadows from another date."""

    title: str = "Cloud removal"
    description: str = "Replace clouds and shadows by another date, radiometrically adjusted to the scene around them"
    needs: ClassVar[Needs] = "fill"

    def __call__(self, img: ImageData) -> ImageData:
        """The filled image; `bidx`, `unscale` and `expression` apply to it."""
        clouds = _sidecar(img)
        data, mask = img.array.data.copy(), np.array(np.ma.getmaskarray(img.array))
        if (fill := clouds.fill) is not None:
            values = to_dtype(fill.gain * fill.replacement + fill.offset, data.dtype, img.nodata)
            place = np.s_[:, fill.rows, fill.cols]
            data[place] = np.where(mask[place], data[place], values) if mask.any() else values
        if self.unfilled == "nodata" and clouds.source is not None:
            mask |= clouds.source == UNFILLED
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
            alpha_mask=img.alpha_mask,
        )
        if clouds.unscale:
            filled = _unscaled(filled)
        return filled.apply_expression(clouds.expression) if clouds.expression else filled


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


class CloudMask(CloudAlgorithm):
    """Classes of the cloud model, or of the user's mask."""

    title: str = "Cloud mask"
    description: str = "0 clear, 1 cloud, 2 cloud shadow, 255 nodata"
    output_nbands: int = 1
    output_dtype: str = "uint8"
    output_min: Sequence[int] = (0,)
    output_max: Sequence[int] = (2,)

    def __call__(self, img: ImageData) -> ImageData:
        """The classes as a one-band image."""
        classes = _sidecar(img).classes
        if classes is None:
            raise ParameterError("the image carries no cloud classes")
        return self._single(img, classes, "cloud_mask", self.description)


class CloudProbability(CloudAlgorithm):
    """Probability of cloud."""

    title: str = "Cloud probability"
    description: str = "Probability of cloud in percent, 0-100, as the model gives it (not calibrated)"
    output_nbands: int = 1
    output_dtype: str = "uint8"
    output_min: Sequence[int] = (0,)
    output_max: Sequence[int] = (100,)

    def __call__(self, img: ImageData) -> ImageData:
        """The probability as a one-band image."""
        probability = _sidecar(img).probability
        if probability is None:
            raise ParameterError("the image carries no cloud probability")
        return self._single(img, probability, "cloud_probability", self.description)


class FillSource(CloudAlgorithm):
    """Where every pixel comes from."""

    title: str = "Fill source"
    description: str = "0 original, 1.. number of the replacement, 255 nodata or unfilled cloud"
    needs: ClassVar[Needs] = "provenance"
    output_nbands: int = 1
    output_dtype: str = "uint8"
    output_min: Sequence[int] = (0,)
    output_max: Sequence[int] = (255,)

    def __call__(self, img: ImageData) -> ImageData:
        """The source as a one-band image."""
        source = _sidecar(img).source
        if source is None:
            raise ParameterError("the image carries no fill source: give a `replacement`")
        return self._single(img, source, "fill_source", self.description)


class FillConfidence(CloudAlgorithm):
    """How far the fill can be trusted."""

    title: str = "Fill confidence"
    description: str = "Confidence of every pixel in percent: 100 original, 0 unfilled cloud"
    needs: ClassVar[Needs] = "provenance"
    output_nbands: int = 1
    output_dtype: str = "uint8"
    output_min: Sequence[int] = (0,)
    output_max: Sequence[int] = (100,)

    def __call__(self, img: ImageData) -> ImageData:
        """The confidence as a one-band image."""
        confidence = _sidecar(img).confidence
        if confidence is None:
            raise ParameterError("the image carries no fill confidence: give a `replacement`")
        return self._single(img, confidence, "fill_confidence", self.description)


CLOUD_ALGORITHMS: dict[str, type[CloudAlgorithm]] = {
    "cloud_removal": CloudRemoval,
    "cloud_mask": CloudMask,
    "cloud_probability": CloudProbability,
    "fill_source": FillSource,
    "fill_confidence": FillConfidence,
}
"""Registered beside TiTiler's own."""
