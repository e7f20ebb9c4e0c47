"""The file system that GDAL sees: the bytes asked for, or an error; never what was in memory before."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceChangedError, SourceMissingError, SourceUnreadableError
from server.remote.libgdal import gdal_library
from server.remote.localfile import HEAD_BYTES, LocalFile
from server.remote.pieces import CHUNK_BYTES
from server.remote.remotefile import RemoteFile
from server.remote.vsi import LARGEST_READ, RandomAccess, mounted
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.service import sources_by

SIZE = 5 * CHUNK_BYTES + 1234
CONTENT = bytes(range(1, 252)) * (SIZE // 251) + b"\xff" * (SIZE % 251)
POISON = 77

gdal = gdal_library()
gdal.VSIFOpenL.argtypes, gdal.VSIFOpenL.restype = [c_char_p, c_char_p], c_void_p
gdal.VSIFSeekL.argtypes = [c_void_p, c_uint64, c_int]
gdal.VSIFTellL.argtypes, gdal.VSIFTellL.restype = [c_void_p], c_uint64
gdal.VSIFReadL.argtypes, gdal.VSIFReadL.restype = [c_void_p, c_size_t, c_size_t, c_void_p], c_size_t
gdal.VSIFReadMultiRangeL.argtypes = [c_int, c_void_p, c_void_p, c_void_p, c_void_p]
gdal.VSIFEofL.argtypes = [c_void_p]
gdal.VSIFCloseL.argtypes = [c_void_p]


@contextmanager
def handle_of(file: RandomAccess) -> Iterator[int]:
    """A file as GDAL has it open."""
    with mounted(file) as name:
        handle = gdal.VSIFOpenL(name.encode(), b"rb")
        assert handle
        yield handle
        assert gdal.VSIFCloseL(handle) == 0


def read(handle: int, offset: int, size: int, count: int = 1) -> tuple[int, bytes]:
    """Items read from `offset` on, and the buffer afterwards."""
    buffer = ctypes.create_string_buffer(bytes([POISON]) * (size * count), size * count)
    assert gdal.VSIFSeekL(handle, offset, os.SEEK_SET) == 0
    return gdal.VSIFReadL(buffer, size, count, handle), buffer.raw


def read_many(handle: int, ranges: list[tuple[int, int]]) -> tuple[int, list[bytes]]:
    """Status, and the buffers afterwards."""
    buffers = [ctypes.create_string_buffer(bytes([POISON]) * size, size) for _, size in ranges]
    count = len(ranges)
    pointers = (c_void_p * count)(*(ctypes.addressof(buffer) for buffer in buffers))
    offsets = (c_uint64 * count)(*(offset for offset, _ in ranges))
    sizes = (c_size_t * count)(*(size for _, size in ranges))
    status = gdal.VSIFReadMultiRangeL(count, pointers, offsets, sizes, handle)
    return status, [buffer.raw for buffer in buffers]


class Text:
    """A file that is right, or wrong in one way."""

    def __init__(self, fault: str = "") -> None:
        self.size = SIZE
        self.wrong = fault

    def read(self, offset: int, size: int) -> bytes:
        if self.wrong == "raises":
            raise MemoryError
        data = CONTENT[offset : offset + size]
        return {"short": data[:-1], "long": data + b"MORE", "nothing": b""}.get(self.wrong, data)

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        if self.wrong == "nothing":
            return None
        pieces = [self.read(*part) for part in ranges]
        return pieces[:-1] if self.wrong == "fewer" else pieces


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "plain.bin").write_bytes(CONTENT)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module", params=["memory", "local", "remote"])
def make(request: pytest.FixtureRequest, folder: Path, served: RangeServer) -> Callable[[], Any]:
    """Makes the same file, wherever it is."""
    url, remotes = f"{served.base}plain.bin", sources_by(served.base, source_check="600").remotes
    makers: dict[str, Callable[[], Any]] = {
        "memory": Text,
        "local": lambda: LocalFile(str(folder / "plain.bin")),
        "remote": lambda: RemoteFile(remotes, remotes.identity(url)),
    }
    return makers[request.param]


edges = st.sampled_from([0, 1, HEAD_BYTES, CHUNK_BYTES, 2 * CHUNK_BYTES, 5 * CHUNK_BYTES, SIZE, SIZE + CHUNK_BYTES])
offsets = st.builds(lambda edge, by: max(edge + by, 0), edges, st.integers(-3, 3)) | st.integers(0, SIZE + 100)
lengths = st.sampled_from([1, 2, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, SIZE]) | st.integers(1, SIZE + 100)


@given(offset=offsets, length=lengths, size=st.sampled_from([1, 1, 3, 8]))
def test_any_range_is_that_of_the_plain_file(make: Callable[[], Any], offset: int, length: int, size: int) -> None:
    with handle_of(make()) as handle:
        count = -(-length // size)
        expected = CONTENT[offset : offset + size * count]
        got, buffer = read(handle, offset, size, count)
        assert got == len(expected) // size
        assert buffer == expected.ljust(size * count, b"\0")
        assert gdal.VSIFEofL(handle) == int(len(expected) < size * count)
        assert gdal.VSIFTellL(handle) == offset + len(expected)


@given(ranges=st.lists(st.tuples(offsets, lengths), min_size=1, max_size=6), joined=st.booleans())
def test_many_ranges_are_all_there_or_none(
    make: Callable[[], Any], ranges: list[tuple[int, int]], joined: bool
) -> None:
    if joined:  # GDAL merges neighbours, in memory of its own
        start, size = ranges[0]
        ranges = [(start, size), (start + size, 7), *ranges[1:]]
    with handle_of(make()) as handle:
        status, buffers = read_many(handle, ranges)
    expected = [CONTENT[offset : offset + size] for offset, size in ranges]
    if all(len(part) == size for part, (_, size) in zip(expected, ranges, strict=True)):
        assert status == 0
        assert buffers == expected
    else:
        assert status != 0
        assert not any(any(buffer) for buffer in buffers)


@pytest.mark.parametrize("fault", ["raises", "short", "long", "nothing", "fewer"])
def test_a_file_that_answers_wrongly_fails_and_leaves_nothing(fault: str) -> None:
    with handle_of(Text(fault)) as handle:
        got, buffer = read(handle, 10, 1, 100)
        assert got <= 100
        assert buffer == CONTENT[10 : 10 + got].ljust(100, b"\0")
        status, buffers = read_many(handle, [(5, 50), (300, 50)])
        assert status != 0
        assert not any(map(any, buffers))


def test_reads_of_absurd_size_fail_at_once() -> None:
    with handle_of(Text()) as handle:
        one = ctypes.create_string_buffer(1)
        assert gdal.VSIFReadL(one, LARGEST_READ + 1, 1, handle) == 0
        assert gdal.VSIFReadL(one, 1 << 40, 1 << 20, handle) == 0


def test_seeking_goes_where_it_is_told() -> None:
    with handle_of(Text()) as handle:
        assert gdal.VSIFSeekL(handle, 0, os.SEEK_END) == 0
        assert gdal.VSIFTellL(handle) == SIZE
        assert gdal.VSIFSeekL(handle, (1 << 64) - 10, os.SEEK_CUR) == 0
        assert gdal.VSIFTellL(handle) == SIZE - 10
        assert gdal.VSIFSeekL(handle, 0, 9) != 0


def test_only_mounted_names_open_and_nothing_is_written() -> None:
    with mounted(Text(), {".ovr": Text()}) as name:
        folder = name.rsplit("/", 1)[0]
        for good in (name, name + ".ovr"):
            handle = gdal.VSIFOpenL(good.encode(), b"rb")
            assert handle
            gdal.VSIFCloseL(handle)
        for bad in (
            f"{name}.msk",
            f"{name}.aux.xml",
            f"{folder}/",
            folder,
            f"{folder}/../x",
            "/vsiclearsky/1",
            f"{name}/",
        ):
            assert not gdal.VSIFOpenL(bad.encode(), b"rb")
        for access in (b"r+b", b"w", b"a"):
            assert not gdal.VSIFOpenL(name.encode(), access)
    assert not gdal.VSIFOpenL(name.encode(), b"rb")


# --- a remote file whose server fails, changes, comes short


@pytest.mark.parametrize("trouble", ["cut", 500, "garbage-size", "other"])
def test_after_a_failure_there_are_no_more_bytes(folder: Path, trouble: Any) -> None:
    path = folder / f"failing-{trouble}.bin"
    path.write_bytes(CONTENT)
    with range_server(folder) as server:
        remotes = sources_by(server.base, source_timeout="2").remotes
        file = RemoteFile(remotes, remotes.identity(server.base + path.name))
        with handle_of(file) as handle:
            assert read(handle, 0, 1, 100) == (100, CONTENT[:100])
            if trouble == "garbage-size":
                path.write_bytes(CONTENT[: 4 * CHUNK_BYTES])
            elif trouble == "other":
                path.write_bytes(bytes(SIZE))
            else:
                server.trouble = lambda path, start: trouble if start else None
            assert read(handle, SIZE - 50, 1, 50) == (0, bytes(50))
            assert file.fault is not None
            # Even what is kept is not handed out any more: it may be of another state.
            assert read(handle, 0, 1, 100) == (0, bytes(100))
            status, buffers = read_many(handle, [(0, 10), (20, 10)])
            assert status != 0
            assert not any(map(any, buffers))


# --- local files


def test_a_local_file_that_becomes_shorter_fails(tmp_path: Path) -> None:
    path = tmp_path / "shrinks.bin"
    path.write_bytes(CONTENT)
    file = LocalFile(str(path))
    path.write_bytes(CONTENT[: 2 * CHUNK_BYTES])
    with handle_of(file) as handle:
        assert read(handle, CHUNK_BYTES, 1, 2 * CHUNK_BYTES) == (0, bytes(2 * CHUNK_BYTES))
    assert isinstance(file.fault, SourceChangedError)
    file.close()


def test_a_closed_file_reads_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "b").write_bytes(b"secret" * SIZE)
    file = LocalFile(str(tmp_path / "a"))
    file.close()
    other = LocalFile(str(tmp_path / "b"))  # gets the number of the first
    assert file.read(CHUNK_BYTES + HEAD_BYTES, 100) == b""
    other.close()


def test_only_regular_files_open_and_nothing_hangs(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    (tmp_path / "file").write_bytes(CONTENT)
    link.symlink_to(tmp_path / "file")
    done = threading.Event()

    def attempt() -> None:
        for path in (pipe, link, tmp_path, Path("/dev/zero"), Path("/dev/tty")):
            with pytest.raises(SourceUnreadableError):
                LocalFile(str(path))
        for path in (tmp_path / "none", tmp_path / "file" / "below"):
            with pytest.raises(SourceMissingError):
                LocalFile(str(path))
        done.set()

    threading.Thread(target=attempt, daemon=True).start()
    assert done.wait(5)
