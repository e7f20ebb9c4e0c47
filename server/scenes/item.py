"""Scenes from STAC Items, 1.0 and 1.1, as the archives write them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeGuard
from urllib.parse import urljoin, urlsplit

from algorithms.bands import numbered_name
from server.errors import SourceUnreadableError
from server.remote.names import LONGEST_ADDRESS, SCHEMES
from server.scenes.bandlist import file_label
from server.scenes.bounded import LONGEST_TEXT, list_of, mapping_of, read_json, short_texts, shown, too_long
from server.scenes.masks import mask_kind
from server.scenes.productnames import product_named
from server.scenes.reflectance import baseline_of, number, reflectance_by_rules
from server.scenes.scene import DOCUMENT_BYTES, Scene, SceneBand, SceneMask, standing_in
from server.scenes.similar import Acquisition, Box, moment

MOST_ASSETS: Final = 1000
MOST_DESCRIBED: Final = 2000
"""Bands that an Item describes, those of all its assets together."""
MOST_ALTERNATES: Final = 4
"""Further addresses of an asset."""
MOST_ADDRESSES: Final = 250_000
"""Characters of all addresses of an Item that are kept; signed ones of 20 assets take 40,000."""
_REFLECTANCE: Final = re.compile(
    r"coastal|blue|green|yellow|red|rededge\d{0,3}|nir|nir08|watervapor|pan|cirrus|swir16|swir22"
)
"""Common names of bands of reflectance, which those of heat are not."""
_ALIASES: Final = {"nir09": "watervapor"}
_NOT_DATA: Final = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles", "temperature"})
_PICTURE: Final = re.compile(
    r"(?:^|[_-])(?:visual|tci|pvi|preview|rendered_preview|thumbnail)(?:[_-]|$)", re.IGNORECASE
)
_RASTER: Final = re.compile(r"image/(?:tiff|vnd\.stac\.geotiff|jp2)\b")
_SIZE: Final = re.compile(r"_(\d{2})m$")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds for all assets of an Item."""

    url: str
    properties: Mapping[str, Any]
    sensor: str | None
    sentinel2: bool
    landsat: bool
    baseline: str | None


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
        raise _refuse(url, f"is an Item with an id of more than {LONGEST_TEXT} characters; correct the Item")
    item = short_texts(item)
    if len(assets) > MOST_ASSETS:
        raise _refuse(url, f"is an Item of {len(assets)} assets; up to {MOST_ASSETS} are read")
    if (described := sum(map(_band_count, assets.values()))) > MOST_DESCRIBED:
        raise _refuse(url, f"is an Item that describes {described} bands; up to {MOST_DESCRIBED} are read")
    names = [item.get("id"), properties.get("s2:product_uri"), item.get("collection")]
    named = {key: asset for key, asset in assets.items() if len(key) <= LONGEST_TEXT and key.isprintable()}
    rasters = {key: asset for key, asset in named.items() if isinstance(asset, dict) and _is_raster(asset)}
    files = [asset["href"][:LONGEST_ADDRESS] for asset in rasters.values()]
    product = product_named(files)
    said = (*names, properties.get("platform"), properties.get("constellation"), product)
    texts = [text for text in said if _is_text(text)]
    about = " ".join(texts).lower()
    hls = re.search(r"\bhls[\w.-]{0,40}?([ls])30", about)
    sentinel2 = hls is None and bool(re.search(r"sentinel-2|\bs2[abcd]_", about))
    version = properties.get("processing:version")
    if not _is_text(version) or re.fullmatch(r"\d\d\.\d\d", version, re.ASCII) is None:
        version = None  # of some software
    baseline = baseline_of([properties.get("s2:processing_baseline"), version], [*names[:2], product])
    correction = properties.get("landsat:correction")
    facts = _Facts(
        url,
        properties,
        sensor=_sensor(about, sentinel2, hls[1] if hls else None),
        sentinel2=sentinel2,
        landsat=bool(re.search(r"landsat-?c2-?l2|\bl[cet]0[4-9]_l2s[pr]_", about))
        or (_is_text(correction) and correction.startswith("L2")),
        baseline=baseline if sentinel2 else None,
    )
    stated = [properties.get("processing:level"), correction, properties.get("s2:product_type")]
    level = _level([*stated, *names[::-1], product])
    bands: dict[str, SceneBand] = {}
    masks: dict[str, tuple[float, SceneMask]] = {}
    for key, asset in rasters.items():
        file = _file(asset["href"])
        if kind := mask_kind(key, file=file, fields=asset.get("classification:bitfields")):
            size = _resolution([asset], key, file) or 0.0
            rank = size + (0.5 if _is_jp2(asset) else 0.0)
            if kind not in masks or rank < masks[kind][0]:
                place, *others = _places(url, key, asset)
                masks[kind] = rank, SceneMask(kind, key, place, alternates=tuple(others))
            continue
        for band in _bands(facts, key, asset, file):
            name = band.name or ""
            if name not in bands or _rank(band) < _rank(bands[name]):
                bands[name] = band
    if not bands:
        raise _refuse(url, "is an Item without bands of reflectance; name the files, {B02,B03,B04}.tif")
    kept: list[SceneBand | SceneMask] = [*bands.values(), *(mask for _, mask in masks.values())]
    if (length := sum(len(place) for one in kept for place in (one.url, *one.alternates))) > MOST_ADDRESSES:
        raise _refuse(url, f"is an Item of addresses of {length} characters; up to {MOST_ADDRESSES} are read")
    return Scene(
        url=url,
        bands=standing_in(list(bands.values())),
        level=level,
        acquisition=_acquisition(item, facts, names, level),
        masks=tuple(mask for _, mask in masks.values()),
        api_root=_root(item.get("links")),
    )


def _document(data: bytes, url: str) -> dict[str, Any]:
    if len(data) > DOCUMENT_BYTES:
        raise _refuse(url, f"has {len(data)} bytes, more than an Item of up to {DOCUMENT_BYTES}")
    try:
        item = read_json(data)
    except ValueError as error:
        raise _refuse(url, f"is not JSON ({str(error)[:80]}); give the address of a STAC Item") from error
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
        found = item.get("type") if isinstance(item, dict) else type(item).__name__
        raise _refuse(url, f"is not a STAC Item but {shown(found)}; give the address of one Item")
    return item


def _bands(facts: _Facts, key: str, asset: dict[str, Any], file: str) -> Iterator[SceneBand]:
    """The bands of reflectance in one asset."""
    if _PICTURE.search(key) or _PICTURE.search(file.rsplit(".", 1)[0]):
        return
    lists = [list_of(asset.get(field)) for field in ("raster:bands", "eo:bands", "bands")]
    count = max(_band_count(asset), 1)
    place, *others = _places(facts.url, key, asset)
    for k in range(count):
        raster, older, newer = (short_texts(entries[k]) if k < len(entries) else {} for entries in lists)
        name = _name(facts.sensor, key if count == 1 else "", newer | older, file if count == 1 else "")
        if name is None:
            continue
        places = [raster, older, newer, asset]
        meaning = reflectance_by_rules(
            places,
            # The flag is about Earth Search's own cloud-optimized files; its JPEG 2000 are ESA's.
            applied=facts.properties.get("earthsearch:boa_offset_applied") is True and not _is_jp2(asset),
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


def _name(sensor: str | None, key: str, band: Mapping[str, Any], file: str) -> str | None:
    """A band's common name: by the sensor's own number, since archives disagree on B8A; else as the document has it."""
    own, common = band.get("name"), band.get("common_name") or band.get("eo:common_name")
    labels = [text for text in (own, key, file_label(file) if file else "") if _is_text(text)]
    name = next((found for label in labels if sensor and (found := numbered_name(sensor, label))), None)
    if name == "nir" and sensor == "oli":
        name = "nir08"  # as STAC calls it
    for text in (name, common, own, key):
        if _is_text(text):
            word = _ALIASES.get(text.lower(), text.lower())
            if _REFLECTANCE.fullmatch(word):
                return word
            if text is name:
                return None  # a thermal band
    return None


def _sensor(about: str, sentinel2: bool, hls: str | None) -> str | None:
    if sentinel2 or hls == "s":
        return "msi"
    if hls == "l" or re.search(r"landsat[-_ ]?[89]|\bl[co]0[89]_", about):
        return "oli"
    return "tm" if re.search(r"landsat[-_ ]?[4-7]|\bl[te]0[4-7]_", about) else None


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


def _level(texts: list[object]) -> str | None:
    for text in texts:
        if not _is_text(text):
            continue
        if found := re.search(r"(?:^|[^A-Z0-9]|MSI|C2)L([12])(?![0-9])|MSI([12])[AC]", text.upper()):
            return "l2a" if "2" in found.groups() else "l1c"
        if re.match("HLS", text, re.IGNORECASE):
            return "l2a"
    return None


def _acquisition(item: Mapping[str, Any], facts: _Facts, names: list[object], level: str | None) -> Acquisition:
    get = facts.properties.get
    ids = " ".join(text for text in names[:2] if _is_text(text))
    orbit, zenith = number(get("sat:relative_orbit")), number(get("s2:mean_solar_zenith"))
    found = re.search(r"_R(\d{3})_", ids)
    sun = number(get("view:sun_elevation"))
    collection, own = item.get("collection"), item.get("id")
    return Acquisition(
        id=own if _is_text(own) and own.isprintable() else facts.url,
        when=moment(get("datetime") or get("start_datetime")),
        collection=collection if _is_text(collection) and collection.isprintable() else None,
        tile=_tile(facts.properties, ids),
        level=level,
        relative_orbit=int(orbit) if orbit is not None else int(found[1]) if found else None,
        sun_elevation=90 - zenith if sun is None and zenith is not None else sun,
        cloud_cover=number(get("eo:cloud_cover")),
        baseline=facts.baseline,
        box=_box(item.get("bbox")),
    )


def _tile(properties: Mapping[str, Any], ids: str) -> str | None:
    path, row = properties.get("landsat:wrs_path"), properties.get("landsat:wrs_row")
    if (path := _counted(path)) and (row := _counted(row)):
        return f"{path:0>3}{row:0>3}"
    for value in (properties.get("grid:code"), properties.get("s2:mgrs_tile"), ids):
        if _is_text(value) and (found := re.search(r"(?:^|MGRS-|[_.]T)(\d{1,2}[A-Z]{3})(?:$|[_. ])", value)):
            return found[1]
    return None


def _counted(value: object) -> str | None:
    """A path or row of Landsat's grid, which archives write as a text or as a number."""
    if _is_text(value):
        return value[:3]
    found = number(value)
    return str(int(found)) if found is not None and 0 < found < 1000 and found.is_integer() else None


def _box(value: object) -> Box | None:
    numbers = [found for entry in list_of(value) if (found := number(entry)) is not None]
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None


def _root(links: object) -> str | None:
    """The API that an Item is from: its root, else what its collection, or the Item itself, is below."""
    found: dict[str, str] = {}
    for link in list_of(links):
        rel, href = mapping_of(link).get("rel"), mapping_of(link).get("href")
        if _is_text(rel) and _is_text(href) and href.startswith(("https://", "http://")):
            found.setdefault(rel, href[:LONGEST_ADDRESS])
    if "root" in found:
        return found["root"]
    below = (found[rel].partition("/collections/") for rel in ("collection", "self") if rel in found)
    return next((root for root, mark, _ in below if mark), None)


def _is_raster(asset: Mapping[str, Any]) -> bool:
    href, media, roles = asset.get("href"), asset.get("type"), list_of(asset.get("roles"))
    if not _is_text(href) or any(role in _NOT_DATA for role in roles if _is_text(role)):
        return False
    if _is_text(media):
        return _RASTER.match(media) is not None
    return _file(href).lower().endswith((".tif", ".tiff", ".jp2"))


def _is_jp2(asset: Mapping[str, Any]) -> bool:
    return asset.get("type") == "image/jp2" or _file(asset["href"]).lower().endswith(".jp2")


def _places(url: str, key: str, asset: Mapping[str, Any]) -> list[str]:
    """Addresses of an asset, its own first.

    Raises:
        SourceUnreadableError: its own is none, and there is no other.
    """
    others = [*_alternates(asset)]
    try:
        own = _joined(url, key, asset["href"])
    except SourceUnreadableError:
        if not others:
            raise
        return others
    return [own, *others]


def _alternates(asset: Mapping[str, Any]) -> tuple[str, ...]:
    entries = (mapping_of(entry).get("href") for entry in mapping_of(asset.get("alternate")).values())
    found = (
        href
        for href in entries
        if _is_text(href) and len(href) <= LONGEST_ADDRESS and href.split("://", maxsplit=1)[0] in SCHEMES
    )
    return tuple(islice(found, MOST_ALTERNATES))


def _file(href: str) -> str:
    """The end of a file's name, which says what it is."""
    return re.split(r"[?#]", href, maxsplit=1)[0].rsplit("/", 1)[-1][-LONGEST_TEXT:]


def _joined(url: str, key: str, href: str) -> str:
    """An asset's address; the allow-list looks at it before it is opened, as at every other.

    Raises:
        SourceUnreadableError: it is none.
    """
    remote = "://" in url
    absolute = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", href)
    local = absolute is not None and absolute[0].lower() == "file:" and not remote
    known = absolute is None or href.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES))
    if len(href) > LONGEST_ADDRESS or not href.isprintable() or "/vsi" in href.lower()[:5] or not (known or local):
        kinds = ", ".join(SCHEMES)
        raise _refuse(
            url,
            f"names {href[:100]!r} for {key[:40]!r}, which is not an address of {kinds} or next to the Item; "
            "correct the Item",
        )
    if absolute is not None:
        return href
    try:
        if not remote:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(url), href))
            if path.startswith("/vsi"):
                raise _refuse(url, f"names {href[:100]!r} for {key[:40]!r}, which is not a file; correct the Item")
            return path
        if url.split("://", maxsplit=1)[0].lower() in ("https", "http"):
            return urljoin(url, href)
        parts = urlsplit(url)
        return (
            f"{parts.scheme}://{parts.netloc}{posixpath.normpath(posixpath.join(posixpath.dirname(parts.path), href))}"
        )
    except ValueError as error:
        raise _refuse(
            url, f"names {href[:100]!r} for {key[:40]!r}, which is not an address; correct the Item"
        ) from error


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _refuse(url: str, why: str) -> SourceUnreadableError:
    return SourceUnreadableError(f"{url[:200]!r} {why}")
