"""Scenes as objects: pixels, masks, pictures, files and map tiles, by the code of reader and export."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType

from algorithms.errors import ClearSkyError, ParameterError, check_choice, whole_number
from algorithms.options import WHOLE_ADJUSTMENT, check_tiled
from algorithms.removal import CloudAlgorithm, CloudMask, CloudRemoval
from algorithms.styles import DEFAULT_STYLE, STYLES
from clearsky.boxes import check_box, read_crs
from clearsky.labelled import labelled_image
from clearsky.pictures import PathOrUrl, Picture
from clearsky.tiles import BBox, LocalTiles, serve_tiles
from server.analysis.parameters import PARAMETERS
from server.analysis.request import Request
from server.errors import TooLargeError
from server.export.job import ExportJob
from server.export.looking import Scenery, looking
from server.export.scene import export_scene
from server.export.stepwise import fill_image
from server.http.reader import open_request
from server.http.render import render
from server.raster.dataset import Dataset, dataset_crs
from server.remote.redaction import redacted
from server.scenes.bandlist import files_of
from server.settings import Settings

if TYPE_CHECKING:
    import xarray

PREVIEW_PIXELS: Final = 1024
"""Longer side of a preview unless its user says otherwise."""


class Scene:
    """A scene and the dates that its clouds are filled from; made by `open`.

    Masks and fills are computed where they are asked for, and kept for the next time. `close`, or the end of a `with`
    block, gives threads and memory back.
    """

    def __init__(
        self, request: Request, parameters: dict[str, Any], options: dict[str, Any], settings: Settings
    ) -> None:
        self._parameters = parameters
        self._named = request
        self._options = options
        self._settings = settings
        self._removal = self._algorithm(CloudRemoval)
        self._open = ExitStack()
        self._scenery: Scenery = self._open.enter_context(looking(request, settings))
        self._tiles: list[LocalTiles] = []

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """What it is of, what fills it, its bands and size; nothing is read for it that is not known."""
        parts = [repr(self._named.target), f"replacements={list(self.replacements)}"]
        try:
            dataset = self._dataset
            names = [name or f"b{k}" for k, name in enumerate(dataset.names, start=1)]
            parts += [f"bands={names}", f"shape={dataset.shape}"]
        except (ClearSkyError, OSError) as error:
            parts.append(f"cannot be read: {error}")
        return f"<Scene {redacted(', '.join(parts))}>"

    def close(self) -> None:
        """Stop the threads, and tiles that are still served."""
        while self._tiles:
            self._tiles.pop().close()
        self._open.close()

    def _algorithm(self, kind: type[CloudAlgorithm]) -> Any:
        from pydantic import ValidationError  # noqa: PLC0415  (start-up)

        try:
            return kind(**self._options)
        except ValidationError as error:
            parts = [f"{'.'.join(map(str, e['loc']))} {e.get('input')!r}: {e['msg']}" for e in error.errors()]
            raise ParameterError("; ".join(parts)) from error

    @property
    def _dataset(self) -> Dataset:
        return self._scenery.request.target_dataset(self._scenery.sources)

    @property
    def crs(self) -> CRS:
        """The target's CRS."""
        return dataset_crs(self._dataset)

    @property
    def bounds(self) -> BBox:
        """West, south, east, north of the target in its own CRS."""
        return self._dataset.bounds

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the target."""
        return self._dataset.shape

    @property
    def replacements(self) -> tuple[str, ...]:
        """What the clouds are filled from, in the order of preference; dates that `auto` has chosen, too."""
        return self._scenery.request.replacements

    @property
    def _filler(self) -> CloudRemoval | None:
        return self._removal if self.replacements else None

    def preview(self, size: int = PREVIEW_PIXELS, *, style: str = DEFAULT_STYLE.name, filled: bool = True) -> Picture:
        """A picture of the whole scene.

        Args:
            size: of the longer side, pixels.
            style: its colours, `natural`, `false-color`, ... as `style` of the server (docs/pictures.md).
            filled: whether the clouds are filled; the target as it is otherwise.

        Raises:
            ParameterError: there is no such style. BandError: the scene lacks bands of it.
        """
        check_choice(style, STYLES, what="style")
        process = self._filler if filled else None
        return Picture(
            render(self._scenery.preview(process, size=_pixels(size), style=style, filled=filled), ImageType.png)[0]
        )

    def read(
        self,
        bbox: BBox | None = None,
        *,
        crs: Any = "EPSG:4326",
        size: int | None = None,
        filled: bool = True,
    ) -> ImageData:
        """Pixels of a part of the scene, or of all of it, in the target's units.

        Args:
            bbox: west, south, east, north; None for the whole scene.
            crs: of the box; the pixels stay in the target's.
            size: longer side of the result in pixels; None for the target's own resolution.
            filled: whether the clouds are filled; with `adjustment="stepwise"` only of the whole at its own resolution.

        Returns:
            rio-tiler's `ImageData`: `.array` (bands, rows, cols) masked, `.bounds`, `.crs`, `.band_descriptions`.

        Raises:
            ParameterError: a CRS that cannot be used, or a box off the scene.
            TooLargeError: more pixels than the settings allow.
        """
        process = self._filler if filled else None
        if process is not None and process.adjustment == WHOLE_ADJUSTMENT and bbox is None and size is None:
            look = self._scenery
            return fill_image(self._read(None, None, crs, None), look.request, look.analysis, process)
        return self._read(process, bbox, crs, size)

    def mask(
        self, bbox: BBox | None = None, *, crs: Any = "EPSG:4326", size: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """The cloud mask of a part of the scene, or of all of it; arguments as for `read`.

        Returns:
            (rows, cols) uint8: 0 clear, 1 cloud, 2 cloud shadow, 255 no data.
        """
        image = self._read(self._algorithm(CloudMask), bbox, crs, size)
        return np.ma.filled(image.array[0], 255).astype(np.uint8)

    def to_xarray(
        self, bbox: BBox | None = None, *, crs: Any = "EPSG:4326", size: int | None = None, filled: bool = True
    ) -> xarray.DataArray:
        """The same as `read` as a labelled array; needs xarray (`pip install 'clearsky[notebook]'`).

        Returns:
            (band, y, x) with the bands' names, coordinates of the pixels' centres, `spatial_ref` as rioxarray has it,
            scale, offset and nodata as attributes.
        """
        image = self.read(bbox, crs=crs, size=size, filled=filled)
        return labelled_image(image, self._dataset, name=Path(self._named.target).stem)

    def _read(self, process: CloudAlgorithm | None, bbox: BBox | None, crs: Any, size: int | None) -> ImageData:
        size, box_crs = None if size is None else _pixels(size), read_crs(crs)
        if bbox is not None:
            check_box(bbox, box_crs, bounds=self.bounds, scene_crs=self.crs)
        try:
            return self._read_whole(process, bbox, box_crs, {} if size is None else {"max_size": size})
        except TooLargeError as error:
            remedy = "give a smaller `size` or `bbox`, or write the whole scene with `export`"
            raise TooLargeError(error.excess, remedy) from error

    def _read_whole(
        self, process: CloudAlgorithm | None, bbox: BBox | None, box_crs: CRS, sized: dict[str, int]
    ) -> ImageData:
        look, request = self._scenery, self._scenery.request
        if process is None:
            request = replace(request, replacements=(), replacement_masks=())
        with open_request(
            request, process=process, sources=look.sources, analysis=look.analysis, settings=look.settings
        ) as reader:
            if bbox is None:
                image = reader.read(**sized)
            else:
                image = reader.part(bbox, bounds_crs=box_crs, dst_crs=self.crs, **sized)
        return image if process is None else process(image)

    def export(self, out: PathOrUrl, **options: Any) -> dict[str, Any]:
        """Write the whole scene without its clouds; see `clearsky export`.

        Args:
            out: the Cloud Optimized GeoTIFF, or with `per_asset=True` the folder.
            options: `per_asset`, `workers`, `provenance`, `resolution`, `scheduler`, `overwrite`.

        Returns:
            What was done: outputs, shares of cloud, filled and unfilled, mean confidence, seconds.
        """
        if isinstance(options.get("provenance"), str):
            options["provenance"] = Path(options["provenance"])
        try:
            job = ExportJob(self._named, Path(out), algorithm=self._removal, **options)
        except TypeError as error:
            raise ParameterError(f"export: {error}") from error
        return export_scene(job, self._settings).summary()

    def tile_layer(self, *, filled: bool = True, style: str = DEFAULT_STYLE.name) -> LocalTiles:
        """Serve the scene as map tiles to this machine, for leafmap, ipyleaflet, folium or any web map.

        Args:
            filled: whether the clouds are filled.
            style: colours of the tiles.

        Raises:
            ParameterError: there is no such style, or the fill is none for tiles.
        """
        check_choice(style, STYLES, what="style")
        if filled:
            check_tiled(self._removal.options)
        query = [("url", file) for file in files_of(self._named.target)]
        for name, value in self._parameters.items():
            if filled or not name.startswith("replacement"):
                query += [(name, str(each)) for each in (value if PARAMETERS[name].repeated else (value,))]
        if filled and self._options:
            query.append(("algorithm_params", json.dumps(self._options)))
        query.append(("style", style))
        tiles = serve_tiles(self._settings, self._named.sources, urlencode(query))
        self._tiles.append(tiles)
        return tiles


def _pixels(size: object) -> int:
    return whole_number(size, least=1, most=None, message=f"size {size!r} is no whole number of pixels from 1 on")
