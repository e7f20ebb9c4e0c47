"""Opening rasters: one driver, no files but the raster and its side-cars, one state, failures that name it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import Compression
from rasterio.errors import RasterioIOError, WarpOperationError
from rasterio.session import DummySession

from server.errors import SourceChangedError, SourceFaultError, SourceMissingError, SourceUnreadableError
from server.raster.drivers import driver_for, restrict_drivers
from server.raster.gdal import UNTRUSTED
from server.raster.inspecting import Inspected
from server.raster.partial import Watched, whole_tiles
from server.remote.files import Remotes, is_remote
from server.remote.localfile import LocalFile
from server.remote.remotefile import RemoteFile
from server.remote.vsi import mounted

logger = logging.getLogger("clearsky")

SIDECARS: Final = (".msk", ".ovr")
"""Files next to a local raster that belong to it: its mask and its overviews."""

REFERENCES: Final = {"OVERVIEWS": ("OVERVIEW_FILE",), "GEOLOCATION": ("X_DATASET", "Y_DATASET")}
"""Metadata by which a raster makes GDAL open other datasets: the domains and the items. An ordinary file has none."""

_CRS_FILES: Final = re.compile(
    r'PARAMETERFILE|"PROJ-based|(?<!using )\b(?:\w*grids|init|file|model|catalog)\s*=\s*(?!@?null\b)', re.IGNORECASE
)
"""Parts of WKT 2 that make PROJ open a file: grids of datum shifts, operations and definitions as PROJ strings.
(A datum called "... using nadgrids=..." is only called so.)"""

_WKT: Final = "WKT2_2019"
"""The one version of WKT that leaves nothing of these out."""

restrict_drivers()


def file_version(url: str, remotes: Remotes) -> str:
    """Identity of the content: size and time of a local file and its side-cars; what the server says of a remote one.

    Raises:
        OSError: a local file that is not there. Errors of `Remotes.identity`: a remote one that cannot be had.
    """
    if is_remote(url):
        return remotes.identity(url).version
    beside = {suffix: found for suffix in SIDECARS if (found := _lstat(url + suffix)) is not None}
    return _local_version(Path(url).stat(), beside)


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


@contextmanager
def open_raster(url: str, version: str | None = None, *, remotes: Remotes, vouched: bool) -> Iterator[Any]:
    """Open a raster of an admitted format, in the state `version` if that is given.

    GDAL sees the raster's bytes and those of its side-cars, and no path or address. Errors inside the `with` that
    come from its files leave it as errors that name it; where GDAL went on without bytes that could not be had, the
    end of the `with` raises.

    Args:
        url: a path or an address, admitted.
        version: its state, see `file_version`; None for any.
        remotes: what reads addresses.
        vouched: whether the operator names where it comes from; if not, GDAL bounds what it decodes.

    Raises:
        SourceMissingError: not there. SourceUnreadableError: not a raster, one of another format, or one that refers
            to other files. SourceFaultError: damaged, or its server fails. SourceChangedError: in another state.
    """
    with ExitStack() as stack:
        if is_remote(url):
            src, files = _opened_remote(url, version, stack, remotes, vouched=vouched)
        else:
            src, files = _opened_local(url, version, stack)
        if src.compression is Compression.jpeg or len(files) > 1:
            stack.enter_context(whole_tiles(url, files[0]))
        try:
            yield src
        except Exception as error:
            _raise_fault(files, error)
            if isinstance(error, (RasterioIOError, WarpOperationError)):
                if is_remote(url):
                    remotes.forget(url)
                raise SourceFaultError(
                    f"{url!r} cannot be read to the end: {_message(error, src.name, url)[:200]}; "
                    "it is cut short or damaged, replace it"
                ) from error
            raise
        _raise_fault(files)


def _raise_fault(files: Sequence[Watched], error: Exception | None = None) -> None:
    """Raise what happened to a file, if anything did."""
    for file in files:
        if file.fault is not None:
            raise file.fault from error


def _opened_remote(
    url: str, version: str | None, stack: ExitStack, remotes: Remotes, *, vouched: bool
) -> tuple[Any, list[Watched]]:
    """A remote raster, and the file it is read from."""
    for attempt in (1, 2):
        file = RemoteFile(remotes, remotes.identity(url))
        check_unchanged(url, version, file.identity.version)
        seen = Inspected(file, url)
        name = stack.enter_context(mounted(seen))
        if not vouched:
            stack.enter_context(rasterio.Env(DummySession(), **UNTRUSTED))
        try:
            return stack.enter_context(_opened(url, name, seen)), [file]
        except SourceUnreadableError as error:
            _raise_fault([file, seen], error)
            # What is kept of it may be what its server sent in a bad hour.
            remotes.forget(url)
            if attempt == 2:
                raise
    raise AssertionError


def _opened_local(url: str, version: str | None, stack: ExitStack) -> tuple[Any, list[Watched]]:
    """A local raster, and the files it is read from."""
    file = LocalFile(url)
    stack.callback(file.close)
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
    seen = Inspected(file, url)
    name = stack.enter_context(mounted(seen, sidecars))
    files: list[Watched] = [file, *sidecars.values()]
    if sidecars:
        # Elsewhere GDAL is told that there is nothing beside a file; here it may look into the folder mounted above.
        stack.enter_context(rasterio.Env(DummySession(), GDAL_DISABLE_READDIR_ON_OPEN="FALSE"))
    try:
        return stack.enter_context(_opened(url, name, seen)), files
    except SourceUnreadableError as error:
        _raise_fault([*files, seen], error)
        raise


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
            _opened(key[0], name, seen).close()
        except SourceUnreadableError as error:
            _raise_fault([file, seen], error)
            raise
    if len(_checked) >= _REMEMBERED:
        _checked.clear()
    _checked[key] = None


def _message(error: Exception, name: str, url: str) -> str:
    return str(error).replace(name, url)


def _opened(url: str, name: str, seen: Inspected) -> Any:
    """The raster under the name that GDAL knows it by, if it stands for itself."""
    try:
        src = rasterio.open(name, driver=driver_for(url))
    except (RasterioIOError, CPLE_BaseError) as error:
        raise SourceUnreadableError(
            f"{url!r} cannot be read as {driver_for(url)}: {_message(error, name, url)[:300]}; give a GeoTIFF"
        ) from error
    try:
        _raise_fault([seen])
        _check_references(url, src)
    except BaseException:
        src.close()
        raise
    seen.opened()
    return src


def _check_references(url: str, src: Any) -> None:
    """Refuse a raster whose reading would make GDAL or PROJ open other files.

    Raises:
        SourceUnreadableError: it names some.
    """
    for domain, items in REFERENCES.items():
        tags = src.tags(ns=domain)
        if found := next((tags[item] for item in items if item in tags), None):
            raise SourceUnreadableError(
                f"{url!r} refers to another file, {found[:200]!r}, in its {domain} metadata; "
                "write it anew without them (gdal_translate)"
            )
    for crs in (src.crs, src.gcps[1]):
        if crs and _names_files(crs.to_wkt(version=_WKT)):
            raise SourceUnreadableError(
                f"{url!r} has a coordinate reference system that names a file, {crs.to_wkt()[-200:]!r}; "
                "assign a plain one (gdal_edit -a_srs)"
            )


@lru_cache(maxsize=256)
def _names_files(wkt: str) -> bool:
    return _CRS_FILES.search(wkt) is not None
