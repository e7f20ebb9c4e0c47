"""Scenes from STAC Items, 1.0 and 1.1, as the archives write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from algorithms.bands import australian_name, common_names, numbered_name
from server.remote.names import LONGEST_ADDRESS
from server.scenes.bandlist import file_label
from server.scenes.bounded import LONGEST_TEXT, is_string, list_of, mapping_of, read_json, short_texts, shown, too_long
from server.scenes.itemabout import acquisition_of, api_root, landsat_meaning, level_stated, sensor_of
from server.scenes.itemassets import asset_places, file_of, is_jp2, is_raster_asset, refused_item
from server.scenes.masks import is_classed_mask, mask_kind
from server.scenes.productnames import product_named
from server.scenes.reflectance import Reflectance, baseline_of, number, reflectance_by_rules
from server.scenes.scene import DOCUMENT_BYTES, Scene, SceneBand, SceneMask, standing_in

MOST_ASSETS: Final = 1000
MOST_DESCRIBED: Final = 2000
"""Bands that an Item describes, those of all its assets together."""
MOST_ADDRESSES: Final = 250_000
"""Characters of all addresses of an Item that are kept; signed ones of 20 assets take 40,000."""
_REFLECTANCE: Final = re.compile(
    r"coastal|blue|green|yellow|red|rededge\d{0,3}|nir|nir08|watervapor|pan|cirrus|swir16|swir22"
)
"""Common names of bands of reflectance, which those of heat are not."""
_ALIASES: Final = {"nir09": "watervapor"}
_PICTURE: Final = re.compile(
    r"(?:^|[_-])(?:visual|tci|pvi|preview|rendered_preview|thumbnail)(?:[_-]|$)", re.IGNORECASE
)
_SIZE: Final = re.compile(r"_(\d{2})m$")
_OFFSET_APPLIED: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""The flag of Earth Search, and its name in the first version, which Digital Earth Africa has kept."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds for all assets of an Item."""

    url: str
    properties: Mapping[str, Any]
    sensor: str | None
    sentinel2: bool
    landsat: Reflectance | None
    baseline: str | None
    applied: str | None
    """The flag that says that the offset is taken off already."""
    guessed: Mapping[str, str | None]
    """By asset, the name that its number has among the others', where no sensor is stated."""


def item_scene(data: bytes, url: str) -> Scene:
    """The scene that a STAC Item describes.

    Args:
        data: the document.
        url: the Item's own address or path, which its relative addresses are joined to.

    Raises:
        SourceUnreadableError: it is not an Item, has no bands of reflectance, or names a file where none can be.
    """
    return scene_of(_document(data, url), url)


def scene_of(item: Mapping[str, Any], url: str) -> Scene:
    """The scene that a STAC Item describes, parsed already: a GeoJSON feature with assets. See `item_scene`."""
    properties, assets = short_texts(item.get("properties")), mapping_of(item.get("assets"))
    if too_long(item.get("id")):  # cut, it could be another one's
        raise refused_item(url, f"is an Item with an id of more than {LONGEST_TEXT} characters; correct the Item")
    item = short_texts(item)
    if len(assets) > MOST_ASSETS:
        raise refused_item(url, f"is an Item of {len(assets)} assets; up to {MOST_ASSETS} are read")
    if (described := sum(map(_band_count, assets.values()))) > MOST_DESCRIBED:
        raise refused_item(url, f"is an Item that describes {described} bands; up to {MOST_DESCRIBED} are read")
    names = [item.get("id"), properties.get("s2:product_uri"), item.get("collection")]
    named = {key: asset for key, asset in assets.items() if len(key) <= LONGEST_TEXT and key.isprintable()}
    rasters = {key: asset for key, asset in named.items() if isinstance(asset, dict) and is_raster_asset(asset)}
    files = [asset["href"][:LONGEST_ADDRESS] for asset in rasters.values()]
    product = product_named(files)
    said = (*names, properties.get("platform"), properties.get("constellation"), product)
    texts = [text for text in said if is_string(text)]
    about = " ".join(texts).lower()
    hls = re.search(r"\bhls[\w.-]{0,40}?([ls])30", about)
    sentinel2 = hls is None and bool(re.search(r"sentinel-2|\bs2[abcd]_", about))
    version = properties.get("processing:version")
    if not is_string(version) or re.fullmatch(r"\d\d\.\d\d", version, re.ASCII) is None:
        version = None  # of some software
    baseline = baseline_of([properties.get("s2:processing_baseline"), version], [*names[:2], product])
    sensor = sensor_of(about, sentinel2, hls[1] if hls else None)
    single = [] if sensor else [key for key, asset in rasters.items() if _band_count(asset) <= 1]
    facts = _Facts(
        url,
        properties,
        sensor=sensor,
        sentinel2=sentinel2,
        landsat=landsat_meaning(about, properties, sensor) if hls is None else None,
        baseline=baseline if sentinel2 else None,
        applied=next((flag for flag in _OFFSET_APPLIED if properties.get(flag) is True), None),
        guessed=dict(zip(single, common_names(single), strict=True)),
    )
    stated = [properties.get(name) for name in ("processing:level", "landsat:correction", "s2:product_type")]
    bands: dict[str, SceneBand] = {}
    masks: dict[str, tuple[float, SceneMask]] = {}
    for key, asset in rasters.items():
        file = file_of(asset["href"])
        if kind := mask_kind(key, file=file, fields=asset.get("classification:bitfields")):
            size = _resolution([asset], key, file) or 0.0
            rank = size + (0.5 if is_jp2(asset) else 0.0)
            if kind not in masks or rank < masks[kind][0]:
                place, *others = asset_places(url, key, asset)
                masks[kind] = rank, SceneMask(kind, key, place, alternates=tuple(others))
            continue
        for band in _bands(facts, key, asset, file):
            name = band.name or ""
            if name not in bands or _rank(band) < _rank(bands[name]):
                bands[name] = band
    if not bands:
        raise refused_item(url, "is an Item without bands of reflectance; name the files, {B02,B03,B04}.tif")
    level = level_stated([*stated, *names[::-1], product, *(band.asset for band in bands.values())])
    kept: list[SceneBand | SceneMask] = [*bands.values(), *(mask for _, mask in masks.values())]
    if (length := sum(len(place) for one in kept for place in (one.url, *one.alternates))) > MOST_ADDRESSES:
        raise refused_item(url, f"is an Item of addresses of {length} characters; up to {MOST_ADDRESSES} are read")
    return Scene(
        url=url,
        bands=standing_in(list(bands.values())),
        level=level,
        acquisition=acquisition_of(item, url, properties, level=level, baseline=facts.baseline),
        masks=tuple(mask for _, mask in masks.values()),
        classed_mask=next((key for key in rasters if is_classed_mask(key, file=file_of(rasters[key]["href"]))), None),
        api_root=api_root(item.get("links")),
    )


def _document(data: bytes, url: str) -> dict[str, Any]:
    if len(data) > DOCUMENT_BYTES:
        raise refused_item(url, f"has {len(data)} bytes, more than an Item of up to {DOCUMENT_BYTES}")
    try:
        item = read_json(data)
    except ValueError as error:
        raise refused_item(url, f"is not JSON ({str(error)[:80]}); give the address of a STAC Item") from error
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
        found = shown(item.get("type") if isinstance(item, dict) else type(item).__name__)
        what = "a Feature without assets" if found == repr("Feature") else found
        raise refused_item(url, f"is not a STAC Item but {what}; give the address of one Item")
    return item


def _bands(facts: _Facts, key: str, asset: dict[str, Any], file: str) -> Iterator[SceneBand]:
    """The bands of reflectance in one asset."""
    if _PICTURE.search(key) or _PICTURE.search(file.rsplit(".", 1)[0]):
        return
    lists = [list_of(asset.get(field)) for field in ("raster:bands", "eo:bands", "bands")]
    count = max(_band_count(asset), 1)
    place, *others = asset_places(facts.url, key, asset)
    for k in range(count):
        raster, older, newer = (short_texts(entries[k]) if k < len(entries) else {} for entries in lists)
        alone = (key, file, facts.guessed.get(key)) if count == 1 else ("", "", None)
        name = _name(facts.sensor, newer | older, *alone)
        if name is None:
            continue
        places = [raster, older, newer, asset]
        meaning = reflectance_by_rules(
            places,
            # The flag is about Earth Search's own cloud-optimized files; its JPEG 2000 are ESA's.
            applied=None if is_jp2(asset) else facts.applied,
            sentinel2=facts.sentinel2,
            baseline=facts.baseline,
            landsat=facts.landsat,
        )
        yield SceneBand(
            name=name,
            asset=key,
            url=place,
            index=k + 1,
            resolution=_resolution(places, key, file),
            scale=meaning.scale,
            offset=meaning.offset,
            nodata=next((found for place in places if (found := number(place.get("nodata"))) is not None), None),
            source=meaning.source,
            whole_only=meaning.whole_only,
            alternates=tuple(others),
        )


def _band_count(asset: object) -> int:
    """How many bands an asset describes, as `eo:bands` or, from STAC 1.1 on, as `bands`."""
    about = mapping_of(asset)
    return max(len(list_of(about.get(field))) for field in ("eo:bands", "bands"))


def _name(sensor: str | None, band: Mapping[str, Any], key: str, file: str, guessed: str | None) -> str | None:
    """A band's common name: by the sensor's own number, since archives disagree on B8A; else as the document has it."""
    own, common = band.get("name"), band.get("common_name") or band.get("eo:common_name")
    labels = [text for text in (own, key, file_label(file) if file else "") if is_string(text)]
    name = next((found for label in labels if sensor and (found := numbered_name(sensor, label))), None)
    name = name or next((found for label in labels if (found := australian_name(sensor, label))), None)
    if name == "nir" and sensor == "oli":
        name = "nir08"  # as STAC calls it
    for text in (name, common, own, key, guessed if common is None else None):
        if is_string(text):
            word = _ALIASES.get(text.lower(), text.lower())
            if _REFLECTANCE.fullmatch(word):
                return word
            if text is name:
                return None  # a thermal band
    return None


def _rank(band: SceneBand) -> tuple[float, bool]:
    """The finest first, a cloud-optimized file before JPEG 2000."""
    return (band.resolution or float("inf"), band.url.lower().endswith(".jp2"))


def _resolution(places: Sequence[Mapping[str, Any]], key: str, file: str) -> float | None:
    names = ("spatial_resolution", "raster:spatial_resolution")
    # How fine a sensor sees is not how fine a file is: the size of its pixels goes first.
    stated = [*(place.get(name) for place in places for name in names), *(place.get("gsd") for place in places)]
    for value in stated:
        if (size := number(value)) is not None and size > 0:
            return size
    found = _SIZE.search(key) or _SIZE.search(file.rsplit(".", 1)[0])
    return float(found[1]) if found else None
