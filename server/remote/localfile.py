"""A local file as GDAL reads it: a regular file, opened once, and read no further than its size at that time."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from typing import Final

from server.errors import SourceChangedError, SourceFaultError, SourceMissingError, SourceUnreadableError

HEAD_BYTES: Final = 16 << 10
"""Bytes kept: GDAL reads the directory of a GeoTIFF in about a hundred small pieces."""
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a named pipe that takes the file's place must not stop the thread
    | getattr(os, "O_NOFOLLOW", 0)  # nor may a link: names are resolved before they are admitted
)


class LocalFile:
    """An open regular file; after the first failure there are no more bytes.

    Raises:
        SourceMissingError: it does not exist. SourceUnreadableError: it is not a regular file, or may not be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            # Looked at first, too: opening a device can have effects of its own.
            regular = stat.S_ISREG(os.lstat(path).st_mode)
            self._number = os.open(path, _FLAGS) if regular else -1
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceMissingError(f"{path!r} does not exist; check the name") from error
        except (OSError, ValueError) as error:
            raise SourceUnreadableError(
                f"{path!r} cannot be opened: {_reason(error)}; check its permissions"
            ) from error
        if not regular:
            raise _no_file(path)
        self.stat = os.fstat(self._number)
        if not stat.S_ISREG(self.stat.st_mode):
            self.close()
            raise _no_file(path)
        self.fault: Exception | None = None
        """Why bytes were missing. GDAL may go on without them: whoever reads must look here."""
        self._head = b""
        self._head = self.read(0, HEAD_BYTES)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stat.st_size

    def close(self) -> None:
        """Close the file."""
        number, self._number = self._number, -1  # a number that the system gives away again must not be read
        os.close(number)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end of the file, none after a failure."""
        if self.fault is not None:
            return b""
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        wanted = min(size, self.size - offset)
        if wanted <= 0:
            return b""
        try:
            data = _at(self._number, wanted, offset)
            while len(data) < wanted and (more := _at(self._number, wanted - len(data), offset + len(data))):
                data += more
        except OSError as error:
            self.fault = SourceFaultError(f"{self._path!r} cannot be read: {_reason(error)}; check its disk")
            return b""
        if len(data) < wanted:
            self.fault = SourceChangedError(f"{self._path!r} became shorter while it was read; try again")
            return b""
        return data

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces (offset, size) at once; None after a failure."""
        pieces = [self.read(offset, size) for offset, size in ranges]
        return None if self.fault is not None else pieces


_PREAD: Final[Callable[[int, int, int], bytes] | None] = getattr(os, "pread", None)
_moving: Final = threading.Lock()


def _at(number: int, size: int, offset: int) -> bytes:
    """Bytes of an open file from `offset` on."""
    if _PREAD is not None:
        return _PREAD(number, size, offset)
    with _moving:  # Windows
        os.lseek(number, offset, os.SEEK_SET)
        return os.read(number, size)


def _no_file(path: str) -> SourceUnreadableError:
    return SourceUnreadableError(f"{path!r} is not a regular file; give a raster")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
