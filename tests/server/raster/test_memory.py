"""Decoders that leave a buffer as it was: a raster reads the same whatever was in memory before, or fails."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from algorithms.errors import ClearSkyError
from server.errors import SourceFaultError
from server.raster.sources import Sources
from server.remote.allowlist import AllowList
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import write_bare
from tests.helpers.service import sources_by
from tests.helpers.tiff import epsg, make_tiff

SIDE = 256
FILLS = (77, 33)
"""Values that memory is full of before each of two reads."""

TILED = {"tiled": True, "blockxsize": 128, "blockysize": 128}
PROFILES: dict[str, dict[str, Any]] = {
    **{
        f"{compress}-{interleave}.tif": {"driver": "GTiff", "compress": compress, "interleave": interleave, **TILED}
        for compress in (None, "deflate", "lzw", "packbits", "zstd", "lzma", "lerc", "webp", "jpeg")
        for interleave in ("pixel", "band")
    },
    "strips-jpeg.tif": {"driver": "GTiff", "compress": "jpeg", "interleave": "band", "blockysize": 32},
    "strips-deflate.tif": {"driver": "GTiff", "compress": "deflate", "predictor": 2, "blockysize": 32},
    "plain.png": {"driver": "PNG"},
    "plain.jpg": {"driver": "JPEG"},
    "plain.webp": {"driver": "WEBP"},
    "tiled.jp2": {"driver": "JP2OpenJPEG", "quality": 100, "reversible": True, "blockxsize": 64, "blockysize": 64},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    row, col = np.mgrid[:SIDE, :SIDE]
    values = np.stack([120 + 40 * np.sin(row / 9 + k) + 30 * np.cos(col / 7) for k in range(3)]).astype(np.uint8)
    for name, profile in PROFILES.items():
        write_bare(folder / name, values, **profile)
    for fill in FILLS:
        write_bare(folder / f"fill{fill}.tif", np.full_like(values, fill), driver="GTiff", **TILED)
        write_bare(folder / f"fill{fill}.png", np.full_like(values, fill), driver="PNG")
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def sources(served: RangeServer) -> Sources:
    return sources_by(served.base)


Reading = Callable[[Any], np.ndarray]
READINGS: list[Reading] = [
    lambda src: src.read(),
    lambda src: np.stack([src.read(band) for band in src.indexes]),
    lambda src: src.read(out_shape=(src.count, max(src.height // 3, 1), max(src.width // 3, 1))),
]


def read_over(sources: Sources, folder: Path, url: str, fill: int, reading: Reading) -> np.ndarray | str:
    """A raster's pixels, or the name of its error, read while freed memory is full of a value."""
    for suffix in ("tif", "png"):
        with sources.open(f"{folder}/fill{fill}.{suffix}") as src:
            src.read()
    sizes = (1024, 4096, 8192, 16384, 32768, 65536, 196608) * 4
    spent = [np.full(size, fill, np.uint8) for size in sizes]
    del spent
    try:
        with sources.open(url) as src:
            if src.width * src.height * src.count > 1 << 21:
                return "too large"
            return reading(src)
    except ClearSkyError as error:
        return type(error).__name__


def same_over_both(sources: Sources, folder: Path, url: str, reading: Reading) -> np.ndarray | str:
    """What is read, the same over both fills."""
    first, second = (read_over(sources, folder, url, fill, reading) for fill in FILLS)
    assert isinstance(first, str) == isinstance(second, str), (first, second)
    np.testing.assert_array_equal(first, second)
    return first


def damage(content: bytes, rng: random.Random) -> bytes:
    """Content cut short, or with bytes changed, zeroed, left out or moved."""
    data = bytearray(content)
    at, length = rng.randrange(len(data)), rng.randrange(1, 2000)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for _ in range(rng.choice((1, 2, 8, 64))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 2:
        for _ in range(rng.choice((1, 2, 4))):
            data[rng.randrange(min(len(data), 600))] = rng.choice((0, 1, 2, 127, 128, 255))
    elif kind == 3:
        data[at : at + length] = bytes(len(data[at : at + length]))
    else:
        del data[at : at + length]
    return bytes(data)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # messages of GDAL that are no UTF-8
def test_a_damaged_raster_reads_the_same_or_fails(
    sources: Sources, folder: Path, served: RangeServer, name: str, seed: int
) -> None:
    rng = random.Random(f"{name}{seed}")
    content = (folder / name).read_bytes()
    for k in range(4):
        path = folder / f"damaged{seed}-{k}-{name}"
        path.write_bytes(damage(content, rng))
        # Where libdeflate is used it may leave the end of a tile: see `test_a_tile_that_holds_too_much`.
        with mock.patch.object(AllowList, "vouched_for", return_value=False):
            same_over_both(sources, folder, served.base + path.name, rng.choice(READINGS))
        path.unlink()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("rows", [0, 1, SIDE // 2, SIDE - 1])
@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (6, 4)])
def test_a_png_with_too_few_rows_fails(sources: Sources, folder: Path, rows: int, colour: int, samples: int) -> None:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([150]) * (SIDE * samples)) * rows)
    path = folder / f"rows{rows}-{colour}.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    for reading in READINGS if rows < SIDE - 1 else READINGS[:2]:  # a third of the rows leaves out the last
        assert same_over_both(sources, folder, str(path), reading) == "SourceFaultError"


def patched(content: bytes, tag: int, value: int) -> bytes:
    """A TIFF with another value for a tag of one value."""
    data = bytearray(content)
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<I", data, entry + 8, value)
            return bytes(data)
    raise AssertionError


@pytest.mark.parametrize(("tag", "value"), [(278, SIDE), (278, 64), (256, SIDE + 100), (256, 4 * SIDE)])
def test_jpeg_tiles_smaller_than_their_place_are_damage(sources: Sources, folder: Path, tag: int, value: int) -> None:
    path = folder / f"small{tag}-{value}.tif"
    path.write_bytes(patched((folder / "strips-jpeg.tif").read_bytes(), tag, value))
    for reading in READINGS:
        assert same_over_both(sources, folder, str(path), reading) == "SourceFaultError"
    with pytest.raises(SourceFaultError, match="JPEG tile"), sources.open(str(path)) as src:
        src.read()
    with sources.open(str(folder / "strips-jpeg.tif")) as src:  # of which the other's fault is none
        src.read()


@pytest.mark.parametrize("public", [True, False])
def test_a_tile_that_holds_too_much(sources: Sources, folder: Path, served: RangeServer, public: bool) -> None:
    """A public host's raster is decoded by zlib, which fills the tile; those that the operator names by libdeflate."""
    stored = b"\x78\x01\x01" + struct.pack("<HH", 65535, 0) + bytes([150]) * 65535
    small = np.zeros((64, 64), np.uint8)
    content = make_tiff(small, epsg(32633) | {259: (3, [8]), 279: (4, [len(stored)])})[: -small.size] + stored
    (folder / "much.tif").write_bytes(content)
    with mock.patch.object(AllowList, "vouched_for", return_value=not public):
        read = [read_over(sources, folder, f"{served.base}much.tif", fill, READINGS[0]) for fill in FILLS]
        if public:
            assert all(bool(np.all(values == 150)) for values in read)
