"""From a request's parameters to an analysis task: rasters on one lattice, where their clouds come from, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rasterio.warp import transform_bounds

from algorithms.errors import ParameterError
from algorithms.fill import FillOptions
from algorithms.models import CloudModel, select_model
from algorithms.reclassify import MODEL_REMAP, parse_remap
from algorithms.removal import CloudAlgorithm
from server.raster.dataset import NO_OVERRIDES, Dataset, Overrides, describe, match_bands
from server.raster.layer import Layer
from server.raster.opening import file_version

USER_REMAP: Final = "1 254 1"
"""Default for a user's mask: everything but 0 and nodata is cloud."""


@dataclass(frozen=True, slots=True)
class CloudSource:
    """Where the clouds of a layer come from, and which classes count as cloud."""

    remap: str
    """Remap string from classes to 0/1."""
    model: CloudModel | None = None
    """The network, if one is used."""
    classes: Dataset | None = None
    """A user's class raster instead of the network."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be analysed: everything that the result depends on, hence a cache key."""

    target: Layer
    """The cloudy raster."""
    replacements: tuple[Layer, ...]
    """Other dates, in the order of preference."""
    clouds: CloudSource
    """Where the target's clouds come from."""
    replacement_clouds: CloudSource
    """Where the replacements' clouds come from."""
    buffer: int
    """Buffer steps of two native pixels around every cloud."""
    options: FillOptions
    """The adjustment."""
    refine: bool = False
    """Whether the replacements help to tell the target's clouds."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a request says about the rasters; sources are checked already."""

    url: str
    """The target."""
    replacements: tuple[str, ...] = ()
    """Other dates, in the order of preference."""
    mask: str | None = None
    """A raster of cloud classes."""
    mask_remap: str | None = None
    """ArcGIS remap string."""
    model: str | None = None
    """Id of a cloud model."""
    overrides: Overrides = NO_OVERRIDES
    """What stands in place of the datasets' own metadata."""

    def target(self) -> Dataset:
        """The target's description."""
        return get_dataset(self.url, self.overrides)

    def task(self, algorithm: CloudAlgorithm) -> Task:
        """What to analyse for an algorithm.

        Raises:
            ParameterError: a replacement is needed and missing, or of another place. BandError: bands that do not
                fit. RemapError: a remap string that cannot be read.
        """
        fills = algorithm.needs != "classes"
        if fills and not self.replacements:
            raise ParameterError("this algorithm needs a `replacement`: give the URL of another date of the same place")
        target = self.target()
        # What the mask shows is what is filled: with a replacement, its refined form.
        refine = algorithm.refine and self.mask is None and bool(self.replacements)
        others = [get_dataset(url, self.overrides) for url in self.replacements] if fills or refine else []
        for other in others:
            _check_overlap(target, other)
        if self.mask:
            remap = self.mask_remap or USER_REMAP
            clouds = CloudSource(remap=remap, classes=get_dataset(self.mask, NO_OVERRIDES))
            # With the user's word for the clouds no model runs: replacements count as clear where they have data.
            other_clouds = CloudSource(remap=remap)
        else:
            model = select_model(list(target.names), level=target.level, model=self.model)
            clouds = other_clouds = CloudSource(remap=self.mask_remap or MODEL_REMAP, model=model)
        parse_remap(clouds.remap)
        return Task(
            target=Layer(target, target, target.indexes),
            replacements=tuple(Layer(other, target, match_bands(target, other)) for other in others),
            clouds=clouds,
            replacement_clouds=other_clouds,
            buffer=algorithm.buffer,
            options=algorithm.options,
            refine=refine,
        )


@lru_cache(maxsize=256)
def _described(url: str, version: str, overrides: Overrides) -> Dataset:  # noqa: ARG001  (version is part of the key)
    return describe(url, overrides)


def get_dataset(url: str, overrides: Overrides) -> Dataset:
    """The description of a dataset, read again when the file changes."""
    return _described(url, file_version(url), overrides)


@lru_cache(maxsize=256)
def _check_overlap(target: Dataset, other: Dataset) -> None:
    """Refuse a replacement of another place.

    Raises:
        ParameterError: the extents do not touch.
    """
    left, bottom, right, top = transform_bounds(other.crs, target.crs, *other.bounds, densify_pts=21)
    if left >= target.bounds[2] or right <= target.bounds[0] or bottom >= target.bounds[3] or top <= target.bounds[1]:
        here, there = (tuple(round(v, 3) for v in box) for box in (target.bounds, (left, bottom, right, top)))
        raise ParameterError(
            f"replacement {other.url!r} covers {there} and does not overlap the target {here}: "
            "give another date of the same place"
        )
