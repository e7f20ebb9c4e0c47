"""Run as a separate program: GDAL translations, listed on stdin as `[[IN, SCRATCH, OUT, {"driver": ...}], ...]`.

A translation of a scene takes minutes inside GDAL. As a separate process it can be stopped at any time, and what GDAL's
libraries print when the disk is full stays out of the user's terminal.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Final

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

TRANSLATE_OPTIONS: Final = {"GDAL_MAX_DATASET_POOL_SIZE": "16"}
"""Pieces kept open at a time: GDAL's 100 hold so many buffers that memory grows with the scene."""
FAILED_STATUS: Final = 1
"""Exit status; the last line on stderr says for which output, and why."""


def main() -> None:
    """Translate, check that all of it arrived, and only then give the result its name; one after the other."""
    # The parent stops this process by itself; a keyboard interrupt reaches both.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for source, scratch, out, options in json.load(sys.stdin):
        try:
            with rasterio.Env(**TRANSLATE_OPTIONS):
                rasterio.shutil.copy(source, scratch, **options)
            check_complete(scratch)
            Path(scratch).replace(out)
        except (OSError, RasterioError, CPLE_BaseError) as error:
            sys.stderr.write(f"\n{json.dumps([out, ' '.join(str(error).split())])}\n")
            sys.exit(FAILED_STATUS)


def check_complete(path: str) -> None:
    """Refuse a GeoTIFF whose tiles end beyond the file's end: GDAL does not notice a disk full at the last write.

    Raises:
        OSError: The file ends before a tile that it lists.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        size = file.seek(0, 2)
    with rasterio.open(path) as src:
        (height, width), rows, cols = src.block_shapes[0], src.height, src.width
        for row in range(-(-rows // height)):
            for col in range(-(-cols // width)):
                start, length = (
                    int(src.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", 1) or 0) for what in ("OFFSET", "SIZE")
                )
                if start + length > size:
                    raise OSError(f"no disk space: the file ends at {size} of at least {start + length} bytes")


if __name__ == "__main__":
    main()
