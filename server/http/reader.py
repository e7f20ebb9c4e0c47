"""The reader: any window of the target, with the side-car that the cloud algorithms apply."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import attr
import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window
from rio_tiler.constants import WGS84_CRS
from rio_tiler.errors import PointOutsideBounds, TileOutsideBounds
from rio_tiler.expression import get_expression_blocks
from rio_tiler.io import Reader
from rio_tiler.models import ImageData, Info, PointData
from rio_tiler.types import BBox
from rio_tiler.utils import non_alpha_indexes
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import BandError, InputError, ModelError, ParameterError
from algorithms.options import CloudOptions
from algorithms.removal import CloudAlgorithm, CloudImage, CloudRemoval, as_numbers
from algorithms.sidecar import CloudSidecar, hidden_pixels
from server.analysis.engine import Analysis
from server.analysis.marked import marked_by_mask, warn_of_mask
from server.analysis.outputs import completed, read_layer
from server.analysis.request import Request
from server.analysis.resolution import resolution_warning, warn_of_resolution
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.analysis.task import Task
from server.errors import SourceUnreadableError, TooLargeError
from server.http.budget import Answer, admit, buffered, image_bounds, part_shape, value_bytes, whole_shape
from server.http.checks import MOST_ZOOM
from server.http.expressions import expression_bands
from server.http.geojson import check_shape
from server.raster.distant import from_afar
from server.raster.grid import coarse_grid, fine_grid
from server.raster.opening import check_unchanged, file_version, open_raster
from server.raster.sampling import OutputGrid
from server.raster.upright import hull, is_north_up, read_upright
from server.raster.usable import check_crs, check_georeference, check_nodata, check_place, check_real
from server.settings import Settings
from server.work.ticket import check_wanted, holding
from server.work.trace import stage

Described = TypeVar("Described", ImageData, PointData)


@attr.s
class PairReader(Reader):
    """Reads a target and fills its clouds from replacements.

    Every read goes through `part` or `read`, so every endpoint sees the same filled image. Replacements are
    opened only when a window has cloud in it.
    """

    request: Request = attr.ib(kw_only=True)
    """What to read, its sources checked already."""
    analysis: Analysis = attr.ib(kw_only=True)
    """Masks and fills."""
    settings: Settings = attr.ib(kw_only=True)
    """Limits of what is read."""
    process: BaseAlgorithm | None = attr.ib(default=None, kw_only=True)
    cover_scale: int = attr.ib(default=10, kw_only=True)
    """Cells per side into which statistics of polygons cut each pixel."""
    input: str = attr.ib(init=False)
    _version: str | None = attr.ib(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the target; meanwhile, and until it is closed, the request holds the thread."""
        self.input = self.request.target
        try:
            self._ctx_stack.enter_context(holding())
            if not self.dataset:
                self._version = file_version(self.input)
                self.dataset = self._ctx_stack.enter_context(open_raster(self.input, self._version))
            check_georeference(self.dataset, self.input)
            super().__attrs_post_init__()  # type: ignore[no-untyped-call]
            # rasterio's are upside down for a raster that is not north up.
            self.bounds = hull(self._raster.transform, self._raster.width, self._raster.height)
        except BaseException:
            self._ctx_stack.__exit__(*sys.exc_info())
            raise

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
        return bool(self.request.replacements) or isinstance(self.process, CloudAlgorithm)

    def info(self) -> Info:
        """Metadata of the target, and what ClearSky takes from it."""
        check_crs(self._raster, self.input)
        info = super().info()
        try:
            described = self._described()
        except (InputError, SourceUnreadableError) as error:
            # What cannot be filled can be looked at, as it can in TiTiler.
            described = {"unusable": str(error)}
        return Info.model_validate({**info.model_dump(), "clearsky": described})

    def get_geographic_bounds(self, crs: CRS) -> BBox:
        """Bounds in a geographic CRS; the whole globe, as rio-tiler has it, where that cannot be told."""
        check_crs(self._raster, self.input)
        with _quietly():
            bounds: BBox = super().get_geographic_bounds(crs)
        return bounds

    @property
    def minzoom(self) -> int:
        """Coarsest zoom level; the matrix set's own where that cannot be told."""
        with _quietly():
            return int(super().minzoom)

    @property
    def maxzoom(self) -> int:
        """Finest zoom level; the matrix set's own where that cannot be told."""
        with _quietly():
            return int(super().maxzoom)

    def _described(self) -> dict[str, Any]:
        """What ClearSky takes from the target, and understands of the user's mask."""
        target = self.request.target_dataset()
        unsure: str | None = None
        try:
            chosen = self.request.chosen_model().id
            unsure = resolution_warning(target)
        except (BandError, ModelError) as error:
            chosen = f"none: {error}"
        follows = self.request.mask is not None
        described = {
            "bands": target.names,
            "level": target.level,
            "model": chosen,
            "reflectance": {
                "scale": target.scales,
                "offset": target.offsets,
                "source": target.reflectance_source,
            },
            "analysis": {
                "factor": fine_grid(target, follows=follows).factor,
                "coarse_factor": coarse_grid(target, follows=follows).factor,
            },
            "replacements": self.request.replacements,
        }
        if follows:
            return described | self._described_mask()
        return described | ({} if unsure is None else {"warnings": [unsure]})

    def _described_mask(self) -> dict[str, Any]:
        """What is understood of the user's mask."""
        task = replace(self.request, replacements=()).task(CloudOptions(), "classes")
        warn_of_mask(task)
        found = marked_by_mask(task)
        assert found is not None  # noqa: S101  (there is a mask)
        mask = {"source": found.mask, "rule": found.rule, "values": found.values, "nodata": found.nodata}
        mask |= {"fraction": round(found.fraction, 4), "step": found.step}
        return {"mask": mask, "warnings": [found.warning] if found.warning else []}

    def tile(self, tile_x: int, tile_y: int, tile_z: int, tilesize: int | None = None, **kwargs: Any) -> ImageData:  # type: ignore[override]
        """Read a map tile."""
        check_place(self._raster, self.input)
        limit = self.settings.max_tile_size
        if tilesize and tilesize > limit:
            raise TooLargeError(f"tilesize {tilesize} is larger than {limit}; ask for smaller tiles")
        matrix = self.tms.matrix(tile_z) if self.tms.minzoom <= tile_z <= MOST_ZOOM else None
        if matrix is None or not (0 <= tile_x < matrix.matrixWidth and 0 <= tile_y < matrix.matrixHeight):
            raise TileOutsideBounds(f"Tile(x={tile_x}, y={tile_y}, z={tile_z}) is outside bounds")
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
        if self.crs is not None:
            check_place(self._raster, self.input)
        dst_crs = dst_crs or bounds_crs
        raster, size = self._raster, {"height": height, "width": width, "max_size": max_size}
        bounds = image_bounds(bbox, bounds_crs, dst_crs)
        align = bool(kwargs.get("align_bounds_with_dataset"))
        rows, cols = part_shape(raster, bounds, dst_crs, **size, align=align)
        margin = sum(2 * int(kwargs.get(name) or 0) for name in ("buffer", "padding"))
        self._admit((rows + margin, cols + margin), indexes, expression, kwargs, polygon=align)
        bounds, rows, cols = buffered(bounds, rows, cols, kwargs.get("buffer") or 0)
        seen = partial(from_afar, bounds=bounds, dst_crs=dst_crs, width=cols, height=rows)
        kwargs |= {"dst_crs": dst_crs, "bounds_crs": bounds_crs, **size}
        turned = not self._north_up and dst_crs == self.crs
        return self._filled(self._part_upright if turned else super().part, (bbox,), indexes, expression, kwargs, seen)

    def _part_upright(
        self,
        bbox: tuple[float, float, float, float],
        indexes: Any = None,
        **kwargs: Any,
    ) -> ImageData:
        """`part` of a target that is not north up, in its own CRS."""
        bounds_crs = kwargs.pop("bounds_crs")
        if bounds_crs != self.crs:
            bbox = transform_bounds(bounds_crs, self.crs, *bbox, densify_pts=21)
        options = {k: v for k, v in {**self.options, **kwargs}.items() if k not in ("dst_crs", "padding")}
        image = read_upright(self._raster, bbox, indexes=indexes, **options)
        image.assets = [self.input]
        return image

    def read(self, indexes: Any = None, expression: str | None = None, **kwargs: Any) -> ImageData:
        """Read the whole dataset and attach its side-car."""
        size = {name: kwargs.get(name) for name in ("height", "width", "max_size")}
        dst_crs = kwargs.get("dst_crs") or self.crs
        shape, bounds = whole_shape(self._raster, dst_crs, **size)
        self._admit(shape, indexes, expression, kwargs)
        seen = partial(from_afar, bounds=bounds, dst_crs=dst_crs, width=shape[1], height=shape[0])
        return self._filled(super().read, (), indexes, expression, kwargs, seen)

    def feature(self, shape: dict[str, Any], *args: Any, **kwargs: Any) -> ImageData:
        """Read the window around a GeoJSON feature, and hide what is outside of it."""
        check_shape(shape)
        return super().feature(shape, *args, **kwargs)

    @property
    def _north_up(self) -> bool:
        """Whether the target's rows run south and its columns east."""
        return is_north_up(self._raster.transform)

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
        check_place(self._raster, self.input)
        self._admit((1, 1), indexes, expression, kwargs)
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise PointOutsideBounds(f"Point {lon},{lat} is outside dataset bounds")
        if not self._clouds_wanted and self._north_up:
            wanted = self._asked(indexes, expression) if expression else indexes
            found: PointData = super().point(lon, lat, coord_crs=coord_crs, indexes=wanted, **kwargs)
            found = self._described_bands(found)
            return found.apply_expression(expression) if expression else found
        raster = self._raster
        xs, ys = transform(coord_crs, self.crs, [lon], [lat])
        at_col, at_row = ~raster.transform @ (xs[0], ys[0])
        if not (0 <= at_col < raster.width and 0 <= at_row < raster.height):
            raise PointOutsideBounds("Point is outside dataset bounds")
        pixel = Window(math.floor(at_col), math.floor(at_row), 1, 1)
        whole = {**kwargs, "window": pixel}
        image = self._filled(super().read, (), indexes, expression, whole, lambda own, **_: nullcontext((own, {})))
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

    def _admit(
        self,
        shape: tuple[int, int],
        indexes: Any,
        expression: str | None,
        kwargs: dict[str, Any],
        *,
        polygon: bool = False,
    ) -> None:
        """Refuse an image that the server does not make, or that nobody waits for.

        Raises:
            TooLargeError: it takes too much. ParameterError: there is no such band, or no such nodata.
        """
        check_wanted()
        check_real(self._raster, self.input)
        wanted = self._asked(indexes, expression)
        check_nodata(kwargs.get("nodata"), self._raster)
        answer = Answer(
            *shape,
            bands=len(wanted),
            itemsize=value_bytes(self._raster),
            parts=len(get_expression_blocks(expression)) if expression else 0,
            unscaled=bool(kwargs.get("unscale")),
            fills=self._clouds_wanted,
            algorithm=self.process is not None and not isinstance(self.process, CloudAlgorithm),
            coverage=self.cover_scale if polygon else 0,
        )
        admit(answer, max_pixels=self.settings.max_pixels, max_bytes=self.settings.max_request_bytes)

    def _asked(self, indexes: Any, expression: str | None) -> tuple[int, ...]:
        """1-based numbers of the bands that `bidx` or `expression` ask for; of every band with data without them.

        Raises:
            ParameterError: there is no such band.
        """
        asked = expression_bands(expression) if expression else indexes or non_alpha_indexes(self._raster)
        bands = (asked,) if isinstance(asked, int) else tuple(asked)
        if missing := [band for band in bands if band not in self._raster.indexes]:
            known = ", ".join(f"{i} {text or ''}".strip() for i, text in enumerate(self._raster.descriptions, start=1))
            raise ParameterError(f"band {', '.join(map(str, missing))} does not exist; the raster has {known}")
        return bands

    def _filled(
        self,
        read: Any,
        args: tuple[Any, ...],
        indexes: Any,
        expression: str | None,
        kwargs: dict[str, Any],
        seen: Callable[..., AbstractContextManager[Any]],
    ) -> ImageData:
        """Read with rio-tiler's own code, then attach the side-car; for other algorithms than ours fill at once."""
        wanted = self._asked(indexes, expression)
        if not self._clouds_wanted:
            with stage("read"), self._looking(seen, wanted, kwargs) as there:
                plain = self._described_bands(read(*args, indexes=wanted if expression else indexes, **there))
            return as_numbers(plain.apply_expression(expression) if expression else plain)
        kwargs = {**self.options, **kwargs}
        unscale = bool(kwargs.pop("unscale", False))
        algorithm = self.process if isinstance(self.process, CloudAlgorithm) else CloudRemoval()
        nodata = kwargs.get("nodata")
        request = self.request if nodata is None else replace(self.request, nodata=float(nodata))
        task = request.task(algorithm.options, algorithm.needs)
        check_unchanged(self.input, self._version, task.target.dataset.version)
        warn_of_mask(task)
        warn_of_resolution(task)
        if algorithm.needs != "fill":
            # Which pixels have data is all that is taken of the image; with a nodata value each band tells for itself.
            wanted = task.target.dataset.indexes[: None if task.target.dataset.nodata is not None else 1]

        def image_of(bands: tuple[int, ...]) -> ImageData:
            with stage("read"), self._looking(seen, bands, kwargs) as there:
                image: ImageData = self._described_bands(read(*args, indexes=bands, **there))
            return image

        image = image_of(wanted)
        clouds = self._sidecar(algorithm, task, image, wanted, kwargs, image_of)
        clouds = replace(clouds, expression=expression, unscale=unscale)
        filled = CloudImage.of(image, clouds)
        return filled if algorithm is self.process else algorithm(filled)

    def _described_bands(self, image: Described) -> Described:
        """The same with each band's own description: rio-tiler gives all bands the last one's (docs/upstream.md)."""
        texts = self._raster.descriptions
        image.band_descriptions = [texts[int(name.removeprefix("b")) - 1] or name for name in image.band_names]
        return image

    def _grid(self, image: ImageData, kwargs: dict[str, Any]) -> OutputGrid:
        """Where the pixels of an image lie that was read with some options."""
        crs = CRS.to_wkt(image.crs)
        of_pixels = "bounds_crs" not in kwargs and kwargs.get("dst_crs") in (None, self.crs)
        if self._north_up or not of_pixels or kwargs.get("vrt_options"):
            return OutputGrid.from_bounds(crs, image.bounds or self.bounds, image.width, image.height)
        window = kwargs.get("window") or Window(0, 0, self._raster.width, self._raster.height)
        affine = self._raster.transform @ Affine.translation(window.col_off, window.row_off)
        affine @= Affine.scale(window.width / image.width, window.height / image.height)
        return OutputGrid(crs, tuple(affine)[:6], image.width, image.height)

    @contextmanager
    def _looking(
        self, seen: Callable[..., AbstractContextManager[Any]], wanted: tuple[int, ...], kwargs: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Read some bands from what the raster looks like at the image's resolution, with the options given."""
        own = self.dataset
        method = kwargs.get("resampling_method") or "nearest"
        with seen(own, indexes=wanted, resampling=method) as (dataset, options):
            self.dataset = dataset
            unpadded = {"padding": 0} if options and "padding" in kwargs else {}  # no seams between other pixels
            try:
                yield kwargs | options | unpadded
            finally:
                self.dataset = own

    def _sidecar(
        self,
        algorithm: CloudAlgorithm,
        task: Task,
        image: ImageData,
        wanted: tuple[int, ...],
        kwargs: dict[str, Any],
        image_of: Callable[[tuple[int, ...]], ImageData],
    ) -> CloudSidecar:
        """What the algorithm takes of an image's clouds; `image_of` reads other bands of the same image."""
        output = self._grid(image, kwargs)
        if algorithm.needs == "classes":
            return classes_sidecar(self.analysis, task, output, shown=~hidden_pixels(image))
        hidden = hidden_pixels(image)
        target = task.target.dataset
        # Bands of alpha stay as they are.
        filled = tuple(at for at, index in enumerate(wanted) if index in target.indexes)
        positions = tuple(target.indexes.index(wanted[at]) for at in filled) or (0,)
        passed = ("nodata", "resampling_method", "reproject_method")
        options: dict[str, Any] = {name: kwargs[name] for name in passed if name in kwargs}

        def read_replacement(k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
            return read_layer(task.replacement(k), positions, output, image.crs, options)

        methods = (options.get(name, "nearest") for name in ("resampling_method", "reproject_method"))
        smooth = any(method != "nearest" for method in methods)

        def sidecar(hidden: npt.NDArray[np.bool_]) -> CloudSidecar:
            return fill_sidecar(
                self.analysis,
                task,
                output,
                needs=algorithm.needs if filled else "provenance",
                bands=positions,
                read_replacement=read_replacement,
                smooth=smooth,
                shown=~hidden,
            )

        clouds = sidecar(hidden)
        if target.nodata is not None and not set(target.indexes) <= set(wanted) and clouds.fills(hidden):
            # Without data in the bands asked for, but perhaps not in the others: all bands tell. Not from which pixels
            # are hidden in each image: at the edge of data a warp of other bands differs.
            missing = np.ma.getmaskarray(image_of(target.indexes).array)
            partial = hidden & missing[list(positions)].all(axis=0) & ~missing.all(axis=0)
            if partial.any():
                hidden = hidden & ~partial
                clouds = replace(sidecar(hidden), hidden=hidden)
        if clouds.fill is not None and len(filled) < len(wanted):
            clouds = replace(clouds, fill=replace(clouds.fill, bands=filled))
        return completed(clouds, hidden)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without rio-tiler's warnings of what it cannot tell of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_request(request: Request, **options: Any) -> PairReader:
    """The reader as a TiTiler factory calls it."""
    return PairReader(request=request, **options)
