"""Sentinel-2 products in the SAFE format: what their metadata say, and where their pictures are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from algorithms.bands import numbered_name
from server.scenes.acquisition import Acquisition, Box, footprint, moment
from server.scenes.archive import ProductFiles, damaged
from server.scenes.bounded import check_xml
from server.scenes.reflectance import Reflectance, baseline_of, reflectance_by_rules, text_number
from server.scenes.scene import Scene, SceneBand, SceneMask, missing_bands, standing_in

_METADATA: Final = re.compile(r"(?:^|/)MTD_MSIL(1C|2A)\.xml$")
_TILE: Final = re.compile(r"GRANULE/[^/]+/MTD_TL\.xml$")
_PICTURE: Final = re.compile(r"/IMG_DATA/(?:R\d\dm/)?[^/]*_(B0[1-9]|B1[0-2]|B8A|SCL)(?:_(\d\d)m)?(?:\.(?:jp2|tif))?$")
_BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands of Sentinel-2 as the metadata number them from 0."""
_SIZES: Final = {"B02": 10.0, "B03": 10.0, "B04": 10.0, "B08": 10.0, "B01": 60.0, "B09": 60.0, "B10": 60.0}
"""Metres of a pixel; the others have 20."""

_MOST_QUANTITY: Final = 1e6
"""Digital numbers of a reflectance of 1 beyond which a statement is none; products have 10000."""
_Found = tuple[float, str]
"""Size of a picture's pixels in metres, and its name."""


def safe_level(name: str) -> str | None:
    """The level of the product whose metadata a file of that name is; None for any other file."""
    found = _METADATA.search(name)
    return None if found is None else f"l{found[1].lower()}"


def safe_scene(files: ProductFiles, metadata: str, level: str) -> Scene:
    """The scene that a product is.

    Args:
        files: the product's.
        metadata: name of its `MTD_MSIL1C.xml` or `MTD_MSIL2A.xml`.
        level: `l1c` or `l2a`.

    Raises:
        SourceUnreadableError: the metadata cannot be read, or its pictures are missing.
    """
    product = _parsed(files, metadata)
    folder = metadata[: metadata.rfind("/") + 1]
    tile_metadata = next((n for n in sorted(files.members) if n.startswith(folder) and _TILE.search(n)), None)
    tile = Element("") if tile_metadata is None else _parsed(files, tile_metadata)
    baseline = baseline_of([_text(product, "PROCESSING_BASELINE")], [_text(product, "PRODUCT_URI"), files.url])
    there = _finest(n for n in files.members if n.startswith(folder) and n.endswith((".jp2", ".tif")))
    meanings = _meanings(product, baseline, metadata.rsplit("/", 1)[-1])
    bands, masks = [], []
    for label, (size, name) in sorted(there.items()):
        url, member = files.place(name)
        if label == "SCL":
            masks.append(SceneMask("scl", label, url, member))
            continue
        meaning = meanings[label]
        bands.append(
            SceneBand(
                numbered_name("msi", label), label, url, 1, size, meaning.scale, meaning.offset, 0.0, meaning.source,
                member=member,
            )
        )  # fmt: skip
    names = " ".join((_text(product, "PRODUCT_URI") or files.url, *(name for _, name in there.values())))
    if not bands:
        raise damaged(files.url, "its pictures (GRANULE/*/IMG_DATA) are missing")
    return Scene(
        files.url,
        standing_in(bands),
        level,
        acquisition=replace(
            _acquisition(product, tile, names), level=level, baseline=baseline, collection=f"sentinel-2-{level}"
        ),
        masks=tuple(masks),
        warnings=_warnings(files.url, product, there),
    )


def _parsed(files: ProductFiles, name: str) -> Element:
    """A document of the product. Entities and references to other files are refused."""
    data = files.read(name)
    try:
        check_xml(data)
        root: Element = fromstring(data, forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError, LookupError) as error:
        raise damaged(files.url, f"{name!r} is not XML as products have it ({error})") from error
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    return root


def _text(root: Element, path: str) -> str | None:
    """The text of the first element at a path; None for none, or none that says anything."""
    return (root.findtext(f".//{path}") or "").strip()[:200] or None


def _finest(names: Iterable[str]) -> Mapping[str, _Found]:
    """By band, and SCL, the finest of some pictures."""
    found: dict[str, _Found] = {}
    for name in names:
        if picture := _PICTURE.search(name):
            size = float(picture[2]) if picture[2] else _SIZES.get(picture[1], 20.0)
            found[picture[1]] = min(found.get(picture[1], (size, name)), (size, name))
    return found


def _meanings(product: Element, baseline: str | None, document: str) -> Mapping[str, Reflectance]:
    """Scale and offset of every band: what the metadata state, and the rule of the baseline where they do not."""
    quantity = _text(product, "BOA_QUANTIFICATION_VALUE") or _text(product, "QUANTIFICATION_VALUE")
    by_rule = reflectance_by_rules([], applied=None, sentinel2=True, baseline=baseline, landsat=None)
    number = text_number(quantity)
    if number is None or not 1 <= number <= _MOST_QUANTITY:
        return dict.fromkeys(_BANDS, by_rule)
    unstated = Reflectance(1 / number, by_rule.offset or 0.0, f"{document}, its offset by the {by_rule.source}")
    if baseline is None:
        unstated = Reflectance(1 / number, 0.0, document)
    found = dict.fromkeys(_BANDS, unstated)
    for kind in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"):
        for element in product.iter(kind):
            place, added = text_number(element.get("band_id")), text_number(element.text)
            if place is not None and place in range(len(_BANDS)) and added is not None:
                found[_BANDS[int(place)]] = Reflectance(1 / number, added / number, document)
    return found


def _acquisition(product: Element, tile: Element, names: str) -> Acquisition:
    """Date and place, from the metadata of the product and of its tile, and from the names of its files."""
    uri = _text(product, "PRODUCT_URI")
    code, orbit = re.search(r"_T(\d\d[A-Z]{3})", names), re.search(r"_R(\d{3})_", names)
    stated, zenith = (
        text_number(_text(product, "SENSING_ORBIT_NUMBER")),
        text_number(_text(tile, "Mean_Sun_Angle/ZENITH_ANGLE")),
    )
    dates = (
        _text(product, "PRODUCT_START_TIME"),
        _text(tile, "SENSING_TIME"),
        _text(product, "DATATAKE_SENSING_START"),
    )
    return Acquisition(
        id=(uri or names.rsplit("/", maxsplit=1)[-1]).removesuffix(".SAFE"),
        when=next((found for text in dates if (found := moment(text)) is not None), None),
        tile=code[1] if code else None,
        relative_orbit=int(stated) if stated is not None else int(orbit[1]) if orbit else None,
        sun_elevation=None if zenith is None else 90 - zenith,
        cloud_cover=text_number(_text(product, "Cloud_Coverage_Assessment")),
        box=_box(product),
    )


def _box(product: Element) -> Box | None:
    """The footprint, stated as a polygon of latitudes and longitudes in turn."""
    numbers = [text_number(word) for word in (product.findtext(".//EXT_POS_LIST") or "").split()]
    pairs = zip(numbers[1::2], numbers[::2], strict=False)
    return footprint([(lon, lat) for lon, lat in pairs if lon is not None and lat is not None])


def _warnings(url: str, product: Element, there: Mapping[str, _Found]) -> tuple[str, ...]:
    """Which pictures that the metadata name are missing."""
    named = _finest((element.text or "").strip() for element in product.iter("IMAGE_FILE"))
    bands = {label: size for label, (size, _) in sorted(named.items()) if label in _BANDS}
    coarse = [label for label, size in bands.items() if label in there and there[label][0] > size]
    return (
        *missing_bands(url, [label for label in bands if label not in there]),
        *(
            f"{url!r} has {label} at {there[label][0]:g} m only; its metadata name {bands[label]:g} m"
            for label in coarse
        ),
    )
