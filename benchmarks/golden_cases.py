"""The requests of `benchmarks.golden`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import morecantile
import rasterio
from rasterio.warp import transform

from benchmarks.golden_calls import NDVI, PAIRS

STYLES = ("auto", "false-color", "ndvi")
RGB: dict[str, Any] = {"bidx": [3, 2, 1], "rescale": "0,3000"}
FILLS = ("cloud_removal", "cloud_mask", "cloud_probability", "fill_source", "fill_confidence")


@dataclass(frozen=True)
class Request:
    """One HTTP request; `body` makes it a POST of JSON."""

    name: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    body: Any = None


def tile(raster: Path, zoom: int, at: tuple[float, float] = (0.5, 0.5), tms: str = "WebMercatorQuad") -> str:
    """The end of a tile's path: z/x/y at a place of a raster, in parts of its width and height."""
    with rasterio.open(raster) as src:
        x, y = src.transform * (at[0] * src.width, at[1] * src.height)
        lon, lat = transform(src.crs, "EPSG:4326", [x], [y])
    found = morecantile.tms.get(tms).tile(lon[0], lat[0], zoom)
    return f"tiles/{tms}/{found.z}/{found.x}/{found.y}"


def options(**given: Any) -> dict[str, str]:
    """`algorithm_params`."""
    return {"algorithm_params": json.dumps(given)}


def demo_requests(demo: Path) -> Iterator[Request]:
    """Everything that gives pixels or numbers of the demo scene."""
    cloudy, clear, half, mask = (str(demo / f"{n}.tif") for n in ("cloudy", "clear", "half", "truth_mask"))
    pair = {"url": cloudy, "replacement": clear}
    small = {"tilesize": 256}
    own = {"mask": mask, "mask_remap": "1 1;2 1", "replacement_mask": "none"}
    native, overview = f"/cog/{tile(demo / 'cloudy.tif', 14)}", f"/cog/{tile(demo / 'cloudy.tif', 12)}"
    with rasterio.open(cloudy) as src:
        left, top, utm = src.bounds.left, src.bounds.top, f"EPSG:{src.crs.to_epsg()}"
    x, y = [left + 2000, left + 7000, left + 3000], [top - 7000, top - 2500, top - 3000]
    lon, lat = transform(utm, "EPSG:4326", x, y)
    here = {"coord_crs": utm, "dst_crs": utm}
    box = f"/cog/bbox/{left + 2000:.0f},{top - 6000:.0f},{left + 7000:.0f},{top - 1000:.0f}"
    ring = [[lon[0], lat[0]], [lon[1], lat[0]], [lon[1], lat[1]], [lon[0], lat[0]]]
    triangle = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    tiles = {
        "tile z11 png": ("/cog/" + tile(Path(cloudy), 11) + ".png", pair | RGB),
        "tile z12 webp": (overview + ".webp", pair | RGB),
        "tile z14 tif": (native + ".tif", pair | small),
        "tile z15 npy": ("/cog/" + tile(Path(cloudy), 15, (0.4, 0.6)) + ".npy", pair | small),
        "tile z14 at the border": ("/cog/" + tile(Path(cloudy), 14, (0.01, 0.99)) + ".png", pair | RGB | small),
        "tile in degrees": ("/cog/" + tile(Path(cloudy), 12, tms="WGS1984Quad") + ".tif", pair | small),
        "tile bilinear": (native + ".tif", pair | small | {"resampling": "bilinear", "reproject": "cubic"}),
        "tile without replacement": (native + ".png", {"url": cloudy} | RGB),
        "moment": (native + ".tif", pair | small | options(adjustment="moment")),
        "no residual": (native + ".tif", pair | small | options(residual=False)),
        "no refine": (native + ".tif", pair | small | options(refine=False)),
        "window 40, no buffer": (native + ".tif", pair | small | options(window=40, buffer=0)),
        "sensitivity": (native + ".tif", pair | small | options(sensitivity=60)),
        "mask in colour": (native + ".png", pair | small | {"algorithm": "cloud_mask"}),
        "natural colour": (native + ".webp", pair | small),
        "twice the pixels": (overview + "@2x.png", pair | small),
        **{f"style {name}": ("/cog/preview.png", pair | {"style": name, "max_size": 400}) for name in STYLES},
        "bits": (native + ".tif", pair | small | own | {"mask_bits": "0"} | {"mask_remap": ""}),
        "units of its own": (native + ".tif", pair | small | own | {"replacement_reflectance_scale": 1.1e-4}),
        "half, unfilled nodata": ("/cog/preview.tif", pair | {"replacement": half} | options(unfilled="nodata")),
        "two replacements": ("/cog/preview.tif", pair | {"replacement": [half, clear]}),
        "two replacements, source": (
            "/cog/preview.tif",
            pair | {"replacement": [half, clear], "algorithm": "fill_source"},
        ),
        "user mask": (native + ".tif", pair | small | own),
        "user mask, clouds only, moment": (
            box + ".tif",
            pair | here | own | {"mask_remap": "1 1"} | options(adjustment="moment"),
        ),
        "preview png": ("/cog/preview.png", pair | RGB | {"max_size": 400}),
        "preview of the index": (
            "/cog/preview.png",
            pair | {"expression": NDVI, "rescale": "-0.1,0.9", "colormap_name": "rdylgn"},
        ),
        "bbox native": (box + ".tif", pair | here),
        "bbox in another CRS": (box + "/300x200.tif", pair | {"coord_crs": utm, "dst_crs": "EPSG:3035"}),
        "index": (native + ".tif", pair | small | {"expression": NDVI}),
        "bidx": (overview + ".npy", pair | small | {"bidx": [4, 1]}),
        "four-band model": (native + ".tif", {"url": cloudy, "algorithm": "cloud_probability", "model": "ukis-4b-l1c"}),
        "mask as l2a": (native + ".tif", {"url": cloudy, "algorithm": "cloud_mask", "level": "l2a"}),
        "reflectance scale": (overview + ".tif", {"url": cloudy, "algorithm": "cloud_mask", "reflectance_scale": 2e-4}),
        "point": (f"/cog/point/{lon[2]},{lat[2]}", pair),
        "point of the index": (f"/cog/point/{lon[2]},{lat[2]}", pair | {"expression": NDVI}),
        "statistics": ("/cog/statistics", pair | {"max_size": 512}),
        "recipe tile": (native.replace("/cog/", "/recipes/rgb/") + ".png", {}),
        "recipe index": ("/recipes/ndvi/preview.png", {"max_size": 512}),
        "recipe with a mask": ("/recipes/masked/preview.tif", {"max_size": 512}),
        "recipe source": ("/recipes/masked/preview.tif", {"max_size": 512, "algorithm": "fill_source"}),
    }
    for name in FILLS:
        yield Request(f"{name} native", native + ".tif", pair | small | {"algorithm": name})
        yield Request(f"{name} overview", overview + ".tif", pair | small | {"algorithm": name})
    for name, (path, params) in tiles.items():
        yield Request(name, path, params)
    yield Request("feature", "/cog/feature.tif", pair, triangle)
    yield Request("statistics of a feature", "/cog/statistics", pair, triangle)


def document_requests(demo: Path) -> Iterator[Request]:
    """Descriptions and errors."""
    cloudy = str(demo / "cloudy.tif")
    pair = {"url": cloudy, "replacement": str(demo / "clear.tif")}
    documents = {
        "info": ("/cog/info", pair),
        "scene": ("/cog/scene", pair),
        "bands": ("/cog/assets", pair),
        "valid": ("/cog/validate", {"url": cloudy}),
        "conformance": ("/conformance", {}),
        "viewer": ("/viewer/defaults.json", {}),
        "recipe capabilities": ("/recipes/rgb/WMTSCapabilities.xml", {}),
        "tilejson": ("/cog/WebMercatorQuad/tilejson.json", pair | RGB),
        "capabilities": ("/cog/WMTSCapabilities.xml", pair | RGB),
        "algorithms": ("/algorithms", {}),
        "algorithm": ("/algorithms/cloud_removal", {}),
        "routes": ("/openapi.json", {}),
        "recipes": ("/recipes", {}),
        "recipe info": ("/recipes/rgb/info", {}),
        "recipe tilejson": ("/recipes/ndvi/WebMercatorQuad/tilejson.json", {}),
        "recipe broken": ("/recipes/broken/info", {}),
        "recipe missing": ("/recipes/none/preview.png", {}),
        "recipe and url": ("/recipes/rgb/preview.png", {"url": cloudy}),
        "tile outside": ("/cog/tiles/WebMercatorQuad/14/0/0.png", pair),
    }
    for name, (path, params) in documents.items():
        yield Request(name, path, params)
    errors: dict[str, dict[str, Any]] = {
        "missing file": {"url": str(demo / "none.tif")},
        "forbidden file": {"url": "/etc/passwd"},
        "forbidden replacement": {"replacement": "/etc/passwd"},
        "private address": {"url": "https://127.0.0.1/a.tif"},
        "not a raster": {"url": str(demo / "slra.rft.xml")},
        "no replacement": {"replacement": [], "algorithm": "cloud_removal"},
        "bad window": options(window=81),
        "unknown option": options(windw=80),
        "unknown style": {"style": "pretty"},
        "style and values": {"style": "ndvi", "rescale": "0,1"},
        "bits without a mask": {"mask_bits": "3,4"},
        "bad bits": {"mask": str(demo / "truth_mask.tif"), "mask_bits": "x"},
        "no such mask": {"mask": "scl"},
        "not JSON": {"algorithm_params": "{"},
        "bad remap": {"mask": str(demo / "truth_mask.tif"), "mask_remap": "1 1;x 1"},
        "unknown model": {"model": "best"},
        "unknown algorithm": {"algorithm": "clouds"},
        "band that is not there": {"bidx": 9},
        "too large": {"width": 99999, "height": 99999},
    }
    for name, params in errors.items():
        yield Request(f"error: {name}", "/cog/preview.tif", pair | params)


def real_requests(real: Path) -> Iterator[Request]:
    """Real pairs, as far as they are there."""
    for name, (cloudy, clear) in PAIRS.items():
        target, replacement = real / f"{cloudy}.tif", real / f"{clear}.tif"
        if not (target.is_file() and replacement.is_file()):
            continue
        pair = {"url": str(target), "replacement": str(replacement)}
        at = f"/cog/{tile(target, 14)}.npy"
        yield Request(f"{name}: filled", "/cog/preview.tif", pair)
        yield Request(f"{name}: moment, tile", at, pair | options(adjustment="moment"))
        yield Request(f"{name}: mask", "/cog/preview.tif", pair | {"algorithm": "cloud_mask"})
        yield Request(f"{name}: confidence", "/cog/preview.tif", pair | {"algorithm": "fill_confidence"})
