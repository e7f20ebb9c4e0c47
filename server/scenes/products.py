"""Scenes from products as they are downloaded: a `.SAFE` of Sentinel-2, a bundle of Landsat Collection 2."""

from __future__ import annotations

from pathlib import Path

from server.scenes.archive import damaged, product_files
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


def _is_metadata(name: str) -> bool:
    return safe_level(name) is not None or is_landsat_metadata(name)
