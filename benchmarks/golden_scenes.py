"""Scenes of several files for `benchmarks.golden`: Items over parts of the demo scene, and the requests for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from benchmarks.golden_cases import Request, tile

BANDS: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
SIDE: Final = 480
"""Pixels per side of the part of the demo scene that the Items show."""
OFFSET: Final = 1000
"""What the Items' files store on top of the demo scene's numbers, as Sentinel-2 does since its baseline 04.00."""


def prepare_scenes(demo: Path) -> None:
    """Next to a generated demo scene: two Items with a file per band, the last two of 20 m, and their masks."""
    with rasterio.open(demo / "truth_mask.tif") as src:
        classes = src.read(1, window=Window(0, 0, SIDE, SIDE))
    masks = {"cloudy": np.select([classes == 1, classes == 2], [9, 3], 4), "clear": np.full_like(classes, 4)}
    for name, mask in masks.items():
        folder = demo / f"{name}-item"
        folder.mkdir()
        with rasterio.open(demo / f"{name}.tif") as src:
            values, affine, crs = src.read(window=Window(0, 0, SIDE, SIDE)), src.transform, src.crs
        _write(folder / "scl.tif", mask.astype(np.uint8), affine, crs=crs)
        assets: dict[str, Any] = {"scl": {"href": f"{folder.name}/scl.tif"}}
        for key, band in zip(BANDS, values, strict=True):
            step = 2 if key.startswith("swir") else 1
            seen = band.reshape(SIDE // step, step, SIDE // step, step).mean(axis=(1, 3)).round().astype(np.uint16)
            place = affine @ rasterio.Affine.scale(step)
            _write(folder / f"{key}.tif", seen + np.uint16(OFFSET), place, crs=crs, nodata=0)
            assets[key] = {
                "href": f"{folder.name}/{key}.tif",
                "eo:bands": [{"name": key, "common_name": key}],
                "raster:bands": [{"scale": 1e-4, "offset": -OFFSET * 1e-4}],
            }
        item = {"type": "Feature", "id": name, "properties": {}, "assets": assets}
        (demo / f"{name}.json").write_text(json.dumps(item))


def _write(path: Path, band: npt.NDArray[Any], affine: rasterio.Affine, **profile: Any) -> None:
    """One band as a tiled file."""
    profile |= {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "transform": affine}
    profile |= {"count": 1, "height": band.shape[0], "width": band.shape[1], "dtype": band.dtype}
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(band, 1)


def scene_requests(demo: Path) -> Iterator[Request]:
    """Items as target and replacement."""
    pair = {"url": str(demo / "cloudy.json"), "replacement": str(demo / "clear.json")}
    files = str(demo / "cloudy-item") + "/{" + ",".join(BANDS) + "}.tif"
    native = f"/stac/{tile(demo / 'cloudy-item' / 'blue.tif', 14)}.tif"
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "tile": (native, pair),
        "tile of chosen bands": (native, pair | {"assets": ["nir", "swir16"]}),
        "preview": ("/stac/preview.png", pair | {"rescale": "1000,4000"}),
        "index": ("/stac/preview.tif", pair | {"expression": "(nir-red)/(nir+red)"}),
        "own mask": ("/stac/preview.tif", pair | {"mask": "scl", "algorithm": "fill_source"}),
        "raster from an Item": ("/stac/preview.tif", pair | {"url": str(demo / "cloudy.tif")}),
        "list of files": ("/cog/preview.tif", pair | {"url": files}),
        "style": ("/stac/preview.webp", pair | {"style": "false-color"}),
        "sensitivity": (native, pair | {"algorithm_params": '{"sensitivity": 60}'}),
        "statistics": ("/stac/statistics", pair),
        "capabilities": ("/stac/WMTSCapabilities.xml", pair),
        "description": ("/stac/scene", pair),
        "bands": ("/stac/assets", {"url": pair["url"]}),
        "error: no such band": ("/stac/preview.tif", pair | {"assets": "purple"}),
        "error: nowhere to look": ("/stac/replacements", {"url": pair["url"]}),
        "error: no such mask": ("/stac/preview.tif", pair | {"mask": "udm2"}),
        "error: no Item": ("/stac/preview.tif", {"url": str(demo / "recipes" / "rgb.yaml")}),
    }
    for name, (path, params) in cases.items():
        yield Request(f"scene: {name}", path, params)
