"""A file system of GDAL whose files are read by Python: GDAL sees no path and no address of a raster.

GDAL's `/vsicurl/` follows redirects wherever they lead, keeps failures in a cache of its own and does not notice a
file that changes half-way; with a path of its own it looks at whatever lies next to a local file. Its plug-in
interface (`VSIInstallPluginHandler`, part of the C API since GDAL 3.0) lets the process read the bytes itself.
rasterio's `opener=` rests on the same interface, but registers a plug-in per open file, which is not thread-safe;
here one plug-in serves all files for the life of the process.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, Final, Protocol

from server.remote.libgdal import gdal_library

logger = logging.getLogger("clearsky")

PREFIX: Final = "/vsiclearsky/"
"""Where GDAL sees the files."""
NAME: Final = "raster"
"""What every raster is called in its folder: side-cars are this and their suffix."""
LARGEST_READ: Final = 512 << 20
"""Bytes that GDAL may ask for at once: a 10980 x 10980 uint16 band in one strip is half of it. A header can claim
any size, and each would be allocated."""
_POSITIONS: Final = (1 << 64) - 1


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
_folders: dict[str, Mapping[str, RandomAccess]] = {}
_handles: dict[int, _Handle] = {}


def _failing(value: int | None) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Let a callback answer `value` where it fails: ctypes would answer 0, which often means success."""

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        def guarded(*args: Any) -> int | None:
            try:
                return function(*args)
            except BaseException:  # GDAL calls: nothing may pass through it
                logger.exception("reading for GDAL failed in %s", function.__name__)
                return value

        return guarded

    return decorate


@_failing(None)
def _open(_: Any, name: bytes, access: bytes) -> int | None:
    folder, _slash, file = name.decode("utf-8", "replace").partition("/")
    found = _folders.get(folder, {}).get(file)
    if found is None or access.strip(b"b") != b"r":
        return None
    number = next(_numbers)
    _handles[number] = _Handle(found)
    return number


@_failing(None)
def _read_dir(_: Any, name: bytes, _limit: int) -> int | None:
    """Names in a folder as one of GDAL's lists, which GDAL frees; none for anything else."""
    files: int | None = None
    for file in _folders.get(name.decode("utf-8", "replace").strip("/"), ()):
        files = _gdal.CSLAddString(files, file.encode())
    return files


@_failing(-1)
def _stat(_: Any, name: bytes, _zeros: Any, _flags: int) -> int:
    """0 for a side-car: where GDAL opens an overview it asks whether one is there, and for no more."""
    folder, _slash, file = name.decode("utf-8", "replace").partition("/")
    return 0 if file != NAME and file in _folders.get(folder, {}) else -1


@_failing(-1)
def _seek(number: int, offset: int, whence: int) -> int:
    handle = _handles[number]
    start = {os.SEEK_SET: 0, os.SEEK_CUR: handle.position, os.SEEK_END: handle.file.size}[whence]
    handle.position = (start + offset) & _POSITIONS  # offsets are unsigned: going back wraps around
    handle.ended = False
    return 0


@_failing(0)
def _tell(number: int) -> int:
    return _handles[number].position


def _fill(buffer: int, data: bytes, size: int) -> None:
    """Put bytes into GDAL's buffer and zeros where they end: what was in that memory before is never an answer."""
    ctypes.memmove(buffer, data, len(data))
    # A buffer beyond the limit is fresh from the system, which zeroes it; touching it would make it take memory.
    if len(data) < size <= LARGEST_READ:
        ctypes.memset(buffer + len(data), 0, size - len(data))


@_failing(0)
def _read(number: int, buffer: int, size: int, count: int) -> int:
    wanted = size * count
    data = b""
    try:
        handle = _handles[number]
        if wanted <= LARGEST_READ:
            data = handle.file.read(handle.position, wanted)[:wanted]
        handle.position += len(data)
        handle.ended = len(data) < wanted
    finally:
        _fill(buffer, data, wanted)
    return len(data) // size if size else 0


@_failing(-1)
def _read_many(number: int, count: int, buffers: Any, offsets: Any, sizes: Any) -> int:
    """All pieces whole, or -1 and only zeros."""
    ranges = [(offsets[i], sizes[i]) for i in range(count)]
    whole: list[bytes] | None = None
    try:
        if sum(size for _, size in ranges) <= LARGEST_READ:
            pieces = _handles[number].file.read_many(ranges)
            if pieces is not None and [len(piece) for piece in pieces] == [size for _, size in ranges]:
                whole = pieces
    finally:
        for i, (_, size) in enumerate(ranges):
            _fill(buffers[i], whole[i] if whole else b"", size)
    return 0 if whole is not None else -1


@_failing(1)
def _eof(number: int) -> int:
    return int(_handles[number].ended)


@_failing(-1)
def _close(number: int) -> int:
    del _handles[number]
    return 0


_CALLBACKS: Final = {
    "stat": CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_int)(_stat),
    "read_dir": CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_int)(_read_dir),
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
"""Kept here permanently: GDAL holds pointers to them."""


_MEMBERS: Final = (
    "user_data", "stat", "unlink", "rename", "mkdir", "rmdir", "read_dir", "open", "tell", "seek", "read",
    "read_multi_range", "get_range_status", "eof", "write", "flush", "truncate", "close",
)  # fmt: skip
"""The first members of GDAL's `VSIFilesystemPluginCallbacksStruct`, all pointers."""


class _Plugin(ctypes.Structure):
    """The head of that structure: GDAL allocates it whole, and only ever appends to it."""

    _fields_ = tuple((name, c_void_p) for name in _MEMBERS)


_kept: Final[list[bytes]] = []
"""Prefixes of plug-ins: GDAL keeps the pointers."""


def install(prefix: str, callbacks: Mapping[str, Any]) -> None:
    """Let callbacks answer for all names that begin with a prefix, in place of what answered for them before.

    Not safe while another thread opens files.
    """
    _kept.append(prefix.encode())
    plugin = _gdal.VSIAllocFilesystemPluginCallbacksStruct()
    for name, function in callbacks.items():
        setattr(plugin.contents, name, ctypes.cast(function, c_void_p))
    _gdal.VSIInstallPluginHandler(_kept[-1], plugin)
    _gdal.VSIFreeFilesystemPluginCallbacksStruct(plugin)


_gdal = gdal_library()
_gdal.VSIAllocFilesystemPluginCallbacksStruct.restype = POINTER(_Plugin)
_gdal.VSIFreeFilesystemPluginCallbacksStruct.argtypes = [POINTER(_Plugin)]
_gdal.VSIInstallPluginHandler.argtypes = [c_char_p, POINTER(_Plugin)]
_gdal.CSLAddString.restype = c_void_p
_gdal.CSLAddString.argtypes = [c_void_p, c_char_p]
install(PREFIX, _CALLBACKS)


@contextmanager
def mounted(file: RandomAccess, sidecars: Mapping[str, RandomAccess] | None = None) -> Iterator[str]:
    """Let GDAL open a file, and find side-cars of it by suffix; gives the name to open.

    The name cannot be guessed, so that no other file can refer to it. Handles opened meanwhile outlive the mount.
    """
    folder = secrets.token_hex(16)
    _folders[folder] = {NAME: file, **{NAME + suffix: side for suffix, side in (sidecars or {}).items()}}
    try:
        yield f"{PREFIX}{folder}/{NAME}"
    finally:
        del _folders[folder]
