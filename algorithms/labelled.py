"""Labelled arrays: functions of plain arrays that take and return xarray's `DataArray`s, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from algorithms.errors import BandError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")

PACKING: Final = frozenset({"scale_factor", "add_offset", "_FillValue", "missing_value"})
"""CF attributes that say how stored integers stand for values."""
EXTENT: Final = frozenset({"valid_min", "valid_max", "valid_range", "actual_range", "_Unsigned"})
"""CF attributes about the stored values that a result of other values does not keep."""


@dataclass(frozen=True, slots=True)
class OwnLabels:
    """What a result of another kind than its input says of itself."""

    name: str
    """Its name."""
    attributes: Mapping[str, Any]
    """Its CF attributes."""


def takes_labelled(
    own: OwnLabels | None = None, *, names: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function of arrays take `DataArray`s; the result is one where its first argument is.

    It keeps the coordinates of the first argument, its CRS among them, and without `own` its name and those of its
    attributes that still hold: scale, offset and fill value only beside the integers that they decode. A result without
    bands has the coordinates of rows and columns. xarray itself is not needed: whoever has a `DataArray` has it.

    Args:
        own: name and attributes of a result of another kind.
        names: the parameter for the names of the bands; left out, they are those of the first coordinate.

    Raises:
        ShapeError: labelled arguments of other rows or columns than the first. BandError: there are no names.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        plain: Any = function
        parameters = signature(function)

        @wraps(function)
        def labelled(*args: P.args, **kwargs: P.kwargs) -> R:
            given = dict(parameters.bind(*args, **kwargs).arguments)
            first = next(iter(given.values()))
            if not _is_labelled(first):
                return function(*args, **kwargs)
            for other in given.values():
                if other is not first and _is_labelled(other):
                    _check_places(first, other)
            if names is not None and given.get(names) is None:
                given[names] = _band_names(first, names)
            result = plain(**{name: _plain(value) for name, value in given.items()})
            found: R = _relabelled(result, first, own)
            return found

        return labelled

    return decorated


def _is_labelled(value: object) -> bool:
    """Whether it is a `DataArray`, without importing xarray."""
    return type(value).__name__ == "DataArray" and type(value).__module__.startswith("xarray")


def _plain(value: Any) -> Any:
    return value.to_numpy() if _is_labelled(value) else value


def _band_names(array: Any, parameter: str) -> list[str]:
    dim = array.dims[0] if array.dims else "band"
    found = array.coords.get(dim)
    values = [] if found is None else found.to_numpy().tolist()
    if not values or not all(isinstance(value, str) for value in values):
        has = "no coordinate" if found is None else f"the values {values[:6]}"
        raise BandError(
            f"dimension {dim!r} has {has}, not the names of the bands: give them in their order, for example "
            f'{parameter}=["blue", "green", "red", "nir"]'
        )
    return values


def _check_places(first: Any, other: Any) -> None:
    for dim in first.dims[-2:]:
        mine, theirs = first.coords.get(dim), other.coords.get(dim)
        if mine is None or theirs is None:
            continue
        if mine.shape != theirs.shape or not np.array_equal(mine.to_numpy(), theirs.to_numpy()):
            raise ShapeError(
                f"the arrays lie on other {dim!r} coordinates; bring them onto one grid first (rio.reproject_match)"
            )


def _relabelled(result: Any, first: Any, own: OwnLabels | None) -> Any:
    if not isinstance(result, np.ndarray) or result.ndim not in (2, 3) or result.ndim > first.ndim:
        return result
    like = first if result.ndim == first.ndim else first.isel({first.dims[0]: 0}, drop=True)
    made = like.copy(data=result)
    if own is None:
        made.attrs = _still_true(first)
        return made
    made.name = own.name
    made.attrs = {**_mapping(first.attrs), **own.attributes}
    made.encoding = _mapping(first.encoding)
    return made


def _mapping(of: Mapping[str, Any]) -> dict[str, Any]:
    """The name of the variable with the CRS, which holds for every array of the place."""
    return {name: value for name, value in of.items() if name == "grid_mapping"}


def _still_true(first: Any) -> dict[str, Any]:
    """The attributes that hold for values in the units of the first argument, as floating-point numbers."""
    stored = np.issubdtype(first.dtype, np.integer)
    return {
        name: value
        for name, value in first.attrs.items()
        if name not in EXTENT and (stored or name not in PACKING or _is_nan(value))
    }


def _is_nan(value: object) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
