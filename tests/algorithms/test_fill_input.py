"""Bad input is refused by name, and extreme input stays finite."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import fill_clouds
from algorithms.errors import ClearSkyError, ParameterError, ShapeError
from tests.helpers.landscapes import (
    ADJUSTMENTS,
    both_adjustments,
    clouds,
    landscape,
)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (5, 5)])
@both_adjustments
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_tiny_arrays(shape: tuple[int, int], adjustment: str, factor: int) -> None:
    rng = np.random.default_rng(3)
    r = rng.uniform(1000, 2000, (2, *shape)).astype(np.float32)
    t = r + 10
    mask = np.zeros(shape, bool)
    mask[0, 0] = True
    found = fill_clouds(t, r, mask, adjustment=adjustment, analysis_factor=factor)
    assert np.isfinite(found).all()
    assert np.abs(found - t).max() <= 500
    np.testing.assert_array_equal(found[:, ~mask], t[:, ~mask])


def test_an_analysis_cell_larger_than_the_array_costs_no_more_than_the_array() -> None:
    r = landscape((16, 16), bands=1)
    mask = clouds((16, 16))
    fill_clouds(r + 5, r, mask)
    tracemalloc.start()
    try:
        found = fill_clouds(r + 5, r, mask, analysis_factor=3000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found[:, mask], r[:, mask], rtol=1e-5)
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("target", "replacement", "mask", "named"),
    [
        ((4, 5), (4, 5), (4, 5), (4, 5)),
        ((2, 4, 5), (3, 4, 5), (4, 5), (3, 4, 5)),
        ((2, 4, 5), (2, 5, 4), (4, 5), (2, 5, 4)),
        ((2, 4, 5), (2, 4, 5), (5, 4), (5, 4)),
        ((2, 4, 5), (2, 4, 5), (1, 4, 5), (1, 4, 5)),
        ((2, 4, 5), (2, 4, 5), (), ()),
        ((0, 4, 5), (0, 4, 5), (4, 5), (0, 4, 5)),
        ((2, 0, 5), (2, 0, 5), (0, 5), (2, 0, 5)),
        ((1, 2, 4, 5), (1, 2, 4, 5), (4, 5), (1, 2, 4, 5)),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    target: tuple[int, ...], replacement: tuple[int, ...], mask: tuple[int, ...], named: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=re.escape(str(named))):
        fill_clouds(np.zeros(target), np.zeros(replacement), np.zeros(mask))


def test_valid_must_have_the_masks_shape() -> None:
    image, mask = np.zeros((2, 4, 5)), np.ones((4, 5), bool)
    with pytest.raises(ShapeError, match=r"valid \(5, 4\).*\(4, 5\)"):
        fill_clouds(image, image, mask, valid=np.ones((5, 4)))


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_, "U3", object, "datetime64[s]"])
@pytest.mark.parametrize("which", ["target", "replacement"])
def test_values_that_are_not_real_numbers_are_refused(dtype: Any, which: str) -> None:
    arrays: dict[str, Any] = {"target": np.zeros((2, 4, 5)), "replacement": np.zeros((2, 4, 5))}
    arrays[which] = arrays[which].astype(np.int64).astype(dtype)
    with pytest.raises(ParameterError, match=f"{which} has dtype {re.escape(str(arrays[which].dtype))}"):
        fill_clouds(**arrays, mask=np.ones((4, 5), bool))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("window", 0),
        ("window", 10),
        ("window", 30),
        ("window", 420),
        ("window", -80),
        ("window", 80.5),
        ("window", True),
        ("window", None),
        ("window", "80"),
        ("window", float("nan")),
        ("adjustment", "magic"),
        ("adjustment", ""),
        ("adjustment", None),
        ("adjustment", ["regression"]),
        ("analysis_factor", 0),
        ("analysis_factor", -2),
        ("analysis_factor", 1.5),
        ("analysis_factor", True),
        ("analysis_factor", float("nan")),
        ("analysis_factor", float("inf")),
        ("analysis_factor", None),
        ("analysis_factor", "two"),
    ],
)
@pytest.mark.parametrize("cloudy", [True, False])
def test_options_out_of_range_are_named(option: str, value: Any, cloudy: bool) -> None:
    image = np.zeros((2, 4, 5))
    named = repr(value) if isinstance(value, str) and option != "analysis_factor" else str(value)
    with pytest.raises(ParameterError, match=re.escape(f"{option} {named}")):
        fill_clouds(image, image, np.full((4, 5), cloudy), **{option: value})


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
good_shape = st.just((2, 3, 4))
dtypes = st.sampled_from([np.uint8, np.int64, np.float16, np.float64, np.bool_, np.complex64, "U2", object])


@given(
    st.one_of(good_shape, shapes),
    st.one_of(good_shape, shapes),
    st.one_of(st.just((3, 4)), shapes),
    dtypes,
    st.one_of(st.just(80), st.integers(), st.text(max_size=3), st.none()),
    st.one_of(st.sampled_from(ADJUSTMENTS), st.text(max_size=3), st.none()),
    st.one_of(st.integers(1, 4), st.integers(-9, 0), st.floats(-3, 0.9)),
)
def test_bad_input_never_raises_anything_else(
    target: tuple[int, ...],
    replacement: tuple[int, ...],
    mask: tuple[int, ...],
    dtype: Any,
    window: Any,
    adjustment: Any,
    factor: Any,
) -> None:
    t, r = np.ones(target).astype(dtype), np.ones(replacement).astype(dtype)
    options = {"window": window, "adjustment": adjustment, "analysis_factor": factor}
    try:
        found = fill_clouds(t, r, np.ones(mask), **options)
    except ClearSkyError as error:
        assert len(str(error)) > 15  # noqa: PT017
    else:
        assert found.shape == target
        assert np.isfinite(found).all()


@given(
    st.integers(0, 9999),
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0]),
    st.sampled_from(ADJUSTMENTS),
    st.booleans(),
    st.integers(1, 4),
)
def test_finite_in_finite_out(
    seed: int, dtype: Any, shape: tuple[int, int, int], share: float, adjustment: str, residual: bool, factor: int
) -> None:
    rng = np.random.default_rng(seed)

    def image() -> np.ndarray:
        """Noise, constants or mostly zeros, up to the limits of whole numbers and to 1e15."""
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            values = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        else:
            values = (rng.normal(size=shape) * 10.0 ** rng.uniform(-12, 15)).astype(dtype)
        kind = rng.integers(4)
        if kind == 0:
            values[:] = values.flat[0]
        elif kind == 1:
            values *= rng.random(shape) < 0.05
        return values

    mask = rng.random(shape[1:]) < share
    t = image()
    found = fill_clouds(t, image(), mask, adjustment=adjustment, residual=residual, analysis_factor=factor)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, ~mask], t.astype(np.float32)[:, ~mask])


@pytest.mark.parametrize("value", [1e300, -1e300, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("which", [0, 1])
def test_a_value_beyond_reason_is_refused_or_does_no_harm(value: float, which: int) -> None:
    r = landscape((40, 50)).astype(float)
    mask = np.zeros((40, 50), bool)
    mask[18:25, 18:30] = True
    pair = [r + 100, r.copy()]
    pair[which][0, 3, 4] = value
    try:
        found = fill_clouds(pair[0], pair[1], mask)
    except ClearSkyError as error:
        assert str(value)[:4] in str(error)  # noqa: PT017
    else:
        assert np.abs(found - (r + 100))[:, mask].max() < 100


def test_several_replacements_take_joint() -> None:
    t, m = landscape((16, 16), bands=1), clouds((16, 16))
    several = np.stack([t, t + 10, t - 10])
    with pytest.raises(ShapeError, match="joint"):
        fill_clouds(t, several, m)
    with pytest.raises(ShapeError, match="shape"):
        fill_clouds(t, several[:0], m, adjustment="joint")
    with pytest.raises(ShapeError, match="valid"):
        fill_clouds(t, several, m, adjustment="joint", valid=np.ones((2, 16, 16)))
    np.testing.assert_array_equal(
        fill_clouds(t, several[:1], m, adjustment="joint"), fill_clouds(t, several[0], m, adjustment="regression")
    )


def test_where_one_of_several_cannot_be_used_another_fills() -> None:
    t, m = landscape((40, 40), bands=2), clouds((40, 40))
    valid = np.ones((2, 40, 40), bool)
    valid[0, :20] = valid[1, 10:30] = False
    covered = np.where(m, 9000, t).astype(np.float32)
    found = fill_clouds(covered, np.stack([t + 5, 2 * t]), m, adjustment="joint", valid=valid)
    assert np.abs(found - t)[:, m & valid.any(axis=0)].max() < 100
    np.testing.assert_array_equal(found[:, m & ~valid.any(axis=0)], 9000)
    np.testing.assert_array_equal(found[:, ~m], t[:, ~m])
