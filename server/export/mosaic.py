"""The finished pieces as one dataset: the target's own description as GDAL gives it, with other pixels under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import rasterio.shutil

from server.export.plan import Piece
from server.raster.dataset import Dataset
from server.raster.sources import Sources

GDAL_TYPES: Final = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""GDAL's name of every data type that can be filled."""

PieceFile = tuple[Piece, Path]


def target_description(sources: Sources, target: Dataset, scratch: Path) -> ET.Element:
    """The target as a VRT: grid, CRS, bands with their names, units, scales, colours and tags.

    What describes its pixels or its file rather than its content is left out: statistics, and how it was compressed.
    """
    with sources.open_described(target) as src:
        rasterio.shutil.copy(src, scratch, driver="VRT")
    root = ET.fromstring(scratch.read_bytes())  # noqa: S314  (written by GDAL a line ago)
    scratch.unlink()
    for parent in [root, *root.iter("VRTRasterBand")]:
        for element in list(parent):
            stale = element.tag in ("Histograms", "Overview", "OverviewList")
            if stale or (element.tag == "Metadata" and element.get("domain") == "IMAGE_STRUCTURE"):
                parent.remove(element)
        for items in parent.findall("Metadata"):
            for item in [i for i in items if (i.get("key") or "").startswith("STATISTICS_")]:
                items.remove(item)
    return root


def add_tags(root: ET.Element, tags: Mapping[str, str]) -> None:
    """Add tags to the dataset's own."""
    items = next((m for m in root.findall("Metadata") if not m.get("domain")), None)
    if items is None:
        items = ET.Element("Metadata")
        root.insert(0, items)
    for key, value in tags.items():
        for old in [i for i in items if i.get("key") == key]:
            items.remove(old)
        ET.SubElement(items, "MDI", key=key).text = value


def keep_bands(root: ET.Element, numbers: Sequence[int]) -> None:
    """Leave the dataset some of its bands, by 1-based numbers and in their order, and no mask."""
    bands = {int(band.get("band") or 1): band for band in root.findall("VRTRasterBand")}
    for old in [e for e in root if e.tag in ("VRTRasterBand", "MaskBand")]:
        root.remove(old)
    for place, number in enumerate(numbers, start=1):
        bands[number].set("band", str(place))
        root.append(bands[number])


def put_meaning(root: ET.Element, scale: float, offset: float) -> None:
    """Say of every band what its numbers mean."""
    for band in root.findall("VRTRasterBand"):
        for old in [e for e in band if e.tag in ("Scale", "Offset")]:
            band.remove(old)
        ET.SubElement(band, "Scale").text = repr(scale)
        ET.SubElement(band, "Offset").text = repr(offset)


def put_sources(root: ET.Element, sources: Iterable[PieceFile], dtype: str, *, first: int = 1) -> None:
    """Let every band, but not the mask, show the pieces instead of the target's file.

    Args:
        root: the dataset.
        sources: the pieces.
        dtype: their type.
        first: their 1-based band that the dataset's first one shows; the next shows the next.
    """
    pieces = list(sources)
    for band in root.findall("VRTRasterBand"):
        _replace_sources(band, pieces, dtype, str(int(band.get("band") or 1) - 1 + first))


def put_mask(root: ET.Element, sources: Iterable[PieceFile]) -> None:
    """Let the mask of the dataset show the pieces."""
    for old in root.findall("MaskBand"):
        root.remove(old)
    band = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
    _replace_sources(band, list(sources), "uint8", "1")


def put_bands(root: ET.Element, bands: Mapping[str, str], nodata: int) -> None:
    """Give the dataset other bands, of bytes, and nothing of the target's tags."""
    for old in [e for e in root if e.tag in ("VRTRasterBand", "MaskBand", "Metadata")]:
        root.remove(old)
    for number, (name, meaning) in enumerate(bands.items(), start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        ET.SubElement(ET.SubElement(band, "Metadata"), "MDI", key="MEANING").text = meaning
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = str(nodata)
        ET.SubElement(band, "ColorInterp").text = "Gray" if number == 1 else "Undefined"


def _replace_sources(band: ET.Element, pieces: list[PieceFile], dtype: str, number: str) -> None:
    for old in [e for e in band if e.tag.endswith("Source")]:
        band.remove(old)
    for piece, path in pieces:
        rows, cols = (str(n) for n in piece.pixels.shape)
        source = ET.SubElement(band, "SimpleSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = path.name
        ET.SubElement(source, "SourceBand").text = number
        # Told the size and the type, GDAL opens a piece only when it reads it.
        ET.SubElement(source, "SourceProperties", RasterXSize=cols, RasterYSize=rows, DataType=GDAL_TYPES[dtype])
        ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=cols, ySize=rows)
        left, top = str(piece.pixels.left), str(piece.pixels.top)
        ET.SubElement(source, "DstRect", xOff=left, yOff=top, xSize=cols, ySize=rows)
