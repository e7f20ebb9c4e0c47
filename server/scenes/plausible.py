"""Whether reflectances can be right: the signs of a scale or an offset that does not fit the digital numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.bands import INFRARED_BANDS, VISIBLE_BANDS
from server.scenes.reflectance import LANDSAT

_Numbers = npt.NDArray[np.float64]

LEAST_JUDGED_PIXELS: Final = 100
"""Pixels with data below which nothing is said."""
DARKEST_SHARE: Final = 0.001
"""Share of the pixels that count as the darkest."""
SENTINEL2_OFFSET: Final = -0.1
"""Offset of Sentinel-2 since processing baseline 04.00, and of Landsat's level 1."""
MOST_HAZE: Final = 0.1
"""What the darkest pixels reflect at most above nothing: more is snow, sand or closed cloud, of which nothing is said.
In clear scenes at the top of the atmosphere up to 0.094 (visible) and 0.076 (infrared) was found."""
TOO_BRIGHT_DARKEST: Final = 0.5
"""Darkest pixels of both groups of bands that no cloud explains: it absorbs in the short-wave infrared."""
TOO_BRIGHT_MEDIAN: Final = 1.5
"""Median of all bands that no surface has, nor cloud under a low sun."""
TOO_DARK_BRIGHTEST: Final = 0.005
"""Reflectance that the brightest band of nearly all pixels exceeds, the open sea included."""
NEGATIVE_REFLECTANCE: Final = -0.03
"""What the correction of the atmosphere does not get below but in a few pixels of deep shadow."""
NEGATIVE_SHARE: Final = 0.05
"""Share of pixels below `NEGATIVE_REFLECTANCE` from which on they are many."""
SLIGHTLY_NEGATIVE_REFLECTANCE: Final = -0.005
"""Likewise in the infrared, where there is little air to correct for, and in pixels that are bright in another band,
which water and shadow are not."""
SLIGHTLY_NEGATIVE_SHARE: Final = 0.15
"""Share of pixels below `SLIGHTLY_NEGATIVE_REFLECTANCE` and bright from which on they are many."""
LAND_REFLECTANCE: Final = 0.06
"""Reflectance of a pixel that is neither water nor in deep shadow."""


def reflectance_warning(
    values: _Numbers, names: Sequence[str | None], *, scales: Sequence[float], offsets: Sequence[float]
) -> str | None:
    """What is odd about a raster's reflectances; None if nothing is.

    Only bands from blue to short-wave infrared are looked at.

    Args:
        values: digital numbers, bands x pixels of any shape; NaN where there is no data.
        names: common name of each band.
        scales: reflectance per digital number, of each band.
        offsets: reflectance at digital number 0, of each band.
    """
    known = [k for k, name in enumerate(names) if name in VISIBLE_BANDS or name in INFRARED_BANDS]
    if not known:
        return None
    flat = np.asarray(values, np.float64).reshape(len(values), -1)[known]
    scale, offset = (np.array([numbers[k] for k in known])[:, None] for numbers in (scales, offsets))
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are none
        reflectance = flat * scale + offset
    # Outside the picture digital numbers are 0 also where no value for no data is declared.
    reflectance = reflectance[:, (np.abs(reflectance) < 1e30).all(axis=0) & (flat != 0).any(axis=0)]
    if reflectance.shape[1] < LEAST_JUDGED_PIXELS:
        return None
    dark = dict(zip([names[k] for k in known], np.quantile(reflectance, DARKEST_SHARE, axis=1).tolist(), strict=True))
    return (
        _negative(reflectance, [names[k] in INFRARED_BANDS for k in known], float(offset.min()))
        or _bright(reflectance, dark)
        or _lifted(dark, float(scale[0, 0]), float(offset.min()))
        or _faint(reflectance)
    )


def _negative(reflectance: _Numbers, infrared: Sequence[bool], offset: float) -> str | None:
    strong = float((reflectance.min(axis=0) < NEGATIVE_REFLECTANCE).mean())
    least = reflectance[infrared].min(axis=0, initial=np.inf)
    slight = float(((least < SLIGHTLY_NEGATIVE_REFLECTANCE) & (reflectance.max(axis=0) > LAND_REFLECTANCE)).mean())
    if strong < NEGATIVE_SHARE and slight < SLIGHTLY_NEGATIVE_SHARE:
        return None
    share = f"{max(strong, slight):.0%} of its pixels reflect less than 0"
    if offset < 0:
        return f"{share}: the offset of {offset:g} may be applied already; if it is, give reflectance_offset=0"
    return f"{share}: check its scale, offset and nodata value"


def _bright(reflectance: _Numbers, dark: dict[str | None, float]) -> str | None:
    middle, found = float(np.median(reflectance)), _darkest(dark)
    if middle <= TOO_BRIGHT_MEDIAN and (found is None or min(found) <= TOO_BRIGHT_DARKEST):
        return None
    return (
        f"half of its values are above {middle:.4g}, where reflectance is about 0 to 1: its scale is missing or "
        "another one; give reflectance_scale and reflectance_offset"
    )


def _lifted(dark: dict[str | None, float], scale: float, offset: float) -> str | None:
    """Whether an offset is missing: everything is brighter by as much."""
    missing = LANDSAT[1] if abs(scale / LANDSAT[0] - 1) < 0.01 else SENTINEL2_OFFSET
    found = _darkest(dark)
    if offset < 0 or found is None:
        return None
    visible, infrared = (level + missing for level in found)
    if not (0 <= visible <= MOST_HAZE and missing * 0.1 <= infrared <= MOST_HAZE):
        return None
    return (
        f"its darkest pixels reflect {min(found):.2f}, about {-missing:g} too much: an offset of {missing:g} may be "
        f"missing; if it is, give reflectance_offset={missing:g}"
    )


def _faint(reflectance: _Numbers) -> str | None:
    most = float(np.quantile(reflectance.max(axis=0), 0.99))
    if most >= TOO_DARK_BRIGHTEST:
        return None
    return (
        f"nearly all of its pixels reflect less than {most:.2g}: its scale may be applied twice; "
        "give reflectance_scale and reflectance_offset"
    )


def _darkest(dark: dict[str | None, float]) -> tuple[float, float] | None:
    """Darkest pixels of the visible and of the infrared bands; None where one of the groups is missing."""
    visible, infrared = ([dark[name] for name in group if name in dark] for group in (VISIBLE_BANDS, INFRARED_BANDS))
    return (min(visible), min(infrared)) if visible and infrared else None
