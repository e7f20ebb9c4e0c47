"""What one export is asked to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final, Literal, get_args

from algorithms.errors import ParameterError, check_choice
from algorithms.options import WHOLE_ADJUSTMENT
from algorithms.removal import CloudRemoval
from server.analysis.request import Request
from server.export.inputs import own_source
from server.export.output import check_length, check_output, check_parent, exists_already, input_files
from server.export.publication import ITEM_FILE
from server.work.cores import usable_cores

SOFTWARE: Final = "ClearSky"
"""What a STAC Item calls the program that made its files."""

AnalysisResolution = Literal["fine", "native"]

ENDINGS: Final = (".tif", ".tiff")
"""Suffixes of outputs."""
RESOLUTIONS: Final[tuple[AnalysisResolution, ...]] = get_args(AnalysisResolution)
"""Where statistics are taken: on the fine analysis grid, as tiles do, or on every pixel."""


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export as the user asks for it."""

    request: Request
    """The rasters and where their clouds come from, named as the user names them."""
    out: Path
    """The file to write, or the folder."""
    per_asset: bool = False
    """Whether it is a folder, of a file for each band and a STAC Item."""
    algorithm: CloudRemoval = field(default_factory=CloudRemoval)
    """Window, buffer, adjustment and the like."""
    workers: int = field(default_factory=usable_cores)
    """Threads."""
    provenance: Path | None = None
    """File that records where every pixel comes from."""
    resolution: AnalysisResolution = "fine"
    """Where statistics are taken."""
    scheduler: str | None = None
    """Address of a `dask.distributed` scheduler whose workers make the pieces; None: this process's threads."""
    overwrite: bool = False
    """Whether existing files may be replaced."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ParameterError(f"workers {self.workers} is not a whole number of at least 1")
        check_choice(self.resolution, RESOLUTIONS, what="analysis resolution")
        if self.algorithm.adjustment == WHOLE_ADJUSTMENT:
            self._check_whole()
        if self.per_asset and self.provenance is not None:
            raise ParameterError(
                f"provenance {str(self.provenance)!r}: the folder of `per_asset` holds it already; leave it out"
            )

    def _check_whole(self) -> None:
        for given, option in ((self.per_asset, "`per_asset`"), (self.scheduler, "`scheduler`")):
            if given:
                raise ParameterError(
                    f"adjustment={WHOLE_ADJUSTMENT} fills the raster as one array in this process: leave {option} out"
                )

    def outputs(self) -> tuple[Path, ...]:
        """Files or the folder to be written."""
        return (self.out,) if self.provenance is None else (self.out, self.provenance)

    def checked(self, replaceable: frozenset[Path] = frozenset()) -> ExportJob:
        """The same job, its rasters found, and every output in a place where a file may be written.

        Args:
            replaceable: outputs that may exist, since an earlier run of ours left them.

        Raises:
            ParameterError, SourceMissingError: see `own_source`. ParameterError: an output is an input, the other
                output, or exists, or its folder cannot be written to.
        """
        job = replace(self, request=self.request.checked(own_source))
        self._check_outputs(input_files(job.request), replaceable)
        return job

    def _check_outputs(self, inputs: tuple[str, ...], replaceable: frozenset[Path]) -> None:
        if self.per_asset:
            self._check_folder(inputs, replaceable)
            return
        outputs = [path.resolve() for path in self.outputs()]
        if len(set(outputs)) < len(outputs):
            raise ParameterError(f"{str(self.out)!r} cannot be both the image and its provenance; give another name")
        for given, path in zip(self.outputs(), outputs, strict=True):
            check_output(given, inputs, ENDINGS, overwrite=self.overwrite or path in replaceable)

    def _check_folder(self, inputs: tuple[str, ...], replaceable: frozenset[Path]) -> None:
        given, path = self.out, self.out.resolve()
        check_length(path)
        if path.exists() and not path.is_dir():
            raise ParameterError(f"{str(given)!r} is a file; give the name of a new folder")
        if any(path == Path(name) or path in Path(name).parents for name in inputs if "://" not in name):
            raise ParameterError(f"{str(given)!r} holds a raster to read; give another name for the output")
        if path.exists() and path not in replaceable:
            if not self.overwrite:
                raise exists_already(given)
            if strange := next(strangers(path), None):
                raise ParameterError(
                    f"{str(given)!r} holds {strange.name!r}, which no export wrote; give another folder, or remove it"
                )
        check_parent(given, path)


def strangers(folder: Path) -> Iterator[Path]:
    """What is in a folder that an export per band did not write."""
    try:
        item = json.loads((folder / ITEM_FILE).read_text(encoding="utf-8"))
        ours = {PurePosixPath(asset["href"]).name for asset in item["assets"].values()}
        own = SOFTWARE in item["properties"]["processing:software"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        own, ours = False, set()
    known = {ITEM_FILE, *ours, *(f"{name}.aux.xml" for name in ours)} if own else set()  # what GDAL notes of a file
    return (path for path in sorted(folder.iterdir()) if path.name not in known)
