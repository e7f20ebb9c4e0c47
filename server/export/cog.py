"""Writing a dataset as a Cloud Optimized GeoTIFF, complete before it gets its name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from server.errors import UnwritableError
from server.export.publication import finished_path
from server.export.work import partial_folder
from server.raster.dataset import Dataset
from server.raster.sources import Sources

LOSSLESS: Final = ("deflate", "lzw", "zstd", "lzma")
"""Compressions that are kept from the target; any other becomes the first of these."""


def compression_of(sources: Sources, target: Dataset) -> str:
    """The compression to write with: the target's own where it loses nothing."""
    with sources.open_described(target) as src:
        own = src.compression.value.lower() if src.compression else ""
    return own if own in LOSSLESS else LOSSLESS[0]


def write_cog(vrt: Path, out: Path, *, compression: str, resampling: str, workers: int) -> None:
    """Write a VRT as a COG, under the temporary name of a finished output.

    Args:
        vrt: what to write.
        out: the output; the COG is at `finished_path(out)` then.
        compression: one of `LOSSLESS`.
        resampling: how overviews are made.
        workers: threads.

    Raises:
        UnwritableError: it cannot be written.
    """
    options: dict[str, Any] = {
        "driver": "COG",
        "compress": compression,
        "bigtiff": "if_safer",
        "blocksize": 512,
        "overviews": "ignore_existing",
        "overview_resampling": resampling,
        "num_threads": workers,
    }
    if compression != "lzma":
        options["predictor"] = "yes"
    folder = partial_folder(out)
    scratch = folder / "cog"  # GDAL writes its overviews into a file next to it; all of it goes with the folder
    try:
        folder.mkdir(exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        _translate(vrt, scratch / "cog.tif", options)
        (scratch / "cog.tif").replace(finished_path(out))
    except OSError as error:
        raise UnwritableError(
            f"{str(out)!r} cannot be written: {error}; free disk space and run the command again"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # the work folder, or a finished output
            folder.rmdir()


def _translate(source: Path, out: Path, options: dict[str, Any]) -> None:
    """Run GDAL in a separate process, which ends when this one is interrupted.

    Raises:
        OSError: it failed; the message says why.
    """
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "server.export.translate", str(source), str(out), json.dumps(options)]
    path = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(  # noqa: S603  (our own module)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as process:
        try:
            _, said = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise OSError(lines[-1] if lines else f"GDAL ended with status {process.returncode}")
