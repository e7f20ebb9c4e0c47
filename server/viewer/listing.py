"""Scenes in the admitted local folders, for a page that offers them: only where the operator wants it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

MOST_LISTED: Final = 200
"""Scenes that are listed."""
MOST_LOOKED_AT: Final = 5000
"""Names that are looked at in all folders."""
DEEPEST_FOLDER: Final = 3
"""Folders within each other below an admitted one."""
RASTER_SUFFIXES: Final = (".tif", ".tiff", ".jp2")
"""Of files that are scenes by themselves."""
PRODUCT_SUFFIXES: Final = (".safe",)
"""Of folders that are."""


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Names below a folder, those of a product left out, in their order."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # gone, or not for us
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        path = Path(entry.path)
        yield path
        inside = entry.is_dir() and not entry.name.lower().endswith(PRODUCT_SUFFIXES)
        if inside and depth < DEEPEST_FOLDER:
            yield from _walk(path, depth + 1)


def local_scenes(folders: Sequence[Path]) -> tuple[list[str], bool]:
    """Rasters and products below some folders.

    Args:
        folders: what requests may name, in the order of the list.

    Returns:
        Their paths, and whether there is more than is listed.
    """
    found: dict[str, None] = {}
    looked_at = 0
    for root in folders:
        for path in [root] if root.is_file() else _walk(root, 0):
            looked_at += 1
            if looked_at > MOST_LOOKED_AT or len(found) == MOST_LISTED:
                return list(found), True
            if path.name.lower().endswith(RASTER_SUFFIXES + PRODUCT_SUFFIXES):
                found[str(path)] = None
    return list(found), False
