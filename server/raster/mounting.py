"""Files as GDAL sees them: mounted under names that nobody can guess, in one state, local ones with their side-cars."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import rasterio
from rasterio.session import DummySession

from server.errors import SourceChangedError, SourceMissingError, SourceUnreadableError
from server.raster.checking import open_checked, raise_fault
from server.raster.inspecting import Inspected
from server.raster.partial import Watched
from server.remote.files import Remotes, is_remote
from server.remote.localfile import LocalFile
from server.remote.remotefile import RemoteFile
from server.remote.vsi import mounted
from server.scenes.scene import Member
from server.work.trace import current

logger = logging.getLogger("clearsky")

SIDECARS: Final = (".msk", ".ovr")
"""Files next to a local raster that belong to it: its mask and its overviews."""


def file_version(url: str, remotes: Remotes) -> str:
    """Identity of the content: size and time of a local file and its side-cars; what the server says of a remote one.

    Raises:
        OSError: a local file that is not there. Errors of `Remotes.identity`: a remote one that cannot be had.
    """
    if is_remote(url):
        if (trace := current.get()) is not None:
            trace.remote = True
        return remotes.identity(url).version
    sidecars = {suffix: found for suffix in SIDECARS if (found := _lstat(url + suffix)) is not None}
    return _local_version(os.stat(url), sidecars)  # noqa: PTH116  (ten times per request)


def has_mask_beside(version: str) -> bool:
    """Whether a local file in some state, see `file_version`, has its mask in a side-car."""
    return ".msk" in version


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (OSError, ValueError):
        return None


def _local_version(main: os.stat_result, sidecars: Mapping[str, os.stat_result]) -> str:
    states = [("", main), *sorted(sidecars.items())]
    return "".join(f"{suffix}{stat.st_size}-{stat.st_mtime_ns}" for suffix, stat in states)


def check_unchanged(url: str, was: str | None, now: str | None) -> None:
    """Refuse to mix two states of a file; None for a state that does not matter.

    Raises:
        SourceChangedError: `was` is not `now`.
    """
    if was is not None and was != now:
        raise SourceChangedError(f"{url!r} changed while it was read; ask again")


class Stored:
    """A file stored within another one."""

    def __init__(self, file: LocalFile, member: Member) -> None:
        self._file = file
        self._start = member.offset
        self.size: Final = member.size
        """Bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end of the file, none after a failure."""
        return self._file.read(self._start + offset, min(size, max(self.size - offset, 0)))

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces (offset, size) at once; None after a failure."""
        return self._file.read_many([(self._start + at, min(size, max(self.size - at, 0))) for at, size in ranges])


@dataclass(frozen=True, slots=True)
class Mounted:
    """A file that GDAL can open."""

    name: str
    """Under which name."""
    seen: Inspected
    """What GDAL reads of it."""
    files: tuple[Watched, ...]
    """The file and its side-cars."""


def mount(
    url: str,
    version: str | None,
    stack: ExitStack,
    remotes: Remotes,
    *,
    member: Member | None = None,
    inspected: bool = True,
) -> Mounted:
    """Mount a file until a stack is closed.

    Args:
        url: a path or an address, admitted.
        version: its state, see `file_version`; None for any.
        stack: what closes it.
        remotes: what reads addresses.
        member: which part of the file, if it is a local archive.
        inspected: whether to look at what is read until it is open; a file that passed in the same state need not be
            looked at again.

    Raises:
        SourceMissingError, SourceUnreadableError: there is no such file, or a side-car that cannot be used.
        SourceChangedError: in another state.
    """
    if is_remote(url):
        remote = RemoteFile(remotes, remotes.identity(url))
        check_unchanged(url, version, remote.identity.version)
        seen = Inspected(remote, url, opening=inspected)
        return Mounted(stack.enter_context(mounted(seen)), seen, (remote,))
    file = LocalFile(url)
    stack.callback(file.close)
    if member is not None:
        check_unchanged(url, version, _local_version(file.stat, {}))
        seen = Inspected(Stored(file, member), f"{url}!{member.name}", opening=inspected)
        return Mounted(stack.enter_context(mounted(seen)), seen, (file,))
    states = {suffix: state for suffix in SIDECARS if (state := _lstat(url + suffix)) is not None}
    check_unchanged(url, version, _local_version(file.stat, states))
    sidecars: dict[str, LocalFile] = {}
    for suffix in states:
        try:
            sidecar = _sidecar(url + suffix)
        except SourceMissingError:  # gone since it was seen
            continue
        except SourceUnreadableError as error:
            # Without its mask a raster shows what it should not; without overviews it is only slower.
            if suffix == ".msk":
                raise
            logger.warning("overviews are not used: %s", error)
            continue
        stack.callback(sidecar.close)
        sidecars[suffix] = sidecar
    if sidecars:
        # Elsewhere GDAL is told that there is nothing next to a file; here it may look into the folder mounted below.
        stack.enter_context(rasterio.Env(DummySession(), GDAL_DISABLE_READDIR_ON_OPEN="FALSE"))
    seen = Inspected(file, url, opening=inspected)
    return Mounted(stack.enter_context(mounted(seen, sidecars)), seen, (file, *sidecars.values()))


def _sidecar(path: str) -> LocalFile:
    """A side-car that is a GeoTIFF of its own and refers to nothing.

    Raises:
        SourceMissingError: it is not there. SourceUnreadableError: it cannot be used.
    """
    file = LocalFile(path)
    try:
        at = file.stat
        _check_sidecar(file, (path, at.st_ino, at.st_size, at.st_ctime_ns))
    except BaseException:
        file.close()
        raise
    return file


_Key = tuple[str, int, int, int]
_checked: Final[dict[_Key, None]] = {}
"""Side-cars that were found good, by path, number, size and time of the last change of any kind, in their order."""
_REMEMBERED: Final = 1024


def _check_sidecar(file: LocalFile, key: _Key) -> None:
    """Open a side-car by itself, once for every state of it."""
    if key in _checked:
        return
    seen = Inspected(file, key[0])
    with mounted(seen) as name:
        try:
            open_checked(key[0], name, seen).close()
        except SourceUnreadableError as error:
            raise_fault([file, seen], error)
            raise
    if len(_checked) >= _REMEMBERED:
        _checked.clear()
    _checked[key] = None
