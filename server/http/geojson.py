"""Geometries that a request may send: polygons and lines of bounded size, with an extent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from algorithms.errors import ParameterError

MOST_VERTICES: Final = 100_000
"""Of one feature: the finest coastline of a country in Natural Earth has 67,000."""
DEEPEST_GEOMETRY: Final = 16
"""Levels of collections and coordinates."""


def _positions(value: Any, depth: int = 0) -> Iterator[Any]:
    """Every position of nested coordinates."""
    if depth > DEEPEST_GEOMETRY:
        raise ParameterError(f"the geometry is nested more than {DEEPEST_GEOMETRY} levels deep; flatten it")
    if isinstance(value, (list, tuple)):
        if value and not isinstance(value[0], (list, tuple)):
            yield value
            return
        for part in value:
            yield from _positions(part, depth + 1)


def _coordinates(geometry: Any, depth: int = 0) -> Iterator[Any]:
    if depth > DEEPEST_GEOMETRY:
        raise ParameterError(f"the geometry is nested more than {DEEPEST_GEOMETRY} levels deep; flatten it")
    if not isinstance(geometry, dict):
        return
    yield from _positions(geometry.get("coordinates", ()))
    for part in geometry.get("geometries", ()) or ():
        yield from _coordinates(part, depth + 1)


def check_shape(shape: dict[str, Any]) -> None:
    """Refuse a GeoJSON feature or geometry that no image can be made of.

    Raises:
        ParameterError: too many vertices, numbers that are not finite, or no extent in either direction.
    """
    geometry = shape.get("geometry", shape)
    xs: list[float] = []
    ys: list[float] = []
    for position in _coordinates(geometry):
        if len(xs) >= MOST_VERTICES:
            raise ParameterError(f"the geometry has more than {MOST_VERTICES} vertices; simplify it")
        try:
            x, y = (float(value) for value in position[:2])
        except (TypeError, ValueError, OverflowError):
            raise ParameterError(
                f"the geometry holds {str(position)[:80]}, which is not a position; give two numbers"
            ) from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ParameterError(f"the geometry contains {x:g},{y:g}, which is not finite; give numbers")
        xs.append(x)
        ys.append(y)
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not xs or min(xs) == max(xs) or min(ys) == max(ys):
        raise ParameterError(f"the geometry ({kind}) has no area; give a polygon")
