"""ArcGIS remap strings."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from algorithms.errors import RemapError, ShapeError
from algorithms.masks import NODATA

FRACTION: Final = 0.5
"""Value of a mask of floating-point numbers (a probability, a share) from which on a pixel counts as cloud."""
LONGEST_REMAP: Final = 4096
"""Characters of a remap string: all classes of a byte, each with its own entry, have 2,000."""
MOST_ENTRIES: Final = 256
"""Entries of a remap string; each is held against every pixel."""

# Python's float() also takes underscores and other alphabets' digits.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Entry(NamedTuple):
    """One entry of a remap string: values from `low` to `high` (both included) become `value`."""

    low: float
    high: float
    value: int
    nodata: bool = False
    """Whether it stands for pixels without data rather than for numbers."""


@dataclass(frozen=True, slots=True)
class Remap:
    """An ArcGIS remap string, read.

    Entries are separated by `;`; each is `old new` or `from to new`, and `NODATA` stands for class 255: for example
    `1 1;2 1;3 1` or `1 3 1;NODATA 0`.

    Raises:
        RemapError: with the position (0-based character) of what cannot be read.
    """

    text: str
    """The string."""
    entries: tuple[Entry, ...] = field(init=False, repr=False, compare=False)
    """What it says, in its order."""

    def __post_init__(self) -> None:
        """Read the string."""
        object.__setattr__(self, "entries", _entries(self.text))


def _number(text: str, position: int, remap: str) -> float:
    if text.upper() == "NODATA":
        return NODATA
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise RemapError(f"remap {remap!r}: {text!r} at position {position} is not a number or NODATA")
    return number


def _entries(remap: str) -> tuple[Entry, ...]:
    if len(remap) > LONGEST_REMAP or remap.count(";") > MOST_ENTRIES:
        raise RemapError(
            f"remap {remap[:80]!r}... at position 0 has {len(remap)} characters and {remap.count(';') + 1} entries; up "
            f"to {LONGEST_REMAP} and {MOST_ENTRIES} are read: write ranges, `from to new`"
        )
    entries: list[Entry] = []
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
        keyword = all(word.upper() == "NODATA" for word, _ in words[:-1])
        entries.append(Entry(low, high, int(numbers[-1]), keyword))
    if not entries:
        raise RemapError(f"remap {remap!r}: no entry found at position 0; write for example `1 1;2 1;3 1`")
    return tuple(entries)


MODEL_REMAP: Final = Remap("1 1;2 1")
"""Default for the cloud models' classes: cloud and shadow are both filled."""


def reclassify(classes: npt.ArrayLike, remap: str | Remap, *, nodata: int | None = NODATA) -> npt.NDArray[np.uint8]:
    """Turn classes into mask values, as the ArcGIS tool *Reclassify* does.

    Args:
        classes: (H, W) numbers; NaN and masked ones are nodata, and `nodata`.
        remap: an ArcGIS remap string, read already or not. Values it does not list become 0 (clear); nodata stays
            255 unless `NODATA` is listed. Where entries overlap the first one counts.
        nodata: class without data; None where every number is one, as in a user's raster.

    Returns:
        (H, W) uint8.

    Raises:
        RemapError: the string cannot be read. ShapeError: `classes` is not two-dimensional.
    """
    values: npt.NDArray[Any] = np.ma.getdata(np.ma.asanyarray(classes))
    missing = np.asarray(np.ma.getmaskarray(np.ma.asanyarray(classes)))
    if values.ndim != 2:
        raise ShapeError(f"classes must be (rows, cols), not {values.shape}")
    if np.issubdtype(values.dtype, np.floating):
        missing = missing | np.isnan(values)
    if nodata is not None:
        missing = missing | (values == nodata)
    result = np.where(missing, NODATA, 0).astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)  # wide enough for any number a remap string can hold
    for entry in reversed((Remap(remap) if isinstance(remap, str) else remap).entries):
        if entry.nodata or (entry.low == entry.high == nodata):
            result[missing] = entry.value
        else:
            result[(values >= entry.low) & (values <= entry.high) & ~missing] = entry.value
    return result


def marked(values: npt.NDArray[np.floating[Any]], remap: Remap | None, *, fractions: bool) -> npt.NDArray[np.bool_]:
    """Pixels of a user's mask that count as cloud.

    Args:
        values: (H, W), NaN where there is no data. Every other number is one, 255 included.
        remap: from classes to 0/1; None: everything but 0, of fractions `FRACTION` and more.
        fractions: whether the mask is stored as floating-point numbers.

    Returns:
        (H, W) bool.
    """
    if remap is None:
        return np.asarray(values >= FRACTION if fractions else (values != 0) & ~np.isnan(values))
    mapped = reclassify(values, remap, nodata=None)
    return np.asarray((mapped != 0) & (mapped != NODATA))


def default_rule(*, fractions: bool) -> str:
    """What `marked` does without a remap, in words."""
    return f"values of {FRACTION} and more are cloud" if fractions else "everything but 0 is cloud"
