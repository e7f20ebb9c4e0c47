"""An export made ready: everything checked, described and planned before the first pixel is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rasterio.enums import MaskFlags

from algorithms.errors import ParameterError
from algorithms.options import WHOLE_ADJUSTMENT
from server import __version__
from server.analysis.clouds import warn_unmasked
from server.analysis.engine import Analysis
from server.analysis.marked import MarkedMasks
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.resolution import model_warnings
from server.analysis.task import Task
from server.analysis.tasking import make_task
from server.export.bandfiller import BandFiller
from server.export.bands import own_bands, written_bands
from server.export.chosen import fillable, own_apis, with_replacements
from server.export.cog import compression_of
from server.export.description import GDAL_TYPES
from server.export.folder import is_masked
from server.export.job import ExportJob
from server.export.piece import PieceFiller
from server.export.stepwise import StepwiseFiller, check_stepwise, stepwise_grid
from server.models.folder import use_models
from server.raster.dataset import Dataset
from server.raster.grid import fine_grid, native_grid
from server.raster.sources import Sources
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class PreparedExport:
    """What is known of an export before it begins."""

    job: ExportJob
    """What to do; rasters by the names that they are opened by."""
    named: Request
    """The same rasters as the user names them, with dates in place of `auto`: what another process can open."""
    sources: Sources
    """What opens rasters."""
    plane: Plane
    """What to analyse."""

    @property
    def task(self) -> Task:
        """What to analyse, on any level."""
        return self.plane.task

    @property
    def target(self) -> Dataset:
        """The cloudy raster."""
        return self.task.target.dataset

    @property
    def manifest(self) -> dict[str, object]:
        """All that the pieces depend on."""
        job = self.job
        return {
            "software": __version__,
            "task": repr(self.task),
            "algorithm": job.algorithm.model_dump(),
            "resolution": job.resolution,
            "per asset": job.per_asset,
            "provenance": job.provenance and str(job.provenance.resolve()),
            "request": repr(job.request),
        }

    def filler(self, analysis: Analysis) -> PieceFiller:
        """What fills pieces on the grid of the target; the ring form fills all of it here."""
        job = self.job
        pieces = PieceFiller(
            analysis,
            self.plane,
            job.algorithm,
            provenance=job.provenance is not None,
            needs_mask=self._needs_mask(),
            reading={} if job.request.nodata is None else {"nodata": job.request.nodata},
            compression=compression_of(self.sources, self.target),
            written=self._written(),
        )
        return StepwiseFiller.of(pieces) if job.algorithm.adjustment == WHOLE_ADJUSTMENT else pieces

    def by_band(self, whole: PieceFiller) -> BandFiller | None:
        """What fills pieces of each band on its own grid; None where that is not asked for."""
        if not self.job.per_asset:
            return None
        bands = own_bands(self.job.request, self.sources, self.task)
        masked = tuple(is_masked(self.job, self.sources, band) for band in bands)
        kept = (compression_of(self.sources, band.dataset) if band.place.same else None for band in bands)
        return BandFiller(whole, bands, masked, tuple(kept))

    def _written(self) -> tuple[int, ...] | None:
        """Positions of the bands of one file that the job chooses; None for all."""
        if self.job.per_asset or not self.job.request.assets:
            return None
        return tuple(band.position for band in own_bands(self.job.request, self.sources, self.task))

    def _needs_mask(self) -> bool:
        """Whether the output has a mask: the target has one, or cloud left open can be marked in no other way."""
        with self.sources.open_described(self.target) as src:
            flags = src.mask_flag_enums[0]
        if MaskFlags.alpha in flags:
            return False
        open_cloud = self.target.nodata is None and self.job.algorithm.unfilled == "nodata"
        return MaskFlags.per_dataset in flags or open_cloud


def prepare_export(job: ExportJob, settings: Settings) -> PreparedExport:
    """Check, describe and match the rasters of an export.

    Args:
        job: what to do, its rasters found, see `ExportJob.checked`.
        settings: how remote files are read.

    Raises:
        ClearSkyError: a bad value, or a raster that cannot be read.
    """
    use_models(settings.models)  # of a cluster's worker, too
    sources = Sources.of(settings, own=[*job.request.sources, *own_apis(settings)])
    request = job.request.checked(sources.check)  # names go without signatures from here on
    if request.assets and not job.per_asset and request.scene(sources, request.target) is None:
        raise ParameterError(
            f"assets {','.join(request.assets)!r} choose among the files of a scene, and {request.target!r} is one "
            "file: leave them out, or write its bands one by one with `per_asset=True`"
        )
    chosen = with_replacements(request, settings, sources)
    named = job.request
    if request.automatic:
        chosen = fillable(chosen, sources)
        named = replace(named, replacements=chosen.replacements, assets=chosen.assets)
    job = replace(job, request=chosen.whole(sources))
    shown = written_bands(job.request, sources) if job.per_asset or job.request.assets else None
    task = make_task(job.request, sources, job.algorithm, shown=shown)
    _check_target(sources, task.target.dataset)
    # Logged before hours of work: a mask that marks nothing, pixels too fine for the model, clouds not looked for.
    MarkedMasks(sources).warnings(task)
    warn_unmasked(task)
    if task.clouds.model is not None:
        model_warnings(task.clouds.model, task.target.dataset)
    target, users = task.target.dataset, task.clouds.users
    if job.algorithm.adjustment == WHOLE_ADJUSTMENT:
        check_stepwise(target, len(task.replacements))
        return PreparedExport(job, named, sources, Plane(task, stepwise_grid(target, users=users)))
    grid_of = native_grid if job.resolution == "native" else fine_grid
    return PreparedExport(job, named, sources, Plane(task, grid_of(target, follows=users)))


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
