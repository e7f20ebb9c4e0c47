"""Which bands a request asks for: by number, by name or in an expression, of one file or of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rio_tiler.expression import get_expression_blocks
from rio_tiler.models import ImageData, PointData

from algorithms.errors import ParameterError
from server.http.expressions import expression_bands
from server.scenes.bandnames import Labels, known_bands, numbered, numbers_of

Described = TypeVar("Described", ImageData, PointData)


@dataclass(frozen=True, slots=True)
class Choice:
    """The bands of one answer."""

    numbers: tuple[int, ...]
    """1-based, as the request counts them."""
    places: tuple[int, ...]
    """Where they are in the open raster, 1-based."""
    expression: str | None
    """Band arithmetic on the numbers."""
    names: tuple[str, ...] | None
    """What describes the bands of the result instead of the parts of the expression."""
    descriptions: tuple[str, ...] = ()
    """Of every band there is."""

    def named(self, image: Described, numbers: tuple[int, ...] | None = None) -> Described:
        """An image of the bands at `places`, or of others, called by their numbers.

        With each band's own description: rio-tiler gives all bands the last one's (docs/upstream.md).
        """
        numbers = self.numbers if numbers is None else numbers
        image.band_names = [f"b{number}" for number in numbers]
        image.band_descriptions = [self.descriptions[number - 1] or f"b{number}" for number in numbers]
        return image

    def computed(self, image: Described) -> Described:
        """The result of the expression, or the image itself without one."""
        if self.expression is None:
            return image
        result: Described = image.apply_expression(self.expression)
        if self.names is not None:
            result.band_descriptions = list(self.names)
        return result


def choose(
    labels: Labels,
    places: Mapping[int, int],
    *,
    indexes: Any,
    expression: str | None,
    assets: tuple[str, ...],
    default: tuple[int, ...],
    names_first: bool,
    descriptions: tuple[str, ...] = (),
) -> Choice:
    """The bands of one answer.

    Args:
        labels: what each band answers to.
        places: by number where a band is in the open raster.
        indexes: a number or several.
        expression: band arithmetic; it comes before `indexes`, and these before `assets`.
        assets: bands by name.
        default: numbers where nothing is asked for.
        names_first: see `band_number`.
        descriptions: of every band.

    Raises:
        ParameterError: there is no such band. InvalidExpression: what rio-tiler refuses.
    """
    names = None
    if expression:
        asked = numbered(expression, labels, names_first=names_first)
        if asked != expression:
            names = tuple(get_expression_blocks(expression))
        expression, numbers = asked, expression_bands(asked)
    elif indexes:
        numbers = (indexes,) if isinstance(indexes, int) else tuple(indexes)
    else:
        numbers = numbers_of(assets, labels, names_first=names_first) if assets else default
    if missing := [number for number in numbers if number not in places]:
        raise ParameterError(
            f"band {', '.join(map(str, missing))} does not exist; the raster has {known_bands(labels)}"
        )
    return Choice(numbers, tuple(places[number] for number in numbers), expression or None, names, descriptions)
