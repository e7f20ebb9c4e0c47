"""Bands by name: `red`, `B04` or `nir` where TiTiler takes numbers, in `assets` and in expressions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from algorithms.errors import ParameterError

_WORD: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*\b(?!\s*\()", re.ASCII)
"""A name in an expression that is neither a function's nor part of a number (`1e3`)."""
_NUMBER: Final = re.compile(r"b0*([1-9][0-9]{0,4})", re.IGNORECASE)

Labels = Sequence[Sequence[str]]
"""What each band answers to, in the order of the bands."""


def band_number(word: str, labels: Labels, *, names_first: bool) -> int | None:
    """The 1-based number of the band that a word means; None for a word that means none.

    Args:
        word: a name in any case, or `b4`.
        labels: what each band answers to; a label of more bands than one means the first.
        names_first: whether `B04` is first of all a name, as in a product of Sentinel-2, where it is the third band.
    """
    wanted = word.casefold()
    named = next((k for k, own in enumerate(labels, start=1) if wanted in map(str.casefold, own)), None)
    numbered = int(found[1]) if (found := _NUMBER.fullmatch(word)) else None
    return (named or numbered) if names_first else (numbered or named)


def known_bands(labels: Labels) -> str:
    """The known bands, for messages."""
    return ", ".join(f"{k} {'/'.join(dict.fromkeys(own))}".strip() for k, own in enumerate(labels, start=1))


def numbers_of(words: Sequence[str], labels: Labels, *, names_first: bool) -> tuple[int, ...]:
    """The numbers of the bands that words mean.

    Raises:
        ParameterError: a word that means none.
    """
    return tuple(_found(word, labels, names_first) for word in words)


def numbered(expression: str, labels: Labels, *, names_first: bool) -> str:
    """An expression with `b1`, `b2`, ... in place of names.

    Raises:
        ParameterError: a name that means no band.
    """
    return _WORD.sub(lambda found: f"b{_found(found[0], labels, names_first)}", expression)


def _found(word: str, labels: Labels, names_first: bool) -> int:
    number = band_number(word, labels, names_first=names_first)
    if number is None:
        raise ParameterError(f"{word[:40]!r} is not a band; there are {known_bands(labels)}")
    return number
