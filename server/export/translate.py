"""Run as a separate program: one GDAL translation, `python -m server.export.translate IN OUT '{"driver": ...}'`.

A translation of a scene takes minutes inside GDAL. As a separate process it can be stopped at any time, and what GDAL's
libraries print when the disk is full stays out of the user's terminal.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Final

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

TRANSLATE_OPTIONS: Final = {"GDAL_MAX_DATASET_POOL_SIZE": "16"}
"""Pieces kept open at a time: GDAL's 100 hold so many buffers that memory grows with the scene."""
FAILED_STATUS: Final = 1
"""Exit status; the last line on stderr says why."""


def main() -> None:
    """Translate, and check that all of it arrived."""
    # The parent stops this process by itself; a keyboard interrupt reaches both.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    source, out, options = sys.argv[1:]
    try:
        with rasterio.Env(**TRANSLATE_OPTIONS):
            rasterio.shutil.copy(source, out, **json.loads(options))
        check_complete(out)
    except (OSError, RasterioError, CPLE_BaseError) as error:
        sys.stderr.write(f"\n{' '.join(str(error).split())}\n")
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
