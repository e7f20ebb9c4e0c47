"""The tree of errors has three branches, and every error has its status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import algorithms.errors
import server.errors
from algorithms.errors import ClearSkyError, InputError
from server.errors import CancelledWorkError, SourceError
from server.http.statuses import STATUS

BRANCHES = (InputError, SourceError, CancelledWorkError)


def below(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        yield child
        yield from below(child)


DECLARED = sorted(
    {e for e in below(ClearSkyError) if e.__module__ in (algorithms.errors.__name__, server.errors.__name__)},
    key=lambda e: e.__name__,
)


def status(error: type[Exception]) -> int:
    """Of the nearest base class in the table, as the application looks it up."""
    return next(STATUS[base] for base in error.__mro__ if base in STATUS)


@pytest.mark.parametrize("error", DECLARED, ids=lambda e: e.__name__)
def test_each_error_is_on_one_branch(error: type[Exception]) -> None:
    assert sum(issubclass(error, branch) for branch in BRANCHES) == 1
    assert issubclass(error, ValueError) == issubclass(error, InputError)


@pytest.mark.parametrize("error", [e for e in DECLARED if e not in BRANCHES], ids=lambda e: e.__name__)
def test_no_error_is_a_fault_of_the_server(error: type[Exception]) -> None:
    expected = {
        InputError: {400, 404, 408, 413, 414},
        SourceError: {400, 403, 404, 502, 503, 504},
        CancelledWorkError: {499, 503},
    }
    assert status(error) in next(codes for branch, codes in expected.items() if issubclass(error, branch))
