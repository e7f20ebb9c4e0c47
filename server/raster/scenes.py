"""From the documents of a scene to what the analysis reads: its bands' files described, several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

import rasterio

from algorithms.errors import BandError
from server.raster.composite import composed
from server.raster.dataset import Dataset, reflectance_of
from server.raster.stack import Level, StackBand
from server.raster.usable import check_place, check_real
from server.remote.files import is_remote
from server.scenes.bandlist import file_label
from server.scenes.scene import Scene, SceneBand

AT_ONCE: Final = 8
"""Files of one scene that are opened at a time; each waits for its server most of the time."""
DRIVERS: Final = frozenset({"GTiff", "JP2OpenJPEG"})
"""Formats that bands of a scene may have. A virtual raster offers its files to every driver, its own among them, which
takes any file for one in whose first bytes, up to a zero, there is XML. These two begin with zeros."""


def describe_band(src: Any, band: SceneBand, url: str, version: str) -> StackBand:
    """What has to be known of an open file to read a band of it.

    Args:
        src: the file.
        band: what the scene says.
        url: the file's admitted name.
        version: its state.

    Raises:
        BandError: there is no such band, or none that a scene can have. SourceUnreadableError: it has no place.
    """
    check_place(src, url)
    check_real(src, url)
    if src.driver not in DRIVERS:
        raise BandError(f"{url!r} is a {src.driver} file; bands of a scene are GeoTIFF or JPEG 2000: convert it")
    if src.gcps[0]:
        raise BandError(f"{url!r} is placed by ground control points; warp it first (gdalwarp)")
    if not 1 <= band.index <= src.count:
        raise BandError(f"{url!r} has no band {band.index}; it has {src.count}: correct the Item, or name its files")
    levels, blocks = [Level(1, src.width, src.height)], [src.block_shapes[band.index - 1]]
    for k, factor in enumerate(src.overviews(band.index)):
        with rasterio.open(src.name, driver=src.driver, overview_level=k) as overview:
            levels.append(Level(factor, overview.width, overview.height))
            blocks.append(overview.block_shapes[band.index - 1])
    dtype = src.dtypes[band.index - 1]
    scales, offsets, source = reflectance_of(src, (band.index,), label=file_label(url))
    if (band.scale is not None or band.offset is not None) and not (band.whole_only and dtype.startswith("float")):
        scales = (scales[0] if band.scale is None else band.scale,)
        offsets = (offsets[0] if band.offset is None else band.offset,)
        source = band.source
    own = src.nodatavals[band.index - 1]
    return StackBand(
        url=url,
        version=version,
        index=band.index,
        name=band.name or band.asset,
        crs=src.crs.to_wkt(),
        transform=tuple(src.transform)[:6],
        dtype=dtype,
        nodata=band.nodata if own is None else own,
        scale=scales[0],
        offset=offsets[0],
        levels=tuple(levels),
        member=band.member,
        source=source,
        masked=bool(rasterio.enums.MaskFlags.per_dataset in src.mask_flag_enums[band.index - 1]),
        blocks=tuple(blocks),
    )


def describe_scene(scene: Scene, numbers: Sequence[int], describe: Callable[[SceneBand], StackBand]) -> Dataset:
    """Some bands of a scene as one raster.

    Args:
        scene: the scene.
        numbers: 1-based, in the order wanted.
        describe: gives what has to be known of a band, and raises what hinders it.

    Raises:
        BandError: there are none, or they do not fit onto one grid. What `describe` raises.
    """
    chosen = [scene.bands[number - 1] for number in numbers]
    if not chosen:
        raise BandError(f"{scene.url!r} has no bands of reflectance; name the files of its bands, {{B02,B03,B04}}.tif")
    parts = _at_once(describe, chosen)
    sources = dict.fromkeys(part.source for part in parts)
    return composed(
        scene.url,
        parts,
        names=[band.name for band in chosen],
        level=scene.level or "l1c",
        source="; ".join(sources),
    )


def _at_once(describe: Callable[[SceneBand], StackBand], bands: Sequence[SceneBand]) -> list[StackBand]:
    """Describe bands, remote ones side by side; the first error in the order of the bands is raised."""
    if len(bands) == 1 or not any(is_remote(band.url) for band in bands):
        return [describe(band) for band in bands]
    with ThreadPoolExecutor(min(AT_ONCE, len(bands)), thread_name_prefix="scene") as pool:
        running = [pool.submit(copy_context().run, describe, band) for band in bands]
        try:
            return [future.result() for future in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
