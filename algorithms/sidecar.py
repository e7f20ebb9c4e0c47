"""What a fill needs of an image's surroundings, and applying it: the side-car of an image, and its pixels' fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED
from algorithms.pixels import write_fill


def hidden_pixels(img: Any) -> npt.NDArray[np.bool_]:
    """(H, W), pixels that one of rio-tiler's images does not have: no band has data, or they are wholly transparent.

    What is transparent in part is shown, though rio-tiler masks its values.
    """
    if img.alpha_mask is None:
        return np.asarray(np.asarray(np.ma.getmaskarray(img.array)).all(axis=0))
    outside = img.alpha_mask == 0
    return np.asarray(outside if img.cutline_mask is None else outside | img.cutline_mask)


Needs = Literal["classes", "provenance", "fill"]
"""What an algorithm reads of a side-car: the classes, or source and confidence, or source and fill."""


@dataclass(frozen=True, slots=True)
class PixelFill:
    """The fill of an image's cloudy pixels: `gain * replacement + offset`."""

    at: npt.NDArray[np.intp]
    """(p,) numbers of the pixels, counted row by row of the image."""
    gain: npt.NDArray[np.float32]
    """(B, p)."""
    offset: npt.NDArray[np.float32]
    """(B, p) in the target's units."""
    replacement: npt.NDArray[np.float32]
    """(B, p) replacement pixels at display resolution."""
    bands: tuple[int, ...] | None = None
    """Positions of these bands among the image's; None: they are all."""

    def into(
        self, data: npt.NDArray[Any], masked: npt.NDArray[np.bool_], hidden: npt.NDArray[np.bool_], nodata: Any
    ) -> None:
        """Write the fill over pixels that are not hidden, in bands without data, too.

        Args:
            data: (B, H, W) of any number type, changed in place.
            masked: (B, H, W), values that are none, changed in place.
            hidden: (H, W), pixels that the image does not have.
            nodata: the image's nodata value, which no filled pixel takes; or None.
        """
        bands = tuple(range(len(data))) if self.bands is None else self.bands
        write_fill(data, masked, hidden, self.at, (self.gain, self.offset, self.replacement), bands, nodata)


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
    hidden: npt.NDArray[np.bool_] | None = None
    """Pixels that the raster does not have; None: those without data in every band of the image."""
    expression: str | None = None
    """Band arithmetic the request asks for; it applies to the filled image."""
    names: tuple[str, ...] | None = None
    """What describes its results; None: its parts."""
    unscale: bool = False
    """Whether the dataset's scale and offset apply to the filled image."""

    def fills(self, pixels: npt.NDArray[np.bool_]) -> bool:
        """Whether any of some (H, W) pixels is filled."""
        return self.source is not None and bool((pixels & (self.source != 0) & (self.source != UNFILLED)).any())
