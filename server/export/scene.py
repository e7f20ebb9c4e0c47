"""The way of a whole scene: strip by strip into the work folder, from there into the finished files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from rasterio.enums import MaskFlags

from algorithms.errors import ParameterError
from algorithms.masks import NODATA
from algorithms.sessions import SESSIONS, Runtime
from server import __version__
from server.analysis.engine import Analysis
from server.analysis.marked import MarkedMasks
from server.analysis.plane import Plane
from server.analysis.resolution import resolution_warning
from server.analysis.task import Task
from server.export.bandfiller import BandFiller
from server.export.bands import own_bands, written_bands
from server.export.chosen import own_apis, with_replacements
from server.export.cog import Cog, compression_of, write_cogs
from server.export.figures import Figures
from server.export.folder import FolderWriter, is_masked
from server.export.job import ExportJob, exists_already
from server.export.mosaic import GDAL_TYPES, add_tags, keep_bands, put_bands, put_mask, put_sources, target_description
from server.export.origins import Origin, origins
from server.export.piece import FIGURES_KIND, IMAGE_KIND, MASK_KIND, PROVENANCE_KIND, PieceFiller
from server.export.plan import EXPORT_RASTER_SHARE, Piece, strips
from server.export.publication import Publication, finished_path, publish, unreported, withdraw
from server.export.running import Progress, make_pieces
from server.export.tags import scene_tags
from server.export.work import WorkFolder, work_folder
from server.raster.dataset import Dataset
from server.raster.grid import fine_grid, native_grid
from server.raster.mounting import check_unchanged, file_version
from server.raster.sources import Sources
from server.settings import Settings
from server.work.ticket import Ticket, current_ticket

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
    figures: Figures | None
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
            **(self.figures.summary() if self.figures else dict.fromkeys(Figures().summary())),
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
    job = job.checked(unreported(out))
    sources = Sources.of(settings, own=[*job.request.sources, *own_apis(settings)])
    request = job.request.checked(sources.check)  # names go without signatures from here on
    if request.assets and not job.per_asset and request.scene(sources, request.target) is None:
        raise ParameterError(
            f"assets {','.join(request.assets)!r} choose among the files of a scene, and {request.target!r} is one "
            "file: leave them out, or write its bands one by one with --per-asset"
        )
    request = with_replacements(request, settings, sources)
    job = replace(job, request=request.whole(sources))
    shown = written_bands(job.request, sources) if job.per_asset or job.request.assets else None
    task = job.request.task(sources, job.algorithm, shown=shown)
    target = task.target.dataset
    _check_target(sources, target)
    # Logged before hours of work: a mask that marks nothing, pixels too fine for the model.
    MarkedMasks(sources).of(task)
    if task.clouds.model is not None:
        resolution_warning(target)
    level = native_grid if job.resolution == "native" else fine_grid
    plane = Plane(task, level(target, follows=task.clouds.users))
    tags = scene_tags(sources, task, job.algorithm, job.resolution)
    scenes = origins(job.request, sources, tags)

    def report(figures: Figures | None) -> ExportReport:
        return ExportReport(job.outputs(), figures, time.monotonic() - start, scenes[1:])

    plan = strips(plane, cache_bytes=settings.cache_bytes)
    manifest = _manifest(job, task)
    if withdraw(out, keep=work_folder(out, manifest)) and not job.overwrite:
        raise exists_already(job.out)
    work = WorkFolder.open(out, manifest)
    if (begun := Publication.begun(work.folder)) is not None:
        begun.finish()
        figures = _recorded_figures(work)
        work.remove()
        return report(figures)
    SESSIONS.configure(Runtime(settings.model_providers, settings.model_threads, job.workers))
    made = Analysis(sources, cache_bytes=settings.cache_bytes, threads=job.workers, raster_share=EXPORT_RASTER_SHARE)
    with _working(made) as analysis:
        whole = PieceFiller(
            analysis,
            plane,
            job.algorithm,
            provenance=job.provenance is not None,
            needs_mask=_needs_mask(job, sources, target),
            reading={} if job.request.nodata is None else {"nodata": job.request.nodata},
            written=_written(job, sources, task),
        )
        by_band = _by_band(job, sources, whole) if job.per_asset else None
        make_pieces(plan, work, by_band or whole, job.workers, progress)
    _check_unchanged(sources, task)
    pieces = [piece for strip in plan for piece in strip]
    figures = sum((Figures.read(work.path(piece, FIGURES_KIND).read_bytes()) for piece in pieces), Figures())
    work.write(SUMMARY, figures.written())
    if by_band is None:
        _write_files(job, sources, whole, work, pieces, tags, announce)
    else:
        FolderWriter(job, sources, work, by_band, tags, scenes).write(pieces, figures, announce)
    publish(work, [path.resolve() for path in reversed(job.outputs())])
    work.remove()
    return report(figures)


def _written(job: ExportJob, sources: Sources, task: Task) -> tuple[int, ...] | None:
    """Positions of the bands of one file that the job chooses; None for all."""
    if job.per_asset or not job.request.assets:
        return None
    return tuple(band.position for band in own_bands(job.request, sources, task))


def _by_band(job: ExportJob, sources: Sources, whole: PieceFiller) -> BandFiller:
    bands = own_bands(job.request, sources, whole.plane.task)
    return BandFiller(whole, bands, tuple(is_masked(job, sources, band) for band in bands))


def _recorded_figures(work: WorkFolder) -> Figures | None:
    """Those of an export that was complete but for its names; None if it was removing its work folder already."""
    with contextlib.suppress(OSError):
        return Figures.read((work.folder / SUMMARY).read_bytes())
    return None


def _check_target(sources: Sources, target: Dataset) -> None:
    """Refuse what has no place on a north-up map.

    Raises:
        ParameterError: a rotated or mirrored raster, one placed by ground control points, or of another data type.
    """
    if not target.parts:
        with sources.open(target.url, target.version) as src:
            if src.gcps[0]:
                raise ParameterError(f"{target.url!r} is placed by ground control points: warp it first (gdalwarp)")
    a = target.affine
    if a.b or a.d or a.a <= 0 or a.e >= 0:
        raise ParameterError(f"{target.url!r} is rotated or mirrored: bring it north up first (gdalwarp)")
    if target.dtype not in GDAL_TYPES:
        raise ParameterError(f"{target.url!r} has data type {target.dtype}: give one of {', '.join(GDAL_TYPES)}")


def _needs_mask(job: ExportJob, sources: Sources, target: Dataset) -> bool:
    """Whether the output has a mask: the target has one, or cloud left open can be marked in no other way."""
    with sources.open_described(target) as src:
        flags = src.mask_flag_enums[0]
    if target.nodata is not None or MaskFlags.alpha in flags:
        return False
    return MaskFlags.per_dataset in flags or job.algorithm.unfilled == "nodata"


def _manifest(job: ExportJob, task: Task) -> dict[str, object]:
    """All that the pieces depend on."""
    return {
        "software": __version__,
        "task": repr(task),
        "algorithm": job.algorithm.model_dump(),
        "resolution": job.resolution,
        "per asset": job.per_asset,
        "provenance": job.provenance and str(job.provenance.resolve()),
        "request": repr(job.request),
    }


@contextmanager
def _working(analysis: Analysis) -> Iterator[Analysis]:
    """Give all threads one ticket and take it back at the end: work still running then stops early."""
    ticket = Ticket()
    token = current_ticket.set(ticket)
    try:
        yield analysis
    finally:
        ticket.abandon()
        current_ticket.reset(token)
        analysis.close()


def _check_unchanged(sources: Sources, task: Task) -> None:
    """Refuse to mix two states of a raster.

    Raises:
        SourceChangedError: a raster changed while it was read.
    """
    datasets = [task.target.dataset, *(layer.dataset for layer in task.replacements)]
    if task.clouds.classes is not None:
        datasets.append(task.clouds.classes)
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

    def finished(kind: str) -> list[tuple[Piece, Path]]:
        return [(piece, work.path(piece, kind)) for piece in pieces]

    target, cogs = filler.plane.target.dataset, []

    def put(name: str, root: ET.Element, out: Path, compression: str, resampling: str) -> None:
        add_tags(root, tags)
        work.write(name, ET.tostring(root))
        cogs.append(Cog(work.folder / name, finished_path(out.resolve()), out, compression, resampling))

    if job.provenance is not None:
        root = target_description(sources, target, work.folder / "target.vrt")
        put_bands(root, PROVENANCE_BANDS, NODATA)
        put_sources(root, finished(PROVENANCE_KIND), "uint8")
        put("provenance.vrt", root, job.provenance, "deflate", "nearest")
    root = target_description(sources, target, work.folder / "target.vrt")
    if filler.written is not None:
        keep_bands(root, [target.indexes[position] for position in filler.written])
    put_sources(root, finished(IMAGE_KIND), target.dtype)
    if filler.needs_mask:
        put_mask(root, finished(MASK_KIND))
    put("image.vrt", root, job.out, compression_of(sources, target), "average")
    announce(f"Writing {', '.join(str(cog.out) for cog in cogs)}")
    write_cogs(cogs, workers=job.workers)


__all__ = ["PROVENANCE_BANDS", "Progress", "export_scene"]
