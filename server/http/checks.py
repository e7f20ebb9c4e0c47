"""What a query parameter may contain, by its name: bounds on numbers, lengths and counts.

TiTiler's routes declare types; most bounds they leave to numpy, GDAL and memory. A parameter that is not here has no
bound but the length of the whole query. Text that is not even of its type is left to TiTiler, which refuses it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from algorithms.errors import ParameterError
from algorithms.reclassify import LONGEST_REMAP
from server.analysis.request import MOST_REPLACEMENTS
from server.http.crs import canonical_crs
from server.http.expressions import check_expression, with_lost_plus
from server.http.jsontext import parse_json

MOST_SOURCES: Final = MOST_REPLACEMENTS
"""Values of `url`, `replacement` and `replacement_mask`."""
MOST_ASKED_BANDS: Final = 512
"""Values of `bidx` and `rescale`: hyperspectral rasters have up to 430 bands."""
MOST_ZOOM: Final = 30
"""Zoom level up to which tile matrix sets are listed: 1 mm a pixel."""
MOST_SIDE: Final = 1_000_000
"""`width`, `height`, `max_size`: the budget decides what really fits."""
MOST_MARGIN: Final = 4096
"""`buffer` and `padding`, pixels."""
MOST_BINS: Final = 10_000
"""Bins of a histogram."""
MOST_PERCENTILES: Final = 100
MOST_CATEGORIES: Final = 1000
MOST_COLOURS: Final = 1024
"""Entries of a colour map; each is held against every pixel."""
LONGEST_COLOURS: Final = 32_768
LONGEST_PARAMETERS: Final = 4096
LONGEST_FORMULA: Final = 500
LONGEST_NUMBER: Final = 64
"""Characters of a number."""
LARGEST_SCALE: Final = 1e6
"""Size of `reflectance_scale` and `reflectance_offset`: reflectance is about 0 to 1."""

Values = list[str]
Check = Callable[[str, Values], Values]
"""Takes a parameter's name and values, and gives the values to go on with."""


def _count(name: str, values: Values, most: int) -> None:
    if len(values) > most:
        raise ParameterError(f"{name} has {len(values)} values; give up to {most}")


def _length(name: str, value: str, most: int) -> None:
    if len(value) > most:
        raise ParameterError(f"{name} has {len(value)} characters; up to {most} are accepted")


def _float(text: str) -> float | None:
    """The number that a text states; None for other text, which the parameter's type refuses."""
    try:
        return float(text) if len(text) <= LONGEST_NUMBER else math.inf
    except ValueError:
        return None


def _within(name: str, text: str, least: float, most: float) -> None:
    value = _float(text)
    if value is not None and not least <= value <= most:  # NaN is not either
        raise ParameterError(f"{name}={text[:LONGEST_NUMBER]} is not a number from {least:g} to {most:g}")


def _number(least: float, most: float, count: int = MOST_ASKED_BANDS) -> Check:
    def check(name: str, values: Values) -> Values:
        _count(name, values, count)
        for value in values:
            _within(name, value, least, most)
        return values

    return check


def _text(most: int, count: int = 1) -> Check:
    def check(name: str, values: Values) -> Values:
        _count(name, values, count)
        for value in values:
            _length(name, value, most)
        return values

    return check


def _many(count: int) -> Check:
    def check(name: str, values: Values) -> Values:
        _count(name, values, count)
        return values

    return check


def _crs(name: str, values: Values) -> Values:
    _count(name, values, 1)
    return [canonical_crs(value) for value in values if value]


def _expression(name: str, values: Values) -> Values:
    _count(name, values, 1)
    passed = [*map(with_lost_plus, values)]
    for value in passed:
        if value:
            check_expression(value)
    return passed


def _json(name: str, values: Values) -> Values:
    _text(LONGEST_PARAMETERS)(name, values)
    for value in values:
        if value:
            parse_json(value, name)
    return values


def _rescale(name: str, values: Values) -> Values:
    _count(name, values, MOST_ASKED_BANDS)
    for value in values:
        ends = [_float(part.strip(" []")) for part in value.split(",")]
        if any(end is not None and not math.isfinite(end) for end in ends) or (len(ends) == 2 and ends[0] == ends[1]):
            raise ParameterError(
                f"rescale={value[:LONGEST_NUMBER]} is not a range; write two finite numbers, e.g. 0,3000"
            )
    return values


def _histogram_bins(name: str, values: Values) -> Values:
    _count(name, values, 1)
    for value in values:
        edges = [_float(part) for part in value.split(",")]
        if len(edges) > MOST_BINS:
            raise ParameterError(f"{name} has {len(edges)} edges; up to {MOST_BINS} bins are accepted")
        if len(edges) == 1:
            _within(name, value, 1, MOST_BINS)
        elif None not in edges and any(a >= b for a, b in pairwise(edges)):  # type: ignore[operator]
            raise ParameterError(f"{name}={value[:LONGEST_NUMBER]} does not increase; write for example 0,100,200")
    return values


def _histogram_range(name: str, values: Values) -> Values:
    _count(name, values, 1)
    for value in values:
        ends = [_float(part) for part in value.split(",")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            continue
        if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
            raise ParameterError(f"{name}={value[:LONGEST_NUMBER]} is not a range; write for example 0,3000")
    return values


def _box(name: str, values: Values) -> Values:
    _count(name, values, 1)
    for value in values:
        if any(not math.isfinite(edge) for part in value.split(",") if (edge := _float(part)) is not None):
            raise ParameterError(f"{name}={value[:LONGEST_NUMBER]} contains a number that is not finite")
    return values


def _zooms(name: str, values: Values) -> Values:
    _count(name, values, MOST_PERCENTILES)
    for value in values:
        zooms = value.rpartition("::")[2].split(",")
        for zoom in zooms:
            _within(name, zoom, 0, MOST_ZOOM)
        numbers = [_float(zoom) for zoom in zooms]
        if len(numbers) == 2 and None not in numbers and numbers[0] > numbers[1]:  # type: ignore[operator]
            raise ParameterError(f"{name}={value[:LONGEST_NUMBER]} decreases; write the lower zoom first")
    return values


_HEX: Final = re.compile(r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_INTEGER: Final = re.compile(r"-?[0-9]{1,10}")


def _is_colour(value: Any) -> bool:
    if isinstance(value, str):
        return _HEX.fullmatch(value) is not None
    channels = isinstance(value, list) and len(value) in (3, 4)
    return channels and all(type(part) is int and 0 <= part <= 255 for part in value)


def _is_interval(value: Any) -> bool:
    ends = isinstance(value, list) and len(value) == 2
    return ends and all(type(end) in (int, float) and math.isfinite(end) for end in value)


def _colormap(name: str, values: Values) -> Values:
    _count(name, values, 1)
    for value in values:
        if not value:
            continue
        _length(name, value, LONGEST_COLOURS)
        colours = parse_json(value, name)
        if isinstance(colours, dict):
            good = all(_INTEGER.fullmatch(key) and _is_colour(colour) for key, colour in colours.items())
        elif isinstance(colours, list):
            pairs = all(isinstance(entry, list) and len(entry) == 2 for entry in colours)
            good = pairs and all(_is_interval(interval) and _is_colour(colour) for interval, colour in colours)
        else:
            good = False
        if not good or not 0 < len(colours) <= MOST_COLOURS:
            raise ParameterError(
                f"colormap {value[:80]!r} is not a colour map of 1 to {MOST_COLOURS} entries; write for example "
                '{"1": [255, 0, 0, 255]} or [[[0, 10], "#ff0000"]]'
            )
    return values


_side: Final = _number(0, MOST_SIDE, 1)
_margin: Final = _number(0, MOST_MARGIN, 1)
_zoom: Final = _number(0, MOST_ZOOM, 1)
_scale: Final = _number(-LARGEST_SCALE, LARGEST_SCALE, 1)
_scales: Final = _number(-LARGEST_SCALE, LARGEST_SCALE, MOST_SOURCES)

CHECKS: Final[dict[str, Check]] = {
    "url": _many(MOST_SOURCES),
    "replacement": _many(MOST_SOURCES),
    "replacement_mask": _many(MOST_SOURCES),
    "bidx": _number(-(2**31), 2**31),
    "expression": _expression,
    "rescale": _rescale,
    "color_formula": _text(LONGEST_FORMULA),
    "colormap": _colormap,
    "algorithm_params": _json,
    "mask_remap": _text(LONGEST_REMAP),
    "width": _side,
    "height": _side,
    "max_size": _side,
    "tilesize": _side,
    "buffer": _margin,
    "padding": _margin,
    "minzoom": _zoom,
    "maxzoom": _zoom,
    "zooms": _zooms,
    "p": _number(0, 100, MOST_PERCENTILES),
    "c": _number(-math.inf, math.inf, MOST_CATEGORIES),
    "histogram_bins": _histogram_bins,
    "histogram_range": _histogram_range,
    "bbox": _box,
    "nodata": _text(LONGEST_NUMBER),
    "reflectance_scale": _scale,
    "reflectance_offset": _scale,
    "replacement_reflectance_scale": _scales,
    "replacement_reflectance_offset": _scales,
}


def check_values(name: str, values: Values) -> Values:
    """A parameter's values as they may be passed on.

    Raises:
        ParameterError: the value, its bound and what to write instead.
    """
    if name.lower().replace("-", "_").endswith("crs"):
        return _crs(name, values)
    check = CHECKS.get(name)
    return values if check is None else check(name, values)
