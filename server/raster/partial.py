"""JPEG tiles smaller than their place in a GeoTIFF: libtiff warns, and leaves the rest of it as it was in memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from server.errors import SourceFaultError

_WARNING: Final = "Improper JPEG strip/tile size"


class Watched(Protocol):
    """A file that remembers why it could not be read."""

    fault: Exception | None


class _Here(threading.local):
    """Rasters with JPEG tiles that this thread has open, the last one last."""

    def __init__(self) -> None:
        self.open: list[tuple[str, Watched]] = []


_here: Final = _Here()


class _Listener(logging.Filter):
    """Takes the warning for the failure that it is; rasterio hands on what GDAL says in the thread that reads."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _here.open and _WARNING in record.getMessage():
            url, file = _here.open[-1]
            file.fault = file.fault or SourceFaultError(
                f"{url!r} is damaged: a JPEG tile in it has a size other than its header says; replace the file"
            )
        return True


for _name in ("rasterio._err", "rasterio._env"):
    logging.getLogger(_name).addFilter(_Listener())
    logging.getLogger(_name).setLevel(logging.WARNING)


@contextmanager
def whole_tiles(url: str, file: Watched) -> Iterator[None]:
    """Inside, a tile that is smaller than it should be is a fault of the file."""
    _here.open.append((url, file))
    try:
        yield
    finally:
        _here.open.remove((url, file))
