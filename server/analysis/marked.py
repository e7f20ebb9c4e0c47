"""What a user's mask marks over the whole scene: nothing, everything or an archive's bits are rarely intended."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

import numpy as np

from algorithms.reclassify import Remap, marked
from server.analysis.packed import packed_hint
from server.analysis.task import CloudSource, Task
from server.raster.classes import sample_classes, sample_validity
from server.raster.dataset import Dataset
from server.raster.sources import Sources
from server.work.trace import warn

logger = logging.getLogger("clearsky")

SAMPLED_PIXELS: Final = 1024
"""Most pixels along the longer side of a scene that are checked: 30 ms once per mask."""
SHOWN_VALUES: Final = 8
"""Most distinct values that are listed."""


@dataclass(frozen=True, slots=True)
class Marked:
    """What a mask marks of a scene."""

    mask: str
    """The mask."""
    rule: str
    """Which values count as cloud."""
    values: tuple[float, ...]
    """The least of the distinct values found, `SHOWN_VALUES` at most: as stored, or classes made of several bands."""
    nodata: float | None
    """Value without data."""
    pixels: int
    """Pixels checked: those of the target that have data."""
    covered: int
    """Those of them for which the mask has a value."""
    cloudy: int
    """Those of them that count as cloud."""
    step: int
    """One in how many pixels was checked, along each side; 1: all of them."""
    hint: str | None = None
    """What its values seem to be other than a mask, see `packed_hint`."""

    @property
    def fraction(self) -> float:
        """Share of the target's pixels that count as cloud."""
        return self.cloudy / max(self.pixels, 1)

    @property
    def warning(self) -> str | None:
        """What is odd about it; None if nothing is."""
        if not self.pixels or (0 < self.cloudy < self.pixels and self.hint is None):
            return None
        sample = "" if self.step == 1 else f", one in {self.step} x {self.step} checked"
        if not self.covered:
            return f"mask {self.mask!r} has no data anywhere on the target{sample}: check its place and nodata value"
        found = ", ".join(f"{value:g}" for value in self.values) + (", ..." if len(self.values) == SHOWN_VALUES else "")
        nodata = "no nodata value" if self.nodata is None else f"nodata {self.nodata:g}"
        share = "all" if self.cloudy == self.pixels else f"{self.fraction:.1%}" if self.cloudy else "none"
        return (
            f"mask {self.mask!r} marks {share} of the {self.pixels} valid pixels as "
            f"cloud{sample} (values {found}; {nodata}; {self.rule}): {self.hint or 'check `mask_remap`'}"
        )


class MarkedMasks:
    """What masks mark of their scenes, each checked once."""

    def __init__(self, sources: Sources) -> None:
        self._look = lru_cache(maxsize=256)(partial(_marked, sources))

    def of(self, task: Task) -> Marked | None:
        """What a task's mask marks; None where a model makes the mask."""
        mask = task.clouds.classes
        return None if mask is None else self._look(mask, task.target.dataset, task.clouds.remap, task.clouds.rule)

    def of_replacement(self, other: Dataset, clouds: CloudSource) -> Marked | None:
        """What a user's mask of a replacement marks; None for a model, and for an archive's, which may mark nothing."""
        mask = clouds.classes
        if mask is None or (mask.code is not None and mask.code.kind is not None):
            return None
        return self._look(mask, other, clouds.remap, clouds.rule)

    def warnings(self, task: Task) -> list[str]:
        """What is odd about the masks of a task, which the log says as well, once."""
        layers = zip(task.replacements, task.replacement_clouds, strict=False)
        found = [self.of(task), *(self.of_replacement(layer.dataset, clouds) for layer, clouds in layers)]
        return [one.warning for one in found if one is not None and one.warning is not None]

    def warn(self, task: Task) -> None:
        """Warn the client of the running request of masks that mark nothing or everything."""
        for text in self.warnings(task):
            warn(text)


def _marked(sources: Sources, mask: Dataset, target: Dataset, remap: Remap | None, rule: str) -> Marked:
    step = -(-max(target.shape) // SAMPLED_PIXELS)
    there = sample_validity(sources, target, step)
    values = sample_classes(sources, mask, target, step)[there]
    cloudy = marked(values[None], remap, fractions=mask.fractions)
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    if mask.code is not None and len(mask.indexes) == 1:
        own = sample_classes(sources, replace(mask, code=None), target, step)[there]
        distinct = np.unique(own[~np.isnan(own)])
    hint = None
    if remap is None and mask.code is None and not mask.fractions:
        with sources.open_described(mask) as src:
            hint = packed_hint(mask.url, src.descriptions[0], distinct)
    result = Marked(
        mask=mask.url,
        rule=rule if remap is None else f"mask_remap {rule}",
        values=tuple(distinct[:SHOWN_VALUES].tolist()),
        nodata=mask.nodata,
        pixels=values.size,
        covered=known.size,
        cloudy=int(cloudy.sum()),
        step=step,
        hint=hint,
    )
    if result.warning is not None:
        logger.warning(result.warning)
    return result
