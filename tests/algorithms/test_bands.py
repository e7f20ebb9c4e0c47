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


@pytest.mark.parametrize(
    "description",
    [
        "B04", "B4", "b04", "B04_10m", "B4_20m", "B04-10m", "B4 (10m)", "B04.jp2", "B04 - Red", "B4: red", "Red (B4)",
        "Red", "RED", "Red Band (B4)", "Band 4 - Red", "Red - 10m", "Red (band 4) - 10m", "B4, red",
        "B4, central wavelength 665 nm", "B04 (Raw)", "Red reflectance", "B4 reflectance", "red_B04", "R", "B04_median",
        "T33TUG_20180705T100031_B04", "T33TUG_20180705T100031_B04_10m.jp2", "HLS.S30.T33TUG.2020200T100031.v2.0.B04",
        "S2A_MSIL1C_20180705T100031_B04", "LC08_L2SP_191031_20200715_20200912_02_T1_SR_B4",
        "LC09_L1TP_191031_20220715_20220715_02_T1_B4.TIF", "SR_B4", "sr_band4", "toa_band4", "Band 1: B04",
        "Band 3: Red", "Band_1: red", "TOA reflectance B4",
    ],
)  # fmt: skip
def test_real_products_red(description: str) -> None:
    assert common_names([description]) == ("red",)


@pytest.mark.parametrize(
    ("descriptions", "expected"),
    [
        (["Blue (B2)", "Green (B3)", "Red (B4)", "NIR (B8)", "SWIR 1 (B11)", "SWIR 2 (B12)"], list(ROLES)),
        (
            ["Blue - 10m", "Green - 10m", "Red - 10m", "NIR 1 - 10m", "SWIR 1.6μm - 20m", "SWIR 2.2μm - 20m"],
            list(ROLES),
        ),
        (
            [
                "Coastal/Aerosol Band (B1)", "Blue Band (B2)", "Green Band (B3)", "Red Band (B4)",
                "Near Infrared Band 0.8 (B5)", "Short-wave Infrared Band 1.6 (B6)", "Short-wave Infrared Band 2.2 (B7)",
            ],
            OLI,
        ),
        (
            ["NIR 1 (band 8) - 10m", "NIR 2 (band 8A) - 20m", "NIR 3 (band 9) - 60m", "Red edge 1 (band 5) - 20m"],
            ["nir", "nir08", "watervapor", "rededge1"],
        ),
        (
            ["coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"],  # PlanetScope
            ["coastal", "blue", None, "green", "yellow", "red", "rededge", "nir"],
        ),
        (["blue", "green", "red", "red edge", "near-infrared"], ["blue", "green", "red", "rededge", "nir"]),  # RapidEye
        (
            ["CoastalAerosol", "Blue", "Green", "Red", "NearInfrared", "ShortWaveInfrared_1", "ShortWaveInfrared_2"],
            OLI,
        ),
        (["Blue", "Green", "Red", "Near Infrared (NIR)", "Shortwave Infrared 1", "Shortwave Infrared (SWIR) 2"],
         list(ROLES)),
        (["red_edge_1", "rededge2", "Vegetation red edge 3", "rededge071"],
         ["rededge1", "rededge2", "rededge3", "rededge071"]),
        (["B02_10m", "B03_10m", "B04_10m", "B08_10m"], list(ROLES[:4])),
        (["B02_20m", "B03_20m", "B04_20m", "B05_20m", "B06_20m", "B07_20m", "B8A_20m", "B11_20m", "B12_20m"],
         ["blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "swir16", "swir22"]),
        (["B04 - Red", "B8A - Narrow NIR"], ["red", "nir"]),
        (["B2", "B3", "B4", "B8"], list(ROLES[:4])),
        (["B1", "B2", "B3", "B4", "B5", "B7"], TM),  # Landsat 5 in Earth Engine
        (["B4, central wavelength 665 nm", "B3, central wavelength 560 nm", "B2, central wavelength 490 nm",
          "B8, central wavelength 842 nm"], ["red", "green", "blue", "nir"]),
        ([f"LT05_L2SP_191031_19990715_20200912_02_T1_SR_B{k}" for k in (1, 2, 3, 4)], TM[:4]),
        ([f"LC08_L1TP_191031_20200715_02_T1_B{k}" for k in (2, 3, 4, 5)], list(ROLES[:4])),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5"], list(ROLES[:4])),
        (["B1 - Blue", "B2", "B3", "B4"], TM[:4]),
        (["B1 - Coastal", "B2", "B3", "B4"], OLI[:4]),
    ],
)  # fmt: skip
def test_real_products(descriptions: list[str], expected: list[str | None]) -> None:
    assert list(common_names(descriptions)) == expected


@pytest.mark.parametrize(
    "descriptions",
    [
        [f"Band {k}" for k in range(1, 7)],
        [f"Band {k}" for k in range(1, 5)],
        [f"band_{k}" for k in range(1, 14)],
        [f"Band{k}" for k in range(1, 4)],
        [f"Band {k} (Gray)" for k in range(1, 5)],
        ["Band 1"],
        [f"B{k}" for k in range(1, 5)],
        [f"B{k}" for k in range(1, 7)],
        [f"B{k}" for k in range(1, 9)],
        [f"B{k}" for k in range(1, 14)],
        [f"b{k}" for k in range(1, 4)],
        [f"SR_B{k}" for k in range(1, 5)],  # coastal to red of Landsat 8, blue to nir of Landsat 7
        [f"sur_refl_b0{k}" for k in range(1, 8)],  # MODIS: red, nir, blue, ...
        [f"target@{k}" for k in range(1, 5)],
        [f"{k}" for k in range(1, 5)],
        [None] * 4,
        ["Gray", "Gray", "Gray"],
        ["B4 cloud", "B3 haze", "B2 index"],
    ],
)
def test_what_is_ambiguous_stays_unknown(descriptions: list[str | None]) -> None:
    names = common_names(descriptions)
    assert not {*ROLES, "coastal"} & {*names}
    with pytest.raises(BandError, match="bands=blue,green,red,nir"):
        role_indexes(names, ROLES[:4])


def test_bands_on_which_all_sensors_agree_are_known_among_others() -> None:
    names = common_names([f"B{k}" for k in range(2, 9)])  # Landsat with its panchromatic band, or Sentinel-2 up to B8
    assert names[:3] == ("blue", "green", "red")
    assert "nir" not in names
