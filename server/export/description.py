"""What is said of a finished raster: the target's own description as GDAL gives it, with other bands and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

import rasterio.shutil
from rasterio.io import MemoryFile

from server.raster.dataset import Dataset
from server.raster.sources import Sources

GDAL_TYPES: Final = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""GDAL's name of every data type that can be filled."""


def target_description(sources: Sources, target: Dataset) -> ET.Element:
    """The target as a VRT: grid, CRS, bands with their names, units, scales, colours and tags.

    What describes its pixels or its file rather than its content is left out: the pixels and its mask, statistics, and
    how it was compressed.
    """
    with sources.open_described(target) as src, MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(src, memory.name, driver="VRT")
        root = ET.fromstring(bytes(memory.getbuffer()))  # noqa: S314  (written by GDAL a line ago)
    for parent in [root, *root.iter("VRTRasterBand")]:
        for element in list(parent):
            stale = element.tag in ("Histograms", "MaskBand", "Overview", "OverviewList")
            if (
                stale
                or element.tag.endswith("Source")
                or (element.tag == "Metadata" and element.get("domain") == "IMAGE_STRUCTURE")
            ):
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
    """Leave the dataset some of its bands, by 1-based numbers and in their order."""
    bands = {int(band.get("band") or 1): band for band in root.findall("VRTRasterBand")}
    for old in bands.values():
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


def put_mask(root: ET.Element) -> None:
    """Give the dataset a mask."""
    ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")


def put_bands(root: ET.Element, bands: Mapping[str, str], nodata: int) -> None:
    """Give the dataset other bands, of bytes, and nothing of the target's tags."""
    for old in [e for e in root if e.tag in ("VRTRasterBand", "Metadata")]:
        root.remove(old)
    for number, (name, meaning) in enumerate(bands.items(), start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        ET.SubElement(ET.SubElement(band, "Metadata"), "MDI", key="MEANING").text = meaning
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = str(nodata)
        ET.SubElement(band, "ColorInterp").text = "Gray" if number == 1 else "Undefined"
