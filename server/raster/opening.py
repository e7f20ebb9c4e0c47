"""Opening rasters: one driver, no files but the raster and its side-cars, one state, failures that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import rasterio
from rasterio.enums import Compression
from rasterio.errors import RasterioIOError, WarpOperationError
from rasterio.session import DummySession

from server.errors import SourceFaultError, SourceUnreadableError
from server.raster.checking import open_checked, raise_fault
from server.raster.gdal import UNTRUSTED
from server.raster.mounting import mount
from server.raster.partial import Watched, whole_tiles
from server.raster.stack import Level, StackBand, StackForm
from server.raster.stackxml import level_xml, stack_xml
from server.remote.files import Remotes, is_remote
from server.remote.vsi import mounted
from server.scenes.scene import Member


@contextmanager
def open_raster(
    url: str,
    version: str | None = None,
    *,
    remotes: Remotes,
    vouched: bool,
    member: Member | None = None,
    overview: int | None = None,
) -> Iterator[Any]:
    """Open a raster of an admitted format, in the state `version` if that is given.

    GDAL sees the raster's bytes and those of its side-cars, and no path or address. Errors inside the `with` that
    come from its files leave it as errors that name it; where GDAL went on without bytes that could not be had, the
    end of the `with` raises.

    Args:
        url: a path or an address, admitted.
        version: its state, see `file_version`; None for any.
        remotes: what reads addresses.
        vouched: whether the operator names where it comes from; if not, GDAL bounds what it decodes.
        member: which part of the file, if it is a local archive.
        overview: which of its overviews, from 0.

    Raises:
        SourceMissingError: not there. SourceUnreadableError: not a raster, one of another format, or one that refers
            to other files. SourceFaultError: damaged, or its server fails. SourceChangedError: in another state.
    """
    with ExitStack() as stack:
        src, files, name = _opened(url, version, stack, remotes, vouched=vouched, member=member, overview=overview)
        if src.compression is Compression.jpeg or len(files) > 1:
            stack.enter_context(whole_tiles(url, files[0]))
        with _failures_named(url, {name: url}, files, remotes):
            yield src


@contextmanager
def open_stack(
    url: str,
    bands: Sequence[StackBand],
    level: tuple[StackForm, Level] | None = None,
    *,
    remotes: Remotes,
    vouched: Callable[[str], bool],
) -> Iterator[Any]:
    """Open bands of several files as one dataset; see `stack_xml`. A file is opened when something is read of it.

    Args:
        url: what the whole is called.
        bands: each of a file that was opened in the same state before, when it was described.
        level: of which stack they are, and the level of it that is opened; see `level_xml`.
        remotes: what reads addresses.
        vouched: whether the operator names where a file comes from.

    Raises:
        SourceMissingError, SourceFaultError, SourceChangedError: see `open_raster`. BandError: bands that do not fit.
    """
    with ExitStack() as stack:
        names: dict[tuple[str, Member | None], str] = {}
        files: list[Watched] = []
        for band in bands:
            if (band.url, band.member) not in names:
                found = mount(band.url, band.version, stack, remotes, member=band.member, inspected=False)
                names[band.url, band.member] = found.name
                files += found.files
        if not all(vouched(file) for file, _ in names):
            stack.enter_context(rasterio.Env(DummySession(), **UNTRUSTED))

        def name_of(band: StackBand) -> str:
            return names[band.url, band.member]

        if level is None:
            text = stack_xml(bands, name_of, lambda xml: stack.enter_context(mounted(Text(xml))))
        else:
            text = level_xml(bands, *level, name_of)
        stack.enter_context(whole_tiles(url, files[0]))
        named = {name: file for (file, _), name in names.items()}
        with _failures_named(url, named, files, remotes), rasterio.open(text, driver="VRT") as src:
            yield src


class Text:
    """A short text as a file."""

    def __init__(self, text: str) -> None:
        self._data: Final = text.encode()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end."""
        return self._data[offset : offset + size]

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Several pieces (offset, size) at once."""
        return [self.read(*piece) for piece in ranges]


@contextmanager
def _failures_named(url: str, names: Mapping[str, str], files: Sequence[Watched], remotes: Remotes) -> Iterator[None]:
    """Inside, failures of files become errors that name them.

    Args:
        url: what is read.
        names: by GDAL's name of each file its own.
        files: what may have a fault.
        remotes: what remembers states of remote files.
    """
    try:
        yield
    except Exception as error:
        raise_fault(files, error)
        if isinstance(error, (RasterioIOError, WarpOperationError)):
            for file in filter(is_remote, names.values()):
                remotes.forget(file)
            message = str(error)
            for name, file in names.items():
                message = message.replace(name, file)
            raise SourceFaultError(
                f"{url!r} cannot be read to the end: {message[:200]}; it is cut short or damaged, replace it"
            ) from error
        raise
    raise_fault(files)


def _opened(
    url: str,
    version: str | None,
    stack: ExitStack,
    remotes: Remotes,
    *,
    vouched: bool,
    member: Member | None,
    overview: int | None,
) -> tuple[Any, Sequence[Watched], str]:
    """A raster, the files it is read from, and GDAL's name of it."""
    for attempt in (1, 2):
        found = mount(url, version, stack, remotes, member=member)
        if is_remote(url) and not vouched:
            stack.enter_context(rasterio.Env(DummySession(), **UNTRUSTED))
        try:
            name = url if member is None else f"{url}!{member.name}"
            return stack.enter_context(open_checked(name, found.name, found.seen, overview)), found.files, found.name
        except SourceUnreadableError as error:
            raise_fault([*found.files, found.seen], error)
            if not is_remote(url):
                raise
            # What is kept of it may be what its server sent in a bad hour.
            remotes.forget(url)
            if attempt == 2:
                raise
    raise AssertionError
