"""How clear another date is under a target's clouds, looked at from afar."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from algorithms.errors import BandError
from algorithms.masks import NODATA
from algorithms.options import CloudOptions
from algorithms.reclassify import marked
from algorithms.sample import in_a_row, sample_squares
from server.analysis.clouds import is_preset, own_clouds
from server.analysis.masks import Masks, counted
from server.analysis.plane import LayerClouds, Plane
from server.analysis.request import Request
from server.analysis.sampled import plot_around
from server.analysis.task import CloudSource, Task
from server.analysis.tasking import make_task
from server.raster.classes import sample_classes
from server.raster.dataset import Dataset
from server.raster.grid import Box, Grid, coarse_grid
from server.raster.sources import Sources
from server.scenes.masks import AUTO
from server.scenes.scene import Scene

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CloudedGround:
    """Where a target has clouds, on cells of its coarse grid."""

    target: Dataset
    """The target."""
    grid: Grid
    """The coarse grid."""
    squares: tuple[tuple[slice, slice], ...]
    """Rectangles of cells that are looked at."""
    cloudy: Bools
    """(n,), cells that are cloud or shadow, of all that are looked at, square by square."""

    @property
    def fraction(self) -> float:
        """Share of the cells looked at that are cloud."""
        return float(self.cloudy.mean()) if self.cloudy.size else 0.0


class Clearness:
    """Looks at the clouds of a target and of other dates: their own masks, else the cloud model's."""

    def __init__(self, sources: Sources, masks: Masks, request: Request) -> None:
        """Make it.

        Args:
            sources: what describes rasters.
            masks: what runs the cloud models.
            request: the target, and where its clouds come from; with neither mask nor model its own mask is looked at.
        """
        self._sources = sources
        self._masks = masks
        self._asked = replace(request, replacements=(), replacement_masks=())
        own = request.mask is None and request.model is None
        self._looked_at = replace(self._asked, mask=AUTO, remap=None, mask_bits=()) if own else self._asked

    def ground(self, *, sampled: bool) -> CloudedGround:
        """Where the target has clouds.

        Args:
            sampled: whether a network will look at other dates, and so at no more than a sample.

        Raises:
            ClearSkyError: its rasters cannot be read or used.
        """
        task = make_task(self._looked_at, self._sources, CloudOptions(), "classes")
        target, clouds = task.target.dataset, task.clouds
        grid = coarse_grid(target)
        sample = sample_squares(grid.shape) if sampled or clouds.classes is None else None
        squares = tuple(sample or [(slice(0, grid.rows), slice(0, grid.cols))])
        ground = CloudedGround(target, grid, squares, np.zeros(0, bool))
        if clouds.classes is not None:
            return replace(ground, cloudy=self._marked(ground, clouds)[0])
        return replace(ground, cloudy=self._detected(ground, LayerClouds(task.target, clouds, grid))[0])

    def clear(self, ground: CloudedGround, scene: Scene) -> Bools:
        """Where another date is clear under the target's clouds.

        Args:
            ground: the target's.
            scene: the other date.

        Returns:
            (n,), in the order of the cloudy cells of `ground`.

        Raises:
            ClearSkyError: it cannot be read, or lacks the kind of mask that the request names.
        """
        asked = self._looked_at
        preset = asked.mask if asked.mask is not None and is_preset(asked.mask) else None
        rule = (asked.remap, asked.mask_bits) if preset else (None, ())
        own = own_clouds(self._sources, preset or AUTO, scene, scene.url, *rule)
        if own is not None:
            cloudy, there = self._marked(ground, own)
        else:
            detecting = replace(asked, mask=None, remap=None, mask_bits=(), replacements=(scene.url,))
            task = make_task(detecting, self._sources, CloudOptions(), "fill", ())
            _check_masked(task)
            cloudy, there = self._detected(ground, Plane(task, ground.grid).replacement_clouds(1))
        return np.asarray((there & ~cloudy)[ground.cloudy])

    def check(self, scene: Scene) -> None:
        """Whether the target can be filled from another date: its bands can be read, fit and overlap, clouds be found.

        Raises:
            ClearSkyError: no.
        """
        task = make_task(replace(self._asked, replacements=(scene.url,)), self._sources, CloudOptions(), "fill", ())
        if self._asked.mask is None or is_preset(self._asked.mask):
            _check_masked(task)

    def _marked(self, ground: CloudedGround, clouds: CloudSource) -> tuple[Bools, Bools]:
        """(n,) cells that a mask marks, and (n,) those for which it has a value, by the pixel in their middle."""
        assert clouds.classes is not None  # noqa: S101  (a mask)
        values = sample_classes(self._sources, clouds.classes, ground.target, ground.grid.factor)
        cloudy = marked(values, clouds.remap, fractions=clouds.classes.fractions)
        return _picked(cloudy, ground), _picked(~np.isnan(values), ground)

    def _detected(self, ground: CloudedGround, clouds: LayerClouds) -> tuple[Bools, Bools]:
        """(n,) cells that a network takes for cloud, and (n,) those with data."""
        boxes = [Box(y.start, y.stop, x.start, x.stop) for y, x in ground.squares]
        looks = [(replace(clouds, plot=plot_around(ground.grid, box)), box) for box in boxes]
        self._masks.prefetch(looks)
        classes = in_a_row([self._masks.tile(*look).classes for look in looks])
        return counted(classes, clouds.source)[0], np.asarray(classes != NODATA)[0]


def _check_masked(task: Task) -> None:
    """Refuse another date whose clouds nobody looks for.

    Raises:
        BandError: the only replacement's are not.
    """
    if (reason := task.replacement_clouds[0].unsought) is not None:
        raise BandError(reason)


def _picked(cells: Bools, ground: CloudedGround) -> Bools:
    """(n,) of (rows, cols) cells: those that are looked at."""
    picked: Bools = in_a_row([cells[square] for square in ground.squares])[0]
    return picked
