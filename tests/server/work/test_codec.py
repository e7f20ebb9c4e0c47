"""Shared values as bytes: the same bit for bit when they come back, and nothing else comes out of bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from datetime import UTC
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.work.codec import MOST_HEAD_BYTES, MOST_VALUE_BYTES, Codec, DamagedValueError


@dataclasses.dataclass(frozen=True)
class Leaf:
    values: Any
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Stranger:
    values: int


CODEC = Codec([Leaf])

ARRAYS = arrays.arrays(
    st.sampled_from([np.uint8, np.int32, np.float32, np.float64, np.bool_]), arrays.array_shapes(min_side=0, max_side=5)
)
SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
SCALARS |= st.binary(max_size=5)
SCALARS |= st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda moment: moment.replace(fold=0))
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda parts: (
        st.lists(parts, max_size=3).map(tuple)
        | st.dictionaries(st.integers(0, 9), parts, max_size=3)
        | st.builds(Leaf, parts, st.none() | st.text(max_size=3))
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Leaf):
        return type(b) is Leaf and same(a.values, b.values) and a.name == b.name
    return type(a) is type(b) and repr(a) == repr(b)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(value, CODEC.decode(CODEC.encode(value)))


def test_what_comes_back_can_only_be_read() -> None:
    found = CODEC.decode(CODEC.encode(np.arange(5)))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


def test_turned_arrays_come_back_the_right_way_round() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    assert same(np.ascontiguousarray(array), CODEC.decode(CODEC.encode(array)))


@given(ARRAYS, st.randoms(use_true_random=False))
def test_arrays_keep_their_order_in_memory(array: np.ndarray, random: Any) -> None:
    """Sums over another order round differently."""
    turned = array.transpose(random.sample(range(array.ndim), array.ndim))
    found = CODEC.decode(CODEC.encode(turned))
    assert same(np.ascontiguousarray(turned), np.ascontiguousarray(found))
    if turned.size > 1:
        long = [axis for axis in range(turned.ndim) if turned.shape[axis] > 1]
        assert [found.strides[axis] for axis in long] == [turned.strides[axis] for axis in long]


@given(st.binary(max_size=200) | st.just(pickle.dumps(Stranger(1))))
def test_bytes_of_others_are_no_value(data: bytes) -> None:
    with pytest.raises(DamagedValueError):
        CODEC.decode(data)


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    whole = CODEC.encode(Leaf(np.arange(50, dtype=np.float32)))
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(changed), whole[:place]):
        with pytest.raises(DamagedValueError):
            CODEC.decode(damaged)


@pytest.mark.parametrize("value", [Stranger(1), {1, 2}, [1], np.array([None]), np.array(["a"]), (1, Stranger(2))])
def test_other_types_cannot_be_shared(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be shared"):
        CODEC.encode(value)


HEADS = [
    '["d","Stranger",[["v",1]]]',
    '["d","Leaf",[["v",1]]]',
    '["a","|O",[1],[0]]',
    '["a","<f4",[1000000],[0]]',
    '["a","<f4",[-1],[0]]',
    '["a","<f4",[true],[0]]',
    '["a","<f4",[0,3],[0,0]]',
    '["a","<f4",[0,3],[1]]',
    '["a","<f4",[0,3],[0,7]]',
    '["a","<f4",[0,3],["0",1]]',
    '["a","<f4",[0]]',
    '["v",[1]]',
    "[" * 5000,
    "{}",
    '["m",[[["v",1]]]]',
]


@pytest.mark.parametrize("head", HEADS)
def test_well_made_bytes_of_another_meaning_are_no_value(head: str) -> None:
    """Whoever can write to the store can compute a checksum, too."""
    body = len(head).to_bytes(4, "little") + head.encode() + bytes(32)
    with pytest.raises(DamagedValueError):
        CODEC.decode(sealed(zstandard.compress(body)))


def test_a_value_that_would_fill_the_memory_is_refused_unopened() -> None:
    bomb = zstandard.compress(bytes(MOST_VALUE_BYTES + 1))
    assert len(bomb) < 10_000
    with pytest.raises(DamagedValueError, match="more than"):
        CODEC.decode(sealed(bomb))


def test_json_that_would_fill_the_memory_is_not_parsed() -> None:
    head = b"[" + b"[]," * (MOST_HEAD_BYTES // 3) + b"[]]"
    bomb = zstandard.compress(len(head).to_bytes(4, "little") + head)
    with pytest.raises(DamagedValueError, match="bytes of JSON"):
        CODEC.decode(sealed(bomb))


def sealed(packed: bytes) -> bytes:
    """Compressed bytes with the head of a value of the cache."""
    return CODEC.encode(None)[:4] + hashlib.blake2b(packed, digest_size=16).digest() + packed
