"""JSON in query parameters: short, flat and finite, or refused."""

from __future__ import annotations

import json
from typing import Any, Final

from algorithms.errors import ParameterError

DEEPEST_JSON: Final = 16
"""Levels of brackets: PROJJSON has ten at most, a colour map three."""


def _depth(text: str) -> int:
    """Levels of brackets, those inside strings not counted."""
    deepest = depth = 0
    quoted = escaped = False
    for sign in text:
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str, name: str) -> Any:
    """The value of a JSON text.

    Args:
        text: the text; the caller bounds its length.
        name: of the parameter, for the error.

    Raises:
        ParameterError: not JSON, deeper than `DEEPEST_JSON`, or with a number that is not finite or absurdly long.
    """
    if (depth := _depth(text)) > DEEPEST_JSON:
        raise ParameterError(f"{name} is nested {depth} levels deep; up to {DEEPEST_JSON} are accepted")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ParameterError(f"{name} {text[:80]!r} is not JSON: {error.msg} at position {error.pos}") from error
    except ValueError as error:
        raise ParameterError(f"{name} {text[:80]!r} is not JSON: {error}") from error
