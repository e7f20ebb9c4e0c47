"""Tile matrix sets, each made once: morecantile copies one for every request."""

from __future__ import annotations

from typing import Final

from morecantile import tms as all_tms
from morecantile.defaults import TileMatrixSets
from morecantile.models import TileMatrixSet


class SharedMatrixSets(TileMatrixSets):
    """Tile matrix sets that requests share; nobody changes them.

    A copy, and the coordinate reference systems that it makes, take 2 ms, as long as all of a tile's pixels.
    """

    def get(self, identifier: str) -> TileMatrixSet:
        """The one matrix set of a name.

        Raises:
            InvalidIdentifier: there is none.
        """
        found = self.tilematrixsets.get(identifier)
        if not isinstance(found, TileMatrixSet):
            super().get(identifier)  # reads its document
            found = self.tilematrixsets[identifier]
        return found


MATRIX_SETS: Final = SharedMatrixSets(dict(all_tms.tilematrixsets))
"""Morecantile's."""
