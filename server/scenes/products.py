"""Scenes from products as they are downloaded: a `.SAFE` of Sentinel-2, a bundle of Landsat Collection 2."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from server.errors import SourceUnreadableError
from server.scenes.archive import MOST_MEMBERS, damaged, product_files
from server.scenes.landsat import is_landsat_metadata, landsat_scene
from server.scenes.safe import safe_level, safe_scene
from server.scenes.scene import Scene


def is_product(url: str) -> bool:
    """Whether a local path is that of a product: `.SAFE`, `.zip`, `.tar`, or a folder with a product's metadata."""
    if "://" in url:
        return False
    if url.lower().endswith((".zip", ".tar")):
        return True
    try:
        return any(_is_metadata(path.name) for path in Path(url).iterdir())
    except (OSError, ValueError):
        return False


def product_scene(url: str) -> Scene:
    """The scene that a product is.

    Args:
        url: path of a folder, or of an archive whose pictures are not compressed.

    Raises:
        SourceUnreadableError: it holds no such product, or its pictures are compressed.
    """
    files = product_files(url)
    for name in sorted(files.members, key=lambda name: (name.count("/"), name)):
        if level := safe_level(name):
            return safe_scene(files, name, level)
        if is_landsat_metadata(name):
            return landsat_scene(files, name)
    raise damaged(url, "it holds neither MTD_MSIL1C.xml or MTD_MSIL2A.xml nor *_MTL.json")


def no_product(folder: str) -> SourceUnreadableError:
    """The error for a folder that is named as a raster, but holds no product."""
    return SourceUnreadableError(
        f"{folder[:300]!r} is a folder, but neither a .SAFE nor a Landsat bundle (no *_MTL.json); name a "
        "product, or one file"
    )


def folder_state(url: str) -> str:
    """State of a product's folder: of its folders and its metadata. Pictures have states of their own.

    Raises:
        OSError: it is not there.
    """
    states = [Path(url).stat().st_mtime_ns]
    for above, folders, names in os.walk(url):
        folders.sort()
        metadata = sorted(name for name in names if name.startswith("MTD_") or _is_metadata(name))
        for name in (*folders, *metadata):
            with suppress(OSError):  # gone since it was listed
                found = (Path(above) / name).stat()
                states.append(found.st_mtime_ns if name in folders else found.st_mtime_ns ^ found.st_size)
        if len(states) > MOST_MEMBERS:
            break
    return hashlib.sha256(repr(states).encode()).hexdigest()[:24]


def _is_metadata(name: str) -> bool:
    return safe_level(name) is not None or is_landsat_metadata(name)
