"""Units: from one raster's numbers to another's, by way of reflectance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.raster.dataset import Dataset

SAME_SCALE: Final = 1e-6
"""Relative difference of two scales that is none: some files hold theirs as float32."""
SAME_OFFSET: Final = 1e-9
"""Difference in reflectance of two offsets that is none."""
PLAUSIBLE_REFLECTANCE: Final = (-0.3, 1.5)
"""Reflectance that a pixel can show; a nodata value outside of it, like -9999 or 65535, is never a measurement."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A replacement's numbers in the target's units: `factor * number + term`."""

    factors: tuple[float, ...]
    """Per band."""
    terms: tuple[float, ...]
    """Per band, in the target's units."""

    def __call__(self, values: npt.NDArray[Any], bands: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
        """Convert (B, ...) values.

        Args:
            values: the replacement's.
            bands: 0-based positions of the bands among all; None: they are all.
        """
        picked = range(len(self.factors)) if bands is None else bands
        shape = (len(picked), *[1] * (values.ndim - 1))
        factors = np.asarray([self.factors[band] for band in picked], np.float32).reshape(shape)
        terms = np.asarray([self.terms[band] for band in picked], np.float32).reshape(shape)
        return np.asarray(values.astype(np.float32, copy=False) * factors + terms)


@lru_cache(maxsize=1024)
def conversion(source: Dataset, target: Dataset, indexes: tuple[int, ...]) -> Conversion | None:
    """How the numbers of a raster become those of the target; None where both mean the same.

    Args:
        source: the raster.
        target: in whose units.
        indexes: the raster's 1-based bands, in the order of the target's.
    """
    at = [source.indexes.index(index) for index in indexes]
    scales, offsets = [source.scales[i] for i in at], [source.offsets[i] for i in at]
    units = list(zip(scales, offsets, target.scales, target.offsets, strict=True))
    if all(
        math.isclose(scale, to_scale, rel_tol=SAME_SCALE) and math.isclose(offset, to_offset, abs_tol=SAME_OFFSET)
        for scale, offset, to_scale, to_offset in units
    ):
        return None
    if not all(math.isfinite(value) for numbers in units for value in numbers) or 0 in target.scales:
        return None  # metadata that means nothing
    return Conversion(
        tuple(scale / to_scale for scale, _, to_scale, _ in units),
        tuple((offset - to_offset) / to_scale for _, offset, to_scale, to_offset in units),
    )


def nodata_counts(dataset: Dataset, indexes: tuple[int, ...]) -> tuple[bool, ...]:
    """For each of some 1-based bands whether the nodata value is a measurement where other bands have data.

    A single band of value 0 with nodata 0 is dark, not missing: water in the near infrared, shadow, clipped at 0.
    """
    if dataset.nodata is None:
        return (True,) * len(indexes)
    least, most = PLAUSIBLE_REFLECTANCE
    at = (dataset.indexes.index(index) for index in indexes)
    return tuple(least <= dataset.nodata * dataset.scales[i] + dataset.offsets[i] <= most for i in at)
