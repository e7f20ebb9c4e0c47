"""The ring form of the adjustment over a whole scene: `adjustment=stepwise`, as Esri's function computes it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rio_tiler.models import ImageData
from rio_tiler.reader import read

from algorithms.cells import on_pixels
from algorithms.errors import ParameterError
from algorithms.fill import UNFILLED
from algorithms.masks import NODATA, buffer_mask
from algorithms.options import WHOLE_ADJUSTMENT
from algorithms.pixels import to_dtype
from algorithms.removal import CloudRemoval
from algorithms.sidecar import CloudSidecar, hidden_pixels
from algorithms.stepwise import stepwise_adjustment
from server.analysis.engine import Analysis
from server.analysis.masks import counted
from server.analysis.outputs import completed, read_layer
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.export.piece import Looked, PieceFiller
from server.export.plan import Piece, window_of
from server.raster.dataset import Dataset, dataset_crs
from server.raster.grid import Box, Grid, fine_grid
from server.raster.sampling import OutputGrid
from server.remote.signatures import shown_name

STEPWISE_VALUES: Final = 1 << 27
"""Pixels times bands that are filled at once at most; they take about 45 bytes each, 6 GB."""
CLASS_ROWS: Final = 512
"""Rows of cells whose classes are asked for together."""


@dataclass(frozen=True, slots=True)
class WholeFill:
    """A scene filled ring by ring."""

    values: npt.NDArray[Any]
    """(B, H, W) of the target's data type: the target where nothing is filled."""
    source: npt.NDArray[np.uint8]
    """(H, W): 0 original, 1 filled, 255 cloud that stays, or no data."""


def stepwise_grid(target: Dataset, *, users: bool) -> Grid:
    """The level of the masks: a user's in pixels, a network's on its cells."""
    return Grid(factor=1, rows=target.height, cols=target.width) if users else fine_grid(target)


def check_stepwise(target: Dataset, replacements: int) -> None:
    """Refuse what the ring form cannot fill.

    Args:
        target: the cloudy raster, with the bands to fill.
        replacements: how many dates are given.

    Raises:
        ParameterError: more than one replacement, or too large a scene.
    """
    if replacements != 1:
        raise ParameterError(
            f"adjustment={WHOLE_ADJUSTMENT} fills from one replacement, and {replacements} are given: keep one of them"
        )
    bands = len(target.indexes)
    if (values := target.width * target.height * bands) > STEPWISE_VALUES:
        raise ParameterError(
            f"adjustment={WHOLE_ADJUSTMENT} holds the whole raster in memory, and {shown_name(target.url)!r} has "
            f"{target.width} x {target.height} pixels in {bands} bands, {values} values of at most {STEPWISE_VALUES} "
            "(6 GB): cut it up first (gdal_translate -srcwin), or choose adjustment=moment, the same statistics for "
            "rasters of any size"
        )


def fill_whole(analysis: Analysis, plane: Plane, reading: dict[str, Any]) -> WholeFill:
    """Fill a whole scene by `stepwise_adjustment` with Esri's statistics, on pixels and without moving a date.

    Pixels without data in the target stay as they are, and so does cloud where the replacement has no data or is
    cloudy itself.

    Args:
        analysis: what finds clouds.
        plane: the task, which has one replacement, on the level of its masks.
        reading: options for reading the replacement.

    Raises:
        ParameterError: see `check_stepwise`.
    """
    task, target = plane.task, plane.target.dataset
    check_stepwise(target, len(task.replacements))
    box = Box(0, target.height, 0, target.width)
    with analysis.rasters.sources.open_described(target) as src:
        image = read(src, window=window_of(box), indexes=target.indexes, nodata=target.nodata)
    values, hidden = image.array.data, hidden_pixels(image)
    cloudy, lost = _cloudy(analysis, plane)
    output = OutputGrid(target.crs, tuple(target.affine)[:6], target.width, target.height)
    bands = tuple(range(len(target.indexes)))
    other, there = read_layer(analysis.rasters, plane.replacement(1), bands, output, dataset_crs(target), reading)
    there &= ~lost
    filled = _adjusted(image.array, other, there, cloudy, task.options.window, task.buffer)
    under = buffer_mask(cloudy, task.buffer) & ~hidden
    take = under & there
    for band, made in zip(values, filled, strict=True):
        band[take] = to_dtype(made[take], values.dtype, target.nodata)
    source = np.where(take, 1, np.where(under | hidden, UNFILLED, 0)).astype(np.uint8)
    return WholeFill(values, source)


def fill_image(image: ImageData, request: Request, analysis: Analysis, algorithm: CloudRemoval) -> ImageData:
    """Fill an image of a whole scene at its own resolution.

    Args:
        image: the target as it is, with the bands that are read of it.
        request: the scene, its names checked.
        analysis: what finds clouds.
        algorithm: the options.

    Raises:
        ParameterError: see `check_stepwise`. BandError: a replacement lacks one of the bands.
    """
    sources = analysis.rasters.sources
    scene, numbers = request.scene(sources, request.target), request.numbers(sources)
    shown = None if scene is None else tuple(numbers.index(n) + 1 for n in request.shown or scene.picture)
    task = make_task(request, sources, algorithm.options, shown=shown)
    dataset = task.target.dataset
    check_stepwise(dataset, len(task.replacements))
    plane = Plane(task, stepwise_grid(dataset, users=task.clouds.users))
    whole = fill_whole(analysis, plane, {} if request.nodata is None else {"nodata": request.nodata})
    values = whole.values if shown is None else whole.values[[dataset.indexes.index(place) for place in shown]]
    missing = np.ma.getmaskarray(image.array) & (whole.source != 1)
    if algorithm.unfilled == "nodata":
        missing |= whole.source == UNFILLED
    image.array = np.ma.MaskedArray(values, mask=missing)
    return image


def _adjusted(
    target: np.ma.MaskedArray,
    other: npt.NDArray[np.float32],
    there: npt.NDArray[np.bool_],
    cloudy: npt.NDArray[np.bool_],
    window: int,
    buffer: int,
) -> npt.NDArray[np.float32]:
    """(B, H, W): the fill under the mask; what is missing on either date is NaN to the adjustment."""
    exact = np.float32 if target.dtype.itemsize <= 2 or target.dtype == np.float32 else np.float64
    known = target.data.astype(exact)
    known[np.ma.getmaskarray(target)] = np.nan
    other = np.where(there, other, np.float32(np.nan))
    return stepwise_adjustment(known, other, cloudy, window=window, buffer=buffer, statistics="esri")


def _cloudy(analysis: Analysis, plane: Plane) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(H, W) each: the target's clouds without their buffer, and what the replacement has clouds over."""
    target, shape = plane.target.dataset.shape, plane.shape
    clouds, lost = np.empty(shape, bool), np.empty(shape, bool)
    for top in range(0, shape[0], CLASS_ROWS):
        box = Box(top, top + CLASS_ROWS, 0, shape[1]).clip(shape)
        rows = slice(box.top, box.bottom)
        clouds[rows] = counted(analysis.pairs.classes(plane, box), plane.task.clouds)
        lost[rows] = analysis.pairs.hidden(plane, 1, box)
    return on_pixels(clouds, plane.factor, target), on_pixels(lost, plane.factor, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepwiseFiller(PieceFiller):
    """Cuts pieces out of a scene that is filled as a whole."""

    whole: WholeFill
    """The scene."""

    @classmethod
    def of(cls, pieces: PieceFiller) -> StepwiseFiller:
        """The filler that does by the ring form what another does piece by piece; fills the scene here."""
        whole = fill_whole(pieces.analysis, pieces.plane, pieces.reading)
        named = {field.name: getattr(pieces, field.name) for field in fields(PieceFiller)}
        return cls(**named, whole=whole)

    def announce(self, pieces: list[Piece]) -> None:
        """All is made already."""

    def infer(self, pieces: list[Piece]) -> None:
        """All is made already."""

    def prepare(self, pieces: list[Piece]) -> None:
        """All is made already."""

    def keep(self, coming: list[list[Piece]]) -> None:
        """All is made already."""

    def look(self, box: Box) -> Looked:
        """A box of the filled scene; how far it can be trusted is not known."""
        image, output, hidden = self.read(box)
        part = np.s_[box.top : box.bottom, box.left : box.right]
        source = self.whole.source[part]
        image.array.data[:] = self.whole.values[(slice(None), *part)]
        clouds = completed(CloudSidecar(source=source), hidden)
        return Looked(image, output, clouds, source, np.full(source.shape, NODATA, np.uint8), hidden)
