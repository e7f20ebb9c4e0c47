"""The rasters and recipes of `benchmarks.golden`, and what it runs next to requests: commands and direct calls."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.warp import reproject, transform

from algorithms import buffer_mask, cloud_mask, fill_clouds, reclassify, stepwise_adjustment

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CLEARSKY_TEST_DATA") or ROOT.parent / "shared" / "data")

PAIRS = {
    "congo": ("s2_congo_p500_cloudy", "s2_congo_p500_clear"),
    "lazio": ("s2_lazio_20180705_cloudy", "s2_lazio_20180720_clear"),
    "north": ("s2_tatarstan_north_cloudy", "s2_tatarstan_north_clear"),
    "tatarstan": ("s2_tatarstan_core_cloudy", "s2_tatarstan_core_clear"),
}
"""Real pairs, the cloudy date first."""

NDVI = "(b4-b3)/(b4+b3)"

RECIPES = {
    "rgb": "render: {bands: [red, green, blue], rescale: [[0, 3000]]}\n",
    "ndvi": f"adjustment: moment\nbuffer: 4\nrender: {{expression: {NDVI}, rescale: [[-0.1, 0.9]],"
    " colormap_name: rdylgn, resampling: bilinear}\n",
    "masked": 'mask: {source: ../truth_mask.tif, remap: "1 1;2 1"}\nreplacement_masks: [none]\n'
    "window: 40\nresidual: false\n",
    "broken": "window: 70\n",
}
"""What recipes of the demo scene say beyond the scene."""

TEMPLATE = (
    "<RasterFunctionTemplate xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'"
    " xmlns:typens='http://www.esri.com/schemas/ArcGIS/2.9.0'><Name>Stepwise Local Radiometric Adjustment</Name>"
    "<Function xsi:type='typens:PythonAdapterFunction'><Name>Stepwise Local Radiometric Adjustment</Name></Function>"
    "<Arguments xsi:type='typens:PythonAdapterFunctionArguments'><Names xsi:type='typens:ArrayOfString'>"
    "<String>size_of_window</String></Names><Values xsi:type='typens:ArrayOfAnyType'>"
    "<AnyType xsi:type='typens:RasterFunctionVariable'><Name>size_of_window_1</Name>"
    "<Value xsi:type='xs:int'>40</Value></AnyType></Values></Arguments></RasterFunctionTemplate>"
)
"""A raster function template of ArcGIS."""


@dataclass(frozen=True)
class Command:
    """One call of `clearsky`, and the rasters it writes."""

    name: str
    args: list[str]
    outputs: list[Path] = field(default_factory=list)


def prepare(demo: Path) -> None:
    """Next to a generated demo scene: a replacement of its western half in degrees, and recipes."""
    with rasterio.open(demo / "clear.tif") as src:
        left, bottom, right, top = src.bounds
        xs, ys = [left, (left + right) / 2], [top, bottom]
        lon, lat = transform(src.crs, "EPSG:4326", xs, ys)
        grid = rasterio.transform.from_bounds(lon[0], lat[1], lon[1], lat[0], 420, 720)
        half = np.zeros((src.count, 720, 420), np.uint16)
        reproject(rasterio.band(src, list(src.indexes)), half, dst_transform=grid, dst_crs="EPSG:4326", dst_nodata=0)
        profile = {"driver": "GTiff", "dtype": "uint16", "count": src.count, "width": 420, "height": 720, "nodata": 0}
        with rasterio.open(demo / "half.tif", "w", crs="EPSG:4326", transform=grid, tiled=True, **profile) as dst:
            dst.write(half)
            dst.descriptions, dst.scales, dst.offsets = src.descriptions, src.scales, src.offsets
    (demo / "recipes").mkdir()
    for name, rest in RECIPES.items():
        head = f"name: {name}\ntarget: ../cloudy.tif\nreplacements: [../clear.tif]\n"
        (demo / "recipes" / f"{name}.yaml").write_text(head + rest)
    (demo / "slra.rft.xml").write_text(TEMPLATE)


def prepare_real(real: Path) -> None:
    """The real pairs, as far as they are there."""
    real.mkdir()
    for file in sorted({name for pair in PAIRS.values() for name in pair}):
        if (DATA / f"{file}.tif").is_file():
            shutil.copyfile(DATA / f"{file}.tif", real / f"{file}.tif")


def commands(demo: Path, real: Path, out: Path) -> Iterator[Command]:
    """The command line."""
    cloudy, clear, half = (str(demo / f"{name}.tif") for name in ("cloudy", "clear", "half"))
    made, told = out / "filled.tif", out / "provenance.tif"
    pair = ["export", cloudy, str(made), "--replacement", clear]
    yield Command("export", [*pair, "--provenance", str(told)], [made, told])
    yield Command("export: exists already", pair)
    made, told = out / "moment.tif", out / "moment-from.tif"
    more = ["--replacement", half, "--adjustment", "moment", "--no-residual", "--unfilled", "nodata"]
    yield Command("export of a part", ["export", cloudy, str(made), *more, "--provenance", str(told)], [made, told])
    made = out / "recipe.tif"
    yield Command(
        "export of a recipe", ["export", "--recipe", str(demo / "recipes" / "masked.yaml"), str(made)], [made]
    )
    made, scenes = out / "bands", [str(demo / f"{name}.json") for name in ("cloudy", "clear")]
    bands = [made / f"{name}.tif" for name in ("blue", "swir16", "fill_source")]
    more = ["--replacement", scenes[1], "--mask", "scl", "--assets", "blue,swir16"]
    yield Command("export of bands", ["export", scenes[0], "--per-asset", str(made), *more], bands)
    for name in ("mask.tif", "mask.png"):
        yield Command(f"mask: {name}", ["mask", cloudy, str(out / name), "--replacement", clear], [out / name])
    look = ["picture", cloudy, str(out / "look.png"), "--replacement", clear]
    yield Command("picture", look, [out / "look.png"])
    yield Command("picture: unknown style", [*look, "--style", "pretty", "--overwrite"])
    files = [real / f"{name}.tif" for name in PAIRS["tatarstan"]]
    if all(file.is_file() for file in files):
        made = out / "native.tif"
        more = ["--replacement", str(files[1]), "--analysis-resolution", "native"]
        yield Command("tatarstan: export native", ["export", str(files[0]), str(made), *more], [made])
    yield Command(
        "export: missing file", ["export", str(demo / "none.tif"), str(out / "x.tif"), "--replacement", clear]
    )
    yield Command("export: bad window", [*pair, "--window", "81", "--overwrite"])
    yield Command("recipe check", ["recipe", "check", *(str(demo / "recipes" / f"{name}.yaml") for name in RECIPES)])
    yield Command(
        "recipe from-rft", ["recipe", "from-rft", str(demo / "slra.rft.xml"), "--target", cloudy, "--name", "a"]
    )
    yield Command("models", ["models"])


def calls(demo: Path) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    """The functions of `algorithms`, on a part of the demo scene."""
    arrays = []
    for name in ("cloudy", "clear", "truth_mask"):
        with rasterio.open(demo / f"{name}.tif") as src:
            arrays.append(src.read()[:, 300:620, 200:600])
    target, replacement, (classes,) = arrays
    bands = ["blue", "green", "red", "nir", "swir16", "swir22"]
    mask = buffer_mask(reclassify(classes, "1 1;2 1"), 2)
    small = (slice(None), slice(0, 160), slice(0, 200))
    part = (target[small], replacement[small], reclassify(classes, "1 1;2 1")[small[1:]])
    return {
        "cloud_mask": lambda: cloud_mask(target * np.float32(1e-4), bands),
        "cloud_mask of four bands, l2a": lambda: cloud_mask(target[:4] * np.float32(1e-4), bands[:4], level="l2a"),
        "reclassify": lambda: reclassify(classes, "0 7;1 2 3;NODATA 9"),
        "buffer_mask": lambda: buffer_mask(classes == 1, 5),
        "fill_clouds regression": lambda: fill_clouds(target, replacement, mask),
        "fill_clouds moment": lambda: fill_clouds(target, replacement, mask, adjustment="moment"),
        "fill_clouds on cells": lambda: fill_clouds(target, replacement, mask, window=40, analysis_factor=2),
        "fill_clouds without residual": lambda: fill_clouds(target, replacement, mask, residual=False),
        "stepwise_adjustment": lambda: stepwise_adjustment(*part, window=20, buffer=2),
        "stepwise_adjustment as Esri": lambda: stepwise_adjustment(*part, window=20, buffer=2, statistics="esri"),
    }
