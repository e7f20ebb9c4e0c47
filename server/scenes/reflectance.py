"""From digital numbers to reflectance: scale and offset of a band, and who says so."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OFFSET_SINCE: Final = (4, 0)
"""Processing baseline of Sentinel-2 from which on digital numbers are raised by 1000."""
LANDSAT: Final = (2.75e-5, -0.2)
"""Surface reflectance of Landsat, Collection 2."""


@dataclass(frozen=True, slots=True)
class Reflectance:
    """What digital numbers mean; None: the file decides."""

    scale: float | None
    """Reflectance per digital number."""
    offset: float | None
    """Reflectance at digital number 0."""
    source: str
    """Who says so."""


FILE: Final = Reflectance(None, None, "the file")


def number(value: object) -> float | None:
    """A finite number of a document, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def text_number(value: object) -> float | None:
    """A finite number, or a text that is one; None for anything else."""
    try:
        return number(float(value)) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def stated(places: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Scale and offset, and where only the scale is there an offset of 0, from the first place that has a scale."""
    for place in places:
        for prefix in ("raster:", ""):
            scale = number(place.get(f"{prefix}scale"))
            if scale:
                return scale, number(place.get(f"{prefix}offset")) or 0.0
    return None, None


def baseline_of(texts: Sequence[object]) -> str | None:
    """The processing baseline of Sentinel-2, `05.11`, from the first text that has it, `05.11` or `_N0511_`."""
    for text in texts:
        if isinstance(text, str) and (found := re.search(r"(?:^|_N)(\d\d)\.?(\d\d)(?:_|$)", text, re.ASCII)):
            return f"{found[1]}.{found[2]}"
    return None


def reflectance_by_rules(
    places: Sequence[Mapping[str, Any]], *, applied: bool, sentinel2: bool, baseline: str | None, landsat: bool
) -> Reflectance:
    """Scale and offset of a band: the flag before the metadata, the metadata before the baseline.

    Args:
        places: what the document says of the band, the nearest first.
        applied: whether the archive says that it took the offset off already (`earthsearch:boa_offset_applied`).
        sentinel2: whether it is a product of Sentinel-2.
        baseline: its processing baseline, where known.
        landsat: whether it is surface reflectance of Landsat, Collection 2.
    """
    scale, offset = stated(places)
    if applied:
        return Reflectance(scale or 1e-4, 0.0, "earthsearch:boa_offset_applied")
    if scale is not None:
        return Reflectance(scale, offset, "the Item's raster:scale and raster:offset")
    if sentinel2 and baseline is not None:
        raised = tuple(map(int, baseline.split("."))) >= OFFSET_SINCE
        return Reflectance(1e-4, -0.1 if raised else 0.0, f"processing baseline {baseline} of Sentinel-2")
    if landsat:
        return Reflectance(*LANDSAT, "Landsat Collection 2")
    return FILE
