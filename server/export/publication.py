"""Finished outputs get their names: all of them or none, and the next run completes what a kill cuts short.

An output is a file, or a folder of files that has its name as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.errors import UnwritableError
from server.export.work import WorkFolder, partial_folder

JOURNAL: Final = "publication.json"
"""In a work folder: the files that are about to get their names."""
FINISHED: Final = "finished"
"""A complete output in the partial folder next to its place."""
REPLACED: Final = "replaced"
"""The output that had the name before, kept until every one has its own."""
ITEM_FILE: Final = "item.json"
"""In a folder that is an output: its STAC Item, written last."""


def finished_path(out: Path) -> Path:
    """Where the complete content of an output waits for its name: on the same file system."""
    return partial_folder(out) / FINISHED


def _identity(path: Path) -> list[int] | None:
    """What an output keeps when it gets another name, a folder by its Item; None where there is none."""
    try:
        stat = (path / ITEM_FILE if path.is_dir() else path).stat()
    except OSError:
        return None
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Publication:
    """The outputs of one export on their way to their names."""

    files: dict[Path, list[int]]
    """Identity of every finished file, by the name it is to have."""

    @classmethod
    def begun(cls, folder: Path) -> Publication | None:
        """The one that a work folder records; None where none was begun, or a file of it is in neither place."""
        try:
            recorded: dict[str, list[int]] = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
            publication = cls({Path(name): list(identity) for name, identity in recorded.items()})
        except (OSError, ValueError, AttributeError, TypeError):
            return None
        waiting = (_identity(finished_path(out)) == identity for out, identity in publication.files.items())
        known = [out in publication.published or there for out, there in zip(publication.files, waiting, strict=True)]
        return publication if known and all(known) else None

    @property
    def published(self) -> frozenset[Path]:
        """Outputs that have their names already."""
        return frozenset(out for out, identity in self.files.items() if _identity(out) == identity)

    @property
    def complete(self) -> bool:
        """Whether every output has its name."""
        return len(self.published) == len(self.files)

    def finish(self) -> None:
        """Give the rest of the outputs their names; if one cannot get it, none does.

        Raises:
            UnwritableError: a file cannot be moved.
        """
        moved: list[Path] = list(self.published)
        try:
            for out in self.files:
                if out not in moved:
                    if out.exists():
                        _remove(partial_folder(out) / REPLACED)
                        out.replace(partial_folder(out) / REPLACED)
                    moved.append(out)
                    finished_path(out).replace(out)
        except OSError as error:
            self._take_back(moved)
            raise UnwritableError(
                f"{str(moved[-1])!r} cannot be written: {error.strerror}; check its folder"
            ) from error
        for out in self.files:
            _remove(partial_folder(out) / REPLACED)
            with contextlib.suppress(OSError):  # the work folder, removed by its owner
                partial_folder(out).rmdir()

    def _take_back(self, outs: list[Path]) -> None:
        """Undo what was moved."""
        for out in outs:
            with contextlib.suppress(OSError):
                if _identity(out) == self.files[out]:
                    partial_folder(out).mkdir(exist_ok=True)
                    out.replace(finished_path(out))
            with contextlib.suppress(OSError):
                (partial_folder(out) / REPLACED).replace(out)


def publish(work: WorkFolder, outs: list[Path]) -> None:
    """Give finished outputs their names, once their content is safely on the disk.

    Raises:
        UnwritableError: one cannot get its name; then none does.
    """
    files: dict[Path, list[int]] = {}
    for out in outs:
        _settle(finished_path(out))
        identity = _identity(finished_path(out))
        assert identity is not None  # noqa: S101  (opened by `_settle`)
        files[out] = identity
    work.write(JOURNAL, json.dumps({str(out): identity for out, identity in files.items()}).encode())
    Publication(files).finish()


def _settle(path: Path) -> None:
    """Have a file, or a folder with its files, safely on the disk."""
    for part in (*path.iterdir(), path) if path.is_dir() else (path,):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def unreported(out: Path) -> frozenset[Path]:
    """Outputs published by an export of `out` that was cut short before it could say so."""
    begun = (Publication.begun(journal.parent) for journal in partial_folder(out).glob(f"*/{JOURNAL}"))
    return frozenset(path for publication in begun if publication is not None for path in publication.published)


def withdraw(out: Path, *, keep: Path) -> bool:
    """Remove the outputs that other exports of `out` than that of the folder `keep` published in part.

    Returns:
        Whether one of them had published all of its outputs; those stay.
    """
    whole = False
    for journal in partial_folder(out).glob(f"*/{JOURNAL}"):
        publication = Publication.begun(journal.parent) if journal.parent != keep else None
        if publication is None:
            continue
        if publication.complete:
            whole = True
            continue
        for path in publication.published:
            _remove(path)
    return whole
