"""Masks of archives given as a plain raster: their numbers are bits or classes, and most of them mean clear."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from server.scenes.masks import PRESETS, mask_kind

LARGEST_CLASS: Final = 255
"""What classes are numbered up to."""
MOST_PATTERNS: Final = 64
"""Patterns of bits that a picture has; a mask that numbers its clouds has more."""
_REMEDIES: Final = {
    "scl": "`mask_remap=3 1;8 1;9 1;10 1`",
    "qa_pixel": "`mask_bits=1,2,3,4`",
    "fmask": "`mask_bits=1,2,3`",
    "udm2": "`mask_remap=0 1`",
    "pixel_qa": "`mask_bits=3,5`",
    "bqa": "`mask_bits=4,8`",
}
"""What reads clouds and their shadows from the first band; `pixel_qa` and `bqa` are those of Landsat Collection 1."""
_FMASK_CLASSES: Final = "`mask_remap=2 1;4 1`"
"""For the classes 0 to 4 that the program Fmask writes; the product of that name has bits."""
_OLDER: Final = re.compile(r"(?:^|[_.-])(pixel_qa|bqa)$", re.IGNORECASE)


def packed_hint(url: str, description: str | None, values: npt.NDArray[np.floating]) -> str | None:
    """What a mask seems to be that is read as if every number but 0 meant cloud, and how to read it.

    Args:
        url: its name.
        description: of its first band.
        values: the distinct numbers found in it.

    Returns:
        None where nothing speaks against it: 0 and one other number, or numbers next to 0 that could be those of
        classes or of clouds, in a raster that is named like no archive's mask.
    """
    if not values.size or (values.size <= 2 and 0 in values):
        return None
    kind = _kind(url, description)
    if kind is not None:
        classes = kind == "fmask" and values[values < 255].max(initial=0) <= 4
        remedy = _FMASK_CLASSES if classes else _REMEDIES[kind]
        own = f", or `mask={kind}` for a scene that comes with it" if kind in PRESETS else ""
        return f"it seems to be {kind.upper()}, most of whose values mean clear: give {remedy}{own}"
    if values.size > 1 and (0 not in values or _several_bits(values)):
        what = "none of its values is 0" if 0 not in values else "its values look like several bits each"
        return (
            f"{what}: name the bits that mean cloud (`mask_bits=1,2,3,4` for QA_PIXEL, `mask_bits=1,2,3` for Fmask), "
            "or the classes with `mask_remap`"
        )
    return None


def _several_bits(values: npt.NDArray[np.floating]) -> bool:
    """Whether numbers are too large for classes, too few for numbered clouds, and not single bits."""
    large = values[(values > LARGEST_CLASS) & (values < 1 << 16)].astype(np.int64)
    return bool(large.size and values.size < MOST_PATTERNS and (large & (large - 1)).any())


def _kind(url: str, description: str | None) -> str | None:
    """The kind of an archive's mask, by the name of its file or band."""
    name = PurePosixPath(urlsplit(url).path or url).name
    for text in filter(None, (description, name)):
        stem = re.sub(r"\.(?:tiff?|jp2)$", "", text, flags=re.IGNORECASE)
        if found := mask_kind(stem):
            return found
        if older := _OLDER.search(stem):
            return older[1].lower()
    return None
