"""Documents that describe scenes: told apart from rasters by their first bytes, read whole, in one state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Final

from server.errors import SourceUnreadableError
from server.raster.checking import raise_fault
from server.raster.drivers import BY_SUFFIX
from server.raster.mounting import check_unchanged
from server.remote.files import Remotes, is_remote
from server.remote.localfile import LocalFile
from server.remote.remotefile import RemoteFile
from server.scenes.scene import DOCUMENT_BYTES

_RASTERS: Final = frozenset({".tif", ".tiff", *BY_SUFFIX})


def may_be_document(url: str) -> bool:
    """Whether a name could be a document's: it does not end as a raster's does."""
    path = re.split("[?#]", url, maxsplit=1)[0] if is_remote(url) else url
    name = path.rpartition("/")[2]  # asked several times of every name: a path takes ten times as long
    ending = name[name.rfind(".") :] if name.strip(".") else PurePosixPath(path).suffix
    return ending.lower() not in _RASTERS


def read_document(url: str, version: str, remotes: Remotes) -> bytes | None:
    """A JSON document; None for a file that begins like none.

    Args:
        url: its admitted name.
        version: its state, see `file_version`.
        remotes: what reads addresses.

    Raises:
        SourceMissingError, SourceFaultError, SourceChangedError: it cannot be read. SourceUnreadableError: too large,
            or a web page.
    """
    with _opened(url, version, remotes) as file:
        start = file.read(0, 64).lstrip(b"\xef\xbb\xbf \t\r\n")
        raise_fault([file])
        if start.lower().startswith((b"<!doctype html", b"<html")):
            raise SourceUnreadableError(
                f"{url!r} answers with a web page, not with a STAC Item or a raster: it may ask for a login, or be the "
                "page that shows the Item; give the address of the Item's own JSON"
            )
        if not start.startswith(b"{"):
            return None
        if file.size > DOCUMENT_BYTES:
            raise SourceUnreadableError(f"{url!r} has {file.size} bytes; give an Item, of up to {DOCUMENT_BYTES}")
        data = file.read(0, file.size)
        raise_fault([file])
    return data


@contextmanager
def _opened(url: str, version: str, remotes: Remotes) -> Iterator[LocalFile | RemoteFile]:
    if is_remote(url):
        remote = RemoteFile(remotes, remotes.identity(url))
        check_unchanged(url, version, remote.identity.version)
        yield remote
        return
    local = LocalFile(url)
    try:
        yield local
    finally:
        local.close()
