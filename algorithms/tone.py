"""The tone curve: reflectance of red, green and blue as a picture that looks natural, the same for every scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

HAZE_REFLECTANCE: Final = {"red": 0.019, "green": 0.036, "blue": 0.066}
"""What clear air above a dark object reflects by itself, at the top of the atmosphere: what its molecules scatter with
the sun about 45 degrees from the zenith, and a little dust."""
SHOULDER_REFLECTANCE: Final = 0.15
"""Where highlights begin to roll off: below it land has most of the tones, above it room is left for clouds."""
TONE_GAMMA: Final = 1.1
"""Lifts shadows a little."""


def without_haze(reflectance: npt.ArrayLike, names: Sequence[str | None], *, level: str) -> npt.NDArray[np.float32]:
    """Reflectance without the air's own light above a dark object; white stays white.

    Args:
        reflectance: (B, H, W).
        names: common name of each band; infrared has no haze.
        level: `l1c`; at the ground (`l2a`) nothing is taken off.
    """
    values = np.asarray(reflectance, np.float32)
    if level != "l1c":
        return values
    haze = np.array([HAZE_REFLECTANCE.get(name or "", 0.0) for name in names], np.float32)[:, None, None]
    cleared: npt.NDArray[np.float32] = (values - haze) / (1 - haze)
    return cleared


def natural_tones(
    reflectance: npt.ArrayLike,
    names: Sequence[str | None] = ("red", "green", "blue"),
    *,
    level: str = "l1c",
    exposure: float = 1.0,
) -> npt.NDArray[np.uint8]:
    """Reflectance as tones of a picture.

    Every band goes through one curve, which depends on nothing but the value: tiles agree with each other, dates and
    scenes can be compared, and what is grey stays grey. At the top of the atmosphere (`l1c`) the air's own light,
    bluish, is taken off first.

    Args:
        reflectance: (B, H, W), 0..1; more is as white as 1, and NaN is black.
        names: common name of each band, for its haze.
        level: `l1c`, or `l2a` for reflectance at the ground.
        exposure: factor of the reflectance; below 1 for the infrared, in which plants are bright.

    Returns:
        (B, H, W) uint8.
    """
    values = without_haze(reflectance, names, level=level) * np.float32(exposure)
    values = np.clip(np.nan_to_num(values, nan=0.0), 0, 1)
    rolled = values * (1 + SHOULDER_REFLECTANCE) / (values + SHOULDER_REFLECTANCE)
    tones: npt.NDArray[np.uint8] = np.rint(255 * rolled ** np.float32(1 / TONE_GAMMA)).astype(np.uint8)
    return tones
