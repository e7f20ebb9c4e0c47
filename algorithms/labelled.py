"""Labelled arrays: functions of plain arrays that take and return xarray's `DataArray`s, too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from algorithms.errors import ShapeError

P = ParamSpec("P")
R = TypeVar("R")


def takes_labelled(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of arrays take `DataArray`s; the result is one where its first argument is.

    It keeps the name, coordinates and attributes of the first argument, its CRS among them; a result without bands has
    the coordinates of rows and columns. xarray itself is not needed: whoever has a `DataArray` has it.

    Raises:
        ShapeError: labelled arguments of other rows or columns than the first.
    """

    @wraps(function)
    def labelled(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0] if args else next(iter(kwargs.values()), None)
        if not _is_labelled(first):
            return function(*args, **kwargs)
        for other in (*args[1:], *kwargs.values()):
            if other is not first and _is_labelled(other):
                _check_places(first, other)
        plain: Any = function
        result = plain(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})
        found: R = _relabelled(result, first)
        return found

    return labelled


def _is_labelled(value: object) -> bool:
    """Whether it is a `DataArray`, without importing xarray."""
    return type(value).__name__ == "DataArray" and type(value).__module__.startswith("xarray")


def _plain(value: Any) -> Any:
    return value.to_numpy() if _is_labelled(value) else value


def _check_places(first: Any, other: Any) -> None:
    for dim in first.dims[-2:]:
        mine, theirs = first.coords.get(dim), other.coords.get(dim)
        if mine is None or theirs is None:
            continue
        if mine.shape != theirs.shape or not np.array_equal(mine.to_numpy(), theirs.to_numpy()):
            raise ShapeError(
                f"the arrays lie on other {dim!r} coordinates; bring them onto one grid first (rio.reproject_match)"
            )


def _relabelled(result: Any, first: Any) -> Any:
    if not isinstance(result, np.ndarray) or result.ndim not in (2, 3) or result.ndim > first.ndim:
        return result
    like = first if result.ndim == first.ndim else first.isel({first.dims[0]: 0}, drop=True)
    return like.copy(data=result)
