"""The way of a whole scene: strip by strip into the work folder, from there into the finished files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
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
from server.export.cog import compression_of, write_cog
from server.export.job import ExportJob, exists_already
from server.export.mosaic import GDAL_TYPES, add_tags, put_bands, put_mask, put_sources, target_description
from server.export.piece import PieceFiller
from server.export.plan import EXPORT_RASTER_SHARE, Piece, blocks_under, strips
from server.export.publication import Publication, publish, unreported, withdraw
from server.export.tags import scene_tags
from server.export.work import WorkFolder, work_folder
from server.raster.dataset import Dataset
from server.raster.grid import fine_grid, native_grid
from server.raster.mounting import check_unchanged
from server.raster.sources import Sources
from server.settings import Settings
from server.work.ticket import Ticket, check_wanted, current_ticket

PROVENANCE_BANDS: Final = {
    "source": "0 original, k from the k-th replacement, 255 not filled or no data",
    "confidence": "percent, 255 no data",
    "classes": "0 clear, 1 cloud, 2 shadow, 255 no data",
}
"""Bands of the provenance file and their meaning."""

Progress = Callable[[int, int], None]
"""Told the pieces finished and the pieces of the whole scene."""


def _ignore(_done: int, _total: int) -> None:
    """No progress shown."""


def export_scene(
    job: ExportJob,
    settings: Settings,
    progress: Progress = _ignore,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
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
    out = job.out.resolve()
    job = job.checked(unreported(out))
    sources = Sources.of(settings, own=job.request.sources)
    job = replace(job, request=job.request.whole(sources))
    task = job.request.task(sources, job.algorithm)
    target = task.target.dataset
    _check_target(sources, target)
    # Logged before hours of work: a mask that marks nothing, pixels too fine for the model.
    MarkedMasks(sources).of(task)
    if task.clouds.model is not None:
        resolution_warning(target)
    level = native_grid if job.resolution == "native" else fine_grid
    plane = Plane(task, level(target, follows=task.clouds.users))
    tags = scene_tags(sources, task, job.algorithm, job.resolution)
    plan = strips(plane, cache_bytes=settings.cache_bytes)
    manifest = _manifest(job, task)
    if withdraw(out, keep=work_folder(out, manifest)) and not job.overwrite:
        raise exists_already(job.out)
    work = WorkFolder.open(out, manifest)
    if (begun := Publication.begun(work.folder)) is not None:
        begun.finish()
        work.remove()
        return
    SESSIONS.configure(Runtime(settings.model_providers, settings.model_threads, job.workers))
    made = Analysis(sources, cache_bytes=settings.cache_bytes, threads=job.workers, raster_share=EXPORT_RASTER_SHARE)
    with _working(made) as analysis:
        filler = PieceFiller(
            analysis,
            plane,
            job.algorithm,
            provenance=job.provenance is not None,
            needs_mask=_needs_mask(job, sources, target),
            reading={} if job.request.nodata is None else {"nodata": job.request.nodata},
        )
        _fill(plan, work, filler, job.workers, progress)
    _check_unchanged(sources, task)
    pieces = [piece for strip in plan for piece in strip]
    _finish(job, sources, target, work, pieces, tags, announce)
    work.remove()


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


def _fill(plan: list[list[Piece]], work: WorkFolder, filler: PieceFiller, workers: int, progress: Progress) -> None:
    """Make every missing piece: the analysis of a strip while the one before is read and written."""
    total = sum(map(len, plan))
    plan = [[piece for piece in strip if not work.has(piece, filler.kinds)] for strip in plan]
    done = total - sum(map(len, plan))
    running: set[Future[None]] = set()

    def collect(ready: set[Future[None]]) -> None:
        nonlocal done
        for future in ready:
            running.discard(future)
            future.result()
            done += 1
        progress(done, total)

    progress(done, total)
    filler.analysis.announce(filler.plane, blocks_under(filler.plane, [piece for strip in plan for piece in strip]))
    with ThreadPoolExecutor(workers, thread_name_prefix="piece") as pool:
        try:
            for missing in filter(None, plan):
                before = set(running)
                filler.prepare(missing)
                running |= {pool.submit(copy_context().run, partial(_make, piece, work, filler)) for piece in missing}
                collect(wait(before).done)
            while running:
                collect(wait(running, return_when=FIRST_COMPLETED).done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(piece: Piece, work: WorkFolder, filler: PieceFiller) -> None:
    """Make the files of one piece, its image last."""
    check_wanted()
    filled = filler.fill(piece)
    parts = {"mask": filled.mask, "provenance": filled.provenance, "image": filled.image}
    for kind, pixels in parts.items():
        if pixels is not None:
            work.write_piece(piece, kind, filler.encode(piece, pixels))


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
        check_unchanged(url, version, sources.state(url))


def _finish(
    job: ExportJob,
    sources: Sources,
    target: Dataset,
    work: WorkFolder,
    pieces: list[Piece],
    tags: dict[str, str],
    announce: Callable[[str], None],
) -> None:
    """Put the pieces together; the outputs get their names when all are complete, the image last."""

    def finished(kind: str) -> list[tuple[Piece, Path]]:
        return [(piece, work.path(piece, kind)) for piece in pieces]

    def write(name: str, root: ET.Element, out: Path, compression: str, resampling: str) -> None:
        announce(f"Writing {out}")
        work.write(name, ET.tostring(root))
        write_cog(
            work.folder / name, out.resolve(), compression=compression, resampling=resampling, workers=job.workers
        )

    if job.provenance is not None:
        root = target_description(sources, target, work.folder / "target.vrt")
        put_bands(root, PROVENANCE_BANDS, NODATA)
        put_sources(root, finished("provenance"), "uint8")
        add_tags(root, tags)
        write("provenance.vrt", root, job.provenance, "deflate", "nearest")
    root = target_description(sources, target, work.folder / "target.vrt")
    put_sources(root, finished("image"), target.dtype)
    if _needs_mask(job, sources, target):
        put_mask(root, finished("mask"))
    add_tags(root, tags)
    write("image.vrt", root, job.out, compression_of(sources, target), "average")
    publish(work, [path.resolve() for path in reversed(job.outputs())])


__all__ = ["PROVENANCE_BANDS", "Progress", "export_scene"]
