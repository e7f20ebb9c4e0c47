"""One file that a command writes: in a place where it may be, of a kind its name says, and complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from algorithms.errors import ParameterError
from server.analysis.request import Request
from server.errors import UnwritableError
from server.scenes.bandlist import files_of

LONGEST_NAME: Final = 240
"""Bytes of an output's name: file systems take 255, and names of what becomes it are longer."""


def input_files(request: Request) -> tuple[str, ...]:
    """Every file and address that a request names."""
    return tuple(file for url in request.sources for file in files_of(url))


def check_output(out: Path, inputs: tuple[str, ...], endings: tuple[str, ...], *, overwrite: bool) -> None:
    """Refuse a file that cannot or must not be written, before any work.

    Args:
        out: the file.
        inputs: names of the rasters to read.
        endings: suffixes that its name may have.
        overwrite: whether it may exist.

    Raises:
        ParameterError: it has another suffix or too long a name, is a folder or an input, exists, or its folder is
            missing or closed.
    """
    path = out.resolve()
    example = f"{out.stem or 'out'}{endings[0]}"
    if path.is_dir():
        raise ParameterError(f"{str(out)!r} is a folder; give the name of a file, e.g. {str(out / example)!r}")
    if out.suffix.lower() not in endings:
        raise ParameterError(f"{str(out)!r} does not end in {' or '.join(endings)}; use for example {example}")
    check_length(out)
    local = (Path(name) for name in inputs if "://" not in name)
    if any(path == name or (path.exists() and name.exists() and path.samefile(name)) for name in local):
        raise ParameterError(f"{str(out)!r} is one of the rasters to read; give another name for the output")
    if path.exists() and not overwrite:
        raise exists_already(out)
    if path.exists() and not path.is_file():
        raise ParameterError(f"{str(out)!r} is not a regular file; give another name")
    check_parent(out, path)


def check_length(path: Path) -> None:
    """Refuse a name that no file can have.

    Raises:
        ParameterError: it is too long.
    """
    if len(path.name.encode()) > LONGEST_NAME:
        raise ParameterError(f"{path.name[:40] + '...'!r} is longer than {LONGEST_NAME} bytes; give a shorter name")


def exists_already(path: Path) -> ParameterError:
    """The error for an output that already exists."""
    return ParameterError(f"{str(path)!r} already exists; give another name, or `overwrite=True`")


def check_parent(given: Path, path: Path) -> None:
    """Refuse an output in a folder that is not there, or not open to its user.

    Raises:
        ParameterError: names the output as it is given.
    """
    if not path.parent.is_dir():
        raise ParameterError(f"{str(given)!r}: the folder {str(path.parent)!r} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise ParameterError(f"{str(given)!r}: the folder {str(path.parent)!r} cannot be written to")


@contextmanager
def written(out: Path) -> Iterator[Path]:
    """Give a file to write in place of `out`, which appears complete when the block ends, and not at all if it fails.

    Raises:
        UnwritableError: it cannot be written.
    """
    path = out.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise UnwritableError(f"{str(out)!r} cannot be written: {error.strerror or error}; check its folder") from error
    finally:
        part.unlink(missing_ok=True)


def write_bytes(out: Path, made: Callable[[], bytes]) -> None:
    """Write a file whose content is made at once. Raises as `written` does."""
    content = made()
    with written(out) as part:
        part.write_bytes(content)
