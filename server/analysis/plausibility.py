"""Warnings of reflectances that cannot be right, from a small picture of each raster, looked at once."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Final

from algorithms.bands import ROLES
from algorithms.errors import ClearSkyError
from server.raster.composite import only
from server.raster.dataset import Dataset
from server.raster.sources import Sources
from server.raster.thumbnail import thumbnail
from server.scenes.plausible import reflectance_warning

logger = logging.getLogger("clearsky")

REMEMBERED_RASTERS: Final = 256
"""Rasters whose reflectances are looked at once."""


class ReflectanceChecks:
    """What is odd about the reflectances of rasters, each looked at once in a state."""

    def __init__(self, sources: Sources) -> None:
        self._look = lru_cache(maxsize=REMEMBERED_RASTERS)(partial(_warning, sources))

    def warning(self, dataset: Dataset) -> str | None:
        """What is odd about a raster's reflectances; None if nothing is, or if it cannot be looked at now."""
        try:
            return self._look(dataset)
        except (ClearSkyError, OSError):  # who reads the raster hears of it
            return None


def _warning(sources: Sources, dataset: Dataset) -> str | None:
    chosen = [index for index, name in zip(dataset.indexes, dataset.names, strict=True) if name in ROLES]
    if not chosen:
        return None
    looked_at = only(dataset, chosen)
    values = thumbnail(sources, looked_at)
    found = reflectance_warning(values, looked_at.names, scales=looked_at.scales, offsets=looked_at.offsets)
    if found is None:
        return None
    text = f"reflectance of {dataset.url!r} ({dataset.reflectance_source}): {found}"
    logger.warning(text)
    return text
