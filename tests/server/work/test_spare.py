"""The spare thread: results in order, errors of either call, and one answer at a time that has it."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from server.work.spare import side_by_side

number = ContextVar("number", default=0)


def fail() -> int:
    raise ValueError("broken")


def test_both_calls_are_made_in_the_context_of_the_request() -> None:
    token = number.set(7)
    assert side_by_side(number.get, lambda: (number.get(), "second")) == (7, (7, "second"))
    number.reset(token)


@pytest.mark.parametrize("calls", [(fail, number.get), (number.get, fail)])
def test_an_error_of_either_call_is_raised_and_the_thread_is_free_again(calls: tuple[object, object]) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            side_by_side(*calls)  # type: ignore[arg-type]


def test_a_call_within_a_call_does_not_wait_for_the_thread() -> None:
    def inner() -> tuple[str, str]:
        return side_by_side(lambda: threading.current_thread().name, lambda: threading.current_thread().name)

    first, second = side_by_side(inner, inner)
    assert len(set(first)) == len(set(second)) == 1
