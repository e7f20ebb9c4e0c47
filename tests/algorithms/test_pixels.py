"""Fills written into pixels, tones looked up and pixels sampled: compiled and in numpy the same bytes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from algorithms import pixels
from algorithms.pixels import to_dtype

LOOPS = ("write_fill", "look_up_tones", "sample_pixels")
SHAPE = (40, 30)


def made(loops: Any) -> list[np.ndarray]:
    """What some loops make of the same numbers."""
    rng = np.random.default_rng(1)
    found = []
    hidden = rng.random(SHAPE) < 0.1
    at = np.flatnonzero(rng.random(SHAPE) < 0.6)
    fill = tuple(
        rng.uniform(low, high, (2, len(at))).astype(np.float32) for low, high in ((0, 2), (-900, 900), (0, 400))
    )
    fill[1][:, :4] = 1e6, -1e6, 0.5, 1.5
    fill[0][:, :4] = 0
    fill[0][:, 4:6] = np.inf, np.nan  # numbers of a raster that overflow
    read_only = (hidden, at, *fill)
    for array in read_only:
        array.setflags(write=False)
    for kind in ("uint8", "uint16", "int16", "int32", "float32"):
        for nodata in (None, 0, 255, 0.5, -1, np.nan):
            data, masked = np.full((3, *SHAPE), 7, kind), np.ones((3, *SHAPE), bool)
            loops["write_fill"](data, masked, hidden, at, fill, (2, 0), nodata)
            found += [data, masked]
    values, masked = rng.integers(0, 1 << 16, (2, *SHAPE)).astype(np.uint16), rng.random((2, *SHAPE)) < 0.2
    found.append(loops["look_up_tones"](values, masked, rng.integers(0, 255, (2, 1 << 16)).astype(np.uint8)))
    rows, cols = rng.uniform(-1, 22, 500), rng.uniform(-1, 17, 500)
    inside = (rows * 2 >= 4) & (cols * 2 >= 2)  # left of and above the block there is none
    for kind in ("uint8", "uint16", "int16", "int32", "float32"):
        block = rng.integers(0, 120, (3, 36, 28)).astype(kind)
        valid = rng.random(block.shape[1:]) < 0.7
        found += loops["sample_pixels"](block, valid, rows[inside], cols[inside], 2, (4, 2), SHAPE)
    return found


@pytest.mark.filterwarnings("ignore:invalid value")  # no number, cast
def test_compiled_loops_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("algorithms.compiled_pixels", reason="numba is not installed")
    expected = made({name: getattr(pixels, f"numpy_{name}") for name in LOOPS})
    monkeypatch.setattr(pixels, "compiled_loops", lambda: SimpleNamespace(loops=compiled))
    for ours, theirs in zip(made(vars(pixels)), expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


def test_a_fill_is_written_where_pixels_are_shown_alone() -> None:
    data, masked = np.zeros((2, 2, 3), np.uint16), np.ones((2, 2, 3), bool)
    hidden = np.array([[False, True, False], [False, False, False]])
    gain, offset, replacement = (np.full((1, 3), number, np.float32) for number in (2, 1, 10))
    pixels.write_fill(data, masked, hidden, np.array([0, 1, 5]), (gain, offset, replacement), (1,), None)
    assert data.tolist() == [[[0, 0, 0], [0, 0, 0]], [[21, 0, 0], [0, 0, 21]]]
    assert (masked == (data == 0)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_results_are_rounded_and_clipped_never_wrapped_and_never_nodata(dtype: Any) -> None:
    kind: Any = np.dtype(dtype)
    values = np.array([[-1e9, -40000.6, -1.2, -0.4, 0.4, 0.6, 1.5, 2.5, 254.7, 255.4, 300.0, 32767.6, 65535.6, 1e9]])
    values = values.astype(np.float32)
    limits = np.iinfo(kind) if kind.kind in "iu" else None
    for nodata in (None, 0, 255, *(() if limits is None else (limits.min, limits.max))):
        found = to_dtype(values, kind, nodata)
        assert found.dtype == kind
        if limits is None:
            np.testing.assert_array_equal(found, values)
            continue
        expected = [min(max(round(float(v)), limits.min), limits.max) for v in values[0]]  # exact, of any size
        kept = np.array([v != nodata for v in expected])
        np.testing.assert_array_equal(found[0][kept], np.array(expected)[kept])
        if nodata is not None:
            assert (found != nodata).all()
            np.testing.assert_array_equal(np.abs(found[0][~kept].astype(int) - nodata), 1)
