"""The target as it is: opened for one request, with its bounds and zoom levels, and the tiles it has."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attr
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from rio_tiler.types import BBox

from server.analysis.request import Request
from server.errors import TooLargeError
from server.http.checks import MOST_ZOOM
from server.http.expressions import expression_bands
from server.http.geojson import check_shape
from server.raster.sources import Sources
from server.raster.upright import hull, is_north_up, read_upright
from server.raster.usable import check_crs, check_georeference, check_place
from server.settings import Settings
from server.work.ticket import holding


@attr.s
class TargetReader(Reader):
    """Reads the target of a request as rio-tiler does, also where it is not north up or seen from afar."""

    request: Request = attr.ib(kw_only=True)
    """What to read, its sources checked already."""
    sources: Sources = attr.ib(kw_only=True)
    """What opens and describes the rasters."""
    settings: Settings = attr.ib(kw_only=True)
    """Limits of what is read."""
    input: str = attr.ib(init=False)
    _version: str | None = attr.ib(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the target; meanwhile, and until it is closed, the request holds the thread."""
        self.input = self.request.target
        try:
            self._ctx_stack.enter_context(holding())
            if not self.dataset:
                self._version = self.sources.version(self.input)
                self.dataset = self._ctx_stack.enter_context(self.sources.open(self.input, self._version))
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
    def _north_up(self) -> bool:
        """Whether the target's rows run south and its columns east."""
        return is_north_up(self._raster.transform)

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

    def feature(self, shape: dict[str, Any], *args: Any, **kwargs: Any) -> ImageData:
        """Read the window around a GeoJSON feature, and hide what is outside of it."""
        check_shape(shape)
        return super().feature(shape, *args, **kwargs)

    def _part_upright(
        self,
        bbox: tuple[float, float, float, float],
        indexes: Any = None,
        expression: str | None = None,
        **kwargs: Any,
    ) -> ImageData:
        """`part` of a target that is not north up, in its own CRS."""
        bounds_crs = kwargs.pop("bounds_crs")
        if bounds_crs != self.crs:
            bbox = transform_bounds(bounds_crs, self.crs, *bbox, densify_pts=21)
        options = {k: v for k, v in {**self.options, **kwargs}.items() if k not in ("dst_crs", "padding")}
        asked = expression_bands(expression) if expression else indexes
        image = read_upright(self._raster, bbox, indexes=asked, **options)
        image.assets = [self.input]
        return image.apply_expression(expression) if expression else image

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


@contextmanager
def _quietly() -> Iterator[None]:
    """Without rio-tiler's warnings of what it cannot tell of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
