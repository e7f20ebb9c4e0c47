"""The reader: any window of the target, with the side-car that the cloud algorithms apply."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import attr
import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds
from rio_tiler.constants import WGS84_CRS
from rio_tiler.errors import PointOutsideBounds
from rio_tiler.expression import parse_expression
from rio_tiler.io import Reader
from rio_tiler.models import ImageData, Info, PointData
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import ParameterError
from algorithms.models import select_model
from algorithms.reclassify import MODEL_REMAP, parse_remap
from algorithms.removal import CloudAlgorithm, CloudImage, CloudRemoval, CloudSidecar
from server.analysis import Task
from server.dataset import Dataset, Overrides, describe, file_version, match_bands, open_raster
from server.errors import TooLargeError
from server.grid import coarse_grid, fine_grid
from server.masks import CloudSource, Layer
from server.sampling import OutputGrid
from server.settings import get_settings
from server.sidecar import classes_sidecar, fill_sidecar
from server.sources import check_source
from server.state import get_analysis
from server.trace import current, stage

USER_REMAP = "1 255 1"
"""Default for a user's mask: everything but 0 and nodata is cloud."""


@lru_cache(maxsize=256)
def _described(url: str, version: str, overrides: Overrides) -> Dataset:
    return describe(url, overrides)


def get_dataset(url: str, overrides: Overrides) -> Dataset:
    """The description of a dataset, read again when the file changes."""
    return _described(url, file_version(url), overrides)


@attr.s
class PairReader(Reader):  # type: ignore[misc]  # rio-tiler's class is untyped
    """Reads a target and fills its clouds from replacements.

    Every read goes through `part` or `read`, so every endpoint sees the same filled image. Replacements are
    opened only when a window has cloud in it.
    """

    replacement: tuple[str, ...] = attr.ib(default=(), kw_only=True, converter=tuple)
    mask: str | None = attr.ib(default=None, kw_only=True)
    mask_remap: str | None = attr.ib(default=None, kw_only=True)
    model: str | None = attr.ib(default=None, kw_only=True)
    level: str | None = attr.ib(default=None, kw_only=True)
    bands: str | None = attr.ib(default=None, kw_only=True)
    reflectance_scale: float | None = attr.ib(default=None, kw_only=True)
    reflectance_offset: float | None = attr.ib(default=None, kw_only=True)
    process: BaseAlgorithm | None = attr.ib(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check every source and string before anything is opened."""
        self.replacement = tuple(check_source(url) for url in self.replacement)
        self.mask = check_source(self.mask) if self.mask else None
        if self.mask_remap:
            parse_remap(self.mask_remap)
        if not self.dataset:
            self.dataset = self._ctx_stack.enter_context(open_raster(self.input))
        super().__attrs_post_init__()

    def info(self) -> Info:
        """Metadata of the target, and what ClearSky takes from it."""
        info = super().info()
        target = self._dataset(self.input, {})
        names = list(target.names)
        try:
            chosen = select_model(names, level=target.level, model=self.model).id
        except ValueError as error:
            chosen = f"none: {error}"
        fine, coarse = fine_grid(target), coarse_grid(target)
        described = {
            "bands": names,
            "level": target.level,
            "model": chosen,
            "reflectance": {
                "scale": list(target.scales),
                "offset": list(target.offsets),
                "source": target.reflectance_source,
            },
            "analysis": {"factor": fine.factor, "coarse_factor": coarse.factor},
            "replacements": list(self.replacement),
        }
        return Info.model_validate({**info.model_dump(), "clearsky": described})

    def tile(self, tile_x: int, tile_y: int, tile_z: int, tilesize: int | None = None, **kwargs: Any) -> ImageData:
        """Read a map tile."""
        limit = get_settings().max_tile_size
        if tilesize and tilesize > limit:
            raise TooLargeError(f"tilesize {tilesize} is larger than {limit}; ask for smaller tiles")
        return super().tile(tile_x, tile_y, tile_z, tilesize=tilesize, **kwargs)

    def part(
        self,
        bbox: tuple[float, float, float, float],
        dst_crs: CRS | None = None,
        bounds_crs: CRS = WGS84_CRS,
        indexes: Any = None,
        expression: str | None = None,
        max_size: int | None = None,
        height: int | None = None,
        width: int | None = None,
        **kwargs: Any,
    ) -> ImageData:
        """Read a window and attach its side-car."""
        margin = 2 * int(kwargs.get("buffer") or 0) + 2 * int(kwargs.get("padding") or 0)
        self._check_size(height, width, max_size, margin)
        args = {"dst_crs": dst_crs, "bounds_crs": bounds_crs, "max_size": max_size, "height": height, "width": width}
        return self._filled(super().part, (bbox,), args, indexes, expression, kwargs)

    def read(self, indexes: Any = None, expression: str | None = None, **kwargs: Any) -> ImageData:
        """Read the whole dataset and attach its side-car."""
        self._check_size(kwargs.get("height"), kwargs.get("width"), kwargs.get("max_size"), 0)
        return self._filled(super().read, (), {}, indexes, expression, kwargs)

    def point(
        self,
        lon: float,
        lat: float,
        coord_crs: CRS = WGS84_CRS,
        indexes: Any = None,
        expression: str | None = None,
        **kwargs: Any,
    ) -> PointData:
        """Values of one pixel of the filled image, as a map at native resolution shows it."""
        if not self._clouds_wanted:
            return super().point(lon, lat, coord_crs=coord_crs, indexes=indexes, expression=expression, **kwargs)
        affine = self.dataset.transform
        col, row = self._pixel(lon, lat, coord_crs)
        corners = [affine @ (col, row), affine @ (col + 1, row + 1)]
        left, right = sorted(c[0] for c in corners)
        bottom, top = sorted(c[1] for c in corners)
        image = self.part(
            (left, bottom, right, top),
            dst_crs=self.crs,
            bounds_crs=self.crs,
            width=1,
            height=1,
            indexes=indexes,
            expression=expression,
            **kwargs,
        )
        if isinstance(image, CloudImage) and self.process is not None:
            image = self.process(image)
        return PointData(
            image.array[:, 0, 0],
            band_names=image.band_names,
            band_descriptions=image.band_descriptions,
            coordinates=(lon, lat),
            crs=coord_crs,
            assets=image.assets,
        )

    def _pixel(self, lon: float, lat: float, crs: CRS) -> tuple[int, int]:
        """Column and row under a coordinate."""
        xs, ys = transform(crs, self.crs, [lon], [lat])
        col, row = ~self.dataset.transform @ (xs[0], ys[0])
        if not (0 <= col < self.dataset.width and 0 <= row < self.dataset.height):
            raise PointOutsideBounds("Point is outside dataset bounds")
        return int(col), int(row)

    @property
    def _clouds_wanted(self) -> bool:
        """Whether the request has to do with clouds at all; otherwise this is plain TiTiler at plain cost."""
        return bool(self.replacement) or isinstance(self.process, CloudAlgorithm)

    def _check_size(self, height: int | None, width: int | None, max_size: int | None, margin: int) -> None:
        limit = get_settings().max_pixels
        rows, cols = self.dataset.height, self.dataset.width
        if height and width:
            rows, cols = height, width
        elif height or width:
            scale = (height / rows) if height else (width or 0) / cols
            rows, cols = round(rows * scale), round(cols * scale)
        elif max_size:
            scale = min(1.0, max_size / max(rows, cols))
            rows, cols = round(rows * scale), round(cols * scale)
        if (rows + margin) * (cols + margin) > limit:
            raise TooLargeError(
                f"{cols + margin} x {rows + margin} pixels are more than {limit}; ask for a smaller "
                "width, height, max_size or area"
            )

    def _dataset(self, url: str, kwargs: dict[str, Any]) -> Dataset:
        names = tuple(part.strip() for part in (self.bands or "").split(",") if part.strip())
        nodata = kwargs.get("nodata")
        return get_dataset(
            url,
            Overrides(
                nodata=float(nodata) if nodata is not None else None,
                bands=names,
                level=self.level,
                scale=self.reflectance_scale,
                offset=self.reflectance_offset,
            ),
        )

    def _task(self, algorithm: CloudAlgorithm, kwargs: dict[str, Any]) -> Task:
        """What to analyse, from the request's parameters."""
        target = self._dataset(self.input, kwargs)
        layer = Layer(target, target, target.indexes)
        replacements = []
        for url in self.replacement if algorithm.needs != "classes" else ():
            other = self._dataset(url, kwargs)
            _check_overlap(target, other)
            replacements.append(Layer(other, target, match_bands(target, other)))
        if self.mask:
            remap = self.mask_remap or USER_REMAP
            clouds = CloudSource(remap=remap, classes=get_dataset(self.mask, Overrides()))
            others = CloudSource(remap=remap)
        else:
            model = select_model(list(target.names), level=target.level, model=self.model)
            clouds = CloudSource(remap=self.mask_remap or MODEL_REMAP, model=model)
            others = clouds
        return Task(layer, tuple(replacements), clouds, others, algorithm.buffer, algorithm.options)

    def _filled(
        self,
        read: Any,
        args: tuple[Any, ...],
        where: dict[str, Any],
        indexes: Any,
        expression: str | None,
        kwargs: dict[str, Any],
    ) -> ImageData:
        """Read with TiTiler's own code, then attach the side-car or, for other algorithms, fill at once."""
        if not self._clouds_wanted:
            with stage("read"):
                return read(*args, **where, indexes=indexes, expression=expression, **kwargs)
        ours = isinstance(self.process, CloudAlgorithm)
        algorithm = self.process if isinstance(self.process, CloudAlgorithm) else CloudRemoval()
        if algorithm.needs != "classes" and not self.replacement:
            raise ParameterError("this algorithm needs a `replacement`: give the URL of another date of the same place")
        task = self._task(algorithm, kwargs)
        if algorithm.needs == "fill":
            wanted = parse_expression(expression) if expression else indexes or task.target.dataset.indexes
            wanted = (wanted,) if isinstance(wanted, int) else tuple(wanted)
        else:
            wanted = task.target.dataset.indexes[:1]
        kwargs = {**self.options, **kwargs}
        unscale = bool(kwargs.pop("unscale", False))
        with stage("read"):
            image = read(*args, **where, indexes=wanted, **kwargs)
        clouds = self._sidecar(algorithm, task, image, wanted, kwargs)
        clouds = replace(clouds, expression=expression, unscale=unscale)
        fields = {a.name: getattr(image, a.name) for a in attr.fields(ImageData) if a.init}
        filled = CloudImage(**fields, clouds=clouds)
        return filled if ours else algorithm(filled)

    def _sidecar(
        self, algorithm: CloudAlgorithm, task: Task, image: ImageData, wanted: tuple[int, ...], kwargs: dict[str, Any]
    ) -> CloudSidecar:
        output = OutputGrid(image.crs.to_wkt(), tuple(image.bounds), image.width, image.height)
        if algorithm.needs == "classes":
            return classes_sidecar(get_analysis(), task, output)
        positions = tuple(self._position(task.target.dataset, index) for index in wanted)

        def read_replacement(k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            layer = task.replacements[k]
            options = {n: kwargs[n] for n in ("nodata", "resampling_method", "reproject_method") if n in kwargs}
            with stage("read"), Reader(layer.dataset.url) as other:
                read = other.part(
                    image.bounds,
                    bounds_crs=image.crs,
                    dst_crs=image.crs,
                    width=image.width,
                    height=image.height,
                    indexes=tuple(layer.indexes[p] for p in positions),
                    **options,
                )
            return read.array.data.astype(np.float32, copy=False), ~np.ma.getmaskarray(read.array).any(axis=0)

        clouds = fill_sidecar(
            get_analysis(), task, output, needs=algorithm.needs, bands=positions, read_replacement=read_replacement
        )
        valid = ~np.ma.getmaskarray(image.array).all(axis=0)
        if clouds.source is None:
            source = np.where(valid, 0, 255).astype(np.uint8) if algorithm.needs == "provenance" else None
            confidence = np.where(valid, 100, 0).astype(np.uint8) if algorithm.needs == "provenance" else None
            _note(0.0, 0.0)
            return replace(clouds, source=source, confidence=confidence)
        count = max(int(valid.sum()), 1)
        _note(
            float(((clouds.source != 0) & valid).sum() / count),
            float(((clouds.source != 0) & (clouds.source != 255) & valid).sum() / count),
        )
        return clouds

    @staticmethod
    def _position(target: Dataset, index: int) -> int:
        if index not in target.indexes:
            raise ParameterError(f"band {index} is not one of {list(target.indexes)}; choose with `bidx` from these")
        return target.indexes.index(index)


def _note(cloud: float, filled: float) -> None:
    if (trace := current.get()) is not None:
        trace.cloud_fraction, trace.filled_fraction = cloud, filled


def _check_overlap(target: Dataset, other: Dataset) -> None:
    """Refuse a replacement of another place.

    Raises:
        ParameterError: the extents do not touch.
    """
    left, bottom, right, top = transform_bounds(other.crs, target.crs, *other.bounds, densify_pts=21)
    if left >= target.bounds[2] or right <= target.bounds[0] or bottom >= target.bounds[3] or top <= target.bounds[1]:
        raise ParameterError(
            f"replacement {other.url!r} covers {tuple(round(v, 3) for v in other.bounds)} and does not overlap the target "
            f"{tuple(round(v, 3) for v in target.bounds)}: give another date of the same place"
        )
