"""STAC Items as the archives write them: the real ones where they are, small ones of the same patterns everywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceUnreadableError
from server.scenes.bounded import LONGEST_TEXT, MOST_VALUES
from server.scenes.item import MOST_ASSETS, MOST_DESCRIBED, item_scene, scene_of
from server.scenes.itemassets import MOST_ALTERNATES
from server.scenes.scene import DOCUMENT_BYTES, Scene
from server.work.cache import size_of

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "stac"
URL = "https://example.org/items/item.json"
ROLES = ("blue", "green", "red", "nir", "swir16", "swir22")
TRUE = {
    "cdse_sentinel-2-l2a_trimmed": (1e-4, -0.1),
    "earthsearch_landsat-c2-l2": (2.75e-5, -0.2),
    "earthsearch_sentinel-2-c1-l2a": (1e-4, -0.1),
    "earthsearch_sentinel-2-l1c": (1e-4, -0.1),
    "earthsearch_sentinel-2-l2a": (1e-4, 0.0),
    "pc_landsat-c2-l2": (2.75e-5, -0.2),
    "pc_sentinel-2-l2a": (1e-4, 0.0),
    "stactools_landsat-c2-l2": (2.75e-5, -0.2),
    "stactools_sentinel-2-l2a_safe": (1e-4, -0.1),
    "usgs_landsat-c2l2-sr": (2.75e-5, -0.2),
}
"""Scale and offset of each archive's files."""


def _item(properties: dict[str, Any], assets: dict[str, Any], **top: Any) -> bytes:
    document = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": properties, "assets": assets}
    return json.dumps(document | top).encode()


def _asset(href: str, name: str, common: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "roles": ["data"], "eo:bands": [{"name": name, "common_name": common}]} | more


STATED: dict[str, Any] = {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0}]}
SENTINEL: dict[str, Any] = {"platform": "sentinel-2b", "s2:processing_baseline": "05.11"}
PATTERNS: dict[str, tuple[bytes, float]] = {
    "earth search l2a": (
        _item(
            SENTINEL | {"earthsearch:boa_offset_applied": True},
            {"blue": _asset("B02.tif", "B02", "blue", **STATED), "nir": _asset("B08.tif", "B08", "nir", **STATED)},
            collection="sentinel-2-l2a",
        ),
        0.0,
    ),
    "earth search c1": (
        _item(
            SENTINEL,
            {"blue": _asset("B02.tif", "B02", "blue", **STATED), "nir": _asset("B08.tif", "B08", "nir", **STATED)},
            collection="sentinel-2-c1-l2a",
        ),
        -0.1,
    ),
    "planetary computer": (
        _item(SENTINEL, {"B02": _asset("B02.tif", "B02", "blue"), "B08": _asset("B08.tif", "B08", "nir")}),
        -0.1,
    ),
    "planetary computer, older": (
        _item(
            SENTINEL | {"s2:processing_baseline": "02.12"},
            {"B02": _asset("B02.tif", "B02", "blue"), "B08": _asset("B08.tif", "B08", "nir")},
        ),
        0.0,
    ),
    "cdse": (
        _item(
            {"platform": "sentinel-2c", "processing:version": "05.11"},
            {
                f"{number}_{size}m": {
                    "href": f"T33UWP_20250330T100051_{number}_{size}m.jp2",
                    "type": "image/jp2",
                    "gsd": size,
                    "bands": [{"name": number, "eo:common_name": common}],
                    "raster:scale": 1e-4,
                    "raster:offset": -0.1,
                }
                for number, common, sizes in (("B02", "blue", (60, 10, 20)), ("B08", "nir", (10,)))
                for size in sizes
            }
            | {"AOT_10m": {"href": "AOT_10m.jp2", "raster:scale": 1e-4, "raster:offset": -0.1}},
            stac_version="1.1.0",
        ),
        -0.1,
    ),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_archives_way_of_writing_gives_its_files_formula(pattern: str) -> None:
    data, offset = PATTERNS[pattern]
    scene = item_scene(data, URL)
    assert [band.name for band in scene.bands] == ["blue", "nir"]
    assert {(band.scale, band.offset) for band in scene.bands} == {(1e-4, offset)}


def test_the_finest_of_several_sizes_is_taken() -> None:
    scene = item_scene(PATTERNS["cdse"][0], URL)
    assert [(band.asset, band.resolution) for band in scene.bands] == [("B02_10m", 10), ("B08_10m", 10)]


def test_a_cloud_optimized_file_goes_before_jpeg_2000() -> None:
    for order in (("red", "red-jp2"), ("red-jp2", "red")):
        assets = {key: _asset(f"B04.{'jp2' if 'jp2' in key else 'tif'}", "B04", "red", gsd=10) for key in order}
        assert [band.asset for band in item_scene(_item(SENTINEL, assets), URL).bands] == ["red"]


def test_bands_are_known_by_the_sensors_own_numbers() -> None:
    numbers = {"B05": "rededge", "B06": "rededge", "B07": "rededge", "B8A": "rededge", "B08": "nir", "B09": "nir09"}
    scene = item_scene(_item(SENTINEL, {n: _asset(f"{n}.tif", n, c) for n, c in numbers.items()}), URL)
    names = ["rededge1", "rededge2", "rededge3", "nir08", "nir", "watervapor"]
    assert [band.name for band in scene.bands] == names


@pytest.mark.parametrize(("kind", "names"), [("S30", ["rededge1", "swir16"]), ("L30", ["nir", None])])
def test_hls_has_two_sensors_under_the_same_keys(kind: str, names: list[str | None]) -> None:
    assets = {key: {"href": f"HLS.{kind}.T33UWP.2024001.v2.0.{key}.tif"} for key in ("B05", "B11")}
    scene = item_scene(_item({}, assets, id=f"HLS.{kind}.T33UWP.2024001.v2.0"), URL)
    assert [band.name for band in scene.bands] == [name for name in names if name]
    assert {(band.scale, band.source) for band in scene.bands} == {(None, "the file")}
    assert scene.level == "l2a"


def test_landsats_heat_and_quality_are_no_bands() -> None:
    assets = {
        "blue": _asset("LC08_SR_B2.TIF", "OLI_B2", "blue"),
        "lwir11": _asset("LC08_ST_B10.TIF", "TIRS_B10", "lwir11"),
        "nir08": _asset("LC08_SR_B5.TIF", "OLI_B5", "nir08"),
        "qa_pixel": {"href": "LC08_QA_PIXEL.TIF"},
        "qa_aerosol": {"href": "LC08_SR_QA_AEROSOL.TIF"},
    }
    properties = {"platform": "landsat-8", "landsat:correction": "L2SP"}
    scene = item_scene(_item(properties, assets, collection="landsat-c2-l2"), URL)
    assert [(b.name, b.asset, b.scale, b.offset) for b in scene.bands] == [
        ("blue", "blue", 2.75e-5, -0.2),
        ("nir", "nir08", 2.75e-5, -0.2),
    ]
    assert [(mask.kind, mask.asset) for mask in scene.masks] == [("qa_pixel", "qa_pixel")]
    assert scene.level == "l2a"


@pytest.mark.parametrize(
    ("base", "href", "joined"),
    [
        (URL, "../data/B02.tif", "https://example.org/data/B02.tif"),
        (URL, "s3://bucket/B02.tif", "s3://bucket/B02.tif"),
        (URL, "https://other.org/a.tif?sig=x", "https://other.org/a.tif?sig=x"),
        ("s3://bucket/a/item.json", "./B02.tif", "s3://bucket/a/B02.tif"),
        ("s3://bucket/a/item.json", "../../../B02.tif", "s3://bucket/B02.tif"),
        ("/data/a/item.json", "B02.tif", "/data/a/B02.tif"),
        ("/data/a/item.json", "../b/B02.tif", "/data/b/B02.tif"),
        ("a/item.json", "B02.tif", "a/B02.tif"),
    ],
)
def test_addresses_are_joined_to_the_items(base: str, href: str, joined: str) -> None:
    (band,) = item_scene(_item(SENTINEL, {"blue": _asset(href, "B02", "blue")}), base).bands
    assert band.url == joined


@pytest.mark.parametrize(
    "href",
    ["javascript:x.tif", "file:///etc/passwd.tif", "/vsicurl/x.tif", "ftp://a/b.tif", "a\nb.tif", "x" * 9000 + ".tif"],
)
def test_what_is_no_address_is_refused_in_words(href: str) -> None:
    with pytest.raises(SourceUnreadableError, match="'blue'"):
        item_scene(_item(SENTINEL, {"blue": _asset(href, "B02", "blue")}), URL)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type": "Collection"}',
        b'{"type": "Feature", "assets": []}',
        b'{"type": "Feature", "assets": {}, "properties": 7, "n": ' + b"9" * 5000 + b"}",
        b'{"type": "Feature", "assets": {}}' + b" " * DOCUMENT_BYTES,
        _item({}, {str(k): {"href": "a.tif"} for k in range(MOST_ASSETS + 1)}),
        _item({}, {"a": {"href": "a.tif", "bands": [{}] * (MOST_DESCRIBED + 1)}}),
        _item({}, {"blue": _asset("B02.tif", "B02", "blue")}, id="x" * (LONGEST_TEXT + 1)),
        _item({}, {"blue": _asset("B02.tif", "B02", "blue")}, more=[{"": {}}] * MOST_VALUES),
        _item({}, {"blue": _asset("B02.tif", "B02", "blue")}, type=[[]] * 9),
    ],
    ids=range(17),
)
def test_what_is_no_item_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(SourceUnreadableError, match=r"item\.json"):
        item_scene(data, URL)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in entries for place in _places(inner, (*path, key)))]


SPOILT = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=9), st.just("\ud800"),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=2), st.just([[{}]]), st.just({"a": [1]}),
    st.sampled_from(["file:///etc/passwd", "/vsicurl/x", "//a", "http://[", "B8A", "9999-99-99", "0001-01-01T00:00Z"]),
)  # fmt: skip
WHOLE = [json.loads(data) for data, _ in PATTERNS.values()]
WHOLE += [json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))]


@given(st.data())
def test_spoilt_items_are_read_or_refused(data: st.DataObject) -> None:
    document = deepcopy(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        *above, last = data.draw(st.sampled_from(_places(document)[1:]))
        inner = document
        for key in above:
            inner = inner[key]
        inner[last] = deepcopy(data.draw(SPOILT))  # or a later change reaches into the strategy itself
    text = json.dumps(document).encode()
    for url in (URL, "/data/item.json"):
        try:
            scene = item_scene(text, url)
        except SourceUnreadableError:
            pass
        else:
            assert isinstance(scene, Scene)
            assert all(band.url.isprintable() and band.asset.isprintable() for band in scene.bands)


def _with(value: Any, name: str, text: str) -> Any:
    """A document with another text wherever a field of that name, or an entry of its list, is a text."""
    if isinstance(value, list):
        return [_with(inner, name, text) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: text
        if key == name and isinstance(inner, str)
        else [text if isinstance(entry, str) else _with(entry, name, text) for entry in inner]
        if key == name and isinstance(inner, list)
        else _with(inner, name, text)
        for key, inner in value.items()
    }


def _texts(value: Any) -> set[str]:
    """Names of the fields that are texts, or lists."""
    if isinstance(value, list):
        return {name for inner in value for name in _texts(inner)}
    if not isinstance(value, dict):
        return set()
    return {key for key, inner in value.items() if isinstance(inner, str | list)} | _texts(list(value.values()))


@pytest.mark.parametrize("token", ["hls.", "S2A_MSIL2A_", "L2", "MGRS-33UWP_", "B8A_10m_", "s3://a/?#", "scl-", "qa_"])
def test_no_text_of_an_item_takes_long_to_read(token: str) -> None:
    long = token * (100_000 // len(token))
    for document in WHOLE:
        spoilt = [_with(document, name, long) for name in sorted(_texts(document))]
        spoilt.append({**document, "assets": {f"{long}{key}": asset for key, asset in document["assets"].items()}})
        begun = time.process_time()
        for item in spoilt:
            with suppress(SourceUnreadableError):
                scene_of(item, URL)
        assert time.process_time() - begun < 0.02 * len(spoilt) + 1


WIDE = "\N{LARGE RED CIRCLE}"
"""A character that makes every one of a text take 4 bytes."""


@pytest.mark.parametrize(
    "change",
    [
        lambda asset, k: {f"{WIDE * 1_500_000}{k}": asset},
        lambda asset, k: {f"{k}": asset | {"href": WIDE * 8000 + f"{k}.tif"}},
        lambda asset, k: {f"{k}": asset | {"alternate": {n: {"href": f"s3://{WIDE * 8000}{n}"} for n in "abcde"}}},
        lambda asset, k: {f"{k}": asset | {"title": WIDE * 50_000}},
        lambda asset, k: {f"{k}": asset | {"eo:bands": [{"name": WIDE * 50_000, "common_name": f"rededge{k}"}]}},
    ],
    ids=["key", "address", "alternates", "title", "name"],
)
def test_what_is_kept_of_an_item_is_small(change: Any) -> None:
    assets: dict[str, Any] = {"blue": _asset("B02.tif", "B02", "blue")}
    for k in range(1, 20):
        assets |= change(_asset("a.tif", f"B{k:02}", f"rededge{k}", type="image/tiff"), k)
    properties = SENTINEL | {"s2:product_uri": WIDE * 1_000_000, "platform": WIDE * 1_000_000}
    try:
        scene = scene_of({"id": "x", "properties": properties, "assets": assets, "links": []}, URL)
    except SourceUnreadableError:
        return
    assert size_of(scene) < 1_500_000


def test_few_alternates_are_kept_of_each_asset() -> None:
    others: Mapping[str, Any] = {str(k): {"href": f"s3://a/{k}.tif"} for k in range(100)}
    scene = item_scene(_item(SENTINEL, {"blue": _asset("B02.tif", "B02", "blue", alternate=others)}), URL)
    assert scene.bands[0].alternates == tuple(f"s3://a/{k}.tif" for k in range(MOST_ALTERNATES))


SAFE = "S2B_MSIL2A_20250731T131909_{}R095_T20EPT_20250731T143919.SAFE/GRANULE/x/IMG_DATA/R10m/T20EPT_{}_10m.jp2"
BUNDLE = "LC08_{}_017036_20130419_20200913_02_T1/LC08_{}_017036_20130419_20200913_02_T1_{}.TIF"


def _meanings(properties: dict[str, Any], assets: dict[str, Any], **top: Any) -> set[tuple[float | None, float | None]]:
    return {(band.scale, band.offset) for band in item_scene(_item(properties, assets, **top), URL).bands}


@pytest.mark.parametrize(
    ("properties", "identity", "part", "expected"),
    [
        ({}, "mine", "N0511_", (1e-4, -0.1)),
        ({}, "mine", "N0400_", (1e-4, -0.1)),
        ({}, "mine", "N0301_", (1e-4, 0.0)),
        ({}, "2024_33TUN", "N0301_", (1e-4, 0.0)),
        ({}, "2024_33TUN", "", (None, None)),
        ({}, "mine_N2024", "", (None, None)),
        ({"platform": "sentinel-2b"}, "mine", "N0511_", (1e-4, -0.1)),
        ({"platform": "sentinel-2b", "processing:version": "1.0"}, "mine", "N0511_", (1e-4, -0.1)),
        ({"s2:processing_baseline": "03.01"}, "mine", "N0511_", (1e-4, 0.0)),
        *(({"s2:processing_baseline": b}, "mine", "N0301_", (1e-4, -0.1)) for b in (5.11, 4, "5.11", "05.11", "N0511")),
        *(({"s2:processing_baseline": b}, "mine", "N0511_", (1e-4, 0.0)) for b in (3.01, 2, "3.01", "03.01", "N0301")),
        *(({"s2:processing_baseline": b}, "mine", "N0511_", (1e-4, -0.1)) for b in (None, True, "", "new", [3], -3)),
    ],
)
def test_the_baseline_is_read_from_all_that_state_it(
    properties: dict[str, Any], identity: str, part: str, expected: tuple[float | None, float | None]
) -> None:
    assets = {"a": _asset(SAFE.format(part, "B02"), "B02", "blue"), "b": _asset(SAFE.format(part, "B8A"), "B8A", "x")}
    assert _meanings(properties, assets, id=identity) == {expected}
    scene = item_scene(_item(properties, assets, id=identity), URL)
    assert ([band.name for band in scene.bands], scene.level) == (["blue", "nir"], "l2a")


@pytest.mark.parametrize(
    ("kind", "label", "expected"), [("L2SP", "SR_B2", (2.75e-5, -0.2)), ("L1TP", "B2", (None, None))]
)
def test_landsats_files_say_what_they_are(kind: str, label: str, expected: tuple[float | None, float | None]) -> None:
    assets = {"blue": _asset(BUNDLE.format(kind, kind, label), label, "blue")}
    assert _meanings({}, assets, id="mine", collection="ours") == {expected}
    scene = item_scene(_item({}, assets, id="mine", collection="ours"), URL)
    assert scene.level == ("l2a" if kind == "L2SP" else "l1c")


def test_files_of_two_products_say_nothing() -> None:
    assets = {"a": _asset(SAFE.format("N0511_", "B02"), "B02", "blue")}
    assets["b"] = _asset(SAFE.replace("2025", "2024").format("N0301_", "B08"), "B08", "nir")
    assert _meanings({}, assets, id="mine") == {(None, None)}


FIELDS = ("raster:bands", "eo:bands", "bands", "asset")
"""Where an asset may state what its numbers mean, first what counts first."""


def _stating(**at: dict[str, Any]) -> dict[str, Any]:
    """An asset of two bands with statements by field, `_` for `:`; those of the second band are others."""
    asset: dict[str, Any] = {"href": "x.tif", **at.pop("asset", {})}
    names = [{"name": "B02"}, {"name": "B03"}]
    asset["eo:bands"], asset["bands"] = ([dict(name) for name in names] for _ in range(2))
    asset["raster:bands"] = [{}, {}]
    for field, stated in at.items():
        for k, entry in enumerate(asset[field.replace("_", ":")]):
            entry.update({name: value * (1 + k) for name, value in stated.items()})
    return asset


@pytest.mark.parametrize("first", range(4))
def test_what_is_stated_nearest_counts(first: int) -> None:
    places = FIELDS[first:]
    stated = {
        field.replace(":", "_"): {"scale": 2e-4 + k * 1e-4, "offset": k / 8, "nodata": k + 7, "gsd": 10 + k}
        for k, field in enumerate(places)
    }
    scene = item_scene(_item(SENTINEL, {"a": _stating(**stated)}), URL)
    times = 1 if places[0] == "asset" else 2
    found = [(band.scale, band.offset, band.nodata, band.resolution) for band in scene.bands]
    assert found == [(2e-4, 0, 7, 10), (2e-4 * times, 0, 7 * times, 10 * times)]


@pytest.mark.parametrize("scale", FIELDS)
@pytest.mark.parametrize("offset", FIELDS)
@pytest.mark.parametrize("prefix", ["", "raster:"])
def test_scale_and_offset_may_be_in_different_places(scale: str, offset: str, prefix: str) -> None:
    stated: dict[str, dict[str, Any]] = {}
    for field, word, value in ((scale, "scale", 2e-4), (offset, "offset", -0.25)):
        stated.setdefault(field.replace(":", "_"), {})[f"{prefix}{word}"] = value
    (band, *_) = item_scene(_item(SENTINEL, {"a": _stating(**stated)}), URL).bands
    assert (band.scale, band.offset) == (2e-4, -0.25)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("properties", "stated", "expected"),
    [
        ({}, {"scale": 1e-4}, -0.1),
        ({}, {"scale": 1e-4, "offset": 0}, 0.0),
        ({}, {"scale": 1e-4, "offset": None}, -0.1),
        ({"earthsearch:boa_offset_applied": True}, {"scale": 1e-4}, 0.0),
        ({"earthsearch:boa_offset_applied": False}, {"scale": 1e-4}, -0.1),
        ({"s2:processing_baseline": "03.01"}, {"scale": 1e-4}, 0.0),
        ({}, {"scale": 1}, 0.0),  # other numbers than ESA's
        ({"s2:processing_baseline": None}, {"scale": 1e-4}, 0.0),
    ],
)
def test_a_scale_without_an_offset_has_that_of_the_baseline(
    field: str, properties: dict[str, Any], stated: dict[str, Any], expected: float
) -> None:
    asset = _asset("x.tif", "B02", "blue", **{"raster:bands": [{}], "bands": [{}]})
    (asset if field == "asset" else asset[field][0]).update(stated)
    assert _meanings(SENTINEL | properties, {"a": asset}) == {(stated["scale"], expected)}


@pytest.mark.parametrize("row", ["032", "32", 32, 32.0])
@pytest.mark.parametrize("path", ["005", "5", 5])
def test_path_and_row_may_be_numbers(path: object, row: object) -> None:
    properties = {"platform": "landsat-8", "landsat:wrs_path": path, "landsat:wrs_row": row}
    scene = item_scene(_item(properties, {"blue": _asset("B2.tif", "B2", "blue")}), URL)
    assert scene.acquisition is not None
    assert scene.acquisition.tile == "005032"


@pytest.mark.parametrize("path", [0, -5, 5.5, 1e9, 10**400, True, None, [5]])
def test_other_paths_are_none(path: object) -> None:
    properties = {"landsat:wrs_path": path, "landsat:wrs_row": 32}
    scene = item_scene(_item(properties, {"blue": _asset("B2.tif", "B2", "blue")}), URL)
    assert scene.acquisition is not None
    assert scene.acquisition.tile is None


@pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/stac is missing")
@pytest.mark.parametrize("name", TRUE)
def test_real_items_give_the_models_bands_with_their_files_formula(name: str) -> None:
    scene = item_scene((FOLDER / f"{name}.json").read_bytes(), URL)
    found = {band.name: band for band in scene.bands}
    assert set(ROLES) <= set(found)
    assert len(found) == len(scene.bands)
    assert {(band.scale, band.offset) for band in scene.bands} == {TRUE[name]}
    assert scene.level == ("l1c" if "l1c" in name else "l2a")
    assert scene.acquisition is not None
    assert scene.acquisition.when is not None
    assert scene.acquisition.tile is not None
    assert scene.acquisition.box is not None
    assert [mask.kind for mask in scene.masks] == (
        [] if "l1c" in name else ["qa_pixel"] if "landsat" in name else ["scl"]
    )
