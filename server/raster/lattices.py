"""What depends on a raster's lattice alone, remembered for all rasters that share it: those of other dates, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

import cachetools

from server.raster.dataset import Dataset
from server.work.cache import size_of

LATTICE_BYTES: Final = 4 << 20
"""What the results of one function may take, with what they are found by: a tile's have some 20 kB."""
KEY_BYTES: Final = 2048
"""What a result counts on top of its own bytes: places, and CRS that may be texts of their own for every image."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _key(dataset: Dataset, *others: Hashable) -> Hashable:
    return dataset.crs, dataset.transform, dataset.shape, others


def _size(value: object) -> int:
    return size_of(value) + KEY_BYTES


def by_lattice(function: Function) -> Function:
    """Remember what a function gives for a raster's lattice and for hashable arguments; large results are not kept.

    Args:
        function: its first argument is the raster, of which it takes CRS, transform and shape alone, and what it gives
            is not changed by anybody.
    """
    known: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(LATTICE_BYTES, _size)
    remembering: Any = cachetools.cached(known, key=_key, lock=threading.Lock())
    result: Function = remembering(function)
    return result
