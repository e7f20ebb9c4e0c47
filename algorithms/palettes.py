"""Palettes: the colours of masks, probabilities, sources and confidence, one for pictures and legends alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED

Colour = tuple[int, int, int]

REPLACEMENT_COLOURS: Final[tuple[Colour, ...]] = (
    (0, 166, 251), (249, 200, 14), (67, 170, 139), (176, 124, 247), (248, 150, 30)
)  # fmt: skip
"""Of the fill source, one replacement after the other; further ones begin again."""
UNFILLED_COLOUR: Final[Colour] = (229, 56, 59)
"""Of cloud that no replacement fills."""


@dataclass(frozen=True, slots=True)
class PaletteClass:
    """Values of one colour; those of no class are transparent."""

    low: int
    """The first value."""
    high: int
    """The last value."""
    colour: Colour
    """Red, green and blue."""
    label: str
    """What a legend says."""


def _of_sources() -> tuple[PaletteClass, ...]:
    numbered = zip(range(1, UNFILLED), cycle(REPLACEMENT_COLOURS), strict=False)
    replacements = (PaletteClass(k, k, colour, f"Replacement {k}") for k, colour in numbered)
    return (*replacements, PaletteClass(UNFILLED, UNFILLED, UNFILLED_COLOUR, "Not filled"))


PALETTES: Final[Mapping[str, tuple[PaletteClass, ...]]] = MappingProxyType(
    {
        "cloud_mask": (PaletteClass(1, 1, (255, 61, 139), "Cloud"), PaletteClass(2, 2, (53, 167, 255), "Cloud shadow")),
        "cloud_probability": (
            PaletteClass(10, 29, (252, 197, 192), "10-29 %"),
            PaletteClass(30, 49, (247, 104, 161), "30-49 %"),
            PaletteClass(50, 69, (197, 27, 138), "50-69 %"),
            PaletteClass(70, 100, (122, 1, 119), "70 % and more"),
        ),
        "fill_source": _of_sources(),
        "fill_confidence": (
            PaletteClass(0, 0, UNFILLED_COLOUR, "Not filled"),
            PaletteClass(1, 24, (253, 231, 37), "under 25 %"),
            PaletteClass(25, 49, (94, 201, 98), "25-49 %"),
            PaletteClass(50, 74, (33, 145, 140), "50-74 %"),
            PaletteClass(75, 99, (59, 82, 139), "75-99 %"),
        ),
    }
)
"""By algorithm."""


def colour_table(name: str) -> npt.NDArray[np.uint8]:
    """Red, green, blue and opacity of every value 0-255 of an algorithm's result, (256, 4) uint8."""
    table = np.zeros((256, 4), np.uint8)
    for part in PALETTES[name]:
        table[part.low : part.high + 1] = (*part.colour, 255)
    return table
