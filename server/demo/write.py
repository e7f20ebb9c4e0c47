"""Writing the demo scene as Cloud Optimized GeoTIFFs."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from algorithms.errors import ParameterError
from server.demo.clouds import make_clouds
from server.demo.landscape import PIXEL, make_landscape
from server.demo.noise import F32, U8, stream
from server.demo.render import QUANTIFICATION, render_ground, sense
from server.demo.spectra import BANDS, CLEAR_DATE, CLOUDY_DATE, Date

SIZES = (256, 8192)
"""Smallest and largest side of a scene in pixels: one window of the cloud model, and what memory allows."""

# UTM zone 33 north: the upper Tiber valley in Umbria, where such land is found. The scene itself is invented.
_CRS, _WEST, _NORTH = "EPSG:32633", 276_000.0, 4_800_000.0


@dataclass(frozen=True)
class DemoScene:
    """The files of a demo scene.

    Attributes:
        cloudy: The picture to repair.
        clear: Another date of the same place.
        truth: The cloudy date without its clouds.
        truth_mask: Where the clouds (1) and shadows (2) are; 0 is clear.
    """

    cloudy: Path
    clear: Path
    truth: Path
    truth_mask: Path


def write_demo(directory: Path, *, size: int = 2048, seed: int = 0) -> DemoScene:
    """Make a cloudy scene, a clear one of another date, and the truth, and write them.

    The files appear together when all are finished: a failure leaves nothing new behind. A scene of 2048 pixels takes
    some 12 s and 0.7 GB of memory, one of 8192 pixels 16 times as much.

    Args:
        directory: Where to write; made if it does not exist. Files of the same names are replaced.
        size: Side of the square scene in pixels of 10 m, 256 to 8192.
        seed: Scenes of different seeds show different land; the same seed and size give the same bytes.

    Returns:
        The paths of the four files.

    Raises:
        ParameterError: Where `size` or `seed` is out of range, or `directory` cannot be written to.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise ParameterError(f"size {size} is out of range: choose a side from {SIZES[0]} to {SIZES[1]} pixels")
    if seed < 0:
        raise ParameterError(f"seed {seed} is negative: choose a whole number of 0 or more")
    scene = DemoScene(*(directory / f"{name}.tif" for name in ("cloudy", "clear", "truth", "truth_mask")))
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Beside the final files, so that the moves stay within one file system and are atomic.
        with tempfile.TemporaryDirectory(prefix=".demo-", dir=directory) as scratch:
            _write_all(Path(scratch), size, seed)
            for path in (scene.clear, scene.truth, scene.truth_mask, scene.cloudy):
                (Path(scratch) / path.name).replace(path)
    except BaseException as error:
        for folder in missing:
            with contextlib.suppress(OSError):  # not made yet, or something else has been put into it
                folder.rmdir()
        if isinstance(error, (OSError, RasterioError, CPLE_BaseError)):
            message = (
                f"directory {directory}: the scene cannot be written ({error}); choose a writable one with free space"
            )
            raise ParameterError(message) from error
        raise
    return scene


def _write_all(directory: Path, size: int, seed: int) -> None:
    """Generate the scene and write its four files."""
    land = make_landscape(size, seed)
    _write_image(directory / "clear.tif", render_ground(land, CLEAR_DATE, seed), CLEAR_DATE, seed)
    ground = render_ground(land, CLOUDY_DATE, seed)
    del land  # a scene of 8192 pixels takes gigabytes
    _write_image(directory / "truth.tif", ground, CLOUDY_DATE, seed)
    clouds = make_clouds(size, CLOUDY_DATE, seed)
    _write_mask(directory / "truth_mask.tif", clouds.classes(), seed)
    for band, reflectance in enumerate(ground):
        ground[band] = clouds.cover(band, reflectance, CLOUDY_DATE)
    _write_image(directory / "cloudy.tif", ground, CLOUDY_DATE, seed)


def _profile(count: int, dtype: str, size: int) -> dict[str, object]:
    """Give the creation options that all four files share."""
    return {
        "driver": "COG",
        "width": size,
        "height": size,
        "count": count,
        "dtype": dtype,
        "crs": _CRS,
        "transform": Affine(PIXEL, 0, _WEST, 0, -PIXEL, _NORTH),
        "compress": "deflate",
        "predictor": "standard",  # the COG driver's name for TIFF predictor 2
        "blocksize": 512,
        "num_threads": "1",
    }


def _write_image(path: Path, reflectance: F32, date: Date, seed: int) -> None:
    """Measure and write a picture of (6, size, size) top-of-atmosphere reflectance.

    The noise depends on the date alone: the cloudy picture and its truth agree to the bit off clouds and shadows.
    """
    profile = _profile(len(BANDS), "uint16", reflectance.shape[1])
    with rasterio.open(path, "w", **profile, nodata=0, overview_resampling="average") as file:
        for band, (name, values) in enumerate(zip(BANDS, reflectance, strict=True), start=1):
            file.write(sense(values, stream(seed, f"noise {date.day} {name}")), band)
        file.descriptions = BANDS
        file.scales = [1 / QUANTIFICATION] * len(BANDS)
        file.offsets = [0.0] * len(BANDS)
        file.update_tags(DATE=date.day, LEVEL="L1C TOA reflectance x10000", **_origin(seed))


def _write_mask(path: Path, classes: U8, seed: int) -> None:
    """Write the (size, size) truth mask."""
    with rasterio.open(path, "w", **_profile(1, "uint8", classes.shape[0]), overview_resampling="mode") as file:
        file.write(classes, 1)
        file.set_band_description(1, "class")
        file.update_tags(DATE=CLOUDY_DATE.day, CLASSES="0 clear, 1 cloud, 2 shadow", **_origin(seed))


def _origin(seed: int) -> dict[str, str]:
    """Say in a file's tags that it shows no real place."""
    return {"SOURCE": f"synthetic demo scene of ClearSky, seed {seed}"}
