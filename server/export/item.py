"""The STAC Item of an export per band: what was made, of which files, from which scenes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rasterio.warp import transform_geom

from server import __version__
from server.export.bands import CONFIDENCE_FILE, SOURCE_FILE, OwnBand
from server.export.figures import FillFigures
from server.export.job import SOFTWARE
from server.export.origins import Origin
from server.export.properties import EXTENSIONS, acquisition_properties, extensions_of, kept_properties
from server.export.tags import TAG_PREFIX, source_id
from server.raster.dataset import Dataset, dataset_crs
from server.raster.grid import ground_resolution
from server.scenes.bandlist import files_of
from server.scenes.bounded import mapping_of

COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
ID_SUFFIX: Final = "-cloud-free"
"""What the Item's id has over the target's."""
EARLIEST: Final = "1970-01-01T00:00:00Z"
"""Start of the time in which a picture of unknown date was taken; it ends with the export."""
EDGE_POINTS: Final = 9
"""Points per side of a footprint that is made from the grid."""
_COMMON_NAMES: Final = frozenset({
    "pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "nir", "nir08", "nir09", "cirrus", "swir16", "swir22",
})  # fmt: skip
"""Common names of the extension `eo`, 2.0, for reflectance."""
_TRANSLATED: Final = {
    "rededge1": "rededge071", "rededge2": "rededge075", "rededge3": "rededge078", "watervapor": "nir09",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MadeFolder:
    """A folder with a file for each band, as its Item describes it."""

    path: Path
    """The folder."""
    target: Origin
    """Whose clouds are filled."""
    replacements: Sequence[Origin]
    """From which, in their order."""
    lattice: Dataset
    """The target on the grid of its finest band."""
    bands: Sequence[OwnBand]
    """Those that have files."""
    figures: FillFigures
    """What was found and filled."""
    tags: Mapping[str, str]
    """Of the files, which say how they were made."""

    def item(self) -> dict[str, Any]:
        """The Item."""
        document = self.target.document
        geometry = document_outline(document.get("geometry")) or grid_outline(self.lattice)
        properties = self._properties()
        assets = {band.label: _band_asset(band, document) for band in self.bands}
        assets |= dict(_provenance_assets(self.lattice, self.replacements))
        scenes = (self.target, *self.replacements)
        return {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": sorted({*EXTENSIONS, *extensions_of(document, properties)}),
            "id": self.target.id + ID_SUFFIX,
            "geometry": geometry,
            "bbox": bounding_box(geometry),
            "properties": properties,
            "links": [link for k, one in enumerate(scenes) for link in _derived(one, k, self.path)],
            "assets": assets,
        }

    def _properties(self) -> dict[str, Any]:
        target, lattice, tags = self.target, self.lattice, self.tags
        now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        found = acquisition_properties(target.scene, lattice.level, target.id) | kept_properties(target.document)
        found["datetime"] = target.datetime
        if target.datetime is None:
            found = {"start_datetime": EARLIEST, "end_datetime": now} | found
        names = ", ".join(one.label for one in self.replacements)
        found |= {
            "title": f"{target.id} without clouds",
            "created": now,
            "gsd": min(_resolution(band) for band in self.bands),
            "eo:cloud_cover": round(100 * self.figures.unfilled_share, 4),
            "proj:code": _code(lattice),
            "processing:software": {SOFTWARE: __version__},
            "processing:lineage": f"Clouds and shadows of {target.id} filled from {names}. "
            f"Parameters: {tags.get(f'{TAG_PREFIX}PARAMETERS', '')}. "
            f"Clouds found by: {tags.get(f'{TAG_PREFIX}MODEL') or tags.get(f'{TAG_PREFIX}MASK', 'a mask')}",
        }
        if found["proj:code"] is None:
            found["proj:wkt2"] = dataset_crs(lattice).to_wkt(version="WKT2_2019")
        return found


def _band_asset(band: OwnBand, document: Mapping[str, Any]) -> dict[str, Any]:
    assets = document.get("assets")
    asset = mapping_of(mapping_of(assets).get(band.asset)) if band.asset else {}
    listed = asset.get("eo:bands") or asset.get("bands")
    entry = mapping_of(listed[band.number - 1]) if isinstance(listed, list) and len(listed) >= band.number else {}
    title = asset.get("title")
    return {
        "href": f"./{band.file}",
        "type": COG_TYPE,
        "title": title if isinstance(title, str) else f"{band.name or band.label}",
        "roles": ["data", "reflectance"],
        "gsd": _resolution(band),
        **_place(band.dataset),
        "bands": [_described(band, entry)],
    }


def _described(band: OwnBand, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's band is called and means; digital numbers encode what the target's did."""
    dataset, own = band.dataset, entry.get("name")
    common = entry.get("common_name") or entry.get("eo:common_name")
    known = (
        common if isinstance(common, str) and common in _COMMON_NAMES else _TRANSLATED.get(band.name or "", band.name)
    )
    found: dict[str, Any] = {"name": own if isinstance(own, str) else band.label}
    if known in _COMMON_NAMES:
        found["eo:common_name"] = known
    for name in ("center_wavelength", "full_width_half_max"):
        value = entry.get(name, entry.get(f"eo:{name}"))
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            found[f"eo:{name}"] = value
    found["data_type"] = dataset.dtype
    if dataset.nodata is not None:
        found["nodata"] = _json_number(dataset.nodata)
    return found | {
        "raster:scale": dataset.scales[0],
        "raster:offset": dataset.offsets[0],
        "raster:spatial_resolution": _resolution(band),
        "raster:sampling": "area",
    }


def _provenance_assets(lattice: Dataset, replacements: Sequence[Origin]) -> Iterator[tuple[str, dict[str, Any]]]:
    sources = ", ".join(f"{k} from {one.id}" for k, one in enumerate(replacements, start=1))
    described = {
        SOURCE_FILE: ("Where each pixel comes from", f"0 original, {sources}, 255 not filled or no data"),
        CONFIDENCE_FILE: ("Confidence of each pixel in percent", "100 original, 0 not filled, 255 no data"),
    }
    for file, (title, meaning) in described.items():
        yield (
            Path(file).stem,
            {
                "href": f"./{file}",
                "type": COG_TYPE,
                "title": title,
                "description": meaning,
                "roles": ["metadata", "data-mask" if file == SOURCE_FILE else "confidence"],
                **_place(lattice),
                "bands": [{"name": Path(file).stem, "data_type": "uint8", "nodata": 255}],
            },
        )


def _place(dataset: Dataset) -> dict[str, Any]:
    return {
        "proj:code": _code(dataset),
        "proj:shape": list(dataset.shape),
        "proj:transform": list(dataset.transform),
        "proj:bbox": list(dataset.bounds),
    }


def _code(dataset: Dataset) -> str | None:
    authority = dataset_crs(dataset).to_authority()
    return ":".join(authority) if authority else None


def _resolution(band: OwnBand) -> float:
    """Metres of a pixel, as the document states it, else measured on the ground."""
    return band.resolution or round(ground_resolution(band.dataset), 2)


def _json_number(value: float) -> float | str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) else value


def _derived(origin: Origin, number: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Links to the files of a scene; a query, which may hold a signature, is left out."""
    for file in files_of(origin.url):
        link: dict[str, Any] = {
            "rel": "derived_from",
            "href": source_id(file) if "://" in file else os.path.relpath(file, folder),
            "title": f"{'Target' if number == 0 else f'Replacement {number}'}: {origin.id}",
            "id": origin.id,
            "datetime": origin.datetime,
        }
        yield link | ({"type": "application/geo+json"} if origin.document else {})


def document_outline(geometry: object) -> dict[str, Any] | None:
    """The polygons of a document; None for anything else."""
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return None
    try:
        west, south, east, north = bounding_box(geometry)
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
    return geometry if abs(west) <= 180 >= abs(east) and -90 <= south <= north <= 90 else None


def grid_outline(lattice: Dataset) -> dict[str, Any]:
    """The outline of a raster in degrees; cut where it crosses the antimeridian."""
    steps = [k / EDGE_POINTS for k in range(EDGE_POINTS)]
    height, width = lattice.shape
    corners = [(0, 0), (0, height), (width, height), (width, 0), (0, 0)]
    ring = [
        lattice.affine @ (x0 + (x1 - x0) * step, y0 + (y1 - y0) * step)
        for (x0, y0), (x1, y1) in pairwise(corners)
        for step in steps
    ]
    outline = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    made = transform_geom(dataset_crs(lattice), "EPSG:4326", outline, antimeridian_cutting=True, precision=7)
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]  # tuples become lists


def bounding_box(geometry: Mapping[str, Any]) -> list[float]:
    """West, south, east, north of a geometry; west is greater than east across the antimeridian."""
    points = list(_points(geometry["coordinates"]))
    lons, lats = [x for x, _ in points], [y for _, y in points]
    if geometry["type"] == "MultiPolygon" and max(lons) - min(lons) > 180:
        lons = [min(lon for lon in lons if lon >= 0), max(lon for lon in lons if lon < 0)]
        return [lons[0], min(lats), lons[1], max(lats)]
    return [min(lons), min(lats), max(lons), max(lats)]


def _points(nested: object) -> Iterator[tuple[float, float]]:
    """The positions in a geometry's coordinates.

    Raises:
        TypeError, LookupError: they are none.
    """
    if not isinstance(nested, Sequence) or isinstance(nested, str):
        raise TypeError(f"{nested!r} is not a list of coordinates")
    if isinstance(nested[0], int | float):
        yield nested[0], nested[1]
        return
    for part in nested:
        yield from _points(part)
