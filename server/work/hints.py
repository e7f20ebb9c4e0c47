"""Whether a value is what a type hint says, through and through: for what comes out of a store that others write to."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def matches(value: object, hint: Any) -> bool:
    """Whether a value and all its parts are of the types that a hint names, with finite numbers and times with a zone.

    Args:
        value: the value.
        hint: None, a scalar's type, `datetime`, a dataclass, or a tuple, dictionary, array or union of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(matches(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and _are_parts(value, parts)
    if origin is dict:
        return isinstance(value, dict) and all(_are_parts(item, parts) for item in value.items())
    if origin is np.ndarray:
        (scalar,) = get_args(parts[1])
        return isinstance(value, np.ndarray) and value.dtype == scalar and bool(np.isfinite(value).all())
    return (
        _is_scalar(value, hint)
        if not dataclasses.is_dataclass(hint)
        else type(value) is hint and all(matches(getattr(value, name), part) for name, part in _hints(hint).items())
    )


def _are_parts(values: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    kinds = hints[:1] * len(values) if hints[-1] is Ellipsis else hints
    return len(values) == len(kinds) and all(map(matches, values, kinds))


def _is_scalar(value: object, hint: type) -> bool:
    if hint in (None, NoneType):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is datetime:
        return isinstance(value, datetime) and value.tzinfo is not None
    return type(value) is hint


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The hints of a dataclass's fields."""
    return get_type_hints(kind)
