"""A folder with a file for each band of a scene, where its pixels come from, and a STAC Item of all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rasterio.enums import MaskFlags

from algorithms.masks import NODATA
from server.export.bandfiller import BandFiller, band_kind
from server.export.bands import CONFIDENCE_FILE, SOURCE_FILE, OwnBand
from server.export.cog import Cog, compression_of, write_cogs
from server.export.description import add_tags, keep_bands, put_bands, put_mask, put_meaning, target_description
from server.export.figures import FillFigures
from server.export.item import MadeFolder
from server.export.job import ExportJob
from server.export.origins import Origin
from server.export.piece import IMAGE_KIND, MASK_KIND, PROVENANCE_KIND
from server.export.plan import Piece
from server.export.publication import ITEM_FILE, finished_path
from server.export.tiles import LOSSLESS
from server.export.work import WorkFolder, no_room
from server.raster.dataset import Dataset
from server.raster.sources import Sources

RESULT: Final = "result"
"""In a work folder: what becomes the output."""
PROVENANCE_FILES: Final = {
    SOURCE_FILE: ("source", "0 original, k from the k-th replacement, 255 not filled or no data"),
    CONFIDENCE_FILE: ("confidence", "percent, 255 no data"),
}
"""Files that record where every pixel comes from: the name of their band, and its meaning."""


def is_masked(job: ExportJob, sources: Sources, band: OwnBand) -> bool:
    """Whether the file of a band has a mask: its source has one, or cloud left open can be marked in no other way."""
    if band.dataset.nodata is not None:
        return False
    with sources.open_described(band.dataset) as src:
        flags = src.mask_flag_enums[band.index - 1]
    return MaskFlags.per_dataset in flags or job.algorithm.unfilled == "nodata"


@dataclass(frozen=True, slots=True)
class FolderWriter:
    """Puts the pieces of an export together in its work folder."""

    job: ExportJob
    """What is asked for."""
    sources: Sources
    """What opens rasters."""
    work: WorkFolder
    """Where the pieces are."""
    filler: BandFiller
    """What has made them."""
    tags: Mapping[str, str]
    """Tags of every file."""
    origins: tuple[Origin, ...]
    """The target, and its replacements in their order."""

    @property
    def target(self) -> Dataset:
        """The target on the grid of its finest band."""
        return self.filler.whole.plane.target.dataset

    def write(self, pieces: list[Piece], figures: FillFigures, announce: Callable[[str], None]) -> None:
        """Write every file; the folder is at `finished_path` then.

        Files that an interrupted run has finished stay.

        Args:
            pieces: all of the scene.
            figures: what was found and filled.
            announce: called with what happens.

        Raises:
            UnwritableError: no disk space, or no permission.
        """
        result = self.work.folder / RESULT
        cogs = [*self._bands(pieces), *self._provenance(pieces)]
        missing = [cog for cog in cogs if not cog.finished.exists()]
        if missing:
            announce(f"Writing {len(missing)} files for {self.job.out}")
            write_cogs(missing, workers=self.job.workers)
        made = MadeFolder(
            self.job.out.resolve(),
            self.origins[0],
            self.origins[1:],
            self.target,
            self.filler.bands,
            figures,
            self.tags,
        )
        self.work.write(f"{RESULT}/{ITEM_FILE}", json.dumps(made.item(), indent=1).encode())
        finished = finished_path(self.job.out.resolve())
        try:
            shutil.rmtree(finished, ignore_errors=True)
            result.replace(finished)
        except OSError as error:
            raise no_room(finished, error.strerror) from error

    def _bands(self, pieces: list[Piece]) -> Iterator[Cog]:
        """Each band with its own description."""
        for number, band in enumerate(self.filler.bands):
            parts = [self.filler.parts(piece, number) for piece in pieces]
            parts = [part for part in parts if 0 not in part.pixels.shape]
            root = target_description(self.sources, band.dataset)
            keep_bands(root, [band.index])
            put_meaning(root, band.dataset.scales[0], band.dataset.offsets[0])
            add_tags(root, self.tags)
            masked = self.filler.masked[number]
            if masked:
                put_mask(root)
            yield Cog(
                root,
                self.work.files(parts, band_kind(number, IMAGE_KIND)),
                self.work.folder / RESULT / band.file,
                self.job.out / band.file,
                band.dataset.dtype,
                compression_of(self.sources, band.dataset),
                averaged=True,
                masks=self.work.files(parts, band_kind(number, MASK_KIND)) if masked else (),
            )

    def _provenance(self, pieces: list[Piece]) -> Iterator[Cog]:
        """Where each pixel comes from, a file for each band of the pieces."""
        for first, (file, (name, meaning)) in enumerate(PROVENANCE_FILES.items(), start=1):
            root = target_description(self.sources, self.target)
            put_bands(root, {name: meaning}, NODATA)
            add_tags(root, self.tags)
            yield Cog(
                root,
                self.work.files(pieces, PROVENANCE_KIND),
                self.work.folder / RESULT / file,
                self.job.out / file,
                "uint8",
                LOSSLESS[0],
                averaged=False,
                first=first,
            )
