"""Clouds by rules where there is nothing but red, green and blue: brighter, whiter and hazier than ground."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

HAZE: Final = 0.08
"""Reflectance by which blue is above half of red under cloud: the HOT test of Zhu & Woodcock (2012), Remote Sensing of
Environment 118, equation 4, after the haze-optimised transform of Zhang et al. (2002), RSE 82."""
LEAST_BRIGHTNESS: Final = 0.15
"""Mean reflectance of the visible bands under cloud."""
LEAST_GREYNESS: Final = 0.7
"""Mean differences of the bands to their mean, as a share of it, from which on ground is too colourful for a cloud: the
whiteness test of Gomez-Chova et al. (2007), IEEE TGRS 45, with the limit of Zhu & Woodcock."""


def cloud_by_rules(
    reflectance: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Cloud where a cell passes all three tests.

    Each cell by itself, by limits that are the same everywhere, so that tiles agree.

    Args:
        reflectance: (3, h, w): blue, green, red.

    Returns:
        (2, h, w): of clear and of cloud, 0 or 1.
    """
    blue, _, red = reflectance
    mean = reflectance.mean(axis=0)
    white = np.abs(reflectance - mean).sum(axis=0) < LEAST_GREYNESS * mean
    cloud = (blue - 0.5 * red - HAZE > 0) & (mean >= LEAST_BRIGHTNESS) & white
    return np.stack([~cloud, cloud]).astype(np.float32)
