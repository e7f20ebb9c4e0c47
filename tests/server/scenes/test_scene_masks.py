"""Masks that come with a scene: values with known meaning, from the products' own handbooks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from algorithms.errors import ParameterError, ShapeError
from server.scenes.masks import PRESETS, any_bit, chosen_kind, mask_classes, mask_kind, parse_bits

ITEMS = sorted((Path(__file__).parents[4] / "shared" / "data" / "stac").glob("*.json"))
QA_PIXEL = {
    1: 255,  # fill
    21824: 0,  # clear, low confidence of all
    21952: 0,  # water
    22080: 0,  # cloud of medium confidence: the product itself sets its bit for clear
    21826: 1,  # dilated cloud
    22280: 1,  # cloud of high confidence
    54596: 1,  # cirrus of high confidence
    54852: 1,  # cirrus, cloud of medium confidence
    23888: 2,  # shadow of high confidence
    30048: 0,  # snow
    5440: 0,  # clear, Landsat 7
    5896: 1,  # cloud, Landsat 7
    7440: 2,  # shadow, Landsat 7
}


def test_landsats_values_mean_what_the_handbook_says() -> None:
    values = np.array([list(QA_PIXEL)], np.uint16)[np.newaxis]
    assert mask_classes("qa_pixel", values)[0].tolist() == list(QA_PIXEL.values())


def test_all_scene_classes_of_sentinel_2() -> None:
    classes = mask_classes("scl", np.arange(12, dtype=np.uint8).reshape(1, 1, 12))
    assert classes[0].tolist() == [255, 0, 0, 2, 0, 0, 0, 0, 1, 1, 1, 0]


@given(st.integers(0, 254))
def test_fmask_bit_by_bit(value: int) -> None:
    expected = 1 if value & 0b110 else 2 if value & 0b1000 else 0
    assert mask_classes("fmask", np.full((1, 1, 1), value, np.uint8)).item() == expected


def test_fmask_has_a_fill() -> None:
    assert mask_classes("fmask", np.full((1, 2, 2), 255, np.uint8)).tolist() == [[255, 255], [255, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 0, 0), 0),
        ((1, 0, 0, 0, 0), 2),
        ((0, 1, 0, 0, 0), 1),
        ((0, 0, 1, 0, 0), 1),
        ((0, 0, 0, 1, 0), 1),
        ((1, 0, 0, 1, 0), 1),
        ((0, 0, 0, 0, 1), 255),
        ((0, 0, 0, 0, 2), 1),
        ((0, 0, 0, 1, 4), 255),
    ],
)
def test_udm2_band_by_band(values: tuple[int, ...], expected: int) -> None:
    assert PRESETS["udm2"].bands == (3, 4, 5, 6, 8)
    assert mask_classes("udm2", np.array(values, np.uint8).reshape(5, 1, 1)).item() == expected


@pytest.mark.parametrize("kind", PRESETS)
@given(data=st.data())
def test_any_values_give_the_four_classes(kind: str, data: st.DataObject) -> None:
    shape = (len(PRESETS[kind].bands), 3, 4)
    dtype = data.draw(st.sampled_from([np.uint16, np.int16, np.uint32] + ([] if kind == "qa_pixel" else [np.uint8])))
    values = data.draw(arrays.arrays(dtype, shape))
    before = values.copy()
    classes = mask_classes(kind, values)
    assert classes.dtype == np.uint8
    assert classes.shape == shape[1:]
    assert set(np.unique(classes)) <= {0, 1, 2, 255}
    np.testing.assert_array_equal(values, before)


@given(arrays.arrays(np.int16, (5,)), st.sets(st.integers(0, 15), min_size=1))
def test_bits_are_those_of_the_stored_number(values: np.ndarray, bits: set[int]) -> None:
    expected = [any((int(value) & 0xFFFF) >> bit & 1 for bit in bits) for value in values]
    assert any_bit(values, sorted(bits)).tolist() == expected


@pytest.mark.parametrize("kind", PRESETS)
def test_what_cannot_be_such_a_mask_is_refused(kind: str) -> None:
    bands = len(PRESETS[kind].bands)
    with pytest.raises(ShapeError, match=kind):
        mask_classes(kind, np.zeros((bands + 1, 2, 2), np.uint16))
    with pytest.raises(ParameterError, match="float32"):
        mask_classes(kind, np.zeros((bands, 2, 2), np.float32))


def test_a_byte_is_no_qa_pixel() -> None:
    with pytest.raises(ParameterError, match="16 bits"):
        mask_classes("qa_pixel", np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ParameterError, match="bit 9 does not exist; the mask has bits 0 to 7"):
        any_bit(np.zeros(2, np.uint8), (9,))


@pytest.mark.parametrize(("text", "bits"), [("3", (3,)), ("4,3", (3, 4)), (" 3, 3 ,63", (3, 63)), ("0", (0,))])
def test_lists_of_bits(text: str, bits: tuple[int, ...]) -> None:
    assert parse_bits(text) == bits


@pytest.mark.parametrize("text", ["", ",", "3,", "-1", "64", "1-4", "3;4", "٣", "0x3", "9" * 5000])
def test_other_lists_are_refused_in_words(text: str) -> None:
    with pytest.raises(ParameterError, match="mask_bits=3,4"):
        parse_bits(text)


def test_auto_takes_the_first_there_is() -> None:
    assert chosen_kind("auto", ["udm2", "scl"]) == "scl"
    assert chosen_kind("fmask", ["fmask"]) == "fmask"
    with pytest.raises(ParameterError, match="leave `mask` out"):
        chosen_kind("auto", [])
    with pytest.raises(ParameterError, match="comes with qa_pixel"):
        chosen_kind("scl", ["qa_pixel"])
    with pytest.raises(ParameterError, match="none of scl"):
        chosen_kind("sc1", ["scl"])


@pytest.mark.parametrize(
    ("key", "file", "kind"),
    [
        ("scl", "SCL.tif", "scl"),
        ("SCL_20m", "T33UWP_20250330T100051_SCL_20m.jp2", "scl"),
        ("scl-jp2", "SCL.jp2", "scl"),
        ("qa_pixel", "LC08_L2SP_033032_20231008_20231017_02_T1_QA_PIXEL.TIF", "qa_pixel"),
        ("any", "HLS.S30.T33UWP.2024001T100000.v2.0.Fmask.tif", "fmask"),
        ("ortho_udm2", "20240101_100000_udm2.tif", "udm2"),
        ("qa_aerosol", "LC08_SR_QA_AEROSOL.TIF", None),
        ("qa_radsat", "LC08_QA_RADSAT.TIF", None),
        ("qa", "LC08_ST_QA.TIF", None),
        ("cloud", "CLD_20m.jp2", None),
        ("muscle", "muscle.tif", None),
        ("oa_fmask", "fmask.tif", None),
        ("any", "ga_s2bm_oa_3-2-1_55HFA_2024-01-01_final_fmask.tif", None),
        ("fmask", "ga_ls8c_oa_3-2-1_090084_2024-01-01_final_fmask.tif", None),
    ],
)
def test_masks_are_known_by_their_names(key: str, file: str, kind: str | None) -> None:
    assert mask_kind(key, file=file) == kind


def test_masks_are_known_by_their_bits() -> None:
    landsat = [{"name": "cloud", "offset": 3, "length": 1}, {"name": "cloud_shadow", "offset": 4, "length": 1}]
    hls = [{"name": "cloud", "offset": 1, "length": 1}, {"name": "cloud_shadow", "offset": 3, "length": 1}]
    other = [{"name": "cloud", "offset": 3, "length": 1}, {"name": "cloud_shadow", "offset": 9, "length": 1}]
    assert [mask_kind("quality", fields=fields) for fields in (landsat, hls, other)] == ["qa_pixel", "fmask", None]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "offset", "x"]), inner),
    )
)
def test_any_bitfields_are_borne(fields: object) -> None:
    assert mask_kind("quality", fields=fields) in {None, *PRESETS}


@pytest.mark.skipif(not ITEMS, reason="../shared/data/stac is missing")
@pytest.mark.parametrize("path", ITEMS, ids=lambda path: path.stem)
def test_real_items_have_the_mask_of_their_archive(path: Path) -> None:
    assets = json.loads(path.read_bytes())["assets"]
    found = {
        mask_kind(key, file=asset["href"].rsplit("/", 1)[-1], fields=asset.get("classification:bitfields"))
        for key, asset in assets.items()
    } - {None}
    expected = set() if "l1c" in path.stem else {"qa_pixel"} if "landsat" in path.stem else {"scl"}
    assert found == expected
