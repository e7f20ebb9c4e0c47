"""Images as labelled arrays: coordinates, CRS and names as xarray and rioxarray have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rio_tiler.models import ImageData

from clearsky.extras import extra_package
from server.raster.dataset import Dataset

if TYPE_CHECKING:
    import xarray


def labelled_image(image: ImageData, dataset: Dataset, *, name: str) -> xarray.DataArray:
    """An image as an array with coordinates; needs xarray (`pip install 'clearsky[notebook]'`).

    Args:
        image: with its place and CRS.
        dataset: the raster that it is of, for scale, offset and nodata.
        name: of the result.

    Returns:
        (band, y, x) with the bands' names, coordinates of the pixels' centres, `spatial_ref` as rioxarray has it;
        `scale_factor` and `add_offset` are attributes, or coordinates of `band` where the bands have different ones.

    Raises:
        MissingPackageError: xarray is not installed.
    """
    xr = extra_package("xarray")
    assert image.bounds is not None and image.crs is not None  # noqa: S101, PT018  (of a raster with a place)
    west, south, east, north = image.bounds
    rows, cols = image.array.shape[1:]
    x = west + (np.arange(cols) + 0.5) * (east - west) / cols
    y = north - (np.arange(rows) + 0.5) * (north - south) / rows
    reference = {
        "crs_wkt": image.crs.to_wkt(),
        "spatial_ref": image.crs.to_wkt(),
        "GeoTransform": " ".join(repr(float(v)) for v in image.transform.to_gdal()),
    }
    missing = image.array.mask.any()
    values = image.array.data
    packing = {"scale_factor": dataset.scales, "add_offset": dataset.offsets}
    alike = all(len(set(each)) == 1 for each in packing.values())
    attributes: dict[str, Any] = {name: each[0] for name, each in packing.items()} if alike else {}
    by_band = {} if alike else {name: ("band", list(each)) for name, each in packing.items()}
    if dataset.nodata is not None:
        values = np.ma.filled(image.array, dataset.nodata)
        attributes["_FillValue"] = dataset.nodata
    elif missing:
        values = np.ma.filled(image.array.astype(np.float32), np.nan)
    names = [label or f"b{i}" for i, label in enumerate(image.band_descriptions or image.band_names, start=1)]
    found: xarray.DataArray = xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={"band": names, "y": y, "x": x, "spatial_ref": ((), 0, reference), **by_band},
        attrs=attributes,
        name=name,
    )
    return found
