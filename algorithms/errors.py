"""The errors of ClearSky: one small tree; `server.errors` maps it to HTTP statuses in one table."""

from __future__ import annotations

import math
import numbers
from typing import Any, cast


class ClearSkyError(ValueError):
    """Base of every error that bad input can cause; the message names the value and the remedy."""


class ShapeError(ClearSkyError):
    """Arrays whose shapes do not fit each other or the task."""


class ParameterError(ClearSkyError):
    """An option outside its range, or an unknown name."""


class RemapError(ClearSkyError):
    """A remap string that cannot be read; the message gives the position of the error."""


class BandError(ClearSkyError):
    """Bands that the chosen model or operation needs are missing or not named."""


class ModelError(ClearSkyError):
    """An unknown cloud model, or a model file that is missing or damaged."""


def whole_number(value: object, *, least: int, most: int | None, message: str) -> int:
    """`value` as an int if it is a whole number from `least` to `most`; True and False are none.

    Raises:
        ParameterError: with `message`.
    """
    whole = isinstance(value, numbers.Real) and math.isfinite(value) and value == math.floor(value)
    if not whole or isinstance(value, bool):
        raise ParameterError(message)
    number = int(cast(Any, value))
    if number < least or (most is not None and number > most):
        raise ParameterError(message)
    return number
