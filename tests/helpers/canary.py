"""Files and a server that nothing may touch, and who notices if something does."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.helpers.scenes import write_raster

VALUE = 201
"""Value of the canary raster's pixels."""
_ANY_USE = 0x20 | 0x01 | 0x10  # opened, read, closed without having been written


@dataclass
class Canary:
    """What must stay untouched."""

    folder: Path
    """Its files: `canary.tif`, `canary.bin`, and `pipe`, which hangs whoever opens it."""
    port: int
    """Where its server listens."""
    calls: list[bytes] = field(default_factory=list)
    """What its server was sent."""
    notices: int = -1
    """Descriptor on which the kernel tells of uses of the files."""

    @property
    def tif(self) -> str:
        return str(self.folder / "canary.tif")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/canary.tif"

    def touched(self) -> list[str]:
        """Uses since the last question, of files and server."""
        found = [f"server: {call[:60]!r}" for call in self.calls]
        self.calls.clear()
        try:
            data = os.read(self.notices, 1 << 16)
        except BlockingIOError:
            return found
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16 : 16 + length].rstrip(b"\0").decode()
            if name:
                found.append(f"{name}: {mask:x}")
            data = data[16 + length :]
        return found


@contextmanager
def canary(folder: Path) -> Iterator[Canary]:
    """Make one in a new folder."""
    folder.mkdir()
    write_raster(folder / "canary.tif", np.full((1, 256, 256), VALUE, np.uint8), nodata=None)
    (folder / "canary.bin").write_bytes(b"CANARY" * 1000)
    os.mkfifo(folder / "pipe")
    libc = ctypes.CDLL(None, use_errno=True)
    notices = libc.inotify_init1(os.O_NONBLOCK)
    assert notices >= 0
    assert libc.inotify_add_watch(notices, str(folder).encode(), _ANY_USE) >= 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Canary(folder, listener.getsockname()[1], notices=notices)

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    line.settimeout(1)
                    try:
                        made.calls.append(line.recv(200))
                    except OSError:
                        made.calls.append(b"")

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield made
        finally:
            os.close(notices)
