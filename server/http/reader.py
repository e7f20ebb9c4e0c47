"""The reader: any window of the target, with the side-car that the cloud algorithms apply."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import attr
import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform
from rasterio.windows import Window
from rio_tiler.constants import WGS84_CRS
from rio_tiler.errors import PointOutsideBounds
from rio_tiler.models import ImageData, Info, PointData

from algorithms.options import check_tiled
from algorithms.removal import CloudAlgorithm, CloudImage, CloudRemoval, as_numbers
from server.analysis.clouds import warn_unmasked
from server.analysis.request import Request
from server.analysis.resolution import warn_of_model
from server.analysis.tasking import make_task
from server.http.admission import Asked, admit_image
from server.http.budget import buffered, image_bounds, part_shape, whole_shape
from server.http.choice import Choice
from server.http.metadata import described_target
from server.http.sidecars import image_sidecar, output_grid
from server.http.styled import StyledReader
from server.raster.distant import from_afar
from server.raster.gathered import Wanted, gathered
from server.raster.layer import Layer
from server.raster.mounting import check_unchanged
from server.raster.outline import Outline
from server.raster.pixelpieces import LayerPieces
from server.raster.usable import check_crs, check_place, check_statistics
from server.work.trace import stage


@attr.s
class PairReader(StyledReader):
    """Reads a target and fills its clouds from replacements.

    Every read goes through `part` or `read`, so every endpoint sees the same filled image. Replacements are
    opened only when a window has cloud in it.
    """

    cover_scale: int = attr.ib(default=10, kw_only=True)
    """Cells per side into which statistics of polygons cut each pixel."""
    picture: bool = attr.ib(default=False, kw_only=True)
    """Whether the answer is a PNG, JPEG or WebP."""

    def info(self) -> Info:
        """Metadata of the target, and what ClearSky takes from it."""
        check_crs(self._raster, self.input)
        self._open()
        check_statistics(self._raster, self.input)
        info = super().info() if self._scene is None else self._scene_info(self._scene)
        described = described_target(self.request, self.sources, self.analysis)
        return Info.model_validate({**info.model_dump(), "clearsky": described})

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
        chosen = self._chosen(indexes, expression)
        self._admit((rows + margin, cols + margin), chosen, kwargs, polygon=align)
        bounds, rows, cols = buffered(bounds, rows, cols, kwargs.get("buffer") or 0)
        seen = partial(from_afar, bounds=bounds, dst_crs=dst_crs, width=cols, height=rows)
        wanted = Wanted(dst_crs, bounds, cols, rows) if height and width else None
        gather = partial(self._gathered, wanted, {**self.options, **kwargs})
        kwargs |= {"dst_crs": dst_crs, "bounds_crs": bounds_crs, **size}
        turned = not self._north_up and dst_crs == self.crs
        read = self._part_upright if turned else super().part
        image = self._filled(read, (bbox,), chosen, kwargs, seen, gather)
        return self._with_look(image, chosen)

    def _gathered(
        self,
        wanted: Wanted | None,
        options: dict[str, Any],
        bands: tuple[int, ...],
        layer: Layer | None = None,
        only: npt.NDArray[np.bool_] | None = None,
    ) -> ImageData | None:
        """The image from cached pixels, without opening the target; None where it has to be warped."""
        if wanted is None or not isinstance(self._raster, Outline):
            return None
        dataset, numbers = self._part(bands)
        if dataset is None:
            dataset = self.sources.dataset(self.input)
            check_unchanged(self.input, self._version, dataset.version)
        shared = None
        if layer is not None:
            own = self._within(layer.dataset, bands)
            if set(own) <= set(layer.indexes):
                shared = LayerPieces(self.analysis.rasters, layer, tuple(map(layer.indexes.index, own)))
        return gathered(self.analysis.rasters, dataset, numbers, replace(wanted, only=only), options, shared)

    def read(self, indexes: Any = None, expression: str | None = None, **kwargs: Any) -> ImageData:
        """Read the whole dataset and attach its side-car."""
        chosen = self._chosen(indexes, expression)
        return self._with_look(self._whole(chosen, kwargs), chosen)

    def _whole(self, chosen: Choice, kwargs: dict[str, Any]) -> ImageData:
        """Some bands of the whole dataset, with their side-car."""
        size = {name: kwargs.get(name) for name in ("height", "width", "max_size")}
        dst_crs = kwargs.get("dst_crs") or self.crs
        shape, bounds = whole_shape(self._raster, dst_crs, **size)
        self._admit(shape, chosen, kwargs)
        seen = partial(from_afar, bounds=bounds, dst_crs=dst_crs, width=shape[1], height=shape[0])
        return self._filled(super().read, (), chosen, kwargs, seen)

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
        chosen = self._chosen(indexes, expression)
        self._admit((1, 1), chosen, kwargs)
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise PointOutsideBounds(f"Point {lon},{lat} is outside dataset bounds")
        if not self._clouds_wanted and self._north_up and self._scene is None:
            self._open()
            return chosen.computed(
                chosen.named(super().point(lon, lat, coord_crs=coord_crs, indexes=chosen.places, **kwargs))
            )
        raster = self._raster
        xs, ys = transform(coord_crs, self.crs, [lon], [lat])
        at_col, at_row = ~raster.transform @ (xs[0], ys[0])
        if not (0 <= at_col < raster.width and 0 <= at_row < raster.height):
            raise PointOutsideBounds("Point is outside dataset bounds")
        pixel = Window(math.floor(at_col), math.floor(at_row), 1, 1)
        whole = {**kwargs, "window": pixel}
        image = self._filled(super().read, (), chosen, whole, lambda own, **_: nullcontext((own, {})))
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
        chosen: Choice,
        kwargs: dict[str, Any],
        *,
        polygon: bool = False,
    ) -> None:
        """Refuse an image that the server does not make, or that nobody waits for.

        Raises:
            TooLargeError: it takes too much. ParameterError: there is no such nodata, or a picture has too many bands.
        """
        asked = Asked(
            shape=shape,
            bands=len(chosen.places),
            expression=chosen.expression,
            nodata=kwargs.get("nodata"),
            unscaled=bool(kwargs.get("unscale")),
            fills=self._clouds_wanted,
            algorithm=self.process is not None and not isinstance(self.process, CloudAlgorithm),
            coverage=self.cover_scale if polygon else 0,
            picture=self.picture and (self.process is None or isinstance(self.process, CloudRemoval)),
        )
        admit_image(asked, self._raster, self.input, self.settings)

    def _filled(
        self,
        read: Any,
        args: tuple[Any, ...],
        chosen: Choice,
        kwargs: dict[str, Any],
        seen: Callable[..., AbstractContextManager[Any]],
        gather: Callable[..., ImageData | None] = lambda *_: None,
    ) -> ImageData:
        """Gather the image, or read it with rio-tiler's own code, then attach the side-car.

        For other algorithms than ours clouds are filled at once.
        """

        def image_of(
            bands: tuple[int, ...], layer: Layer | None = None, only: npt.NDArray[np.bool_] | None = None
        ) -> ImageData:
            with stage("read"):
                if (image := gather(bands, layer, only)) is not None:
                    return image
                with self._looking(seen, bands, kwargs) as (places, there):
                    found: ImageData = read(*args, indexes=places, **there)
                return found

        if not self._clouds_wanted:
            return as_numbers(chosen.computed(chosen.named(image_of(chosen.places))))
        kwargs = {**self.options, **kwargs}
        unscale = bool(kwargs.pop("unscale", False))
        algorithm = self.process if isinstance(self.process, CloudAlgorithm) else CloudRemoval()
        if algorithm.needs != "classes":
            check_tiled(algorithm.options)
        nodata = kwargs.get("nodata")
        request = self.request if nodata is None else replace(self.request, nodata=float(nodata))
        task = make_task(request, self.sources, algorithm.options, algorithm.needs, chosen.places)
        if self._described is None:
            check_unchanged(self.input, self._version, task.target.dataset.version)
        self.analysis.marked.warn(task)
        warn_of_model(task)
        warn_unmasked(task)
        dataset = task.target.dataset
        if algorithm.needs == "fill":
            shown, wanted = chosen.places, self._within(dataset, chosen.places)
        else:
            # Which pixels have data is all that is taken of the image; with a nodata value each band has its own.
            wanted = dataset.indexes[: None if dataset.nodata is not None else 1]
            shown = self._of(dataset, wanted)
        image = image_of(shown, task.target)
        if algorithm.needs == "fill":
            chosen.named(image)
        grid = output_grid(self, image, kwargs)
        whole = self._of(dataset, dataset.indexes)

        def every(only: npt.NDArray[np.bool_]) -> ImageData:
            return image_of(whole, task.target, only)

        clouds = image_sidecar(self.analysis, task, algorithm.needs, image, grid, wanted, kwargs, every)
        clouds = replace(clouds, expression=chosen.expression, unscale=unscale, names=chosen.names)
        filled = CloudImage.of(image, clouds)
        return filled if algorithm is self.process else algorithm(filled)


def open_request(request: Request, **options: Any) -> PairReader:
    """The reader as a TiTiler factory calls it."""
    return PairReader(request=request, **options)
