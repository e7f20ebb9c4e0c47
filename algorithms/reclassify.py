"""ArcGIS remap strings, and the buffer around a mask."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.errors import RemapError, ShapeError, whole_number

NODATA: Final = 255
"""Class of cells without data."""

MODEL_REMAP: Final = "1 1;2 1"
"""Default for the cloud models' classes: cloud and shadow are both filled."""

MAX_BUFFER: Final = 15
"""Largest number of buffer steps, as in Esri's function."""


# Python's float() also takes underscores and other alphabets' digits.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Remap:
    """One entry of a remap string: values from `low` to `high` (both included) become `value`."""

    low: float
    high: float
    value: int


def _number(text: str, position: int, remap: str) -> float:
    if text.upper() == "NODATA":
        return NODATA
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise RemapError(f"remap {remap!r}: {text!r} at position {position} is not a number or NODATA")
    return number


def parse_remap(remap: str) -> tuple[Remap, ...]:
    """Read an ArcGIS remap string.

    Entries are separated by `;`; each is `old new` or `from to new`, and `NODATA` stands for class 255.

    Args:
        remap: for example `1 1;2 1;3 1` or `1 3 1;NODATA 0`.

    Raises:
        RemapError: with the position (0-based character) of what cannot be read.
    """
    entries: list[Remap] = []
    for part in re.finditer(r"[^;]+", remap):
        words = [(word.group(), part.start() + word.start()) for word in re.finditer(r"\S+", part.group())]
        if not words:
            continue
        if len(words) not in (2, 3):
            raise RemapError(
                f"remap {remap!r}: entry {part.group().strip()!r} at position {words[0][1]} has {len(words)} numbers; "
                "write `old new` or `from to new`"
            )
        numbers = [_number(text, position, remap) for text, position in words]
        if numbers[-1] != int(numbers[-1]) or not 0 <= numbers[-1] <= NODATA:
            raise RemapError(
                f"remap {remap!r}: new value {words[-1][0]!r} at position {words[-1][1]} is not a whole number 0-255"
            )
        low, high = numbers[0], numbers[-2]
        if low > high:
            raise RemapError(
                f"remap {remap!r}: the range {words[0][0]} {words[1][0]} at position {words[0][1]} is empty"
            )
        entries.append(Remap(low, high, int(numbers[-1])))
    if not entries:
        raise RemapError(f"remap {remap!r}: no entry found at position 0; write for example `1 1;2 1;3 1`")
    return tuple(entries)


def reclassify(classes: npt.ArrayLike, remap: str) -> npt.NDArray[np.uint8]:
    """Turn classes into mask values, as the ArcGIS tool *Reclassify* does.

    Args:
        classes: (H, W) numbers; 255 (or NaN, or masked) is nodata.
        remap: an ArcGIS remap string. Values it does not list become 0 (clear); nodata stays 255 unless
            `NODATA` is listed. Where entries overlap the first one counts.

    Returns:
        (H, W) uint8.

    Raises:
        RemapError: the string cannot be read. ShapeError: `classes` is not two-dimensional.
    """
    values: npt.NDArray[Any] = np.ma.getdata(np.ma.asanyarray(classes))
    nodata = np.asarray(np.ma.getmaskarray(np.ma.asanyarray(classes)))
    if values.ndim != 2:
        raise ShapeError(f"classes must be (rows, cols), not {values.shape}")
    if np.issubdtype(values.dtype, np.floating):
        nodata = nodata | np.isnan(values)
    nodata = nodata | (values == NODATA)
    result = np.where(nodata, NODATA, 0).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)  # wide enough for any number a remap string can hold
    for entry in reversed(parse_remap(remap)):
        if entry.low <= NODATA <= entry.high and entry.low == entry.high:
            result[nodata] = entry.value
        else:
            result[(values >= entry.low) & (values <= entry.high) & ~nodata] = entry.value
    return result


def check_buffer(steps: int) -> int:
    """`steps` itself if it is a whole number 0-15.

    Raises:
        ParameterError: otherwise.
    """
    message = f"buffer {steps} is out of range: give 0 to {MAX_BUFFER} steps of 2 pixels"
    return whole_number(steps, least=0, most=MAX_BUFFER, message=message)


def buffer_cells(steps: int, factor: int) -> int:
    """Radius in analysis cells of `steps` buffer steps (2 native pixels each), rounded up."""
    return math.ceil(2 * steps / factor)


def dilate(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Grow a (H, W) mask by a square of side `2 * radius + 1`; the outside counts as clear."""
    if radius == 0 or not mask.any():
        return mask.copy()
    return _spread(_spread(mask, radius).T, radius).T


def _spread(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Grow a mask along its rows' axis; a window twice as long is two windows side by side."""
    size = 2 * radius + 1
    grown = np.pad(mask, [(radius, radius), (0, 0)])
    length = 1
    while length < size:
        step = min(length, size - length)
        grown = grown[:-step] | grown[step:]
        length += step
    return grown


def buffer_mask(mask: npt.ArrayLike, steps: int) -> npt.NDArray[np.bool_]:
    """Grow a mask by `steps` dilations with a 5x5 square (2 pixels each), as Esri's SLRA function does.

    Args:
        mask: (H, W), non-zero is cloud; 255 (nodata) is not.
        steps: 0 to 15.

    Returns:
        (H, W) bool.

    Raises:
        ParameterError: steps out of range. ShapeError: mask is not two-dimensional.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ShapeError(f"mask must be (rows, cols), not {array.shape}")
    if array.dtype != np.bool_:
        array = (array != 0) & (array != NODATA)
    return dilate(array, 2 * check_buffer(steps))
