"""The reader: any window of the target, with the side-car that the cloud algorithms apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import attr
import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform
from rio_tiler.constants import WGS84_CRS
from rio_tiler.errors import PointOutsideBounds
from rio_tiler.expression import parse_expression
from rio_tiler.io import Reader
from rio_tiler.models import ImageData, Info, PointData
from rio_tiler.utils import non_alpha_indexes
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import BandError, ModelError, ParameterError
from algorithms.models import select_model
from algorithms.reclassify import parse_remap
from algorithms.removal import CloudAlgorithm, CloudImage, CloudRemoval, CloudSidecar
from server.analysis.outputs import completed, hidden_pixels, read_layer
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.analysis.state import get_analysis
from server.analysis.task import Request, Task
from server.errors import TooLargeError
from server.raster.dataset import Dataset, Overrides
from server.raster.grid import coarse_grid, fine_grid
from server.raster.opening import check_unchanged, file_version, open_raster
from server.raster.sampling import OutputGrid
from server.remote.sources import check_source
from server.settings import get_settings
from server.work.trace import stage


@attr.s
class PairReader(Reader):
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
    _version: str | None = attr.ib(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Check every source and string, then open the target."""
        self.replacement = tuple(check_source(url) for url in self.replacement)
        self.mask = check_source(self.mask) if self.mask else None
        if self.mask_remap:
            parse_remap(self.mask_remap)
        if not self.dataset:
            self._version = file_version(str(self.input))
            self.dataset = self._ctx_stack.enter_context(open_raster(str(self.input), self._version))
        super().__attrs_post_init__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        """Close the target, which tells of its file's errors."""
        self._ctx_stack.__exit__(*error)

    @property
    def _raster(self) -> Any:
        """The open dataset."""
        return self.dataset

    @property
    def _clouds_wanted(self) -> bool:
        """Whether the request has to do with clouds at all; otherwise this is plain TiTiler at plain cost."""
        return bool(self.replacement) or isinstance(self.process, CloudAlgorithm)

    def info(self) -> Info:
        """Metadata of the target, and what ClearSky takes from it."""
        info = super().info()
        target = self._request(None).target()
        try:
            chosen = select_model(target.names, level=target.level, model=self.model).id
        except (BandError, ModelError) as error:
            chosen = f"none: {error}"
        described = {
            "bands": target.names,
            "level": target.level,
            "model": chosen,
            "reflectance": {
                "scale": target.scales,
                "offset": target.offsets,
                "source": target.reflectance_source,
            },
            "analysis": {"factor": fine_grid(target).factor, "coarse_factor": coarse_grid(target).factor},
            "replacements": self.replacement,
        }
        return Info.model_validate({**info.model_dump(), "clearsky": described})

    def tile(self, tile_x: int, tile_y: int, tile_z: int, tilesize: int | None = None, **kwargs: Any) -> ImageData:  # type: ignore[override]
        """Read a map tile."""
        limit = get_settings().max_tile_size
        if tilesize and tilesize > limit:
            raise TooLargeError(f"tilesize {tilesize} is larger than {limit}; ask for smaller tiles")
        return super().tile(tile_x, tile_y, tile_z, tilesize=tilesize, **kwargs)

    def part(  # type: ignore[override]
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
        self._check_size(height, width, max_size, kwargs)
        kwargs |= {"dst_crs": dst_crs, "bounds_crs": bounds_crs}
        kwargs |= {"max_size": max_size, "height": height, "width": width}
        return self._filled(super().part, (bbox,), indexes, expression, kwargs)

    def read(self, indexes: Any = None, expression: str | None = None, **kwargs: Any) -> ImageData:
        """Read the whole dataset and attach its side-car."""
        self._check_size(kwargs.get("height"), kwargs.get("width"), kwargs.get("max_size"), kwargs)
        return self._filled(super().read, (), indexes, expression, kwargs)

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
        affine, raster = self._raster.transform, self._raster
        xs, ys = transform(coord_crs, self.crs, [lon], [lat])
        col, row = (int(np.floor(v)) for v in ~affine @ (xs[0], ys[0]))
        if not (0 <= col < raster.width and 0 <= row < raster.height):
            raise PointOutsideBounds("Point is outside dataset bounds")
        corners = [affine @ (col, row), affine @ (col + 1, row + 1)]
        (left, right), (bottom, top) = (sorted(c[axis] for c in corners) for axis in (0, 1))
        where = {"dst_crs": self.crs, "bounds_crs": self.crs, "width": 1, "height": 1}
        image = self.part((left, bottom, right, top), indexes=indexes, expression=expression, **where, **kwargs)
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

    def _check_size(self, height: int | None, width: int | None, max_size: int | None, margins: dict[str, Any]) -> None:
        """Refuse to make more pixels than the server hands out at once."""
        limit = get_settings().max_pixels
        margin = sum(2 * int(margins.get(name) or 0) for name in ("buffer", "padding"))
        rows, cols = self._raster.height, self._raster.width
        if height and width:
            rows, cols = height, width
        elif height or width:
            scale = height / rows if height else (width or 0) / cols
            rows, cols = round(rows * scale), round(cols * scale)
        elif max_size:
            scale = min(1.0, max_size / max(rows, cols))
            rows, cols = round(rows * scale), round(cols * scale)
        if (rows + margin) * (cols + margin) > limit:
            raise TooLargeError(
                f"{cols + margin} x {rows + margin} pixels are more than {limit}; ask for a smaller "
                "width, height, max_size or area"
            )

    def _request(self, nodata: Any) -> Request:
        names = tuple(part.strip() for part in (self.bands or "").split(",") if part.strip())
        overrides = Overrides(
            nodata=float(nodata) if nodata is not None else None,
            bands=names,
            level=self.level,
            scale=self.reflectance_scale,
            offset=self.reflectance_offset,
        )
        return Request(str(self.input), self.replacement, self.mask, self.mask_remap, self.model, overrides)

    def _asked(self, indexes: Any, expression: str | None) -> tuple[int, ...]:
        """1-based numbers of the bands that `bidx` or `expression` ask for; of every band with data without them.

        Raises:
            ParameterError: there is no such band.
        """
        asked = parse_expression(expression) if expression else indexes or non_alpha_indexes(self._raster)
        bands = (asked,) if isinstance(asked, int) else tuple(asked)
        if missing := [band for band in bands if band not in self._raster.indexes]:
            known = ", ".join(f"{i} {text or ''}".strip() for i, text in enumerate(self._raster.descriptions, start=1))
            raise ParameterError(f"band {', '.join(map(str, missing))} does not exist; the raster has {known}")
        return bands

    def _filled(
        self, read: Any, args: tuple[Any, ...], indexes: Any, expression: str | None, kwargs: dict[str, Any]
    ) -> ImageData:
        """Read with rio-tiler's own code, then attach the side-car; for other algorithms than ours fill at once."""
        wanted = self._asked(indexes, expression)
        if not self._clouds_wanted:
            with stage("read"):
                plain: ImageData = read(*args, indexes=indexes, expression=expression, **kwargs)
            return plain
        kwargs = {**self.options, **kwargs}
        unscale = bool(kwargs.pop("unscale", False))
        algorithm = self.process if isinstance(self.process, CloudAlgorithm) else CloudRemoval()
        task = self._request(kwargs.get("nodata")).task(algorithm)
        check_unchanged(str(self.input), self._version, task.target.dataset.version)
        if algorithm.needs != "fill":
            wanted = task.target.dataset.indexes[:1]
        with stage("read"):
            image = read(*args, indexes=wanted, **kwargs)
        clouds = replace(self._sidecar(algorithm, task, image, wanted, kwargs), expression=expression, unscale=unscale)
        filled = CloudImage.of(image, clouds)
        return filled if algorithm is self.process else algorithm(filled)

    def _sidecar(
        self, algorithm: CloudAlgorithm, task: Task, image: ImageData, wanted: tuple[int, ...], kwargs: dict[str, Any]
    ) -> CloudSidecar:
        left, bottom, right, top = image.bounds or self.bounds
        output = OutputGrid(CRS.to_wkt(image.crs), (left, bottom, right, top), image.width, image.height)
        if algorithm.needs == "classes":
            return classes_sidecar(get_analysis(), task, output)
        positions = tuple(_position(task.target.dataset, index) for index in wanted)
        passed = ("nodata", "resampling_method", "reproject_method")
        options: dict[str, Any] = {name: kwargs[name] for name in passed if name in kwargs}

        def read_replacement(k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            return read_layer(task.replacements[k], positions, output, image.crs, options)

        methods = (options.get(name, "nearest") for name in ("resampling_method", "reproject_method"))
        clouds = fill_sidecar(
            get_analysis(),
            task,
            output,
            needs=algorithm.needs,
            bands=positions,
            read_replacement=read_replacement,
            smooth=any(method != "nearest" for method in methods),
        )
        return completed(clouds, hidden_pixels(image))


def _position(target: Dataset, index: int) -> int:
    """0-based position of a band number among the target's bands with data."""
    if index not in target.indexes:
        raise ParameterError(f"band {index} is not one of {list(target.indexes)}; choose with `bidx` from these")
    return target.indexes.index(index)
