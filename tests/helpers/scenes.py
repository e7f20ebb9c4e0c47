"""Small rasters for tests, made in code: seeded, with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin
from scipy import ndimage

from server.demo import DemoScene

Demo = Callable[[int], DemoScene]
"""What the fixture `demo_scene` is: from a side in pixels to the scene."""
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
UTM = "EPSG:32633"
OFF = (0.6, -0.8)
"""How far `put_off` moves a replacement, in pixels down and right."""
ORIGIN = from_origin(500_000, 4_600_000, 10, 10)
CLEAR_REPLACEMENTS = {"replacement_mask": "none"}
"""Next to a user's mask: no model looks for clouds of the replacements, which in made-up textures it does find."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Gaussian noise smoothed over `sigma` pixels, of unit standard deviation per band."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), [0] * (len(shape) - 2) + [sigma, sigma])
    return (noise - noise.mean()) / noise.std()


@dataclass(frozen=True)
class Pair:
    """Arrays of a cloudy target, a replacement, the mask and the truth."""

    target: np.ndarray
    replacement: np.ndarray
    mask: np.ndarray
    truth: np.ndarray


def make_pair(*, size: tuple[int, int] = (600, 700), bands: int = 6, cloud: float = 0.3, seed: int = 0) -> Pair:
    """Ground with texture at several scales, a second date that explains most of it, and round clouds."""
    rng = np.random.default_rng(seed)
    base = sum(smooth_noise(rng, (3, *size), s) * w for s, w in ((1.5, 0.4), (6, 0.6), (40, 1.0)))
    mix = rng.uniform(0.3, 1.0, (bands, 3))
    replacement = 2000 + 350 * np.einsum("bk,kij->bij", mix, base)
    drift = np.stack([smooth_noise(rng, size, 60) for _ in range(bands)])
    other = rng.uniform(0.5, 1.2, (bands, bands)) * np.eye(bands) + 0.05
    truth = 400 + np.einsum("bc,cij->bij", other, replacement) + 120 * drift
    truth += 25 * rng.standard_normal(truth.shape)
    shape = smooth_noise(rng, size, 18)
    mask = shape > np.quantile(shape, 1 - cloud)
    target = truth.copy()
    target[:, mask] = 8000 + 300 * rng.standard_normal(int(mask.sum()))

    def to_int(a: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(a), 1, 65535).astype(np.uint16)

    return Pair(to_int(target), to_int(replacement), mask, to_int(truth))


def put_off(pair: Pair) -> np.ndarray:
    """The replacement of a pair, moved by `OFF`."""
    moved = ndimage.shift(pair.replacement.astype(float), (0, *OFF), order=3, mode="nearest")
    return np.clip(np.rint(moved), 1, 65535).astype(np.uint16)


def read_raster(path: Path | str) -> np.ndarray:
    """All bands of a raster."""
    with rasterio.open(path) as src:
        return src.read()


def write_pair(folder: Path, pair: Pair) -> dict[str, str]:
    """Write the rasters of a pair; gives a request's parameters."""
    return {
        "url": write_raster(folder / "target.tif", pair.target),
        "replacement": write_raster(folder / "replacement.tif", pair.replacement),
        "mask": write_mask(folder / "mask.tif", pair.mask),
        **CLEAR_REPLACEMENTS,
    }


def write_mask(path: Path, mask: np.ndarray) -> str:
    """Write a mask of (rows, cols) as a raster of whole numbers without a nodata value."""
    return write_raster(path, mask[None].astype(np.uint8), nodata=None)


def write_raster(
    path: Path,
    data: np.ndarray,
    *,
    crs: str | None = UTM,
    transform: Affine = ORIGIN,
    nodata: float | None = 0,
    descriptions: tuple[str, ...] | None = None,
    tags: dict[str, str] | None = None,
    **creation: Any,
) -> str:
    """Write a tiled, overviewed GeoTIFF, or one with other creation options; returns its path as a string."""
    count, height, width = data.shape
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": data.dtype,
        "crs": crs,
        "transform": transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
    } | creation
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(data)
        for index, text in enumerate(descriptions or BANDS[:count], start=1):
            dst.set_band_description(index, text)
        dst.update_tags(**(tags or {}))
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    return str(path)
