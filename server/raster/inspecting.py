"""Looking at what GDAL reads while it opens a raster: a coordinate reference system that makes PROJ open a file.

PROJ opens such files while the raster is opened, before its coordinate reference system can be checked: a named
pipe would block the thread for ever, any other name reveals whether a file exists.
"""

from __future__ import annotations

import re
from typing import Final

from server.errors import SourceUnreadableError
from server.remote.vsi import RandomAccess

_NAMES_FILES: Final = re.compile(
    rb'EXTENSION\s*[\[(]\s*"|PARAMETERFILE|"PROJ(?:[ _]CRS|-based|[ _](?!ob_tran o_proj=\w+"))|custom_proj4',
    re.IGNORECASE,
)
"""WKT that can carry a file name: PROJ strings and grids, in versions 1 and 2."""
_BEGINNINGS: Final = (b"extension", b"parameterfile", b'"proj', b"custom_proj4")
"""One of these is in all that it finds, in small letters; looking for them takes a fortieth of the time."""


class Inspected:
    """A file whose content is inspected until it is open; once refused, it has no more bytes."""

    def __init__(self, file: RandomAccess, url: str, *, opening: bool = True) -> None:
        self._file = file
        self._url = url
        self._opening = opening
        self.fault: Exception | None = None
        """Why it is refused."""

    def opened(self) -> None:
        """Stop inspecting: what follows is pixels."""
        self._opening = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.size

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end of the file, none after a failure."""
        return self._looked_at(self._file.read(offset, size))

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces (offset, size) at once; None after a failure."""
        pieces = self._file.read_many(ranges)
        if pieces is not None:
            pieces = [self._looked_at(piece) for piece in pieces]
        return None if self.fault is not None else pieces

    def _looked_at(self, data: bytes) -> bytes:
        if self._opening and (found := _named_file(data)) is not None:
            said = data[found.start() : found.start() + 120].decode("utf-8", "replace")
            self.fault = SourceUnreadableError(
                f"{self._url!r} has a coordinate reference system that can name files: {said!r}; "
                "assign a plain one (gdal_edit -a_srs)"
            )
        return b"" if self.fault is not None else data


def _named_file(data: bytes) -> re.Match[bytes] | None:
    """Where bytes can name a file."""
    small = data.lower()
    return _NAMES_FILES.search(data) if any(each in small for each in _BEGINNINGS) else None
