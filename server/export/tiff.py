"""The structure of GeoTIFF files: tags and tiles as they are stored, and files put together of such."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

SUBFILE: Final = 254
WIDTH: Final = 256
HEIGHT: Final = 257
TILE_OFFSETS: Final = 324
TILE_SIZES: Final = 325
_OF_EVERY_LEVEL: Final = (258, 259, 262, 277, 284, 317, 320, 322, 323, 338, 339, 42113)
"""Tags that overviews have, too: how tiles are stored, the colours, and the value for no data."""
_OF_TILES: Final = (258, 259, 277, 284, 317, 322, 323, 339)
"""Tags that say how tiles are stored."""
_OVERVIEW: Final = 1
_MASK: Final = 4
"""Bits of the tag `SUBFILE`."""

_SHORT, _LONG, _LONG8 = 3, 4, 16
_BYTES: Final = {1: 1, 2: 1, _SHORT: 2, _LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, _LONG8: 8}
"""Bytes of a value of each type."""
CLASSIC_BYTES: Final = (1 << 32) - 1
"""Bytes up to which a file has offsets of 32 bits, which every reader knows."""

GHOST: Final = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
"""What the head of a Cloud Optimized GeoTIFF says of its layout.

Whoever edits the file puts `YES` in place of `NO` and the blank behind its line, and finds both only together.
"""
GHOST_MASK: Final = "MASK_INTERLEAVED_WITH_IMAGERY=YES\n"

Span = tuple[int, int]
"""Where a tile begins in a file, and its bytes."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag of an image."""

    kind: int
    """Number of its type."""
    content: bytes
    """Its values, little-endian."""

    @classmethod
    def numbers(cls, kind: int, values: Sequence[int]) -> Tag:
        """A tag of whole numbers."""
        return cls(kind, struct.pack(f"<{len(values)}{ {_SHORT: 'H', _LONG: 'I', _LONG8: 'Q'}[kind] }", *values))

    @property
    def count(self) -> int:
        """How many values it has."""
        return len(self.content) // _BYTES[self.kind]

    @property
    def values(self) -> tuple[int, ...]:
        """Its values, if they are whole numbers."""
        letter = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[self.kind]
        return struct.unpack(f"<{self.count}{letter}", self.content)


Tags = Mapping[int, Tag]
"""Tags of one image by their numbers."""


def read_tags(content: bytes) -> list[dict[int, Tag]]:
    """The tags of every image in a little-endian TIFF of less than 4 GB, in the file's order.

    Raises:
        ValueError: it is no such file.
    """
    if content[:4] != b"II*\0":
        raise ValueError("no little-endian TIFF with offsets of 32 bits")
    images, (at,) = [], struct.unpack_from("<I", content, 4)
    while at:
        (count,) = struct.unpack_from("<H", content, at)
        tags = {}
        for place in range(at + 2, at + 2 + 12 * count, 12):
            number, kind, values = struct.unpack_from("<HHI", content, place)
            size = _BYTES[kind] * values
            start = place + 8 if size <= 4 else struct.unpack_from("<I", content, place + 8)[0]
            tags[number] = Tag(kind, content[start : start + size])
        images.append(tags)
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * count)
    return images


def spans_of(tags: Tags) -> list[Span]:
    """Where the tiles of an image lie, row by row."""
    return list(zip(tags[TILE_OFFSETS].values, tags[TILE_SIZES].values, strict=True))


def tags_alike(some: Tags, others: Tags) -> bool:
    """Whether the tiles of two images are stored alike: either's are the other's, byte for byte, of the same pixels."""
    return all(some.get(number) == others.get(number) for number in _OF_TILES)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of a file to be written: its size, and the bytes of its tiles row by row."""

    height: int
    """Rows of pixels."""
    width: int
    """Columns."""
    sizes: tuple[int, ...]
    """Bytes of every tile."""
    mask_sizes: tuple[int, ...] = ()
    """Bytes of every tile of its mask; none if it has no mask."""

    @property
    def nbytes(self) -> int:
        """Bytes of its tiles in a file, with what stands before and after each."""
        return sum(self.sizes) + sum(self.mask_sizes) + 8 * (len(self.sizes) + len(self.mask_sizes))


def head_of(images: Sequence[StoredImage], template: Tags, mask_template: Tags | None) -> bytes:
    """What stands in a Cloud Optimized GeoTIFF before the tiles: all tags, the whole image first.

    Tiles follow as `tile_order` gives them, each between its size and a repetition of its last bytes.

    Args:
        images: the whole image, then its overviews, the largest first.
        template: tags of an image that is like it in everything but its size.
        mask_template: the same of its mask.
    """
    ghost = GHOST if mask_template is None else GHOST + GHOST_MASK
    for big in (False, True):
        head = b""
        # Tags take as many bytes wherever the tiles lie: made once to count them, once to say where.
        for _ in range(2):
            head = _head(images, template, mask_template, ghost, start=len(head), big=big)
        if big or len(head) + sum(image.nbytes for image in images) <= CLASSIC_BYTES:
            return head
    raise AssertionError


def _head(
    images: Sequence[StoredImage], template: Tags, mask_template: Tags | None, ghost: str, *, start: int, big: bool
) -> bytes:
    written = f"GDAL_STRUCTURAL_METADATA_SIZE={len(ghost):06d} bytes\n{ghost}".encode()
    first = (16 if big else 8) + len(written)
    first += first % 2
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)
    head = (head + written).ljust(first, b"\0")
    places = _places(images, start)
    tables = [
        tags
        for number, image in enumerate(images)
        for tags in _tables(image, template, mask_template, places[number], overview=number > 0, big=big)
    ]
    for number, tags in enumerate(tables):
        head += _directory(tags, len(head), last=number == len(tables) - 1, big=big)
    return head


def _places(images: Sequence[StoredImage], start: int) -> list[tuple[list[int], list[int]]]:
    """Where the tiles of every image and those of its mask lie, the smallest image first after `start`."""
    places: list[tuple[list[int], list[int]]] = []
    for image in reversed(images):
        own, masks = [], []
        for number, size in enumerate(image.sizes):
            own.append(start + 4)
            start += size + 8
            if image.mask_sizes:
                masks.append(start + 4)
                start += image.mask_sizes[number] + 8
        places.insert(0, (own, masks))
    return places


def _tables(
    image: StoredImage,
    template: Tags,
    mask_template: Tags | None,
    places: tuple[list[int], list[int]],
    *,
    overview: bool,
    big: bool,
) -> Iterator[Tags]:
    """The tags of an image, and those of its mask."""
    kind = _LONG8 if big else _LONG
    parts = [(template, 0, places[0], image.sizes)]
    if mask_template is not None:
        parts.append((mask_template, _MASK, places[1], image.mask_sizes))
    for tags, bits, offsets, sizes in parts:
        kept = {n: tag for n, tag in tags.items() if not (overview or bits) or n in _OF_EVERY_LEVEL}
        if overview or bits:
            kept[SUBFILE] = Tag.numbers(_LONG, [bits + _OVERVIEW * overview])
        kept[WIDTH], kept[HEIGHT] = (Tag.numbers(_LONG, [length]) for length in (image.width, image.height))
        kept[TILE_OFFSETS], kept[TILE_SIZES] = Tag.numbers(kind, offsets), Tag.numbers(_LONG, sizes)
        yield kept


def _directory(tags: Tags, at: int, *, last: bool, big: bool) -> bytes:
    """The table of an image's tags that begins `at` so many bytes, with the values that it has no room for."""
    count, entry, size, number = ("<Q", "<HHQ", 8, "<Q") if big else ("<H", "<HHI", 4, "<I")
    rows = struct.calcsize(count) + len(tags) * (struct.calcsize(entry) + size) + size
    table, values = struct.pack(count, len(tags)), b""
    for code in sorted(tags):
        tag = tags[code]
        content = tag.content
        if len(content) > size:
            content = struct.pack(number, at + rows + len(values))
            values += tag.content + b"\0" * (len(tag.content) % 2)
        table += struct.pack(entry, code, tag.kind, tag.count) + content.ljust(size, b"\0")
    end = at + rows + len(values)
    return table + struct.pack(number, 0 if last else end) + values


def write_tile(file: BinaryIO, tile: bytes) -> None:
    """Append a tile, its size before it and its last four bytes once more behind it, as the head says."""
    file.write(struct.pack("<I", len(tile)))
    file.write(tile)
    file.write(tile[-4:].rjust(4, b"\0"))


__all__ = ["Span", "StoredImage", "Tag", "Tags", "head_of", "read_tags", "spans_of", "tags_alike", "write_tile"]
