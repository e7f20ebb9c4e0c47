"""The way of a whole scene: strip by strip into the work folder, from there into the finished files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from algorithms.masks import NODATA
from server.analysis.task import Task
from server.export.analysing import exporting_analysis
from server.export.cluster import make_pieces_on
from server.export.cog import Cog, write_cogs
from server.export.description import add_tags, keep_bands, put_bands, put_mask, target_description
from server.export.figures import FillFigures
from server.export.folder import FolderWriter
from server.export.job import ExportJob
from server.export.origins import Origin, origins
from server.export.output import exists_already
from server.export.piece import FIGURES_KIND, IMAGE_KIND, MASK_KIND, PROVENANCE_KIND, PieceFiller
from server.export.plan import Piece, strips
from server.export.preparation import prepare_export
from server.export.publication import Publication, finished_path, publish, unreported, withdraw
from server.export.running import Progress, make_pieces
from server.export.tags import scene_tags
from server.export.tiles import LOSSLESS
from server.export.work import WorkFolder, work_folder
from server.raster.mounting import check_unchanged, file_version
from server.raster.sources import Sources
from server.settings import Settings

PROVENANCE_BANDS: Final = {
    "source": "0 original, k from the k-th replacement, 255 not filled or no data",
    "confidence": "percent, 255 no data",
    "classes": "0 clear, 1 cloud, 2 shadow, 255 no data",
}
"""Bands of the provenance file and their meaning."""

SUMMARY: Final = "summary.json"
"""In a work folder: the figures of the whole scene."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export has done."""

    outputs: tuple[Path, ...]
    """What it has written."""
    figures: FillFigures | None
    """What was found and filled; None where an earlier run found it and its record is lost."""
    seconds: float
    """How long it took, this run alone."""
    replacements: tuple[Origin, ...] = ()
    """What the clouds are filled from, in the order of preference."""

    def summary(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "replacements": [origin.summary() for origin in self.replacements],
            **(self.figures.summary() if self.figures else dict.fromkeys(FillFigures().summary())),
            "seconds": round(self.seconds, 1),
        }


def _ignore(_done: int, _total: int) -> None:
    """No progress shown."""


def export_scene(
    job: ExportJob,
    settings: Settings,
    progress: Progress = _ignore,
    announce: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Write a whole scene without its clouds.

    Finished pieces stay in a folder next to the output until it is complete; the next run of the same export resumes
    from them. The output appears in one step.

    Args:
        job: what to do.
        settings: caches, threads and how remote files are read.
        progress: called with the number of finished pieces and of all pieces.
        announce: called with what happens after the last piece.

    Raises:
        ClearSkyError: a bad value, a raster that cannot be read, or an output that cannot be written.
    """
    start, out = time.monotonic(), job.out.resolve()
    ready = prepare_export(job.checked(unreported(out)), settings)
    job, sources, task = ready.job, ready.sources, ready.task
    tags = scene_tags(sources, task, job.algorithm, job.resolution)
    scenes = origins(job.request, sources, tags)

    def report(figures: FillFigures | None) -> ExportReport:
        return ExportReport(job.outputs(), figures, time.monotonic() - start, scenes[1:])

    plan = strips(ready.plane, cache_bytes=settings.cache_bytes)
    if withdraw(out, keep=work_folder(out, ready.manifest)) and not job.overwrite:
        raise exists_already(job.out)
    work = WorkFolder.open(out, ready.manifest)
    if (begun := Publication.begun(work.folder)) is not None:
        begun.finish()
        figures = _recorded_figures(work)
        work.remove()
        return report(figures)
    with exporting_analysis(sources, settings, threads=job.workers) as analysis:
        whole = ready.filler(analysis)
        by_band = ready.by_band(whole)
        if job.scheduler is None:
            make_pieces(plan, work, by_band or whole, job.workers, progress)
        else:
            make_pieces_on(job.scheduler, plan, work, ready, (by_band or whole).kinds, progress)
    _check_unchanged(sources, task)
    pieces = [piece for strip in plan for piece in strip]
    figures = sum((FillFigures.read(work.path(piece, FIGURES_KIND).read_bytes()) for piece in pieces), FillFigures())
    work.write(SUMMARY, figures.written())
    if by_band is None:
        _write_files(job, sources, whole, work, pieces, tags, announce)
    else:
        FolderWriter(job, sources, work, by_band, tags, scenes).write(pieces, figures, announce)
    publish(work, [path.resolve() for path in reversed(job.outputs())])
    work.remove()
    return report(figures)


def _recorded_figures(work: WorkFolder) -> FillFigures | None:
    """Those of an export that was complete but for its names; None if it was removing its work folder already."""
    with contextlib.suppress(OSError):
        return FillFigures.read((work.folder / SUMMARY).read_bytes())
    return None


def _check_unchanged(sources: Sources, task: Task) -> None:
    """Refuse to mix two states of a raster.

    Raises:
        SourceChangedError: a raster changed while it was read.
    """
    datasets = [task.target.dataset, *(layer.dataset for layer in task.replacements)]
    for clouds in (task.clouds, *task.replacement_clouds):
        datasets += [clouds.looks_at.dataset] if clouds.looks_at is not None else []
        datasets += [clouds.classes] if clouds.classes is not None else []
    states = [(part.url, part.version) for dataset in datasets for part in dataset.parts or (dataset,)]
    for url, version in states:
        check_unchanged(url, version, file_version(url, sources.remotes))  # an archive's own: parts are its members


def _write_files(
    job: ExportJob,
    sources: Sources,
    filler: PieceFiller,
    work: WorkFolder,
    pieces: list[Piece],
    tags: dict[str, str],
    announce: Callable[[str], None],
) -> None:
    """Put the pieces together; the outputs are at their `finished_path` then."""
    target, cogs = filler.plane.target.dataset, []

    def put(root: ET.Element, kind: str, out: Path, dtype: str, compression: str, *, masked: bool = False) -> None:
        add_tags(root, tags)
        if masked:
            put_mask(root)
        cogs.append(
            Cog(
                root,
                work.files(pieces, kind),
                finished_path(out.resolve()),
                out,
                dtype,
                compression,
                averaged=kind == IMAGE_KIND,
                masks=work.files(pieces, MASK_KIND) if masked else (),
            )
        )

    if job.provenance is not None:
        root = target_description(sources, target)
        put_bands(root, PROVENANCE_BANDS, NODATA)
        put(root, PROVENANCE_KIND, job.provenance, "uint8", LOSSLESS[0])
    root = target_description(sources, target)
    if filler.written is not None:
        keep_bands(root, [target.indexes[position] for position in filler.written])
    put(root, IMAGE_KIND, job.out, target.dtype, filler.compression, masked=filler.needs_mask)
    announce(f"Writing {', '.join(str(cog.out) for cog in cogs)}")
    write_cogs(cogs, workers=job.workers)


__all__ = ["PROVENANCE_BANDS", "Progress", "export_scene"]
