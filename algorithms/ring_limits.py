"""What both loops over the rings of `algorithms.stepwise` take for too large, and for rounding."""

from typing import Final

import numpy as np

from algorithms.growing_sums import FloatArray

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
"""Largest value a result can hold."""
ROUNDING_SHARE: Final = 2.0**-44
"""Sums of squared differences below this share of the image's sum of squares are rounding and count as zero."""
_TINY: Final = 1e-200
"""So do those below this, which could overflow as divisors."""


def rounding(values: FloatArray) -> FloatArray:
    """Sums of squared differences that count as zero, for each of (V, H, W) values."""
    noise: FloatArray = ROUNDING_SHARE * np.einsum("vyx,vyx->v", values, values) + _TINY
    return noise
