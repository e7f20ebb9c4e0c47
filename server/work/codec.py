"""Values as bytes for a shared cache: numbers, arrays and known dataclasses; compressed, checked, never pickled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zstandard

MOST_VALUE_BYTES: Final = 64 << 20
"""Most bytes of one value, uncompressed: a fill of 13 bands has about 2 MB."""
MOST_HEAD_BYTES: Final = 1 << 20
"""Most bytes of what is not in arrays, as JSON: parsed, a byte of it can take 30."""
ALIGNMENT_BYTES: Final = 16
"""Where arrays begin in a body, so that they can be used in place."""
ZSTD_LEVEL: Final = 1
_MAGIC: Final = b"CSv2"
_CHECK_BYTES: Final = 16
_KINDS: Final = "biuf"
_LENGTH: Final = struct.Struct("<I")


class DamagedValueError(ValueError):
    """Bytes that are no value of this software's making, or were changed on their way."""


class Codec:
    """Turns values into bytes and back.

    A value is None, a truth value, a number, text, bytes, a time, an array of numbers, a tuple, a dictionary, or one
    of the dataclasses given; nothing else can come out of bytes, whoever wrote them.
    """

    def __init__(self, types: Iterable[type]) -> None:
        """Make it.

        Args:
            types: the dataclasses that values may consist of.
        """
        self._types = {kind.__qualname__: kind for kind in types}

    def encode(self, value: object) -> bytes:
        """A value as bytes.

        Raises:
            TypeError: it has parts of other types.
        """
        arrays: list[npt.NDArray[Any]] = []
        head = json.dumps(self._tree(value, arrays), separators=(",", ":")).encode()
        body = bytearray(_LENGTH.pack(len(head)) + head)
        for array in arrays:
            body += bytes(-len(body) % ALIGNMENT_BYTES)
            body += array.tobytes()
        packed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(bytes(body))
        return _MAGIC + _checksum(packed) + packed

    def decode(self, data: bytes) -> Any:
        """The value that bytes stand for; its arrays can only be read.

        Raises:
            DamagedValueError: the bytes are cut, changed, or not a value.
        """
        start = len(_MAGIC) + _CHECK_BYTES
        packed = data[start:]
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(packed):
            raise DamagedValueError("not a value of this cache, or changed since it was written")
        try:
            if not 0 <= zstandard.frame_content_size(packed) <= MOST_VALUE_BYTES:
                raise DamagedValueError(f"more than {MOST_VALUE_BYTES} bytes")
            body = zstandard.ZstdDecompressor().decompress(packed)
            (length,) = _LENGTH.unpack_from(body)
            if length > MOST_HEAD_BYTES:
                raise DamagedValueError(f"more than {MOST_HEAD_BYTES} bytes of JSON")
            place = _LENGTH.size + length
            return self._value(json.loads(body[_LENGTH.size : place]), _Arrays(body, place))
        except DamagedValueError:
            raise
        except (zstandard.ZstdError, struct.error, ValueError, TypeError, LookupError, RecursionError) as error:
            raise DamagedValueError(f"not a value of this cache: {error}") from error

    def _tree(self, value: object, arrays: list[npt.NDArray[Any]]) -> list[Any]:
        """What JSON can hold of a value; its arrays are collected."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return ["v", value]
        if isinstance(value, bytes):
            value, kind = np.frombuffer(value, np.uint8), "b"
        else:
            kind = "a"
        if isinstance(value, datetime):
            return ["w", value.isoformat()]
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in _KINDS:
                raise TypeError(f"an array of {value.dtype} cannot be shared")
            # In the order in which it lies in memory: sums over it round differently in another.
            axes = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
            arrays.append(np.ascontiguousarray(value.transpose(axes)))
            return [kind, value.dtype.str, list(value.shape), axes]
        if isinstance(value, tuple):
            return ["t", [self._tree(part, arrays) for part in value]]
        if isinstance(value, dict):
            return ["m", [[self._tree(part, arrays) for part in item] for item in value.items()]]
        name = type(value).__qualname__
        if self._types.get(name) is not type(value):
            raise TypeError(f"a value of type {name} cannot be shared")
        assert dataclasses.is_dataclass(value)  # noqa: S101  (so are all types given)
        return ["d", name, [self._tree(getattr(value, f.name), arrays) for f in dataclasses.fields(value) if f.init]]

    def _value(self, tree: list[Any], arrays: _Arrays) -> Any:
        match tree:
            case ["v", None | bool() | int() | float() | str() as value]:
                return value
            case [("a" | "b") as kind, str(dtype), [*shape], [*axes]]:
                array = arrays.take(np.dtype(dtype), [shape[axis] for axis in axes]).transpose(np.argsort(axes))
                if array.shape != tuple(shape):
                    raise DamagedValueError(f"an array of shape {shape} and axes {axes}")
                return array if kind == "a" else array.tobytes()
            case ["w", str(moment)]:
                return datetime.fromisoformat(moment)
            case ["t", [*parts]]:
                return tuple(self._value(part, arrays) for part in parts)
            case ["m", [*items]]:
                return {self._value(key, arrays): self._value(value, arrays) for key, value in items}
            case ["d", str(name), [*parts]]:
                kind = self._types[name]
                names = [f.name for f in dataclasses.fields(kind) if f.init]
                values = [self._value(part, arrays) for part in parts]
                return kind(**dict(zip(names, values, strict=True)))
        raise DamagedValueError("a part of unknown kind")


class _Arrays:
    """The arrays of a body, one after the other."""

    def __init__(self, body: bytes, place: int) -> None:
        self._body = body
        self._place = place

    def take(self, dtype: np.dtype[Any], shape: list[int]) -> npt.NDArray[Any]:
        """The next one.

        Raises:
            DamagedValueError: the body has no such array.
        """
        if dtype.kind not in _KINDS or not all(type(side) is int and side >= 0 for side in shape):
            raise DamagedValueError(f"an array of {dtype} and shape {shape}")
        start = self._place + -self._place % ALIGNMENT_BYTES
        count = 1
        for side in shape:
            count *= side
        self._place = start + count * dtype.itemsize
        if self._place > len(self._body):
            raise DamagedValueError("an array that ends beyond the value")
        return np.frombuffer(self._body, dtype, count, start if count else 0).reshape(shape)


def _checksum(packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_CHECK_BYTES).digest()
