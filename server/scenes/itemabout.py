"""What a STAC Item says of its acquisition: date, place, tile, level, sensor, and the API that it is from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.remote.names import LONGEST_ADDRESS
from server.scenes.acquisition import Acquisition, Box, moment
from server.scenes.bounded import is_string, list_of, mapping_of
from server.scenes.reflectance import LANDSAT_SURFACE, Reflectance, landsat_top, number


def acquisition_of(
    item: Mapping[str, Any], url: str, properties: Mapping[str, Any], *, level: str | None, baseline: str | None
) -> Acquisition:
    """What an Item says of its date and place.

    Args:
        item: the Item.
        url: its address or path.
        properties: of the Item, their texts cut.
        level: processing level.
        baseline: processing baseline of Sentinel-2.
    """
    get = properties.get
    ids = " ".join(text for text in (item.get("id"), properties.get("s2:product_uri")) if is_string(text))
    orbit, zenith = number(get("sat:relative_orbit")), number(get("s2:mean_solar_zenith"))
    found = re.search(r"_R(\d{3})_", ids)
    sun = number(get("view:sun_elevation"))
    collection, own = item.get("collection"), item.get("id")
    return Acquisition(
        id=own if is_string(own) and own.isprintable() else url,
        when=moment(get("datetime") or get("start_datetime")),
        collection=collection if is_string(collection) and collection.isprintable() else None,
        tile=_tile(properties, ids),
        level=level,
        relative_orbit=int(orbit) if orbit is not None else int(found[1]) if found else None,
        sun_elevation=90 - zenith if sun is None and zenith is not None else sun,
        cloud_cover=number(get("eo:cloud_cover")),
        baseline=baseline,
        box=_box(item.get("bbox")),
    )


def _tile(properties: Mapping[str, Any], ids: str) -> str | None:
    path, row = properties.get("landsat:wrs_path"), properties.get("landsat:wrs_row")
    if (path := _counted(path)) and (row := _counted(row)):
        return f"{path:0>3}{row:0>3}"
    for value in (properties.get("grid:code"), properties.get("s2:mgrs_tile"), ids):
        if is_string(value) and (found := re.search(r"(?:^|MGRS-|[_.]T)(\d{1,2}[A-Z]{3})(?:$|[_. ])", value)):
            return found[1]
    return None


def _counted(value: object) -> str | None:
    """A path or row of Landsat's grid, which archives write as a text or as a number."""
    if is_string(value):
        return value[:3]
    found = number(value)
    return str(int(found)) if found is not None and 0 < found < 1000 and found.is_integer() else None


def _box(value: object) -> Box | None:
    numbers = [found for entry in list_of(value) if (found := number(entry)) is not None]
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def api_root(links: object) -> str | None:
    """The API that an Item is from: its root, else what its collection, or the Item itself, is below."""
    found: dict[str, str] = {}
    for link in list_of(links):
        rel, href = mapping_of(link).get("rel"), mapping_of(link).get("href")
        if is_string(rel) and is_string(href) and href.startswith(("https://", "http://")):
            found.setdefault(rel, href[:LONGEST_ADDRESS])
    if "root" in found:
        return found["root"]
    below = (found[rel].partition("/collections/") for rel in ("collection", "self") if rel in found)
    return next((root for root, mark, _ in below if mark), None)


def level_stated(texts: list[object]) -> str | None:
    """The processing level, `l1c` or `l2a`, of the first text that states one."""
    for text in texts:
        if not is_string(text):
            continue
        if found := re.search(r"(?:^|[^A-Z0-9]|MSI|C2)L([12])(?![0-9])|MSI([12])[AC]", text.upper()):
            return "l2a" if "2" in found.groups() else "l1c"
        # Analysis-ready data and `SR`, surface reflectance.
        if re.search(r"^HLS|(?:^|[^A-Z0-9])(?:ARD|SR)(?:[^A-Z0-9]|$)", text.upper().replace("C2ARD", "ARD")):
            return "l2a"
    return None


def sensor_of(about: str, sentinel2: bool, hls: str | None) -> str | None:
    """The sensor, as `algorithms.bands` calls it.

    Args:
        about: names of the Item, its collection and platform, in lower case.
        sentinel2: whether it is Sentinel-2.
        hls: `s` or `l` for a product of HLS.
    """
    if sentinel2 or hls == "s":
        return "msi"
    if hls == "l" or re.search(r"landsat[-_ ]?[89]|\bl[co]0[89]_", about):
        return "oli"
    return "tm" if re.search(r"landsat[-_ ]?[4-7]|\bl[te]0[4-7]_", about) else None


def landsat_meaning(about: str, properties: Mapping[str, Any], sensor: str | None) -> Reflectance | None:
    """What digital numbers of Landsat, Collection 2, mean; None of another Item, and where that is not known.

    Args:
        about: names of the Item, its collection and platform, in lower case.
        properties: the Item's.
        sensor: as `algorithms.bands` calls it.
    """
    correction = properties.get("landsat:correction")
    said = correction.upper() if is_string(correction) else ""
    if said.startswith("L2") or re.search(r"landsat-?c2-?l2|\bl[cet]0[4-9]_l2s[pr]_", about):
        return LANDSAT_SURFACE
    of_this = properties.get("landsat:collection_number") == "02" or re.search(
        r"landsat-?c2-?l1|_\d{8}_\d{8}_02_", about
    )
    top = said.startswith("L1") or re.search(r"landsat-?c2-?l1|\bl[co]0[89]_l1(?:tp|gt|gs)_", about)
    return landsat_top(number(properties.get("view:sun_elevation"))) if sensor == "oli" and of_this and top else None
