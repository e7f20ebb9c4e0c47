"""One file that a command writes: in a place where it may be, of a kind its name says, and complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from algorithms.errors import ParameterError
from server.errors import UnwritableError
from server.export.job import check_parent, exists_already


def check_output(out: Path, inputs: tuple[str, ...], endings: tuple[str, ...], *, overwrite: bool) -> None:
    """Refuse a file that cannot or must not be written, before any work.

    Args:
        out: the file.
        inputs: names of the rasters to read.
        endings: suffixes that its name may have.
        overwrite: whether it may exist.

    Raises:
        ParameterError: it has another suffix, is an input, exists, or its folder is missing or closed.
    """
    if out.suffix.lower() not in endings:
        raise ParameterError(
            f"{str(out)!r} does not end in {' or '.join(endings)}; use for example {out.stem or 'out'}{endings[0]}"
        )
    path = out.resolve()
    local = (Path(name) for name in inputs if "://" not in name)
    if any(path == name or (path.exists() and name.exists() and path.samefile(name)) for name in local):
        raise ParameterError(f"{str(out)!r} is one of the rasters to read; give another name for the output")
    if path.exists() and not overwrite:
        raise exists_already(out)
    if path.exists() and not path.is_file():
        raise ParameterError(f"{str(out)!r} is not a regular file; give another name")
    check_parent(out, path)


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
