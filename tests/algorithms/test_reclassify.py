"""ArcGIS remap strings and the buffer: against a reading of the rules value by value, and against scipy's dilation."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from algorithms.errors import ParameterError, RemapError, ShapeError
from algorithms.masks import buffer_cells, buffer_mask, dilate
from algorithms.reclassify import MODEL_REMAP, Entry, Remap, reclassify


@pytest.mark.parametrize(
    ("remap", "expected"),
    [
        ("1 1;2 1;3 1", [(1, 1, 1), (2, 2, 1), (3, 3, 1)]),
        ("1 3 1", [(1, 3, 1)]),
        ("  1   1 ;\t2 0;\n3  1 ; ", [(1, 1, 1), (2, 2, 0), (3, 3, 1)]),
        (";;1 1;;", [(1, 1, 1)]),
        ("0.5 2.5 7", [(0.5, 2.5, 7)]),
        ("-3 -1 2;-0.5 1", [(-3, -1, 2), (-0.5, -0.5, 1)]),
        ("1e1 1.0", [(10, 10, 1)]),
        ("NODATA 0;nodata 1;1 NoData", [(255, 255, 0, True), (255, 255, 1, True), (1, 1, 255)]),
        ("2 2 1", [(2, 2, 1)]),
    ],
)
def test_remap_strings_that_can_be_read(remap: str, expected: list[tuple[Any, ...]]) -> None:
    assert Remap(remap).entries == tuple(Entry(*entry) for entry in expected)


@pytest.mark.parametrize(
    ("remap", "position", "offender"),
    [
        ("1 1;2 x", 6, "'x'"),
        ("a 1", 0, "'a'"),
        ("  1 1;  2 b 1", 10, "'b'"),
        ("1 1;2", 4, "'2'"),
        ("1 1; 1 2 3 4", 5, "'1 2 3 4'"),
        ("1 1;2 1.5", 6, "'1.5'"),
        ("1 256", 2, "'256'"),
        ("1 -1", 2, "'-1'"),
        ("1 1;5 3 1", 4, "5 3"),
        ("nan 1", 0, "'nan'"),
        ("1 1;inf 1", 4, "'inf'"),
        ("1 1e999", 2, "'1e999'"),
        ("1,1", 0, "'1,1'"),
        ("1 1;1_0 1", 4, "'1_0'"),
        ("1 1;٣ 1", 4, "'٣'"),
    ],
)
def test_errors_tell_the_position_and_what_stands_there(remap: str, position: int, offender: str) -> None:
    with pytest.raises(RemapError) as caught:
        Remap(remap)
    found = re.search(r"position (\d+)", str(caught.value))
    assert found is not None
    assert int(found[1]) == position
    assert offender in str(caught.value)


@pytest.mark.parametrize("remap", ["", "   ", ";", " ; ;\t"])
def test_a_remap_string_without_entries_is_an_error(remap: str) -> None:
    with pytest.raises(RemapError, match="position 0"):
        Remap(remap)


@given(st.one_of(st.text(max_size=30), st.text(alphabet="0123456789.;-+eE \tNODATAnodatainf", max_size=30)))
@example("1" * 400 + " 1")
@example("1 1" + "0" * 400)
@example("NODATA")
@example("1e300 1")
@example("-1e300 1e300 1")
def test_no_text_raises_anything_but_a_remap_error(remap: str) -> None:
    try:
        entries = Remap(remap).entries
    except RemapError as error:
        assert "position" in str(error)  # noqa: PT017
    else:
        assert entries
        assert all(entry.low <= entry.high and 0 <= entry.value <= 255 for entry in entries)
        classes = np.arange(256, dtype=np.float32).reshape(16, 16)
        np.testing.assert_array_equal(reclassify(classes, remap), reclassify(classes, Remap(remap)))


good_entry = st.tuples(st.integers(0, 9), st.integers(0, 1)).map(lambda pair: f"{pair[0]} {pair[1]}")


@given(st.lists(good_entry, max_size=5), st.integers(0, 3), st.lists(good_entry, max_size=3))
def test_position_is_right_wherever_the_error_is(before: list[str], blanks: int, after: list[str]) -> None:
    start = "".join(f"{entry};" for entry in before) + " " * blanks
    with pytest.raises(RemapError, match=f"at position {len(start) + 2} is not a number"):
        Remap(start + "1 wrong" + "".join(f";{entry}" for entry in after))


bound = st.one_of(st.integers(0, 254), st.integers(-4, 20), st.sampled_from([0.5, 2.5]))
entry = st.tuples(bound, bound, st.integers(0, 255)).map(lambda e: (min(e[:2]), max(e[:2]), e[2]))


@given(st.lists(entry, min_size=1, max_size=4), st.one_of(st.none(), st.integers(0, 255)))
def test_reclassify_equals_the_rules_value_by_value(
    entries: list[tuple[float, float, int]], nodata: int | None
) -> None:
    words = [f"{low} {new}" if low == high else f"{low} {high} {new}" for low, high, new in entries]
    if nodata is not None:
        words.append(f"NODATA {nodata}")

    def rule(value: int) -> int:
        if value == 255:
            return 255 if nodata is None else nodata
        return next((new for low, high, new in entries if low <= value <= high), 0)

    classes = np.arange(256, dtype=np.uint8).reshape(8, 32)
    result = reclassify(classes, ";".join(words))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result.ravel(), [rule(v) for v in range(256)])


def test_first_of_overlapping_entries_counts() -> None:
    np.testing.assert_array_equal(reclassify([[1, 2, 3]], "2 5;1 3 7"), [[7, 5, 7]])
    np.testing.assert_array_equal(reclassify([[1, 2, 3]], "1 3 7;2 5"), [[7, 7, 7]])


def test_default_of_the_models_fills_cloud_and_shadow() -> None:
    np.testing.assert_array_equal(reclassify([[0, 1, 2, 255]], MODEL_REMAP), [[0, 1, 1, 255]])


@pytest.mark.parametrize(
    "classes",
    [
        np.array([[1, 255]], np.uint8),
        np.array([[1, 255]], np.int32),
        np.array([[1, np.nan]], np.float32),
        np.ma.array([[1, 1]], mask=[[False, True]]),
        np.ma.array([[1.0, 3.0]], mask=[[False, True]]),
    ],
)
def test_nodata_stays_unless_it_is_listed(classes: Any) -> None:
    np.testing.assert_array_equal(reclassify(classes, "1 1"), [[1, 255]])
    np.testing.assert_array_equal(reclassify(classes, "0 300 1"), [[1, 255]])
    np.testing.assert_array_equal(reclassify(classes, "1 1;NODATA 0"), [[1, 0]])


def test_classes_keep_their_input() -> None:
    classes = np.array([[1, 2, 255]], np.uint8)
    reclassify(classes, "1 3 1;NODATA 9")
    np.testing.assert_array_equal(classes, [[1, 2, 255]])


@pytest.mark.parametrize("classes", [np.zeros(3), np.zeros((1, 2, 3)), 1])
def test_reclassify_wants_rows_and_columns(classes: Any) -> None:
    with pytest.raises(ShapeError, match=re.escape(str(np.shape(classes)))):
        reclassify(classes, "1 1")


masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 19).map(bool))
sparse_masks = hnp.arrays(
    np.bool_,
    st.tuples(st.integers(1, 45), st.integers(1, 45)),
    elements=st.just(True),
    fill=st.just(False),
)


@given(st.one_of(masks.map(np.logical_not), sparse_masks), st.integers(0, 15))
def test_buffer_is_that_many_dilations_with_a_5x5_square(mask: np.ndarray, steps: int) -> None:
    expected = mask
    for _ in range(steps):
        expected = ndimage.binary_dilation(expected, np.ones((5, 5), bool))
    before = mask.copy()
    grown = buffer_mask(mask, steps)
    assert grown.dtype == np.bool_
    np.testing.assert_array_equal(grown, expected)
    np.testing.assert_array_equal(mask, before)
    assert not np.shares_memory(grown, mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_any_value_but_nodata_is_grown(dtype: Any) -> None:
    mask = np.zeros((9, 20), dtype)
    mask[4, 3] = 2
    mask[4, 14] = 255
    expected = np.zeros((9, 20), bool)
    expected[2:7, 1:6] = True
    np.testing.assert_array_equal(buffer_mask(mask, 1), expected)
    np.testing.assert_array_equal(buffer_mask(mask, 0), mask == 2)


@pytest.mark.parametrize("steps", [-1, 16, 1.5, True, 1000, float("nan"), float("inf"), None, "x", "3"])
def test_buffer_out_of_range_names_the_value(steps: Any) -> None:
    with pytest.raises(ParameterError, match=rf"buffer {steps!r} .*from 0 to 15"):
        buffer_mask(np.zeros((3, 3), bool), steps)


def test_whole_numbers_of_any_type_are_steps() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    whole: Any = (1.0, np.int64(1), np.float32(1))
    for steps in whole:
        np.testing.assert_array_equal(buffer_mask(mask, steps), buffer_mask(mask, 1))


@pytest.mark.parametrize("mask", [np.zeros(4), np.zeros((2, 3, 4)), True])
def test_buffer_wants_rows_and_columns(mask: Any) -> None:
    with pytest.raises(ShapeError, match=re.escape(str(np.shape(mask)))):
        buffer_mask(mask, 1)


@given(st.integers(0, 15), st.integers(1, 8))
def test_buffer_in_cells_covers_the_pixels(steps: int, factor: int) -> None:
    cells = buffer_cells(steps, factor)
    assert cells * factor >= 2 * steps
    assert (cells - 1) * factor < 2 * steps


def test_dilation_of_an_empty_mask_is_empty() -> None:
    assert not dilate(np.zeros((5, 6), bool), 30).any()
