"""Decks: cloud that a network takes for ground, found by its brightness on one date and by the ground on another.

The networks know cloud by its texture and its rims, and call a bright deck without either clear. What is as bright as
cloud, and far brighter than the ground of another date in every visible and every short-wave infrared band, is cloud
whatever a network says: snow is dark in the short-wave infrared, sand and roofs are bright on both dates. What is far
darker than that ground in every infrared band, next to such cloud, is its shadow. (docs/masks.md has the figures.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.bands import INFRARED_BANDS, SHORT_WAVE_BANDS, VISIBLE_BANDS
from algorithms.masks import CLEAR, CLOUD, SHADOW, dilate

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

BRIGHT_REFLECTANCE: Final = (0.2, 0.1)
"""Least reflectance of cloud in every visible and every short-wave infrared band. Clear cells of the rasters at hand
reach it in 1 of 10,000 cases."""
RISE_REFLECTANCE: Final = (0.1, 0.05)
"""Least rise above the other date's ground in these bands."""
GREATEST_REFLECTANCE: Final = 2.0
"""Values beyond are no reflectance: nothing is concluded from them."""
SHADED: Final = 0.6
"""Share of the ground's reflectance that shadow leaves at most, in every infrared band."""
SHADOW_FALL: Final = 0.04
"""Least fall of reflectance into shadow, in every infrared band: dark ground stays as it is."""
SHADOW_CELLS: Final = 8
"""Cells from cloud within which its shadow is looked for."""
DECK_RADIUS: Final = SHADOW_CELLS
"""Cells around a cell that its class can depend on."""


def _positions(bands: Sequence[str | None], names: Sequence[str]) -> list[int]:
    return [k for k, band in enumerate(bands) if band in names]


def bright_as_cloud(reflectance: Image, bands: Sequence[str | None]) -> Mask:
    """Cells that are as bright as cloud, by one date alone; none where there is no short-wave infrared band.

    Args:
        reflectance: (B, H, W), 0..1.
        bands: common names of the B bands.
    """
    visible, short = _positions(bands, VISIBLE_BANDS), _positions(bands, SHORT_WAVE_BANDS)
    if not visible or not short:
        return np.zeros(reflectance.shape[1:], bool)
    seen, infrared = reflectance[visible], reflectance[short]
    bright = (seen.min(axis=0) >= BRIGHT_REFLECTANCE[0]) & (infrared.min(axis=0) >= BRIGHT_REFLECTANCE[1])
    return np.asarray(bright & (np.maximum(seen.max(axis=0), infrared.max(axis=0)) <= GREATEST_REFLECTANCE))


def with_decks(classes: Classes, target: Image, ground: Image, usable: Mask, *, bands: Sequence[str | None]) -> Classes:
    """Classes with the decks and their shadows among the clear cells.

    Each cell by itself: on cells of 60 m this finds small clouds, too, that the networks miss.

    Args:
        classes: (H, W): 0 clear, 1 cloud, 2 shadow, 255 nodata.
        target: (B, H, W) reflectance, 0..1.
        ground: (B, H, W) reflectance of the ground by another date, adjusted to the target or as it is.
        usable: (H, W), where the two can be compared.
        bands: common names of the B bands.

    Returns:
        (H, W), `classes` but for clear cells that are `usable`. A cell's class depends on cells within `DECK_RADIUS`.
    """
    bright = bright_as_cloud(target, bands) & usable
    if not bright.any():
        return classes
    visible, short = _positions(bands, VISIBLE_BANDS), _positions(bands, SHORT_WAVE_BANDS)
    with np.errstate(invalid="ignore", over="ignore"):  # where nothing is comparable, anything may stand
        rise = target - ground
        risen = (rise[visible].min(axis=0) >= RISE_REFLECTANCE[0]) & (rise[short].min(axis=0) >= RISE_REFLECTANCE[1])
        found = bright & risen
        infrared = _positions(bands, INFRARED_BANDS)
        fallen = (rise[infrared].max(axis=0) <= -SHADOW_FALL) & (
            target[infrared] <= np.float32(SHADED) * ground[infrared]
        ).all(axis=0)
    shade = fallen & usable & ~found & dilate(found, SHADOW_CELLS)
    clear = classes == CLEAR
    result = classes.copy()
    result[clear & found] = CLOUD
    result[clear & shade] = SHADOW
    return result
