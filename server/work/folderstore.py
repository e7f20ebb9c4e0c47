"""A folder as the store of shared values, for the processes of one host or a shared disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from algorithms.errors import ParameterError
from server.work.store import StoreFailedError

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
            folder: where the files are; nothing else may be there.
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
        with _failures():
            return [self._read(self._path(name)) for name in names]

    @staticmethod
    def _read(path: Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > TOUCH_SECONDS:
                    with contextlib.suppress(OSError):
                        os.utime(path)
                return file.read()
        except FileNotFoundError:
            return None

    def put(self, name: str, value: bytes) -> None:
        """See `Store`."""
        path = self._path(name)
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        with _failures():
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
        with _failures():
            self._path(name).unlink(missing_ok=True)

    def claim(self, name: str, token: str, seconds: float) -> bool:
        """See `Store`."""
        path = self._path(name).with_suffix(".claim")
        with _failures():
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
                return False
            finally:
                part.unlink(missing_ok=True)
            return True

    def release(self, name: str, token: str) -> None:
        """See `Store`."""
        path = self._path(name).with_suffix(".claim")
        with _failures(), contextlib.suppress(FileNotFoundError):
            if path.read_text() == token:
                path.unlink()

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
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                yield stat.st_mtime, stat.st_size, path


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailedError(f"{type(error).__name__}: {error.strerror}") from error
