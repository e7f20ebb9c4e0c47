"""A small STAC Item written by hand, with bands of 10, 20 and 60 m, and a second date that explains it exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tests.helpers.archives import coarsened, write_band
from tests.helpers.scenes import smooth_noise, write_mask

SHAPE: Final = (240, 252)
BANDS: Final = {
    "B02": ("blue", 10), "B03": ("green", 10), "B04": ("red", 10), "B08": ("nir", 10), "B05": ("rededge1", 20),
    "B11": ("swir16", 20), "B12": ("swir22", 20), "B09": ("watervapor", 60),
}  # fmt: skip
"""Common name and metres of every band."""
SCALE, OFFSET = 1e-4, -0.1
CLOUD: Final = 9000
"""Digital number of the painted clouds."""
Bands = Mapping[str, npt.NDArray[np.uint16]]
"""Digital numbers of every band, on its own grid."""


@dataclass(frozen=True, slots=True)
class TwoDates:
    """Items of a cloudy and a clear date, their mask, and the truth under the clouds."""

    target: Path
    replacement: Path
    mask: Path
    truth: Bands
    clouds: npt.NDArray[np.bool_]
    """(rows, cols) of the finest grid."""


def write_dates(folder: Path) -> TwoDates:
    """Two Items whose clear pixels differ by one gain and offset in every band, noise of single pixels included."""
    rng = np.random.default_rng(5)
    ground = smooth_noise(rng, SHAPE, 12)
    clear, cloudy, truth = {}, {}, {}
    shape = smooth_noise(rng, SHAPE, 15)
    clouds = shape > np.quantile(shape, 0.9)
    for key, (_, metres) in BANDS.items():
        factor = metres // 10
        values = coarsened(ground, factor)
        clear[key] = np.rint(3000 + 400 * values + 150 * rng.standard_normal(values.shape)).astype(np.uint16)
        truth[key] = np.rint(1.1 * clear[key] + 200).astype(np.uint16)
        cloudy[key] = np.where(coarsened(clouds.astype(float), factor) > 0, np.uint16(CLOUD), truth[key])
    return TwoDates(
        write_bands(folder / "cloudy", cloudy, day="2025-07-31"),
        write_bands(folder / "clear", clear, day="2025-08-10"),
        # Around clouds pixels of 60 m are mixed, and those interpolated from them: not to be taken for clear ground.
        Path(write_mask(folder / "mask.tif", _widened(clouds, 6))),
        truth,
        clouds,
    )


def _widened(clouds: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Clouds, widened to whole squares of so many pixels and a further square around."""
    squares = ndimage.binary_dilation(coarsened(clouds.astype(float), factor) > 0, np.ones((3, 3), bool))
    wide: npt.NDArray[np.bool_] = squares.repeat(factor, axis=0).repeat(factor, axis=1)
    return wide


def write_bands(folder: Path, bands: Bands, *, day: str, **properties: Any) -> Path:
    """An Item and its files."""
    folder.mkdir(parents=True)
    assets: dict[str, Any] = {
        "thumbnail": {"href": "preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    }
    for key, values in bands.items():
        name, metres = BANDS[key]
        write_band(folder / f"{key}.tif", values, metres)
        assets[name] = {
            "href": f"./{key}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "title": f"Band {key}",
            "roles": ["data", "reflectance"],
            "gsd": metres,
            "eo:bands": [{"name": key, "common_name": "rededge" if name == "rededge1" else name}],
            "raster:bands": [{"scale": SCALE, "offset": OFFSET, "nodata": 0}],
            "file:checksum": "12207888",
        }
        if name == "watervapor":
            assets[name]["eo:bands"][0]["common_name"] = "nir09"
    digits = day.replace("-", "")
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/view/v1.0.0/schema.json",
        ],
        "id": f"S2B_MSIL2A_{digits}T100559_N0511_R022_T33TUN_{digits}T130000",
        "collection": "sentinel-2-l2a",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[15.0, 41.52], [15.0, 41.55], [15.04, 41.55], [15.04, 41.52], [15.0, 41.52]]],
        },
        "bbox": [15.0, 41.52, 15.04, 41.55],
        "properties": {
            "datetime": f"{day}T10:05:59Z",
            "platform": "sentinel-2b",
            "constellation": "sentinel-2",
            "eo:cloud_cover": 15.2,
            "view:sun_elevation": 55.0,
            "s2:processing_baseline": "05.11",
            "s2:high_proba_clouds_percentage": 9.9,
            "proj:epsg": 32633,
            "proj:shape": [10980, 10980],
            "updated": "2025-08-01T00:00:00Z",
            **properties,
        },
        "links": [{"rel": "self", "href": "https://example.com/item.json"}],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path
