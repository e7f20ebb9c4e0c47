"""A file system of GDAL whose files are read by Python: remote rasters without GDAL's own network code.

GDAL's `/vsicurl/` follows redirects wherever they lead, keeps failures in a cache of its own and does not notice a
file that changes half-way. Its plug-in interface (`VSIInstallPluginHandler`, part of the C API since GDAL 3.0) lets
the process read the bytes itself. rasterio's `opener=` rests on the same interface, but registers a plug-in per open
file, which is not safe in threads; here one plug-in serves all files for the life of the process.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Final, Protocol

import rasterio._base

logger = logging.getLogger("clearsky")

PREFIX: Final = "/vsiclearsky/"
"""Where GDAL sees the files."""


class RandomAccess(Protocol):
    """What can be read as a file: any bytes at any place; it raises nothing, but comes back short."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end of the file, none after an error."""

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces (offset, size) at once; None after an error."""


class _Handle:
    """One of GDAL's file handles: a file and a position."""

    __slots__ = ("ended", "file", "position")

    def __init__(self, file: RandomAccess) -> None:
        self.file = file
        self.position = 0
        self.ended = False


_numbers = itertools.count(1)
_files: dict[str, RandomAccess] = {}
_handles: dict[int, _Handle] = {}


def _open(_: Any, name: bytes, access: bytes) -> int | None:
    file = _files.get(name.decode())
    if file is None or access.strip(b"b") != b"r":
        return None
    number = next(_numbers)
    _handles[number] = _Handle(file)
    return number


def _seek(number: int, offset: int, whence: int) -> int:
    handle = _handles[number]
    start = {os.SEEK_SET: 0, os.SEEK_CUR: handle.position, os.SEEK_END: handle.file.size}[whence]
    handle.position = start + offset
    handle.ended = False
    return 0


def _tell(number: int) -> int:
    return _handles[number].position


def _read(number: int, buffer: int, size: int, count: int) -> int:
    handle = _handles[number]
    if size * count == 0:
        return 0
    data = handle.file.read(handle.position, size * count)
    ctypes.memmove(buffer, data, len(data))
    handle.position += len(data)
    handle.ended = len(data) < size * count
    return len(data) // size


def _read_many(number: int, count: int, buffers: Any, offsets: Any, sizes: Any) -> int:
    pieces = _handles[number].file.read_many([(offsets[i], sizes[i]) for i in range(count)])
    if pieces is None:
        return -1
    for i, data in enumerate(pieces):
        ctypes.memmove(buffers[i], data, len(data))
    return 0


def _eof(number: int) -> int:
    return int(_handles[number].ended)


def _close(number: int) -> int:
    del _handles[number]
    return 0


_CALLBACKS: Final = {
    "open": CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_char_p)(_open),
    "tell": CFUNCTYPE(c_uint64, c_void_p)(_tell),
    "seek": CFUNCTYPE(c_int, c_void_p, c_uint64, c_int)(_seek),
    "read": CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_size_t, c_size_t)(_read),
    "read_multi_range": CFUNCTYPE(
        c_int, c_void_p, c_int, POINTER(c_void_p), POINTER(c_uint64), POINTER(c_size_t)
    )(_read_many),
    "eof": CFUNCTYPE(c_int, c_void_p)(_eof),
    "close": CFUNCTYPE(c_int, c_void_p)(_close),
}  # fmt: skip
"""Kept here for ever: GDAL holds pointers to them."""


_MEMBERS: Final = (
    "user_data", "stat", "unlink", "rename", "mkdir", "rmdir", "read_dir", "open", "tell", "seek", "read",
    "read_multi_range", "get_range_status", "eof", "write", "flush", "truncate", "close",
)  # fmt: skip
"""The first members of GDAL's `VSIFilesystemPluginCallbacksStruct`, all pointers."""


class _Plugin(ctypes.Structure):
    """The head of that structure: GDAL allocates it whole, and only ever appends to it."""

    _fields_ = tuple((name, c_void_p) for name in _MEMBERS)


def _gdal() -> ctypes.CDLL:
    """The GDAL that rasterio uses: found through rasterio's own module, or (Windows) among its libraries."""
    module = Path(rasterio._base.__file__)
    for path in (module, *(module.parents[1] / "rasterio.libs").glob("gdal*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "VSIInstallPluginHandler"):
            return library
    raise ImportError(f"GDAL's VSIInstallPluginHandler cannot be reached through {module}; install rasterio's wheel")


def _install() -> None:
    """Tell GDAL of the file system: at import, while nobody else opens files."""
    gdal = _gdal()
    gdal.VSIAllocFilesystemPluginCallbacksStruct.restype = POINTER(_Plugin)
    plugin = gdal.VSIAllocFilesystemPluginCallbacksStruct()
    for name, function in _CALLBACKS.items():
        setattr(plugin.contents, name, ctypes.cast(function, c_void_p))
    gdal.VSIInstallPluginHandler.argtypes = [c_char_p, POINTER(_Plugin)]
    gdal.VSIInstallPluginHandler(_PREFIX_KEPT, plugin)
    gdal.VSIFreeFilesystemPluginCallbacksStruct.argtypes = [POINTER(_Plugin)]
    gdal.VSIFreeFilesystemPluginCallbacksStruct(plugin)


_PREFIX_KEPT: Final = PREFIX.encode()
"""GDAL keeps the pointer."""
_install()


@contextmanager
def mounted(file: RandomAccess) -> Iterator[str]:
    """Let GDAL open a file; gives the name to open. Handles opened meanwhile outlive the mount."""
    name = str(next(_numbers))
    _files[name] = file
    try:
        yield PREFIX + name
    finally:
        del _files[name]
