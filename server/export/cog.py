"""Writing datasets as Cloud Optimized GeoTIFFs, each complete before it gets its name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from server.export.work import no_room
from server.raster.dataset import Dataset
from server.raster.sources import Sources

LOSSLESS: Final = ("deflate", "lzw", "zstd", "lzma")
"""Compressions that are kept from the target; any other becomes the first of these."""

SCRATCH: Final = "cog"
"""Folder next to a COG while it is being written."""


def compression_of(sources: Sources, target: Dataset) -> str:
    """The compression to write with: the target's own where it loses nothing."""
    with sources.open_described(target) as src:
        own = src.compression.value.lower() if src.compression else ""
    return own if own in LOSSLESS else LOSSLESS[0]


@dataclass(frozen=True, slots=True)
class Cog:
    """A COG to be written."""

    source: Path
    """A VRT, or any other raster."""
    finished: Path
    """Where it is then."""
    out: Path
    """The name that it has in the end, for messages."""
    compression: str
    """One of `LOSSLESS`."""
    resampling: str
    """How overviews are made."""

    @property
    def scratch(self) -> Path:
        """Folder for it while it is unfinished: GDAL writes its overviews into a file next to it."""
        return self.finished.parent / SCRATCH

    def options(self, workers: int) -> dict[str, Any]:
        """Options of GDAL's driver."""
        options: dict[str, Any] = {
            "driver": "COG",
            "compress": self.compression,
            "bigtiff": "if_safer",
            "blocksize": 512,
            "overviews": "ignore_existing",
            "overview_resampling": self.resampling,
            "num_threads": workers,
        }
        return options if self.compression == "lzma" else options | {"predictor": "yes"}


def write_cogs(cogs: Sequence[Cog], *, workers: int) -> None:
    """Write COGs one after the other, each of which appears complete; those before one that fails stay.

    Args:
        cogs: what to write; missing folders are made, but no folders around them.
        workers: threads.

    Raises:
        UnwritableError: one cannot be written.
    """
    folders = list(dict.fromkeys(cog.scratch for cog in cogs))
    named = {str(cog.finished): cog.out for cog in cogs}
    steps = [[str(cog.source), str(cog.scratch / "cog.tif"), str(cog.finished), cog.options(workers)] for cog in cogs]
    out = cogs[0].out
    try:
        for folder in folders:
            folder.parent.mkdir(exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        if failure := _translate(steps):
            finished, why = failure
            raise no_room(named.get(finished, out), why)
    except OSError as error:
        raise no_room(out, str(error)) from error
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # the work folder, or a finished output
                folder.parent.rmdir()


def _translate(steps: list[list[Any]]) -> tuple[str, str] | None:
    """Run GDAL in a separate process, which ends when this one is interrupted; gives what failed, and why."""
    here = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-m", "server.export.translate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        try:
            _, said = process.communicate(json.dumps(steps).encode())
        except BaseException:
            process.kill()
            raise
    if not process.returncode:
        return None
    last = (said.decode(errors="replace").strip().splitlines() or [""])[-1]
    try:
        finished, why = json.loads(last)
    except ValueError:
        return "", last or f"GDAL ended with status {process.returncode}"
    return finished, why
