"""What is asked for: the rasters and where their clouds come from, whoever asks.

HTTP parameters, recipes and the command line each build the same `Request`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from algorithms.bands import common_names
from algorithms.errors import BandError, ClearSkyError, ParameterError
from algorithms.models import CloudModel, known_models, select_model
from algorithms.reclassify import Remap
from server.analysis.clouds import checked_mask, is_preset, is_raster
from server.raster.dataset import REQUESTED, Dataset
from server.raster.sources import Sources
from server.scenes.scene import Scene

Within = Callable[..., AbstractContextManager[None]]
"""Gives a context from a place in a request."""

MOST_REPLACEMENTS: Final = 64
"""The source band, a byte, tells 254 apart; each that a pixel is still cloudy in costs as much as the first."""
AUTO_REPLACEMENT: Final = "auto"
"""Stands among the replacements for the dates that `server.analysis.choosing` finds."""


@dataclass(frozen=True, slots=True)
class Request:
    """The rasters, where their clouds come from, and what replaces the rasters' own metadata."""

    target: str
    """The cloudy raster."""
    replacements: tuple[str, ...] = ()
    """Other dates, in the order of preference."""
    mask: str | None = None
    """A raster of cloud classes instead of the model, or the kind of the scenes' own masks, see `is_preset`."""
    mask_bits: tuple[int, ...] = ()
    """Bits of the mask that mean cloud."""
    replacement_masks: tuple[str, ...] = ()
    """Masks of the replacements, in their order, of the same form as `mask`; `NO_CLOUDS`: has none."""
    remap: Remap | None = None
    """Which classes count as cloud."""
    model: str | None = None
    """Id of a cloud model; None chooses by bands and level."""
    bands: tuple[str, ...] = ()
    """Names of the bands in order; empty for the rasters' own."""
    level: str | None = None
    """Processing level, `l1c` or `l2a`."""
    reflectance_scale: float | None = None
    """Reflectance per digital number."""
    reflectance_offset: float | None = None
    """Reflectance at digital number 0."""
    replacement_reflectance_scales: tuple[float, ...] = ()
    """The same of each replacement, in their order, or one for all; without any the target's holds for them, too."""
    replacement_reflectance_offsets: tuple[float, ...] = ()
    """The same at digital number 0."""
    nodata: float | None = None
    """Value without data."""
    assets: tuple[str, ...] = ()
    """Bands to show, by name, where nothing else says which."""
    shown: tuple[int, ...] = ()
    """Of a target of several files the bands that the answer shows, 1-based; without any red, green and blue."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Every dataset named."""
        masks = filter(is_raster, (self.mask or "",))
        replacements = (url for url in self.replacements if url != AUTO_REPLACEMENT)
        given = filter(is_raster, self.replacement_masks)
        return (self.target, *replacements, *masks, *given)

    @property
    def automatic(self) -> bool:
        """Whether replacements are still to be chosen."""
        return AUTO_REPLACEMENT in self.replacements

    def checked(self, check: Callable[[str], str], at: Within = lambda *_: nullcontext()) -> Request:
        """The same request with every dataset's name as `check` gives it back.

        Args:
            check: raises for a name that is refused.
            at: gives the context to call it in, from the field and, in a tuple, the index (from 0).
        """
        with at("target"):
            target = check(self.target)
        replacements = []
        for position, url in enumerate(self.replacements):
            with at("replacements", position):
                replacements.append(url if url == AUTO_REPLACEMENT else check(url))
        with at("mask"):
            mask = checked_mask(self.mask, check) if self.mask and not is_preset(self.mask) else self.mask
        masks = []
        for position, url in enumerate(self.replacement_masks):
            with at("replacement_masks", position):
                masks.append(checked_mask(url, check) if is_raster(url) else url)
        return replace(self, target=target, replacements=tuple(replacements), mask=mask, replacement_masks=tuple(masks))

    def scene(self, sources: Sources, url: str) -> Scene | None:
        """The scene of several files that a name stands for, its bands named as the request says; None for one file.

        Raises:
            BandError: `bands` does not name every band of a list of files. Errors of `Sources.scene`.
        """
        scene = sources.scene(url)
        if scene is None or not scene.whole:
            return scene
        names = self._names_for(sources, url, [band.name for band in scene.bands])
        return scene.renamed(common_names(names)) if names else scene

    def dataset(
        self, sources: Sources, url: str, numbers: tuple[int, ...] = (), *, position: int | None = None
    ) -> Dataset:
        """A raster's description, with what the request says in place of the raster's own metadata.

        Args:
            sources: what describes rasters.
            url: the raster's name.
            numbers: of a scene the bands to describe, 1-based; all without any.
            position: the replacement's, from 0; None for the target.

        Raises:
            BandError: `bands` does not name every band. ParameterError: not one scale or offset for each replacement.
                Errors of `Sources.dataset`.
        """
        scene = self.scene(sources, url)
        found = sources.dataset(url) if scene is None else sources.composed(scene, numbers)
        bands = self._names_for(sources, url, found.names) if scene is None else ()
        scale, offset = self.reflectance_scale, self.reflectance_offset
        if position is not None:
            count = len(self.replacements)
            if scales := for_each(self.replacement_reflectance_scales, count, "replacement_reflectance_scale"):
                scale = scales[position]
            if offsets := for_each(self.replacement_reflectance_offsets, count, "replacement_reflectance_offset"):
                offset = offsets[position]
        return _corrected(found, bands, self.level, scale, offset, self.nodata)

    def _names_for(self, sources: Sources, url: str, own: Sequence[str | None]) -> tuple[str, ...]:
        """`bands` as far as they are for one raster: not where that has names of its own, and they fit another one.

        Args:
            sources: what describes rasters.
            url: the raster's name.
            own: names of its bands, None for one without.

        Raises:
            BandError: they do not name every band.
        """
        if not self.bands or len(self.bands) == len(own):
            return self.bands
        others = {self.target, *self.replacements} - {url, AUTO_REPLACEMENT}
        if None not in own and any(_count(sources, other) == len(self.bands) for other in others):
            return ()
        raise BandError(
            f"bands={','.join(self.bands)} names {len(self.bands)} bands, {url!r} has {len(own)}; name every one"
        )

    def numbers(self, sources: Sources, *, analysed: bool = True) -> tuple[int, ...]:
        """Of a target of several files the bands that are read, 1-based and in order; nothing for one file.

        Args:
            sources: what knows scenes.
            analysed: whether those count that masks and fills are made from, next to those shown.
        """
        scene = self.scene(sources, self.target)
        if scene is None:
            return ()
        used = (*scene.analysed, *scene.numbers_of(self.named_bands)) if analysed else ()
        return tuple(sorted({*(self.shown or scene.picture), *used}))

    def target_dataset(self, sources: Sources, *, analysed: bool = True) -> Dataset:
        """The target's description, with the bands of `numbers`; see `dataset`."""
        return self.dataset(sources, self.target, self.numbers(sources, analysed=analysed))

    def whole(self, sources: Sources) -> Request:
        """The same with all bands of the target shown, or those of `assets`: for a file rather than a picture.

        Raises:
            ParameterError: a name that means no band.
        """
        scene = self.scene(sources, self.target)
        if scene is None:
            return self
        return replace(self, shown=scene.asked(self.assets) if self.assets else tuple(range(1, 1 + len(scene.bands))))

    def replacement_dataset(self, sources: Sources, position: int, target: Dataset) -> Dataset:
        """The description of a replacement, by its position from 0: of a scene those bands that the target has."""
        url = self.replacements[position]
        scene = self.scene(sources, url)
        if scene is None or (scene.whole and None in target.names):
            return self.dataset(sources, url, position=position)
        numbers = scene.numbers_of(tuple(name for name in target.names if name))
        return self.dataset(sources, url, numbers, position=position)

    def names(self, sources: Sources, position: int, described: Dataset) -> tuple[str | None, ...]:
        """Common names of all bands of a replacement, of which its description may have a part.

        Args:
            sources: what knows scenes.
            position: the replacement's, from 0.
            described: its description.
        """
        scene = self.scene(sources, self.replacements[position])
        return described.names if scene is None else tuple(band.name for band in scene.bands)

    @property
    def named_bands(self) -> tuple[str, ...]:
        """Bands that the model looks at which the request names; none where it names no model, or an unknown one."""
        named = known_models().get(self.model or "")
        return () if named is None else named.bands

    def chosen_model(self, sources: Sources) -> CloudModel:
        """The network that finds the target's clouds where no mask is given.

        Raises:
            BandError, ModelError, ParameterError: see `select_model`.
        """
        target = self.target_dataset(sources)
        return self.model_for(target.names, target.level)

    def model_for(self, names: Sequence[str | None], level: str) -> CloudModel:
        """The network that the request names, or the best for bands of some common names. Raises as `chosen_model`."""
        return select_model(list(names), level=level, model=self.model)


def for_each(values: tuple[float, ...], count: int, name: str) -> tuple[float, ...]:
    """The value of each of so many replacements; nothing where none is given.

    Args:
        values: one for each, in their order; a single one stands for all.
        count: how many replacements there are.
        name: what the values are called.

    Raises:
        ParameterError: another number of values.
    """
    if len(values) == 1:
        return values * count
    if values and len(values) != count:
        raise ParameterError(
            f"{len(values)} `{name}` are given for {count} replacements; give one for each, in their order, or a "
            "single one for all"
        )
    return values


def _count(sources: Sources, url: str) -> int:
    """How many bands `bands` has to name for a raster; 0 where it names none, or the raster cannot be had."""
    try:
        scene = sources.scene(url)
        if scene is not None:
            return len(scene.bands) if scene.whole else 0
        return len(sources.dataset(url).indexes)
    except (ClearSkyError, OSError):  # whoever needs it says so
        return 0


@lru_cache(maxsize=256)
def _corrected(
    dataset: Dataset,
    bands: tuple[str, ...],
    level: str | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
) -> Dataset:
    """A description with what a request says in place of it."""
    count = len(dataset.indexes)
    changes: dict[str, Any] = {"names": common_names(bands)} if bands else {}
    if level:
        changes["level"] = level
    if scale is not None:
        changes["scales"] = (scale,) * count
    if offset is not None:
        changes["offsets"] = (offset,) * count
    if scale is not None or offset is not None:
        changes["reflectance_source"] = REQUESTED
    if nodata is not None:
        changes["nodata"] = nodata
    return replace(dataset, **changes) if changes else dataset
