"""The work folder: finished pieces that outlive an interruption, and files that appear only when complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from algorithms.errors import ClearSkyError
from server.export.plan import Piece

MANIFEST: Final = "manifest.json"
"""What a folder's pieces depend on."""
UNFINISHED_SUFFIX: Final = ".part"
"""Ending of files that are being written."""


class UnwritableError(ClearSkyError):
    """A file that cannot be written."""


def partial_folder(out: Path) -> Path:
    """Where all that is unfinished about an output is, beside it."""
    return out.with_name(out.name + ".partial")


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its name, its content safely on the disk before."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Pieces of one export, in a folder named after all they depend on."""

    root: Path
    """`OUT.tif.partial`."""
    folder: Path
    """The folder of these inputs, parameters and this software below it."""

    @classmethod
    def open(cls, out: Path, manifest: dict[str, object]) -> WorkFolder:
        """The folder for a manifest: with the pieces of an earlier run of the same, without those of any other.

        Raises:
            UnwritableError: it cannot be made.
        """
        text = json.dumps(manifest, indent=1, sort_keys=True)
        root = partial_folder(out)
        work = cls(root, root / hashlib.sha256(text.encode()).hexdigest()[:16])
        try:
            work.folder.mkdir(parents=True, exist_ok=True)
            for other in root.glob(f"*/{MANIFEST}"):
                if other.parent != work.folder:
                    shutil.rmtree(other.parent)
            for stale in work.folder.glob(f"*{UNFINISHED_SUFFIX}"):
                stale.unlink()
        except OSError as error:
            raise UnwritableError(f"{str(root)!r} cannot be used as work folder: {error}; remove it") from error
        work.write(MANIFEST, text.encode())
        return work

    def path(self, piece: Piece, kind: str) -> Path:
        """Where a piece's file is, or will be."""
        return self.folder / f"{piece.name}.{kind}.tif"

    def has(self, piece: Piece) -> bool:
        """Whether a piece is finished; its image is written last."""
        return self.path(piece, "image").is_file()

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is either complete or not there.

        Raises:
            UnwritableError: no room, or no permission.
        """
        temporary = self.folder / f"{name}{UNFINISHED_SUFFIX}"
        try:
            temporary.write_bytes(content)
            publish(temporary, self.folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UnwritableError(
                f"{str(self.folder / name)!r} cannot be written: {error.strerror}; make room and run the command "
                "again: it goes on from there"
            ) from error

    def remove(self) -> None:
        """Remove everything of ours."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else's files are in it
            self.root.rmdir()
