"""The root of all errors of ClearSky, and the branch of those that bad input causes.

`server.errors` has the other branches; `server.http.statuses` maps the whole tree to HTTP statuses in one table.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any, cast


class ClearSkyError(Exception):
    """Base of every error that ClearSky raises on purpose; the message names the value and the remedy."""


class InputError(ClearSkyError, ValueError):
    """A value, an array or a text that cannot be used."""


class ShapeError(InputError):
    """Arrays whose shapes do not fit each other or the task."""


class ParameterError(InputError):
    """An option outside its range, or an unknown name."""


class RemapError(InputError):
    """A remap string that cannot be read; the message gives the position of the error."""


class BandError(InputError):
    """Bands that the chosen model or operation needs are missing or not named."""


class ModelError(InputError):
    """An unknown cloud model, or a model file that is missing or damaged."""


def check_choice(value: object, choices: Collection[str], *, what: str) -> None:
    """Refuse a value that is none of the choices.

    Args:
        value: what is given.
        choices: what there is to choose from, in the order in which the message lists them.
        what: what the value is, in the message.

    Raises:
        ParameterError: it is none of them.
    """
    if value not in choices:
        shown = repr(value[:40]) if isinstance(value, str) else value
        raise ParameterError(f"{what} {shown} is unknown: choose from {', '.join(choices)}")


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
