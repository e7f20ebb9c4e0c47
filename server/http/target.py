"""The target as it is: opened for one request, with its bounds and zoom levels, and the tiles it has."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import attr
from morecantile import Tile
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData, Info
from rio_tiler.types import BBox
from rio_tiler.utils import non_alpha_indexes

from algorithms.bands import common_names
from server.analysis.request import Request
from server.errors import SourceChangedError, TooLargeError
from server.http.checks import MOST_ZOOM
from server.http.choice import Choice, choose
from server.http.geojson import check_shape
from server.http.grids import bounds_in, tile_limits
from server.raster.composite import to_show
from server.raster.dataset import Dataset, band_texts
from server.raster.outline import Outline, stack_outline
from server.raster.sources import Sources
from server.raster.upright import hull, is_north_up, read_upright
from server.raster.usable import check_crs, check_georeference, check_place
from server.scenes.scene import Scene
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
    _scene: Scene | None = attr.ib(default=None, init=False)
    _numbers: tuple[int, ...] = attr.ib(default=(), init=False)
    _described: Dataset | None = attr.ib(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Open the target; meanwhile, and until it is closed, the request holds the thread."""
        self.input = self.request.target
        try:
            self._ctx_stack.enter_context(holding())
            if not self.dataset:
                self.dataset = self._found()
            check_georeference(self.dataset, self.input)
            super().__attrs_post_init__()  # type: ignore[no-untyped-call]
            # rasterio's are upside down for a raster that is not north up.
            self.bounds = hull(self._raster.transform, self._raster.width, self._raster.height)
        except BaseException:
            self._ctx_stack.__exit__(*sys.exc_info())
            raise

    def _found(self) -> Any:
        """The target's file, closed where its outline may do; of a scene the open bands that the answer is made of."""
        self._scene = self.request.scene(self.sources, self.input)
        if self._scene is None:
            self._version = self.sources.version(self.input)
            outline = self.sources.outline(self.input, self._version)
            return outline if outline.plain else self._opened()
        self._numbers = self.request.numbers(self.sources, analysed=self._clouds_wanted)
        self._described = self.request.dataset(self.sources, self.input, self._numbers)
        self._version = self._described.version
        outline = stack_outline(self._described.parts)
        return outline if outline.plain else self._opened()

    def _opened(self) -> Any:
        if self._described is not None:
            return self._ctx_stack.enter_context(self.sources.open_described(self._described))
        return self._ctx_stack.enter_context(self.sources.open(self.input, self._version))

    def _open(self) -> None:
        """Open the target's file for what its outline does not say."""
        if isinstance(self.dataset, Outline):
            self.dataset = self._opened()

    @property
    def _clouds_wanted(self) -> bool:
        """Whether the request has to do with clouds at all; otherwise this is plain TiTiler at plain cost."""
        raise NotImplementedError

    def _chosen(self, indexes: Any, expression: str | None) -> Choice:
        """The bands that a call asks for, or the request.

        Raises:
            ParameterError: there is no such band.
        """
        raster, scene = self._raster, self._scene
        if scene is None:
            named = zip(self._names(), raster.descriptions, strict=True)
            labels = tuple(tuple(label for label in pair if label) for pair in named)
            descriptions = tuple(text or "" for text in raster.descriptions)
            numbers, default = raster.indexes, tuple(non_alpha_indexes(raster))
        else:
            labels, numbers = scene.labels, self._numbers
            descriptions = tuple(band.name or band.asset for band in scene.bands)
            default = self.request.shown or scene.picture
        return choose(
            labels,
            {number: place for place, number in enumerate(numbers, start=1)},
            indexes=indexes,
            expression=expression,
            assets=self.request.assets or (() if indexes or expression else self._styled()),
            default=default,
            names_first=scene is not None,
            descriptions=descriptions,
        )

    def _styled(self) -> tuple[str, ...]:
        """Names of the bands that a style shows; nothing without one."""
        return ()

    def _within(self, dataset: Dataset, places: tuple[int, ...]) -> tuple[int, ...]:
        """Where bands of what is open are in a description that may have fewer.

        Raises:
            SourceChangedError: a file changed since it was opened.
        """
        return places if self._described is None else _located(self._described, dataset, places)

    def _of(self, dataset: Dataset, indexes: tuple[int, ...]) -> tuple[int, ...]:
        """Where bands of a description are in what is open. Raises as `_within` does."""
        return indexes if self._described is None else _located(dataset, self._described, indexes)

    def _scene_info(self, scene: Scene) -> Info:
        """Metadata of all bands of a scene."""
        every = self.request.dataset(self.sources, self.input, tuple(range(1, 1 + len(scene.bands))))
        own = self.dataset
        with self.sources.open_described(every) as whole:
            self.dataset = whole
            try:
                return Reader.info(self)
            finally:
                self.dataset = own

    def _names(self) -> Sequence[str | None]:
        """Common name of each band of a file."""
        own = band_texts(self._raster, self.input)
        given = self.request.bands
        return common_names(given if len(given) == len(own) else own)

    def __exit__(self, *error: Any) -> None:
        """Close the target, which raises errors of its file."""
        self._ctx_stack.__exit__(*error)

    @property
    def _raster(self) -> Any:
        """The dataset, or its outline."""
        return self.dataset

    @property
    def _north_up(self) -> bool:
        """Whether the target's rows run south and its columns east."""
        return is_north_up(self._raster.transform)

    def get_geographic_bounds(self, crs: CRS) -> BBox:
        """Bounds in a geographic CRS; the whole globe, as rio-tiler has it, where that is unknown."""
        check_crs(self._raster, self.input)
        with _quietly():
            bounds: BBox = super().get_geographic_bounds(crs)
        return bounds

    @property
    def minzoom(self) -> int:
        """Coarsest zoom level; the matrix set's own where that is unknown."""
        with _quietly():
            return int(super().minzoom)

    @property
    def maxzoom(self) -> int:
        """Finest zoom level; the matrix set's own where that is unknown."""
        with _quietly():
            return int(super().maxzoom)

    def tile_exists(self, tile_x: int, tile_y: int, tile_z: int) -> bool:
        """Whether a tile touches the raster's bounds, as rio-tiler has it or in the tiles' own CRS.

        Where the raster is turned there, corners of its bounds have tiles without data: these are transparent, because
        clients ask for all tiles within the limits that they are told.
        """
        bounds = None if self.tms.is_variable else bounds_in(self.tms, self)
        limits = None if bounds is None else tile_limits(self.tms, bounds, tile_z)
        if limits is not None and limits.hold(Tile(tile_x, tile_y, tile_z)):
            return True
        return bool(super().tile_exists(tile_x, tile_y, tile_z))

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

    def _part(self, places: tuple[int, ...]) -> tuple[Dataset | None, tuple[int, ...]]:
        """The part of a scene that an image of some bands is read from, and their numbers in it; None for one file."""
        if self._scene is None or self._described is None:
            return None, places
        return to_show(self._described, places, count=len(self._scene.bands))

    @contextmanager
    def _looking(
        self, seen: Callable[..., AbstractContextManager[Any]], places: tuple[int, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
        """Read some bands from what the raster looks like at the image's resolution.

        Gives where they are in what is open then, and the options to read them with.
        """
        own = self.dataset
        method = kwargs.get("resampling_method") or "nearest"
        with ExitStack() as stack:
            part, places = self._part(places)
            if part is None or part is self._described:
                self._open()
                raster = own = self.dataset
            else:
                raster = stack.enter_context(self.sources.open_described(part))
            self.dataset, options = stack.enter_context(seen(raster, indexes=places, resampling=method))
            unpadded = {"padding": 0} if options and "padding" in kwargs else {}  # no seams between other pixels
            try:
                yield places, kwargs | options | unpadded
            finally:
                self.dataset = own


def _located(one: Dataset, other: Dataset, indexes: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers in one description of bands that another one numbers otherwise."""
    parts = [one.parts[index - 1] for index in indexes]
    if changed := next((part for part in parts if part not in other.parts), None):
        raise SourceChangedError(f"{changed.url!r} changed while it was read; ask again")
    return tuple(other.parts.index(part) + 1 for part in parts)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without rio-tiler's warnings of what it cannot tell of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
