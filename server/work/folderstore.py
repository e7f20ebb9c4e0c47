"""A folder as the store of shared values, for the processes of one host or a shared disk."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from algorithms.errors import ParameterError
from server.work.store import MOST_STORED_BYTES, Claim, store_failures

DEFAULT_FOLDER_BYTES: Final = 4 << 30
"""Bound on the files of a folder whose address names none."""
EMPTIED_SHARE: Final = 0.8
"""Share of the bound that is left when the oldest files have gone."""
TOUCH_SECONDS: Final = 600.0
"""Age from which a file that is read counts as new again."""
ABANDONED_SECONDS: Final = 600.0
"""Age of an unfinished file whose writer must be gone."""
_UNFINISHED: Final = (".part", ".claim")


class FolderStore:
    """One file per value, each complete before it gets its name; the ones not read for longest go first."""

    def __init__(self, folder: Path, *, most_bytes: int = DEFAULT_FOLDER_BYTES) -> None:
        """Use a folder; it is made where it is missing.

        Args:
            folder: where the files are; what else lies there is left alone.
            most_bytes: bound on their sizes, together.

        Raises:
            ParameterError: it cannot be made or written to.
        """
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._held: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = folder / f".probe-{secrets.token_hex(8)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ParameterError(
                f"CLEARSKY_CACHE_URL names the folder {folder}, which cannot be written to: {error.strerror}"
            ) from error

    def _path(self, name: str) -> Path:
        """The file of a name, in one of a few hundred folders."""
        safe = name.replace(":", "-")
        return self._folder / safe[-2:] / safe

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store`."""
        with store_failures(OSError):
            return [self._read(self._path(name)) for name in names]

    @staticmethod
    def _read(path: Path) -> bytes | None:
        """The bytes of a file; none of what no store has written, which is garbage to whoever decodes it."""
        try:
            with open(path, "rb", opener=_own_only) as file:
                state = os.fstat(file.fileno())
                if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_STORED_BYTES:
                    return b""
                if time.time() - state.st_mtime > TOUCH_SECONDS:
                    with contextlib.suppress(OSError):
                        os.utime(path)
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                return b""
            raise

    def put(self, name: str, value: bytes) -> None:
        """See `Store`."""
        path = self._path(name)
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        with store_failures(OSError):
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part.write_bytes(value)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        self._bound(len(value))

    def drop(self, name: str) -> None:
        """See `Store`."""
        with store_failures(OSError):
            self._path(name).unlink(missing_ok=True)

    def claim(self, name: str, token: str, seconds: float) -> Claim:
        """See `Store`."""
        value = self._path(name)
        path = value.with_suffix(".claim")
        with store_failures(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time():  # a claim's time is when it ends
                    path.unlink()
            part = path.with_name(f".{secrets.token_hex(8)}.part")
            try:
                part.write_text(token)
                os.utime(part, (time.time(), time.time() + seconds))
                path.hardlink_to(part)
            except FileExistsError:
                return "there" if value.exists() else "taken"
            finally:
                part.unlink(missing_ok=True)
            if value.exists():  # looked up after the claim: its last holder may just have finished
                path.unlink(missing_ok=True)
                return "there"
            return "mine"

    def renew(self, name: str, token: str, seconds: float) -> None:
        """See `Store`."""
        path = self._path(name).with_suffix(".claim")
        with store_failures(OSError), contextlib.suppress(FileNotFoundError):
            if path.read_text() == token:
                os.utime(path, (time.time(), time.time() + seconds))

    def release(self, name: str, token: str) -> None:
        """See `Store`."""
        path = self._path(name).with_suffix(".claim")
        with store_failures(OSError), contextlib.suppress(FileNotFoundError):
            if path.read_text() == token:
                path.unlink()

    def nbytes(self) -> int:
        """See `Store`."""
        if self._held is None:
            self._bound(0)
        return self._held or 0

    def describe(self) -> str:
        """See `Store`."""
        return self._folder.as_uri() if self._folder.is_absolute() else str(self._folder)

    def _bound(self, written: int) -> None:
        """Remove the oldest files where there are too many; other processes may do the same."""
        with self._lock:
            if self._held is not None:
                self._held += written
            if self._held is not None and self._held <= self._most:
                return
            # What this process has counted leaves out what others have written: look.
            files = sorted(self._files())
            self._held = sum(size for _, size, _ in files)
            full = self._held > self._most
            for modified, size, path in files:
                unfinished = path.suffix in _UNFINISHED
                old = time.time() - modified > ABANDONED_SECONDS
                if (unfinished and old) or (not unfinished and full and self._held > EMPTIED_SHARE * self._most):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        self._held -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Files of a store's making: whatever else lies in the folder is left alone."""
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):
                state = path.lstat()
                if _is_own(path) and stat.S_ISREG(state.st_mode) and not path.parent.is_symlink():
                    yield state.st_mtime, state.st_size, path


def _own_only(path: str, flags: int) -> int:
    """Open a file, but no link, and no pipe that nobody writes to."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _is_own(path: Path) -> bool:
    """Whether a file is called as `FolderStore` calls its own."""
    if path.suffix == ".part":
        return path.name.startswith(".")
    return path.suffix in ("", ".claim") and path.stem[-2:] == path.parent.name
