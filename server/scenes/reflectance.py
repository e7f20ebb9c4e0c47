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
LANDSAT_TOP: Final = (2e-5, -0.1)
"""Level 1 of Landsat 8 and 9, Collection 2: what a sun overhead would give, in every band of every scene (USGS, Landsat
8-9 Collection 2 Level 1 Data Format Control Book)."""


@dataclass(frozen=True, slots=True)
class Reflectance:
    """What digital numbers mean; None: the file decides."""

    scale: float | None
    """Reflectance per digital number."""
    offset: float | None
    """Reflectance at digital number 0."""
    source: str
    """Who says so."""
    whole_only: bool = False
    """Whether this is about an archive's whole numbers, so that a file of fractions decides for itself."""


FILE: Final = Reflectance(None, None, "the file")
LANDSAT_SURFACE: Final = Reflectance(*LANDSAT, "Landsat Collection 2", True)


def landsat_top(elevation: float | None) -> Reflectance | None:
    """Level 1 of Landsat 8 and 9 under a sun so many degrees above the horizon; None where that is not known."""
    if elevation is None or not 0 < elevation <= 90:
        return None
    scale, offset = (value / math.sin(math.radians(elevation)) for value in LANDSAT_TOP)
    return Reflectance(scale, offset, "Landsat 8-9 Collection 2 level 1, by the elevation of the sun", True)


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
    """Scale and offset, each from the first place that has it; a scale of 0 is none."""
    scales, offsets = (
        [number(place.get(f"{prefix}{what}")) for place in places for prefix in ("raster:", "")]
        for what in ("scale", "offset")
    )
    return (
        next((scale for scale in scales if scale), None),
        next((offset for offset in offsets if offset is not None), None),
    )


def baseline_of(properties: Sequence[object], names: Sequence[object]) -> str | None:
    """The processing baseline of Sentinel-2, `05.11`, from what states it first.

    Args:
        properties: what should be a baseline: `05.11`, `5.11`, `N0511`, or a number.
        names: of products and files, which may contain one: `_N0511_`.
    """
    for value in properties:
        found = number(value)
        text = str(value) if found is None else f"{found:.2f}"
        if match := re.fullmatch(r"(\d\d?)\.(\d\d?)|N?(\d\d)(\d\d)", text.strip(), re.ASCII):
            return f"{match[1] or match[3]:0>2}.{match[2] or match[4]:0<2}"
    for name in names:
        if isinstance(name, str) and (match := re.search(r"_N(\d\d)(\d\d)_", name, re.ASCII)):
            return f"{match[1]}.{match[2]}"
    return None


def reflectance_by_rules(
    places: Sequence[Mapping[str, Any]],
    *,
    applied: str | None,
    sentinel2: bool,
    baseline: str | None,
    landsat: Reflectance | None,
) -> Reflectance:
    """Scale and offset of a band: the flag before the metadata, the metadata before the baseline.

    A scale that no offset comes with has that of the baseline.

    Args:
        places: what the document says of the band, the nearest first.
        applied: the flag that says that the archive took the offset off already, `earthsearch:boa_offset_applied`.
        sentinel2: whether it is a product of Sentinel-2.
        baseline: its processing baseline, where known.
        landsat: what Landsat's collection and level mean, if it is of Landsat.
    """
    scale, offset = stated(places)
    if applied is not None:
        return Reflectance(scale or 1e-4, 0.0, applied)
    by_baseline = None
    if sentinel2 and baseline is not None:
        raised = tuple(map(int, baseline.split("."))) >= OFFSET_SINCE
        by_baseline = Reflectance(1e-4, -0.1 if raised else 0.0, f"processing baseline {baseline} of Sentinel-2", True)
    if scale is not None:
        # The baseline is about ESA's own digital numbers; another scale means others.
        if offset is None and by_baseline is not None and math.isclose(scale, 1e-4, rel_tol=1e-3):
            return Reflectance(scale, by_baseline.offset, f"the Item's raster:scale; {by_baseline.source}")
        return Reflectance(scale, offset or 0.0, "the Item's raster:scale and raster:offset")
    if by_baseline is not None:
        return by_baseline
    return landsat or FILE
