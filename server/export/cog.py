"""Writing datasets as Cloud Optimized GeoTIFFs, each complete before it gets its name.

GDAL's driver compresses a raster and makes its overviews once the last piece is there: a sixth of an export's time,
with idle cores. Here the tiles that pieces hold are copied as they are, while GDAL says what stands before them.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from server.export.mosaic import Kept, Mosaic, PieceFile
from server.export.overviews import Halving
from server.export.pyramid import MadeTile, Pyramid
from server.export.tiff import StoredImage, Tags, head_of, read_tags, write_tile
from server.export.tiles import LOSSLESS, TILE_PIXELS, tile_options
from server.export.work import no_room
from server.raster.dataset import Dataset
from server.raster.grid import BlockNumber, Box
from server.raster.sources import Sources

SCRATCH: Final = "cog"
"""Folder next to a COG while it is being written."""


def compression_of(sources: Sources, target: Dataset) -> str:
    """The compression to write with: the target's own where it loses nothing."""
    with sources.open_described(target) as src:
        own = src.compression.value.lower() if src.compression else ""
    return own if own in LOSSLESS else LOSSLESS[0]


@dataclass(frozen=True, slots=True)
class Cog:
    """A COG to be written."""

    description: ET.Element
    """A VRT without sources: everything about the raster but its pixels, with a mask if it has one."""
    pieces: tuple[PieceFile, ...]
    """Its pixels."""
    finished: Path
    """Where it is then."""
    out: Path
    """The name that it has in the end, for messages."""
    dtype: str
    """Data type of the pixels."""
    compression: str
    """One of `LOSSLESS`."""
    averaged: bool
    """Whether overviews show means, rather than single pixels."""
    masks: tuple[PieceFile, ...] = ()
    """Its mask, if it has one."""
    first: int = 1
    """Number of the pieces' band that becomes the first."""

    @property
    def scratch(self) -> Path:
        """Folder for it while it is unfinished."""
        return self.finished.parent / SCRATCH

    def write(self, scratch: Path, threads: int) -> None:
        """Write it, on so many threads.

        Args:
            scratch: an empty folder that nobody else writes to.
            threads: how many.

        Raises:
            OSError: no disk space, or no permission.
        """
        shape = int(self.description.get("rasterYSize") or 0), int(self.description.get("rasterXSize") or 0)
        image, mask = self._templates()
        bands = self.description.findall("VRTRasterBand")
        averaged = self.averaged and self.description.find("*/ColorTable") is None  # numbers of colours have no mean
        alpha = [n for n, band in enumerate(bands) if band.findtext("ColorInterp") == "Alpha"]
        pyramid = Pyramid(
            Mosaic(shape, self.pieces, tuple(range(self.first, self.first + len(bands)))),
            Mosaic(shape, self.masks, (1,)) if self.masks else None,
            image,
            mask,
            self.compression,
            Halving(averaged, nodata_of(self.description), *alpha[:1]),
        )
        tiles = _Tiles(scratch / "tiles")
        tiles.keep(pyramid.tiles(threads))
        part = scratch / "cog.tif"
        tiles.put_together(part, pyramid.shapes, image, mask)
        part.replace(self.finished)

    def _templates(self) -> tuple[Tags, Tags | None]:
        """Tags of an image like this one of another size, and those of its mask."""
        small = copy.deepcopy(self.description)
        small.attrib |= {"rasterXSize": str(TILE_PIXELS), "rasterYSize": str(TILE_PIXELS)}
        # In memory: of a full disk GDAL says nothing that Python takes for an `OSError`.
        with MemoryFile(ET.tostring(small), ext=".vrt") as vrt, MemoryFile(ext=".tif") as file:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                rasterio.shutil.copy(vrt.name, file.name, **tile_options(self.dtype, self.compression))
            image, *masks = read_tags(bytes(file.getbuffer()))
        return image, masks[0] if masks else None


def nodata_of(description: ET.Element) -> float | int | None:
    """The value that stands for no data in a VRT: whole ones exactly, however large; None where there is none."""
    element = description.find("*/NoDataValue")
    if element is None:
        return None
    try:
        return int(element.text or "nan")
    except ValueError:
        return float(element.text or "nan")


class _Tiles:
    """Tiles of all levels, where they are until they are put together: in a file here, or in those of pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: dict[tuple[int, BlockNumber], Kept] = {}
        self._masks: dict[tuple[int, BlockNumber], Kept] = {}

    def keep(self, tiles: Iterable[MadeTile]) -> None:
        """Write down those that no piece has."""
        with self.path.open("wb") as file:
            for tile in tiles:
                for content, places in ((tile.image, self._images), (tile.mask, self._masks)):
                    if isinstance(content, bytes):
                        places[tile.level, tile.number] = self.path, (file.tell(), len(content))
                        file.write(content)
                    elif content is not None:
                        places[tile.level, tile.number] = content

    def put_together(self, path: Path, shapes: list[tuple[int, int]], image: Tags, mask: Tags | None) -> None:
        """Write the whole file, the smallest overview first."""
        levels = [
            [(level, number) for number in Box(0, rows, 0, cols).blocks(TILE_PIXELS)]
            for level, (rows, cols) in enumerate(shapes)
        ]
        stored = [
            StoredImage(
                *shape,
                tuple(self._images[key][1][1] for key in level),
                tuple(self._masks[key][1][1] for key in level if key in self._masks),
            )
            for shape, level in zip(shapes, levels, strict=True)
        ]
        with path.open("wb") as file:
            file.write(head_of(stored, image, mask))
            for key in (key for level in reversed(levels) for key in level):
                for kept in (self._images[key], self._masks.get(key)):
                    if kept is not None:
                        write_tile(file, _content(kept))


def _content(kept: Kept) -> bytes:
    path, (start, size) = kept
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def write_cogs(cogs: Sequence[Cog], *, workers: int) -> None:
    """Write COGs one after the other, each of which appears complete; those before one that fails stay.

    Args:
        cogs: what to write; missing folders are made, but no folders around them.
        workers: threads.

    Raises:
        UnwritableError: one cannot be written.
    """
    for cog in cogs:
        try:
            cog.scratch.parent.mkdir(exist_ok=True)
            shutil.rmtree(cog.scratch, ignore_errors=True)
            cog.scratch.mkdir()
            # Its own: another export of the same name that begins now ends this one, but writes nothing into it.
            own = Path(tempfile.mkdtemp(dir=cog.scratch))
            try:
                cog.write(own, workers)
            finally:
                shutil.rmtree(own, ignore_errors=True)
        except (OSError, RasterioError) as error:
            raise no_room(cog.out, getattr(error, "strerror", None) or " ".join(str(error).split())) from error
        finally:
            with contextlib.suppress(OSError):  # another export's, the work folder, or a finished output
                cog.scratch.rmdir()
                cog.scratch.parent.rmdir()
