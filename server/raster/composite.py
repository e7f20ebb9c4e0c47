"""Scenes of several files as the analysis sees them: described as one raster, read band by band where grids differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from affine import Affine

from server.raster.dataset import Dataset
from server.raster.layer import Layer
from server.raster.stack import StackBand, finest, place, stack_nodata, stack_type
from server.raster.upright import hull


def composed(url: str, bands: Sequence[StackBand], *, names: Sequence[str | None], level: str, source: str) -> Dataset:
    """Bands of several files described as one raster on the finest of their grids.

    Args:
        url: what the whole is called.
        bands: at least one, each with its own scale and offset.
        names: common name of each band.
        level: processing level.
        source: where scales and offsets come from.

    Raises:
        BandError: they do not fit onto one grid.
    """
    base = finest(bands)
    for band in bands:
        place(band, base)
    states = "\n".join(f"{band.url} {band.version} {band.member} {band.index}" for band in bands)
    return Dataset(
        url=url,
        version=hashlib.sha256(states.encode()).hexdigest()[:24],
        crs=base.crs,
        transform=base.transform,
        width=base.width,
        height=base.height,
        indexes=tuple(range(1, 1 + len(bands))),
        dtype=stack_type(bands),
        nodata=stack_nodata(bands),
        names=tuple(names),
        scales=tuple(band.scale for band in bands),
        offsets=tuple(band.offset for band in bands),
        reflectance_source=source,
        level=level,
        bounds=hull(base.affine, base.width, base.height),
        parts=tuple(bands),
    )


def only(dataset: Dataset, indexes: Sequence[int]) -> Dataset:
    """A raster described with some of its bands; of several files on the finest grid of those left.

    Args:
        dataset: the raster.
        indexes: 1-based numbers out of `dataset.indexes`, in the order wanted.
    """
    if tuple(indexes) == dataset.indexes:
        return dataset
    at = [dataset.indexes.index(index) for index in indexes]
    changes: dict[str, Any] = {
        name: tuple(getattr(dataset, name)[k] for k in at) for name in ("names", "scales", "offsets")
    }
    if not dataset.parts:
        return replace(dataset, indexes=tuple(indexes), **changes)
    parts = [dataset.parts[k] for k in at]
    made = composed(dataset.url, parts, names=changes["names"], level=dataset.level, source=dataset.reflectance_source)
    # What a request says in place of the files' own numbers stays.
    return replace(made, scales=changes["scales"], offsets=changes["offsets"], nodata=dataset.nodata)


def to_open(dataset: Dataset, indexes: Sequence[int], *, count: int | None = None) -> tuple[Dataset, tuple[int, ...]]:
    """What to open of a scene to warp some of its bands: a warp reads every band that is open.

    GDAL warps a window at once where all bands are asked for in their order, and else by blocks, which rounds
    otherwise. So that a part of the bands gives the pixels that the same part of one file gives, the first
    is there twice.

    Args:
        dataset: the scene.
        indexes: 1-based numbers out of `dataset.indexes`.
        count: bands of the whole; None: those of the description.

    Returns:
        The description, and the numbers of the bands in it.
    """
    wanted = tuple(sorted(set(indexes)))
    part = only(dataset, wanted)
    if len(wanted) < (count or len(dataset.indexes)):
        part = replace(part, parts=(*part.parts, part.parts[0]))
    return part, tuple(wanted.index(index) + 1 for index in indexes)


def to_show(dataset: Dataset, indexes: Sequence[int], *, count: int) -> tuple[Dataset, tuple[int, ...]]:
    """What an image of some bands of a scene is read from: these alone, where that leaves the grid as it is.

    Args:
        dataset: the scene.
        indexes: 1-based numbers out of `dataset.indexes`.
        count: bands of the whole.

    Returns:
        The description, and the numbers of the bands in it.
    """
    part, numbers = to_open(dataset, indexes, count=count)
    if part.transform == dataset.transform and part.shape == dataset.shape:
        return part, numbers
    return dataset, tuple(indexes)


def resolution_groups(layer: Layer, factor: int) -> dict[int, tuple[int, ...]]:
    """Which bands of a layer are read together for cells of `factor` native pixels of its target.

    A band of coarser pixels is averaged from its own. They are counted in the target's pixels: bands of 20 m on a
    lattice of 10 m have the ratio 2, if cells are made of such.

    Returns:
        By ratio, positions in `layer.indexes`. One group of ratio 1 where all bands have one grid.
    """
    parts = layer.dataset.parts
    if not parts:
        return {1: tuple(range(len(layer.indexes)))}
    here = layer.target.crs == layer.dataset.crs
    pixel = abs(layer.target.affine.determinant) if here else finest(parts).area
    groups: dict[int, tuple[int, ...]] = {}
    for position, index in enumerate(layer.indexes):
        area = parts[layer.dataset.indexes.index(index)].area
        ratio = math.gcd(factor, max(1, math.floor(math.sqrt(area / pixel) + 1e-6)))
        groups[ratio] = (*groups.get(ratio, ()), position)
    return groups


@lru_cache(maxsize=64)
def mixed(dataset: Dataset) -> bool:
    """Whether a raster's bands have more than one grid."""
    base = finest(dataset.parts) if dataset.parts else None
    return base is not None and not all(place(part, base).same for part in dataset.parts)


def coarsened(target: Dataset, ratio: int) -> Dataset:
    """The lattice of every `ratio`-th pixel of a raster's, from the same corner on."""
    affine = target.affine @ Affine.scale(ratio)
    height, width = (-(-side // ratio) for side in target.shape)
    return replace(target, transform=tuple(affine)[:6], height=height, width=width, parts=())


def own_layer(layer: Layer, ratio: int, positions: Sequence[int]) -> Layer:
    """Some bands of a layer, from their own pixels, on the target's lattice coarsened by `ratio`."""
    dataset = only(layer.dataset, [layer.indexes[position] for position in positions])
    target = coarsened(layer.target, ratio)
    if layer.is_target and dataset.same_grid(target) == (0, 0) and dataset.shape == target.shape:
        return Layer(dataset, dataset, dataset.indexes)
    bands: dict[str, Any] = {
        name: tuple(getattr(target, name)[position] for position in positions)
        for name in ("indexes", "names", "scales", "offsets")
    }
    return Layer(dataset, replace(target, **bands), dataset.indexes)


@lru_cache(maxsize=64)
def layers_by_grid(layer: Layer, factor: int) -> tuple[tuple[tuple[int, ...], Layer, int], ...]:
    """What cells of `factor` native pixels of a layer's target are read from: the layer, or one for each of its grids.

    Returns:
        Positions in `layer.indexes`, the layer of these bands, and how many of its target's pixels are a cell's side.
    """
    groups = resolution_groups(layer, factor)
    if groups.keys() == {1}:
        return ((groups[1], layer, factor),)
    return tuple((own, own_layer(layer, ratio, own), factor // ratio) for ratio, own in groups.items())
