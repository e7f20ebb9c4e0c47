"""Band names of the sensors people bring, in the order their products list them."""

from collections.abc import Sequence

import pytest

from algorithms.bands import ROLES, common_names, role_indexes
from algorithms.errors import BandError, ClearSkyError

OLI = ["coastal", "blue", "green", "red", "nir", "swir16", "swir22"]
TM = ["blue", "green", "red", "nir", "swir16", "swir22"]


def roles_of(descriptions: Sequence[str | None]) -> dict[str, str | None]:
    """Which description was taken for which role of the models."""
    names = common_names(descriptions)
    return {role: descriptions[names.index(role)] for role in ROLES if role in names}


@pytest.mark.parametrize(
    ("descriptions", "expected"),
    [
        (["blue", "green", "red", "nir", "swir16", "swir22"], list(ROLES)),
        (["Blue", " GREEN ", "Red", "NIR", "SWIR1", "SWIR 2"], list(ROLES)),
        (["B02", "B03", "B04", "B08", "B11", "B12"], list(ROLES)),
        (["B2", "B3", "B4", "B8", "B11", "B12"], list(ROLES)),
        (["b02.tif", "b03.tif", "b04.tif", "b08.tif", "b11.tif", "b12.tif"], list(ROLES)),
        (["Band 2", "band_3", "band-4", "Band8", "Band 11", "Band 12"], list(ROLES)),
        (["B04", "B03", "B02"], ["red", "green", "blue"]),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], list(ROLES)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], OLI),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"], TM),
        (["B2", "B3", "B4", "B5", "B6", "B7"], list(ROLES)),
        (["B01", "B02", "B03", "B04", "B05", "B06", "B07"], OLI),
        (["coastal", "blue", "green", "red", "nir08", "swir16", "swir22"], OLI),
    ],
)
def test_each_band_gets_its_common_name(descriptions: list[str], expected: list[str]) -> None:
    assert list(common_names(descriptions)) == expected


def test_whole_sentinel2_product_takes_the_broad_near_infrared() -> None:
    product = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
    assert roles_of(product) == dict(zip(ROLES, ["B02", "B03", "B04", "B08", "B11", "B12"], strict=True))


def test_surface_sentinel2_product_without_the_broad_near_infrared_takes_the_narrow_one() -> None:
    product = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"]
    assert roles_of(product) == dict(zip(ROLES, ["B02", "B03", "B04", "B8A", "B11", "B12"], strict=True))


def test_hls_s30() -> None:
    product = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
    assert roles_of(product)["swir16"] == "B11"


def test_hls_l30_with_its_thermal_bands_is_landsat() -> None:
    product = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B09", "B10", "B11"]
    assert roles_of(product) == dict(zip(ROLES, ["B02", "B03", "B04", "B05", "B06", "B07"], strict=True))


def test_whole_landsat8_level1_product_is_landsat() -> None:
    product = [f"B{k}" for k in range(1, 12)]
    assert roles_of(product) == dict(zip(ROLES, ["B2", "B3", "B4", "B5", "B6", "B7"], strict=True))


def test_whole_landsat9_surface_product() -> None:
    product = [*(f"SR_B{k}" for k in range(1, 8)), "ST_B10", "QA_PIXEL", "SR_QA_AEROSOL"]
    assert roles_of(product) == dict(zip(ROLES, [f"SR_B{k}" for k in range(2, 8)], strict=True))


@pytest.mark.parametrize("extra", [[], ["ST_B6"], ["ST_B6", "QA_PIXEL", "SR_CLOUD_QA"]])
def test_whole_landsat7_surface_product(extra: list[str]) -> None:
    product = ["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", *extra]
    assert roles_of(product) == dict(zip(ROLES, product[:6], strict=True))


@pytest.mark.parametrize("word", [None, "", "   ", "QA_PIXEL", "B99", "reflectance of grass", "B2x", "1", "B"])
def test_what_cannot_be_told_has_no_role(word: str | None) -> None:
    assert common_names([word])[0] not in {*ROLES} - {"blue"}  # `B` alone is blue, as in R, G, B
    assert len(common_names([word, word, "red"])) == 3
    assert common_names([word, "red"])[1] == "red"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Near Infrared", "nir"),
        ("near-infrared", "nir"),
        ("NIR1", "nir"),
        ("SWIR-1", "swir16"),
        ("swir2", "swir22"),
        ("NIR narrow", "nir08"),
        ("Coastal aerosol", "coastal"),
    ],
)
def test_words_in_use_for_a_band(word: str, name: str) -> None:
    assert common_names([word, "nir"]) == (name, "nir")


def test_rgb_letters() -> None:
    assert common_names(["R", "G", "B"]) == ("red", "green", "blue")


def test_narrow_near_infrared_does_not_replace_the_broad_one() -> None:
    assert common_names(["nir08", "nir"]) == ("nir08", "nir")
    assert common_names(["red", "nir08"]) == ("red", "nir")


def test_no_bands() -> None:
    assert common_names([]) == ()


def test_role_indexes_are_positions_in_the_order_asked_for() -> None:
    assert role_indexes(["swir16", "red", None, "blue"], ["blue", "red", "swir16"]) == (3, 1, 0)


def test_missing_roles_are_named_with_the_remedy() -> None:
    with pytest.raises(BandError) as caught:
        role_indexes(["red", None, "green"], ROLES[:4])
    message = str(caught.value)
    missing = message.partition(" not found")[0]
    assert "blue" in missing
    assert "nir" in missing
    assert "red" not in missing
    assert "green" not in missing
    assert "[red, ?, green]" in message
    assert "`bands=`" in message
    assert "`mask=`" in message
    assert isinstance(caught.value, ClearSkyError)
