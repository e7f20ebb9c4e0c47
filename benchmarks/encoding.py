"""Time, size and loss of the encoders' settings on tiles of the filled demo scene.

    python -m benchmarks.encoding [--repeat 15]

Ratios are to GDAL's own default of the format (what stock TiTiler sends), tile by tile, medians. Then WebP and JPEG by
Pillow and as the service makes them, in tiles of 256 and 512 px. Times are of computing, so that other work on the
machine counts little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType

from benchmarks.machine import machine
from server.demo import write_demo
from server.http.encoders import encoded_picture

SETTINGS: dict[str, list[dict[str, int]]] = {
    "PNG": [{}, {"ZLEVEL": 1}, {"ZLEVEL": 2}, {"ZLEVEL": 3}, {"ZLEVEL": 9}],
    "WEBP": [
        {},
        *({"QUALITY": quality} for quality in (60, 80, 85, 90)),
        {"LOSSLESS": 1},
        *({"METHOD": method} for method in (0, 2)),
    ],
    "JPEG": [{}, {"QUALITY": 80}, {"QUALITY": 85}, {"QUALITY": 90}, {"QUALITY": 95}],
}
"""GDAL creation options by driver; its defaults first."""


PILLOW_SETTINGS: dict[str, list[dict[str, int]]] = {
    "WEBP": [
        *({"quality": 75, "method": method} for method in (4, 3, 2, 1, 0)),
        {"quality": 72, "method": 1},
        {"quality": 70, "method": 0},
    ],
    "JPEG": [{"quality": 85}, {"quality": 85, "optimize": 1}],
}
"""Pillow's options by format."""


def tiles(path: Path, size: int) -> list[ImageData]:
    """True-colour tiles of so many pixels a side."""
    result = []
    with rasterio.open(path) as src, Reader(None, dataset=src) as reader:
        left, _, right, top = src.bounds
        count = 1024 // size
        step = (right - left) / count
        for i in range(count):
            for j in range(count):
                box = (left + j * step, top - (i + 1) * step, left + (j + 1) * step, top - i * step)
                image = reader.part(box, bounds_crs=src.crs, indexes=(3, 2, 1), width=size, height=size)
                image.rescale(in_range=((0, 3000),))
                result.append(image)
    return result


def measure(image: ImageData, driver: str, options: dict[str, Any], repeat: int) -> tuple[float, int, float]:
    """Milliseconds, bytes and root mean square error in grey levels."""
    spent = []
    for _ in range(repeat):
        begun = time.thread_time()
        content = image.render(img_format=driver, add_mask=driver != "JPEG", **options)
        spent.append(1000 * (time.thread_time() - begun))
    with MemoryFile(content) as file, file.open() as src:
        back = src.read((1, 2, 3)).astype(np.float64)
    error = float(np.sqrt(np.mean((back - image.array.data) ** 2)))
    return float(np.median(spent)), len(content), error


def pillow(image: ImageData, form: str, options: dict[str, int], repeat: int) -> tuple[float, int, float]:
    """The same of Pillow's encoder."""
    pixels, spent = np.ascontiguousarray(np.moveaxis(image.array.data, 0, -1)), []
    for _ in range(repeat):
        begun, content = time.thread_time(), BytesIO()
        Image.fromarray(pixels).save(content, form, **options)
        spent.append(1000 * (time.thread_time() - begun))
    back = np.asarray(Image.open(content).convert("RGB")).astype(np.float64)
    return float(np.median(spent)), content.tell(), float(np.sqrt(np.mean((back - pixels) ** 2)))


def service(image: ImageData, form: str, repeat: int) -> tuple[float, int, float]:
    """The same of the service's own."""
    spent = []
    for _ in range(repeat):
        begun = time.thread_time()
        content = encoded_picture(image.array.data, None, ImageType(form.lower()))
        spent.append(1000 * (time.thread_time() - begun))
    assert content is not None
    back = np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(np.float64)
    off = back - np.moveaxis(image.array.data, 0, -1)
    return float(np.median(spent)), len(content), float(np.sqrt(np.mean(off**2)))


def compare_pillow(pictures: dict[int, list[ImageData]], repeat: int) -> None:
    """Print what Pillow's settings take, and the service's."""
    print("\n| size | format | setting | CPU ms | kB | error (grey levels) | kB x error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size, images in pictures.items():
        for form, choices in PILLOW_SETTINGS.items():
            for options in [*choices, None]:
                figures = np.array(
                    [
                        service(image, form, repeat) if options is None else pillow(image, form, options, repeat)
                        for image in images
                    ]
                )
                ms, length, error = np.median(figures, axis=0)
                name = "the service's"
                if options is not None:
                    name = ", ".join(f"{key} {value}" for key, value in options.items())
                both = np.median(figures[:, 1] * figures[:, 2]) / 1000
                print(f"| {size} | {form} | {name} | {ms:.1f} | {length / 1000:.1f} | {error:.2f} | {both:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=15)
    args = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(write_demo(Path(folder), size=1024).truth)
        pictures = {size: tiles(truth, size) for size in (256, 512)}
    images = pictures[256]
    print(f"{machine()}\n\n{len(images)} tiles of 256 px, true colour.\n")
    print("| format | setting | ms | time / default | kB | size / default | error (grey levels) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for driver, choices in SETTINGS.items():
        figures = {}
        for k, options in enumerate(choices):
            figures[k] = np.array([measure(image, driver, options, args.repeat) for image in images])
            ratio = np.median(figures[k] / np.maximum(figures[0], 1e-9), axis=0)
            ms, size, error = np.median(figures[k], axis=0)
            name = ", ".join(f"{key} {value}" for key, value in options.items()) or "default"
            print(
                f"| {driver} | {name} | {ms:.1f} | {ratio[0]:.2f} | {size / 1000:.0f} | {ratio[1]:.2f} | {error:.2f} |"
            )
    compare_pillow(pictures, args.repeat)


if __name__ == "__main__":
    main()
