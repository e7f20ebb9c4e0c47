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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algorithms import buffer_mask, cloud_mask, fill_clouds, reclassify, stepwise_adjustment
from algorithms.errors import ClearSkyError, ParameterError
from algorithms.options import OPTIONS
from clearsky.pictures import PathOrUrl, Picture
from clearsky.scenes import Scene
from clearsky.tiles import LocalTiles
from server import __version__
from server.analysis.parameters import PARAMETERS, fields_of
from server.analysis.request import Request
from server.models.folder import use_models
from server.scenes.bandlist import joined_files
from server.settings import Settings

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
    "use_models",
]


def open(  # noqa: A001  (as rasterio's and xarray's)
    target: PathOrUrl | Sequence[PathOrUrl],
    *,
    replacement: PathOrUrl | Sequence[PathOrUrl] = (),
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


def _texts(value: PathOrUrl | Sequence[PathOrUrl]) -> tuple[str, ...]:
    return (str(value),) if isinstance(value, (str, Path)) else tuple(map(str, value))
