"""Items whose words are not those of the large archives: their bands' names, media types, flags and levels."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import SourceUnreadableError
from server.scenes.item import scene_of
from server.scenes.scene import Scene

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def _scene(assets: dict[str, dict[str, Any]], properties: dict[str, Any] | None = None, **top: Any) -> Scene:
    item = {"type": "Feature", "id": "x", "properties": properties or {}, "assets": assets} | top
    return scene_of(item, "https://example.org/item.json")


def _files(keys: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {key: {"href": f"{key}.tif", "type": TIFF, **more} for key in keys.split()}


@pytest.mark.parametrize(
    ("platform", "keys", "names"),
    [
        ("sentinel-2a", "red_edge_2 nir_1 nir_2 swir_2 swir_3", "rededge2 nir nir08 swir16 swir22"),
        ("landsat-8", "coastal_aerosol nir swir_1 swir_2 panchromatic", "coastal nir swir16 swir22 pan"),
        ("landsat-7", "nir swir_1 swir_2", "nir swir16 swir22"),
    ],
)
@pytest.mark.parametrize("stated", [False, True], ids=["keys", "eo:bands"])
def test_digital_earth_australia_counts_its_short_wave_bands_by_sensor(
    platform: str, keys: str, names: str, stated: bool
) -> None:
    assets = _files(" ".join(f"nbart_{key}" for key in ("blue", "green", "red", *keys.split())))
    if stated:
        assets = {key: asset | {"eo:bands": [{"name": key}]} for key, asset in assets.items()}
    scene = _scene(assets | _files("oa_fmask oa_nbart_contiguity"), {"platform": platform}, collection="ga_x_ard_3")
    assert [band.name for band in scene.bands] == ["blue", "green", "red", *names.split()]
    assert (scene.level, scene.masks, scene.classed_mask) == ("l2a", (), "oa_fmask")


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ("B02 B03 B04 B08 B8A B11 B12 AOT", "blue green red nir nir08 swir16 swir22"),
        ("SR_B2 SR_B3 SR_B4 SR_B5 SR_B6 SR_B7 ST_B10", "blue green red nir swir16 swir22"),
        ("B02 B03 B04 B8A", "blue green red nir"),
    ],
)
def test_numbers_without_a_sensor_are_told_apart_by_the_others(keys: str, names: str) -> None:
    assert [band.name for band in _scene(_files(keys)).bands] == names.split()


def test_a_number_that_may_mean_two_bands_has_no_name() -> None:
    with pytest.raises(SourceUnreadableError, match="without bands"):
        _scene(_files("B6"))


@pytest.mark.parametrize(
    "media",
    [
        "IMAGE/TIFF; application=geotiff",
        "image/x.geotiff",
        "application/octet-stream",
        "application/x-geotiff",
        "",
        None,
    ],
)
def test_a_raster_is_one_under_any_media_type_of_files(media: str | None) -> None:
    assert [band.name for band in _scene(_files("blue nir", type=media)).bands] == ["blue", "nir"]


@pytest.mark.parametrize("media", ["image/png", "image/jpeg", "IMAGE/JPEG"])
def test_a_picture_is_none_whatever_its_name(media: str) -> None:
    assert [band.name for band in _scene(_files("blue") | _files("nir", type=media)).bands] == ["blue"]


@pytest.mark.parametrize("archive", ["earthsearch", "sentinel"])
@pytest.mark.parametrize(("value", "offset"), [(True, 0.0), (False, -0.1), ("yes", -0.1)])
def test_the_flag_of_an_applied_offset_has_two_names(archive: str, value: object, offset: float) -> None:
    flag = f"{archive}:boa_offset_applied"
    properties = {"platform": "sentinel-2a", "s2:processing_baseline": "05.09", flag: value}
    band = _scene(_files("B02"), properties).bands[0]
    assert (band.scale, band.offset, band.source == flag) == (1e-4, offset, value is True)


@pytest.mark.parametrize(
    ("collection", "keys", "level"),
    [
        ("ga_ls8c_ard_3", "nbart_blue", "l2a"),
        ("landsat-c2ard-sr", "blue", "l2a"),
        ("PSScene", "ortho_analytic_4b_sr", "l2a"),
        ("ls9_sr", "blue", "l2a"),
        ("sentinel-2-l1c", "blue", "l1c"),
        ("mosaics", "blue", None),
        ("srtm", "blue", None),
        ("standard", "blue", None),
    ],
)
def test_surface_reflectance_is_level_2(collection: str, keys: str, level: str | None) -> None:
    common = {"eo:bands": [{"name": "b", "common_name": "blue"}]}
    assert _scene(_files(keys, **common), collection=collection).level == level


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (4e-5, -0.2, "l1c")),
        ({"view:sun_elevation": 90}, (2e-5, -0.1, "l1c")),
        ({"landsat:collection_number": "01"}, (None, None, "l1c")),
        ({"view:sun_elevation": None}, (None, None, "l1c")),
        ({"view:sun_elevation": -3}, (None, None, "l1c")),
        ({"platform": "LANDSAT_7"}, (None, None, "l1c")),
        ({"landsat:correction": "L2SP"}, (2.75e-5, -0.2, "l2a")),
    ],
    ids=str,
)
def test_level_1_of_landsat_is_read_by_the_elevation_of_the_sun(
    changes: dict[str, Any], expected: tuple[float | None, float | None, str]
) -> None:
    properties = {
        "platform": "LANDSAT_8",
        "landsat:collection_number": "02",
        "landsat:correction": "L1TP",
        "view:sun_elevation": 30.0,
    }
    scene = _scene(_files("blue green red nir08"), properties | changes)
    for band in scene.bands:
        assert (band.scale, band.offset) == pytest.approx(expected[:2])
    assert scene.level == expected[2]
    stated = _scene(_files("blue", **{"raster:bands": [{"scale": 3e-5, "offset": -0.15}]}), properties | changes)
    assert [(band.scale, band.offset) for band in stated.bands] == [(3e-5, -0.15)]
