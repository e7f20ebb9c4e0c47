"""What is asked for: the rasters and where their clouds come from, whoever asks; from it the analysis task.

HTTP parameters, recipes and the command line each build the same `Request`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from algorithms.bands import common_names
from algorithms.errors import BandError, ModelError, ParameterError
from algorithms.fill import FillOptions
from algorithms.models import CloudModel, select_model
from algorithms.options import CloudOptions
from algorithms.reclassify import Remap
from algorithms.sidecar import Needs
from server.analysis.clouds import (
    CLEAR_EVERYWHERE,
    NO_CLOUDS,
    is_preset,
    is_raster,
    model_clouds,
    own_clouds,
    paired,
    raster_clouds,
    warn_unmasked,
)
from server.analysis.matching import check_overlap, lacking_bands, no_model, shared_bands
from server.analysis.resolution import too_few_cells
from server.analysis.task import CloudSource, Task
from server.raster.dataset import REQUESTED, Dataset, match_bands
from server.raster.layer import Layer
from server.raster.sources import Sources
from server.scenes.scene import Scene

MOST_FILLED_BANDS: Final = 32
"""Bands the fill regresses on at most."""
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
            mask = check(self.mask) if self.mask and not is_preset(self.mask) else self.mask
        masks = []
        for position, url in enumerate(self.replacement_masks):
            with at("replacement_masks", position):
                masks.append(check(url) if is_raster(url) else url)
        return replace(self, target=target, replacements=tuple(replacements), mask=mask, replacement_masks=tuple(masks))

    def scene(self, sources: Sources, url: str) -> Scene | None:
        """The scene of several files that a name stands for, its bands named as the request says; None for one file.

        Raises:
            BandError: `bands` does not name every band of a list of files. Errors of `Sources.scene`.
        """
        scene = sources.scene(url)
        return scene.renamed(common_names(self.bands)) if scene is not None and scene.whole and self.bands else scene

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
        bands = self.bands if scene is None else ()
        scale, offset = self.reflectance_scale, self.reflectance_offset
        if position is not None:
            count = len(self.replacements)
            if scales := for_each(self.replacement_reflectance_scales, count, "replacement_reflectance_scale"):
                scale = scales[position]
            if offsets := for_each(self.replacement_reflectance_offsets, count, "replacement_reflectance_offset"):
                offset = offsets[position]
        return _corrected(found, bands, self.level, scale, offset, self.nodata)

    def numbers(self, sources: Sources, *, analysed: bool = True) -> tuple[int, ...]:
        """Of a target of several files the bands that are read, 1-based and in order; nothing for one file.

        Args:
            sources: what knows scenes.
            analysed: whether those count that masks and fills are made from, next to those shown.
        """
        scene = self.scene(sources, self.target)
        if scene is None:
            return ()
        return tuple(sorted({*(self.shown or scene.picture), *(scene.analysed if analysed else ())}))

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

    def chosen_model(self, sources: Sources) -> CloudModel:
        """The network that finds the target's clouds where no mask is given.

        Raises:
            BandError, ModelError, ParameterError: see `select_model`.
        """
        return self.model_of(self.target_dataset(sources))

    def _clouds(self, sources: Sources, target: Dataset, count: int) -> tuple[CloudSource, tuple[CloudSource, ...]]:
        """Where the target's clouds come from, and those of so many replacements."""
        if self.mask_bits and not (self.mask or any(map(is_raster, self.replacement_masks))):
            raise ParameterError("mask_bits are those of a raster, and none is given: name it with `mask`")
        if self.mask_bits and self.remap is not None:
            raise ParameterError("mask_bits and mask_remap both say which values are cloud: leave one out")
        own = self.clouds_of(sources, target, self.mask, self.target)
        if own.classes is not None and not is_preset(self.mask):
            check_overlap(target, own.classes, "mask")
        others, reason = self.replacement_clouds(sources, target, count)
        if reason is not None:
            warn_unmasked(target, reason)
        return own, others

    def replacement_clouds(
        self, sources: Sources, target: Dataset, count: int
    ) -> tuple[tuple[CloudSource, ...], str | None]:
        """Where the clouds of so many replacements come from; and why nobody looks for them, if so.

        Raises:
            ParameterError: not one mask for each. Errors of `clouds_of`.
        """
        given = paired(self.replacements, self.replacement_masks)[:count]
        if given or self.mask is None or is_preset(self.mask):
            pairs = zip(given or (self.mask,) * count, self.replacements[:count], strict=True)
            return tuple(self.clouds_of(sources, target, mask, url) for mask, url in pairs), None
        reason = self._unfit_elsewhere(target) if count else None
        if reason is not None:
            return (CLEAR_EVERYWHERE,) * count, reason
        return (model_clouds(self.model_of(target), None),) * count if count else (), None

    def clouds_of(self, sources: Sources, target: Dataset, mask: str | None, url: str) -> CloudSource:
        """Where the clouds of the target or of a replacement come from.

        Args:
            sources: what describes rasters.
            target: the target, whose bands choose the model.
            mask: a raster, a preset, `NO_CLOUDS`, or None for the model.
            url: whose clouds.

        Raises:
            ParameterError: no such mask comes with it. BandError, ModelError: see `chosen_model`. SourceError.
        """
        remap, bits = self.remap, self.mask_bits
        if mask is None:
            return model_clouds(self.model_of(target), remap)
        if mask == NO_CLOUDS:
            return CLEAR_EVERYWHERE
        if is_preset(mask):
            own = own_clouds(sources, mask, self.scene(sources, url), url, remap, bits)
            return own or model_clouds(self.model_of(target), None)
        return raster_clouds(sources, mask, remap, bits)

    def _unfit_elsewhere(self, target: Dataset) -> str | None:
        """Why no model can look for the clouds of replacements where a raster has those of the target; None if one can.

        Raises:
            BandError, ModelError: the model that the request names cannot.
        """
        try:
            self.model_of(target)
        except (BandError, ModelError) as error:
            if self.model is not None:
                raise
            return str(error)
        return None if self.model is not None else too_few_cells(target)

    def model_of(self, target: Dataset) -> CloudModel:
        """The network for a target; see `chosen_model`."""
        return select_model(list(target.names), level=target.level, model=self.model)

    def task(
        self,
        sources: Sources,
        options: CloudOptions,
        needs: Needs = "fill",
        shown: tuple[int, ...] | None = None,
    ) -> Task:
        """What to analyse for an algorithm.

        Args:
            sources: what describes the rasters.
            options: the algorithm's.
            needs: what it reads of the side-car.
            shown: 1-based bands of the target's description that the answer shows; None for all. Others drop out of
                the analysis where a replacement lacks them.

        Raises:
            ParameterError: a replacement is needed and missing, or of another place. BandError: bands that do not
                fit, or too many.
        """
        fills = needs != "classes"
        if fills and not self.replacements:
            raise ParameterError("this algorithm needs a `replacement`: give the URL of another date of the same place")
        if len(self.replacements) > MOST_REPLACEMENTS:
            raise ParameterError(f"{len(self.replacements)} replacements are given; up to {MOST_REPLACEMENTS} are used")
        target = self.target_dataset(sources)
        if fills and len(target.indexes) > MOST_FILLED_BANDS:
            raise BandError(
                f"{target.url!r} has {len(target.indexes)} bands; "
                f"the fill takes up to {MOST_FILLED_BANDS}: leave some out"
            )
        # What the mask shows is what is filled: with a replacement, its refined form.
        refine = options.refine and self.mask is None and bool(self.replacements)
        used = range(len(self.replacements) if fills or refine else 0)
        others = [self.replacement_dataset(sources, position, target) for position in used]
        for other in others:
            check_overlap(target, other)
        lacking = lacking_bands(target, others)
        target = shared_bands(target, others, shown)
        try:
            clouds, other_clouds = self._clouds(sources, target, len(others))
        except BandError as error:
            if not lacking:
                raise
            raise no_model(lacking) from error
        return Task(
            target=Layer(target, target, target.indexes),
            replacements=tuple(Layer(other, target, match_bands(target, other)) for other in others),
            clouds=clouds.at(options.sensitivity),
            replacement_clouds=tuple(each.at(options.sensitivity) for each in other_clouds),
            buffer=options.buffer,
            options=FillOptions.of(options),
            refine=refine,
        )


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
    if bands and len(bands) != count:
        raise BandError(f"bands={','.join(bands)} names {len(bands)} bands, the raster has {count}; name every one")
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
