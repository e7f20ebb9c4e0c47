"""The reader of pictures in a style: which bands that shows, and how an image is made bright enough to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import attr
from rio_tiler.models import ImageData
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.removal import CloudAlgorithm, CloudImage, CloudRemoval
from server.analysis.engine import Analysis
from server.analysis.task import Task
from server.analysis.tasking import make_task
from server.http.choice import Choice
from server.http.looks import LOOK, STRETCH_PIXELS, STRETCHED, AskedStyle, Look, StretchKey, ToneRange, suits
from server.http.target import TargetReader
from server.raster.dataset import Dataset
from server.work.trace import untraced


@attr.s
class StyledReader(TargetReader):
    """Reads a target whose pictures have a style; what is read is filled by those who derive from it."""

    analysis: Analysis = attr.ib(kw_only=True)
    """Masks and fills."""
    process: BaseAlgorithm | None = attr.ib(default=None, kw_only=True)
    style: AskedStyle | None = attr.ib(default=None, kw_only=True)
    """How a picture is to look; None: as TiTiler has it."""

    @property
    def _clouds_wanted(self) -> bool:
        return bool(self.request.replacements) or isinstance(self.process, CloudAlgorithm)

    def _whole(self, chosen: Choice, kwargs: dict[str, Any]) -> ImageData:
        """Some bands of the whole dataset, filled as the request says."""
        raise NotImplementedError

    def _styled(self) -> tuple[str, ...]:
        """Names of the bands that the style shows. Raises BandError: the raster lacks one of a style asked for."""
        asked = self.style
        if asked is None:
            return ()
        names = self._names() if self._scene is None else [band.name for band in self._scene.bands]
        return asked.style.choose(names) if asked.by_name or suits(names, self._raster.dtypes[0]) else ()

    def _with_look(self, image: ImageData, chosen: Choice) -> ImageData:
        """The image, which knows what it looks like as a picture."""
        asked = self.style
        if asked is None or asked.style.scaling == "none":
            return image
        dataset = self._described or self.request.target_dataset(self.sources)
        if not (asked.by_name or suits(dataset.names, dataset.dtype)):
            return image
        positions = tuple(dataset.indexes.index(place) for place in self._within(dataset, chosen.places))
        look = Look.of(asked.style, dataset, positions)
        if asked.style.scaling in STRETCHED:
            look = replace(look, ranges=self._ranges(look, dataset, chosen))
        image.metadata = {**(image.metadata or {}), LOOK: look}
        return image

    def _ranges(self, look: Look, dataset: Dataset, chosen: Choice) -> tuple[ToneRange, ...]:
        """What becomes black and white: of the whole filled picture, so that its tiles agree."""
        process = self.process
        subject: Dataset | Task = dataset
        if self._clouds_wanted:
            options = process.options if isinstance(process, CloudAlgorithm) else CloudRemoval().options
            subject = make_task(self.request, self.sources, options, "fill", chosen.places)

        def measured() -> tuple[ToneRange, ...]:
            with untraced():
                image = self._whole(chosen, {"max_size": STRETCH_PIXELS})
                if process is not None and isinstance(image, CloudImage):
                    image = process(image)
            return look.stretched(look.reflectance(image))

        return self.analysis.cache.get(StretchKey(subject, look.style.name, chosen.places), measured)
