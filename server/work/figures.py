"""Figures that an operator watches: what caches hold and how often a value was there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tier = Literal["memory", "shared"]
"""Where a cache keeps its values: in the process, or where all workers find them."""


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """One cache at one moment; the counts never fall."""

    cache: str
    """What is kept: `computed`, `rasters`, `pieces`, `answers`, or `shared` for all that workers share."""
    tier: Tier
    """Where."""
    nbytes: int
    """Bytes held now."""
    hits: int
    """Times that a value was there, or on its way."""
    misses: int
    """Times that it had to be made."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is looked up when the metrics are read, rather than counted as it happens."""

    caches: tuple[CacheFigures, ...]
    """Every cache, of every tier."""
    waiting: int
    """Inferences and fills that wait for a worker."""
    provider: str
    """Where the models run: see `Sessions.provider`."""
    shared_works: bool | None = None
    """Whether what workers share can be had; None where nothing is shared."""
