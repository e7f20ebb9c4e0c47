"""The figures of an export: how much was cloud, how much of it is filled, and how far that can be trusted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA


@dataclass(frozen=True, slots=True)
class FillFigures:
    """Counts of pixels; those of several pieces add up."""

    pixels: int = 0
    """Pixels with data."""
    filled: int = 0
    """Those of them that a replacement fills."""
    unfilled: int = 0
    """Those under cloud that none fills."""
    confidence: int = 0
    """Sum of the filled pixels' confidence in percent."""
    rated: int = 0
    """The filled pixels whose confidence is known."""

    @classmethod
    def of(
        cls, source: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8], hidden: npt.NDArray[np.bool_]
    ) -> FillFigures:
        """Count.

        Args:
            source: (H, W), 0 original, k the k-th replacement, 255 unfilled.
            confidence: (H, W), percent, 255 where it is not known.
            hidden: (H, W), pixels without data.
        """
        filled = (source != 0) & (source != UNFILLED) & ~hidden
        rated = filled & (confidence != NODATA)
        return cls(
            pixels=int((~hidden).sum()),
            filled=int(filled.sum()),
            unfilled=int(((source == UNFILLED) & ~hidden).sum()),
            confidence=int(confidence[rated].sum(dtype=np.int64)),
            rated=int(rated.sum()),
        )

    @classmethod
    def read(cls, text: bytes) -> FillFigures:
        """What `written` has written."""
        return cls(**json.loads(text))

    def written(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    def __add__(self, other: FillFigures) -> FillFigures:
        return FillFigures(
            self.pixels + other.pixels,
            self.filled + other.filled,
            self.unfilled + other.unfilled,
            self.confidence + other.confidence,
            self.rated + other.rated,
        )

    def _share(self, count: int) -> float:
        return count / self.pixels if self.pixels else 0.0

    @property
    def unfilled_share(self) -> float:
        """Share of the pixels with data that stay cloudy."""
        return self._share(self.unfilled)

    @property
    def mean_confidence(self) -> float | None:
        """Of the filled pixels, in percent; None where it is known of none."""
        return self.confidence / self.rated if self.rated else None

    def summary(self) -> dict[str, Any]:
        """Shares of the pixels with data, and the mean confidence of the filled ones in percent."""
        mean = self.mean_confidence
        return {
            "cloud": round(self._share(self.filled + self.unfilled), 6),
            "filled": round(self._share(self.filled), 6),
            "unfilled": round(self.unfilled_share, 6),
            "mean_confidence": None if mean is None else round(mean, 2),
        }
