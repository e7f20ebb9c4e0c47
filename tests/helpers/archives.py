"""Small archives: real Items of public catalogues over small rasters, with the numbers that each archive stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from tests.helpers.scenes import BANDS

CRS: Final = "EPSG:32633"
LEFT, TOP = 500_000, 4_600_000
Ground = Mapping[str, npt.NDArray[np.float64]]
"""Reflectance (H, W) by common name, on the finest grid of the archive."""

_SENTINEL: Final = {
    "B02": ("blue", 10), "B03": ("green", 10), "B04": ("red", 10), "B08": ("nir", 10), "B8A": ("nir08", 20),
    "B11": ("swir16", 20), "B12": ("swir22", 20), "B05": ("rededge1", 20),
}  # fmt: skip
_LANDSAT: Final = {
    "B2": ("blue", 30), "B3": ("green", 30), "B4": ("red", 30), "B5": ("nir08", 30), "B6": ("swir16", 30),
    "B7": ("swir22", 30),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Archive:
    """How an archive stores what it has."""

    item: str
    """File name of a real Item."""
    scale: float
    """Reflectance per digital number."""
    offset: float
    """Reflectance at digital number 0."""
    suffix: str = ".tif"
    """Of the files."""
    landsat: bool = False
    """Whether the bands are Landsat's."""


ARCHIVES: Final = {
    "earthsearch-l2a": Archive("earthsearch_sentinel-2-l2a.json", 1e-4, 0.0),
    "earthsearch-c1": Archive("earthsearch_sentinel-2-c1-l2a.json", 1e-4, -0.1),
    "earthsearch-l1c": Archive("earthsearch_sentinel-2-l1c.json", 1e-4, -0.1, ".jp2"),
    "planetary-s2": Archive("pc_sentinel-2-l2a.json", 1e-4, 0.0),
    "cdse": Archive("cdse_sentinel-2-l2a_trimmed.json", 1e-4, -0.1, ".jp2"),
    "stactools-safe": Archive("stactools_sentinel-2-l2a_safe.json", 1e-4, -0.1),
    "earthsearch-landsat": Archive("earthsearch_landsat-c2-l2.json", 2.75e-5, -0.2, landsat=True),
    "planetary-landsat": Archive("pc_landsat-c2-l2.json", 2.75e-5, -0.2, landsat=True),
    "usgs": Archive("usgs_landsat-c2l2-sr.json", 2.75e-5, -0.2, landsat=True),
    "stactools-landsat": Archive("stactools_landsat-c2-l2.json", 2.75e-5, -0.2, landsat=True),
}


def write_band(
    path: Path, values: npt.NDArray[Any], metres: float, *, nodata: float | None = 0, **profile: Any
) -> Path:
    """One band as a file of its own, with overviews; JPEG 2000 without loss."""
    height, width = values.shape
    profile |= {"count": 1, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    profile |= {"crs": CRS, "transform": from_origin(LEFT, TOP, metres, metres)}
    if path.suffix == ".jp2":
        profile |= {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": True, "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
        profile["nodata"] = None  # the format has none
        with rasterio.open(path, "w", **profile) as dst:
            dst.write(values, 1)
        path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
        return path
    with rasterio.open(path, "w", driver="GTiff", tiled=True, blockxsize=256, blockysize=256, **profile) as dst:
        dst.write(values, 1)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2, 4], Resampling.average)
    return path


def coarsened(values: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Means of squares of `factor` x `factor` pixels."""
    height, width = (side // factor for side in values.shape)
    squares = values[: height * factor, : width * factor].reshape(height, factor, width, factor)
    means: npt.NDArray[Any] = squares.mean(axis=(1, 3))
    return means


def digital(reflectance: npt.NDArray[Any], scale: float, offset: float) -> npt.NDArray[np.uint16]:
    """Digital numbers of reflectance, 0 left for no data."""
    return np.round((reflectance - offset) / scale).clip(1, 65535).astype(np.uint16)


def _band(key: str, asset: Mapping[str, Any], landsat: bool) -> tuple[str, float] | None:
    """Common name and resolution of an asset that is one band of reflectance."""
    known = _LANDSAT if landsat else _SENTINEL
    bands = asset.get("eo:bands") or asset.get("bands") or []
    if len(bands) != 1 or "jp2" in key:
        return None
    name, metres = known.get(bands[0]["name"].removeprefix("OLI_"), (None, 0))
    for size in (10, 20, 60):
        if key.endswith(f"_{size}m"):
            metres = size
    return None if name is None else (name, metres)


def write_item(
    folder: Path,
    name: str,
    archive: Archive,
    ground: Ground,
    documents: Path,
    *,
    masks: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
    **properties: Any,
) -> Path:
    """An Item of an archive whose assets are small files: those of the ground's bands, at their own resolutions.

    Args:
        folder: to write in.
        name: of the Item's file, without suffix.
        archive: which.
        ground: reflectance.
        documents: folder of the real Items.
        masks: by their assets' keys, on the grid of 20 or 30 m.
        properties: of the Item that replace its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    item = json.loads((documents / archive.item).read_text())
    item["properties"] |= properties
    item["links"] = [link for link in item.get("links", []) if link["rel"] not in ("self", "root", "parent")]
    finest = 30 if archive.landsat else 10
    kept = {}
    for key, asset in item["assets"].items():
        if key in masks:
            write_band(folder / f"{name}-{key}.tif", masks[key], 30 if archive.landsat else 20, nodata=None)
            kept[key] = {**asset, "href": f"{name}-{key}.tif"}
            continue
        found = _band(key, asset, archive.landsat)
        if found is None or found[0] not in ground:
            continue
        common, metres = found
        # To a whole digital number of every archive of Sentinel-2, so that all store the same.
        values = np.round(coarsened(ground[common], round(metres / finest)), 4)
        path = folder / f"{name}-{key}{archive.suffix}"
        write_band(path, digital(values, archive.scale, archive.offset), metres)
        asset.pop("alternate", None)
        kept[key] = {**asset, "href": path.name}
    item["assets"] = kept
    target = folder / f"{name}.json"
    target.write_text(json.dumps(item))
    return target


def write_plain_item(
    folder: Path, values: npt.NDArray[Any], masks: Mapping[str, npt.NDArray[Any]] | None = None
) -> str:
    """A small Item of no archive, in a folder of its own: six bands of 10 m, and masks.

    Args:
        folder: to make.
        values: (6, H, W) digital numbers, 10,000 for a reflectance of 1.
        masks: by kind.

    Returns:
        The Item's path.
    """
    folder.mkdir()
    assets: dict[str, Any] = {}
    for name, band in zip(BANDS, values, strict=True):
        write_band(folder / f"{name}.tif", digital(band * 1e-4, 1e-4, 0.0), 10)
        assets[name] = {
            "href": f"{name}.tif",
            "type": "image/tiff",
            "eo:bands": [{"name": name, "common_name": name}],
            "raster:bands": [{"scale": 1e-4, "offset": 0.0}],
        }
    for kind, mask in (masks or {}).items():
        write_band(folder / f"{kind}.tif", mask, 10, nodata=None)
        assets[kind] = {"href": f"{kind}.tif", "type": "image/tiff"}
    path = folder / "item.json"
    path.write_text(json.dumps({"type": "Feature", "id": folder.name, "properties": {}, "assets": assets}))
    return str(path)
