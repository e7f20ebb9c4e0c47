"""ClearSky in notebooks and programs: scenes without their clouds, by the same code as the server's tiles.

```python
import clearsky

scene = clearsky.open("cloudy.tif", replacement="clear.tif")
scene.preview()  # a picture in a notebook
scene.to_xarray()  # the filled pixels, with coordinates and CRS
scene.export("cloud-free.tif")
```
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rio_tiler.models import ImageData
from titiler.core.resources.enums import ImageType

from algorithms import buffer_mask, cloud_mask, fill_clouds, reclassify, stepwise_adjustment
from algorithms.errors import ClearSkyError, ParameterError, check_choice
from algorithms.options import OPTIONS
from algorithms.removal import CloudAlgorithm, CloudMask, CloudRemoval
from algorithms.styles import DEFAULT_STYLE, STYLES
from server import __version__
from server.analysis.parameters import PARAMETERS, fields_of
from server.analysis.request import Request
from server.export.job import ExportJob
from server.export.looking import Scenery, looking
from server.export.scene import export_scene
from server.http.reader import open_request
from server.http.render import render
from server.raster.dataset import Dataset, dataset_crs
from server.scenes.bandlist import files_of, joined_files
from server.settings import Settings

if TYPE_CHECKING:
    import xarray

__all__ = [
    "ClearSkyError",
    "LocalTiles",
    "Picture",
    "Scene",
    "__version__",
    "buffer_mask",
    "cloud_mask",
    "fill_clouds",
    "open",
    "reclassify",
    "stepwise_adjustment",
]

Place = str | Path
BBox = tuple[float, float, float, float]
PREVIEW_PIXELS: Final = 1024
"""Longer side of a preview unless its user says otherwise."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, which a notebook shows."""

    png: bytes
    """The file."""

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: Place) -> None:
        """Write it to a file."""
        Path(path).write_bytes(self.png)


@dataclass(slots=True)
class LocalTiles:
    """Map tiles of a scene, served by this process on its own machine until `close`."""

    url: str
    """Address of the tiles, with {z}, {x} and {y}."""
    bounds: BBox
    """West, south, east, north in degrees."""
    zooms: tuple[int, int]
    """Least and greatest useful zoom."""
    _stop: Any
    """Ends the server."""

    def close(self) -> None:
        """Stop serving."""
        self._stop()

    def to_ipyleaflet(self, **options: Any) -> Any:
        """A layer for `ipyleaflet.Map` and `leafmap`, which must be installed."""
        from ipyleaflet import TileLayer  # noqa: PLC0415  (a notebook's own package)

        return TileLayer(url=self.url, max_zoom=self.zooms[1] + 2, **options)

    def to_folium(self, **options: Any) -> Any:
        """A layer for `folium.Map`, which must be installed."""
        from folium import TileLayer  # noqa: PLC0415  (a notebook's own package)

        return TileLayer(tiles=self.url, attr="ClearSky", overlay=True, max_zoom=self.zooms[1] + 2, **options)


def open(  # noqa: A001  (as rasterio's and xarray's)
    target: Place | Sequence[Place],
    *,
    replacement: Place | Sequence[Place] = (),
    settings: Settings | None = None,
    **options: Any,
) -> Scene:
    """Open a scene; its rasters are read when something is asked for.

    Args:
        target: a GeoTIFF or JP2, a STAC Item, a `.SAFE` or Landsat product (paths or addresses), or a list of files,
            one for each band.
        replacement: other dates of the same place, of any of these kinds, in the order of preference; `auto` looks them
            up in the STAC API of the target's archive.
        settings: caches, threads and credentials; by default those of the environment (`CLEARSKY_...`).
        options: every parameter of the server (`mask`, `model`, `bands`, `level`, ...) and of its algorithm (`window`,
            `buffer`, `adjustment`, `sensitivity`, ...), by the same names.

    Raises:
        ParameterError: an option that there is none of, or a value that it does not take. SourceError: a raster that
            cannot be read.
    """
    if unknown := [name for name in options if name not in PARAMETERS and name not in OPTIONS]:
        known = ", ".join(sorted([*PARAMETERS, *OPTIONS]))
        raise ParameterError(f"there is no option {unknown[0]!r}; choose from {known}")
    named = {
        name: _texts(value) if PARAMETERS[name].repeated else value
        for name, value in options.items()
        if name in PARAMETERS
    }
    named["replacement"] = _texts(replacement)
    request = Request(joined_files(list(_texts(target))), **fields_of(named))
    chosen = {name: options[name] for name in OPTIONS if name in options}
    return Scene(request, {name: value for name, value in named.items() if value}, chosen, settings or Settings())


def _texts(value: Place | Sequence[Place]) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, (str, Path)) else tuple(map(str, value))


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
        return Picture(render(self._scenery.preview(process, size=size, style=style, filled=filled), ImageType.png)[0])

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
            filled: whether the clouds are filled.

        Returns:
            rio-tiler's `ImageData`: `.array` (bands, rows, cols) masked, `.bounds`, `.crs`, `.band_descriptions`.

        Raises:
            ParameterError: a box or CRS that cannot be used. TooLargeError: more pixels than the settings allow.
        """
        return self._read(self._filler if filled else None, bbox, crs, size)

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
        import xarray as xr  # noqa: PLC0415  (an extra)

        image = self.read(bbox, crs=crs, size=size, filled=filled)
        assert image.bounds is not None and image.crs is not None  # noqa: S101, PT018  (of a raster with a place)
        west, south, east, north = image.bounds
        rows, cols = image.array.shape[1:]
        x = west + (np.arange(cols) + 0.5) * (east - west) / cols
        y = north - (np.arange(rows) + 0.5) * (north - south) / rows
        reference = {
            "crs_wkt": image.crs.to_wkt(),
            "spatial_ref": image.crs.to_wkt(),
            "GeoTransform": " ".join(repr(float(v)) for v in image.transform.to_gdal()),
        }
        dataset, missing = self._dataset, image.array.mask.any()
        values = image.array.data
        attributes: dict[str, Any] = {"scale_factor": dataset.scales[0], "add_offset": dataset.offsets[0]}
        if dataset.nodata is not None:
            values = np.ma.filled(image.array, dataset.nodata)
            attributes["_FillValue"] = dataset.nodata
        elif missing:
            values = np.ma.filled(image.array.astype(np.float32), np.nan)
        names = [name or f"b{i}" for i, name in enumerate(image.band_descriptions or image.band_names, start=1)]
        return xr.DataArray(
            values,
            dims=("band", "y", "x"),
            coords={"band": names, "y": y, "x": x, "spatial_ref": ((), 0, reference)},
            attrs=attributes,
            name=Path(self._named.target).stem,
        )

    def _read(self, process: CloudAlgorithm | None, bbox: BBox | None, crs: Any, size: int | None) -> ImageData:
        look, request = self._scenery, self._scenery.request
        if process is None:
            request = replace(request, replacements=(), replacement_masks=())
        with open_request(
            request, process=process, sources=look.sources, analysis=look.analysis, settings=look.settings
        ) as reader:
            sized = {} if size is None else {"max_size": size}
            if bbox is None:
                image = reader.read(**sized)
            else:
                image = reader.part(bbox, bounds_crs=_crs(crs), dst_crs=self.crs, **sized)
        return image if process is None else process(image)

    def export(self, out: Place, **options: Any) -> dict[str, Any]:
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
        """
        check_choice(style, STYLES, what="style")
        query = [("url", file) for file in files_of(self._named.target)]
        for name, value in self._parameters.items():
            if filled or not name.startswith("replacement"):
                query += [(name, str(each)) for each in (value if PARAMETERS[name].repeated else (value,))]
        if filled and self._options:
            query.append(("algorithm_params", json.dumps(self._options)))
        query.append(("style", style))
        tiles = _serve(self._settings, self._named.sources, urlencode(query))
        self._tiles.append(tiles)
        return tiles


def _crs(value: Any) -> CRS:
    try:
        return CRS.from_user_input(value)
    except CRSError as error:
        raise ParameterError(f"crs {value!r} is none that can be read; give for example EPSG:4326") from error


def _serve(settings: Settings, own: Sequence[str], query: str) -> LocalTiles:
    """Tiles by the server itself, on a port of this machine that is free."""
    import uvicorn  # noqa: PLC0415  (start-up)

    from server.app import create_app  # noqa: PLC0415

    app = create_app(settings, own=own)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, name="clearsky-tiles", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ParameterError("the local tile server does not start; see the log")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"

    def stop() -> None:
        server.should_exit = True
        thread.join(10)

    try:
        with urllib.request.urlopen(f"{base}/cog/WebMercatorQuad/tilejson.json?{query}") as answer:  # noqa: S310
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        stop()
        raise ParameterError(json.load(error)["detail"]) from error
    url = f"{base}/cog/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.webp?{query}"
    return LocalTiles(url, tuple(told["bounds"]), (told["minzoom"], told["maxzoom"]), stop)
