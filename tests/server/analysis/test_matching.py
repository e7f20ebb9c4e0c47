"""Bands of a target and its replacements are paired by name; by position only where names do not say otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal
from rasterio.enums import ColorInterp
from starlette.testclient import TestClient

from algorithms.errors import BandError
from server.analysis.matching import lacking_bands, match_bands, paired_bands, shared_bands
from server.raster.dataset import Dataset
from tests.helpers.scenes import CLEAR_REPLACEMENTS, write_bare, write_raster
from tests.helpers.service import application, good, raster, sources_by

RGB: Final = ("red", "green", "blue")
INFRARED: Final = ("nir", "swir16", "swir22")
NONE: Final = (None, None, None)
SIDE: Final = 48


def dataset(names: tuple[str | None, ...], url: str = "other.tif") -> Dataset:
    ones, zeros = (1.0,) * len(names), (0.0,) * len(names)
    return Dataset(
        url=url,
        version="1",
        crs="EPSG:32633",
        transform=(10, 0, 0, 0, -10, 0),
        width=SIDE,
        height=SIDE,
        indexes=tuple(range(1, 1 + len(names))),
        dtype="uint16",
        nodata=None,
        names=names,
        scales=ones,
        offsets=zeros,
        reflectance_source="",
        level="l1c",
        bounds=(0, -480, 480, 0),
    )


@pytest.mark.parametrize(
    ("target", "other", "numbers"),
    [
        (RGB, ("nir", "blue", "green", "red"), (4, 3, 2)),
        (RGB, RGB, (1, 2, 3)),
        (RGB, NONE, (1, 2, 3)),
        (NONE, INFRARED, (1, 2, 3)),
        ((None, "red", "green"), ("blue", "red", None), (1, 2, 3)),
        (("red", "red"), ("red", "red"), (1, 2)),
        (RGB, ("nir", "red"), (2,)),
    ],
)
def test_bands_are_paired(target: Any, other: Any, numbers: tuple[int, ...]) -> None:
    own, found = dataset(target, "target.tif"), paired_bands(dataset(target), dataset(other))
    shared = shared_bands(own, [found], ())
    assert match_bands(shared, found) == numbers


@pytest.mark.parametrize(
    ("target", "other"),
    [
        (RGB, INFRARED),
        (RGB, (None, "nir", None)),
        ((None, "red", "green"), ("red", "green", "blue")),
        (("red", "red"), ("red", "nir")),
        (RGB, (None, None)),
        ((None, "red"), (None, "red", "nir")),
    ],
)
def test_bands_that_cannot_be_paired_are_listed_of_both(target: Any, other: Any) -> None:
    with pytest.raises(BandError) as caught:
        paired_bands(dataset(target), dataset(other))
    for names in (target, other):
        assert str([name or "?" for name in names]) in str(caught.value)


def test_a_replacement_without_names_has_the_targets_for_its_neighbours_sake() -> None:
    """Another replacement that lacks a band takes it out of the middle, not off the end."""
    target, few = dataset(RGB), dataset(("blue", "red"))
    bare = paired_bands(target, dataset(NONE))
    shared = shared_bands(target, [bare, few], ())
    assert (match_bands(shared, bare), match_bands(shared, few)) == ((1, 3), (2, 1))


def test_replacements_that_share_no_band_together_are_all_named() -> None:
    target, others = dataset((*RGB, *INFRARED)), [dataset(RGB, "visible.tif"), dataset(INFRARED, "infrared.tif")]
    with pytest.raises(BandError) as caught:
        lacking_bands(target, others)
    assert "'visible.tif' lacks nir, swir16, swir22; 'infrared.tif' lacks red, green, blue" in str(caught.value)


def test_every_missing_band_that_is_shown_is_named() -> None:
    target, few = dataset((*RGB, *INFRARED)), dataset(("red", "green", "swir22"), "few.tif")
    with pytest.raises(BandError, match=r"lacks blue, nir: .*give a replacement"):
        shared_bands(target, [few], (1, 3, 4))
    with pytest.raises(BandError, match=r"'few.tif'.*lacks nir: .*leave this replacement out"):
        shared_bands(target, [dataset(target.names), few], (4,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters of other bands, and a mask of the left half."""
    folder = tmp_path_factory.mktemp("matching")
    values = np.random.default_rng(0).integers(400, 3000, (6, SIDE, SIDE)).astype(np.uint16)
    for name, at, names in (
        ("rgb", slice(0, 3), RGB),
        ("infrared", slice(3, 6), INFRARED),
        ("six", slice(0, 6), (*RGB, *INFRARED)),
        ("four", slice(0, 4), (*RGB, "nir")),
    ):
        write_raster(folder / f"{name}.tif", values[at], descriptions=names)
    write_bare(folder / "bare.tif", values[:3], nodata=0)
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, :, : SIDE // 2] = 1
    write_raster(folder / "mask.tif", mask, nodata=None)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def asked(folder: Path, target: str, *others: str, **more: Any) -> dict[str, Any]:
    urls = {"url": f"{folder}/{target}.tif", "replacement": [f"{folder}/{other}.tif" for other in others]}
    return urls | {"mask": f"{folder}/mask.tif"} | CLEAR_REPLACEMENTS | more


@pytest.mark.parametrize(
    ("others", "more", "says"),
    [
        (("infrared",), {}, ["infrared.tif", "['nir', 'swir16', 'swir22']", "['red', 'green', 'blue']", "`bands`"]),
        (("bare", "infrared"), {}, ["infrared.tif"]),
    ],
)
def test_a_picture_is_refused_and_descriptions_say_why(
    client: TestClient, folder: Path, others: tuple[str, ...], more: dict[str, Any], says: list[str]
) -> None:
    params = asked(folder, "rgb", *others, **more)
    answer = client.get("/cog/preview.tif", params=params)
    assert answer.status_code == 400
    reason = answer.json()["detail"]
    assert not [text for text in says if text not in reason]
    info = good(client.get("/cog/info", params=params)).json()["clearsky"]
    scene = good(client.get("/cog/scene", params=params)).json()
    assert reason in info["warnings"] == scene["warnings"]
    assert info["replacement_clouds"][-1] == f"unusable: {reason}" == scene["replacements"][-1]["clouds"]


def test_replacements_of_no_common_band_are_described(client: TestClient, folder: Path) -> None:
    params = asked(folder, "six", "rgb", "infrared", assets="red")
    reason = client.get("/cog/preview.tif", params=params).json()["detail"]
    warnings = good(client.get("/cog/info", params=params)).json()["clearsky"]["warnings"]
    assert "rgb.tif' lacks nir" in reason
    assert reason in warnings


def test_bands_paired_by_position_are_described_and_fill_as_named_ones_do(client: TestClient, folder: Path) -> None:
    named, bare = (asked(folder, "rgb", other) for other in ("rgb", "bare"))
    warnings = good(client.get("/cog/info", params=bare)).json()["clearsky"]["warnings"]
    assert [text for text in warnings if "bare.tif" in text and "by position" in text and "2 as green" in text]
    one, two = (raster(good(client.get("/cog/preview.tif", params=each)).content) for each in (named, bare))
    assert_array_equal(one, two)


def test_names_for_one_raster_leave_another_its_own(client: TestClient, folder: Path) -> None:
    """`bands` of three names for a file without any, next to a target of six that has them."""
    plain = asked(folder, "six", "rgb", assets="red,green,blue")
    given = asked(folder, "six", "bare", assets="red,green,blue", bands="red,green,blue")
    one, two = (raster(good(client.get("/cog/preview.tif", params=each)).content) for each in (plain, given))
    assert_array_equal(one, two)
    answer = client.get("/cog/preview.tif", params=given | {"bands": "red,green"})
    assert (answer.status_code, "six.tif' has 6" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("colours", "descriptions", "names"),
    [
        ("red green blue", None, RGB),
        ("red green blue alpha", None, RGB),
        ("red green blue undefined", None, (None,) * 4),
        ("blue green red", None, NONE),
        ("red green", None, (None, None)),
        ("gray undefined undefined", None, NONE),
        ("red green blue", ("nir", None, None), ("nir", None, None)),
        ("red green blue undefined alpha", None, (None,) * 4),
    ],
)
def test_colours_name_the_bands_of_a_picture(tmp_path: Path, colours: str, descriptions: Any, names: Any) -> None:
    meanings = [ColorInterp[colour] for colour in colours.split()]
    path = tmp_path / "picture.tif"
    profile: dict[str, Any] = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4.6e6)}
    with rasterio.open(path, "w", "GTiff", 8, 8, len(meanings), dtype="uint8", **profile) as dst:
        dst.colorinterp = meanings
        dst.descriptions = descriptions or (None,) * len(meanings)
        dst.write(np.ones((len(meanings), 8, 8), np.uint8))
    assert sources_by(str(tmp_path)).dataset(str(path)).names == names


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"mask": "scls"}, ["'scls'", "scl, qa_pixel, fmask, udm2, auto"]),
        ({"replacement_mask": "clouds"}, ["'clouds'", "scl, qa_pixel, fmask, udm2, auto"]),
        ({"url": ""}, ["empty"]),
        ({"url": " "}, ["empty"]),
        (
            {"model": "ukis-4b-l1c", "replacement_mask": []},
            ["rgb.tif", "leave `model` out", "`none` if"],
        ),
        ({"assets": "nir"}, ["lacks nir", "`--per-asset`", "`per_asset=True`"]),
    ],
)
def test_remedies_fit(client: TestClient, folder: Path, more: dict[str, Any], says: list[str]) -> None:
    answer = client.get("/cog/preview.tif", params=asked(folder, "six", "rgb", assets="red") | more)
    reason = answer.json()["detail"]
    assert answer.status_code == 400, reason
    assert not [text for text in says if text not in reason], reason
    assert str(Path.cwd()) not in reason
