"""The work folder: finished pieces that outlive an interruption, and files that appear only when complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import UnwritableError
from server.export.plan import Piece

MANIFEST: Final = "manifest.json"
"""What a folder's pieces depend on."""
SUMS: Final = "sums.txt"
"""A line per file of a finished piece: name, size, CRC-32."""
UNFINISHED_SUFFIX: Final = ".part"
"""Suffix of files that are being written."""


def partial_folder(out: Path) -> Path:
    """The folder next to an output that holds everything unfinished."""
    return out.with_name(out.name + ".partial")


def work_folder(out: Path, manifest: dict[str, object]) -> Path:
    """The folder of an export with these inputs, parameters and this software."""
    return partial_folder(out) / hashlib.sha256(_text(manifest)).hexdigest()[:16]


def _text(manifest: dict[str, object]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


def _sum(content: bytes) -> tuple[int, int]:
    """Size and CRC-32, which detects what disks do to files; nobody forges their own."""
    return len(content), zlib.crc32(content)


def _recorded_sums(path: Path) -> dict[str, tuple[int, int]]:
    """What `SUMS` says; a line that a kill cut short, or anything else, counts as not written."""
    sums: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                name, size, checksum = line.split(" ")
                sums[name] = int(size), int(checksum, 16)
    return sums


def no_room(path: Path, why: str | None) -> UnwritableError:
    """The error for a file that cannot be written."""
    return UnwritableError(
        f"{str(path)!r} cannot be written: {why}; free disk space and run the command again: it resumes"
    )


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Pieces of one export, in a folder named after all they depend on."""

    root: Path
    """`OUT.tif.partial`."""
    folder: Path
    """The folder of these inputs, parameters and this software below it."""
    sums: dict[str, tuple[int, int]]
    """Size and checksum of every finished piece's files, as `SUMS` records them."""

    @classmethod
    def open(cls, out: Path, manifest: dict[str, object]) -> WorkFolder:
        """The folder for a manifest: with the pieces of an earlier run of the same, without those of any other.

        Raises:
            UnwritableError: it cannot be made.
        """
        root = partial_folder(out)
        folder = work_folder(out, manifest)
        work = cls(root, folder, _recorded_sums(folder / SUMS))
        try:
            work.folder.mkdir(parents=True, exist_ok=True)
            for other in root.glob(f"*/{MANIFEST}"):
                if other.parent != work.folder:
                    shutil.rmtree(other.parent)
            for stale in work.folder.glob(f"*{UNFINISHED_SUFFIX}"):
                stale.unlink()
        except OSError as error:
            raise UnwritableError(f"{str(root)!r} cannot be used as the work folder: {error}; remove it") from error
        work.write(MANIFEST, _text(manifest))
        return work

    def path(self, piece: Piece, kind: str) -> Path:
        """Where a piece's file of a kind, such as `image.tif`, is or will be."""
        return self.folder / f"{piece.name}.{kind}"

    def files(self, pieces: Sequence[Piece], kind: str) -> tuple[tuple[Piece, Path], ...]:
        """Pieces with their files of a kind."""
        return tuple((piece, self.path(piece, kind)) for piece in pieces)

    def has(self, piece: Piece, kinds: Sequence[str]) -> bool:
        """Whether the files of a piece are there as they were written; a disk that was full may hold less."""
        return all(self._intact(self.path(piece, kind)) for kind in kinds)

    def _intact(self, path: Path) -> bool:
        try:
            return self.sums.get(path.name) == _sum(path.read_bytes())
        except OSError:
            return False

    def write_piece(self, piece: Piece, kind: str, content: bytes) -> None:
        """Record what a file of a piece is, then write it: every file that exists has its record.

        Raises:
            UnwritableError: no disk space, or no permission.
        """
        path = self.path(piece, kind)
        size, checksum = _sum(content)
        try:
            with (self.folder / SUMS).open("a", encoding="ascii") as file:
                file.write(f"{path.name} {size} {checksum:08x}\n")  # one write: threads and kills leave whole lines
        except OSError as error:
            raise no_room(self.folder / SUMS, error.strerror) from error
        self.write(path.name, content)
        self.sums[path.name] = size, checksum

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is either complete or missing.

        Raises:
            UnwritableError: no disk space, or no permission.
        """
        temporary = self.folder / f"{name}{UNFINISHED_SUFFIX}"
        try:
            temporary.write_bytes(content)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise no_room(self.folder / name, error.strerror) from error

    def remove(self) -> None:
        """Remove everything of ours."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else's files are in it
            self.root.rmdir()
