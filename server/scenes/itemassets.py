"""The assets of a STAC Item: which are rasters, and the addresses of their files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from server.errors import SourceUnreadableError
from server.remote.names import LONGEST_ADDRESS, SCHEMES
from server.scenes.bounded import LONGEST_TEXT, is_string, list_of, mapping_of

MOST_ALTERNATES: Final = 4
"""Further addresses of an asset."""
_NOT_DATA: Final = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles", "temperature"})
_RASTER: Final = re.compile(r"image/(?:tiff|vnd\.stac\.geotiff|jp2)\b", re.IGNORECASE)
_PICTURE: Final = re.compile(r"image/(?:png|jpe?g|webp|gif)\b", re.IGNORECASE)


def is_raster_asset(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a raster of data."""
    href, media, roles = asset.get("href"), asset.get("type"), list_of(asset.get("roles"))
    if not is_string(href) or any(role in _NOT_DATA for role in roles if is_string(role)):
        return False
    if is_string(media) and (_RASTER.match(media) or _PICTURE.match(media)):
        return _RASTER.match(media) is not None
    # Object stores and hand-written Items have `application/octet-stream` and names of their own.
    return file_of(href).lower().endswith((".tif", ".tiff", ".jp2"))


def is_jp2(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a JPEG 2000 file."""
    return str(asset.get("type")).lower().startswith("image/jp2") or file_of(asset["href"]).lower().endswith(".jp2")


def asset_places(url: str, key: str, asset: Mapping[str, Any]) -> list[str]:
    """Addresses of an asset, its own first.

    Raises:
        SourceUnreadableError: its own is none, and there is no other.
    """
    others = [*_alternates(asset)]
    try:
        own = _joined(url, key, asset["href"])
    except SourceUnreadableError:
        if not others:
            raise
        return others
    return [own, *others]


def _alternates(asset: Mapping[str, Any]) -> tuple[str, ...]:
    entries = (mapping_of(entry).get("href") for entry in mapping_of(asset.get("alternate")).values())
    found = (
        href
        for href in entries
        if is_string(href) and len(href) <= LONGEST_ADDRESS and href.split("://", maxsplit=1)[0] in SCHEMES
    )
    return tuple(islice(found, MOST_ALTERNATES))


def file_of(href: str) -> str:
    """The end of a file's name, which says what it is."""
    return re.split(r"[?#]", href, maxsplit=1)[0].rsplit("/", 1)[-1][-LONGEST_TEXT:]


def _joined(url: str, key: str, href: str) -> str:
    """An asset's address; the allow-list looks at it before it is opened, as at every other.

    Raises:
        SourceUnreadableError: it is none.
    """
    remote = "://" in url
    absolute = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", href)
    local = absolute is not None and absolute[0].lower() == "file:" and not remote
    known = absolute is None or href.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))
    if len(href) > LONGEST_ADDRESS or not href.isprintable() or "/vsi" in href.lower()[:5] or not (known or local):
        kinds = ", ".join(SCHEMES)
        raise refused_item(
            url,
            f"names {href[:100]!r} for {key[:40]!r}, which is not an address of {kinds} or next to the Item; "
            "correct the Item",
        )
    if absolute is not None:
        return href
    try:
        if not remote:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(url), href))
            if path.startswith("/vsi"):
                raise refused_item(url, f"names {href[:100]!r} for {key[:40]!r}, which is not a file; correct the Item")
            return path
        if url.split("://", maxsplit=1)[0].lower() in ("https", "http"):
            return urljoin(url, href)
        parts = urlsplit(url)
        return (
            f"{parts.scheme}://{parts.netloc}{posixpath.normpath(posixpath.join(posixpath.dirname(parts.path), href))}"
        )
    except ValueError as error:
        raise refused_item(
            url, f"names {href[:100]!r} for {key[:40]!r}, which is not an address; correct the Item"
        ) from error


def refused_item(url: str, why: str) -> SourceUnreadableError:
    """The error for an Item that cannot be used."""
    return SourceUnreadableError(f"{url[:200]!r} {why}")
