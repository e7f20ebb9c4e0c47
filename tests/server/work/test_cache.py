"""The byte-bounded cache: what values weigh, and that their weight counts."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from server.errors import AbandonedError, OverdueError
from server.work.cache import TileCache, size_of
from server.work.ticket import Ticket, current_ticket


@dataclass(frozen=True, slots=True)
class Slotted:
    array: np.ndarray
    more: object = None


@dataclass(frozen=True)
class Open:
    array: np.ndarray
    more: object = None


class Named(NamedTuple):
    array: np.ndarray
    more: object = None


@pytest.mark.parametrize("kind", [Slotted, Open, Named])
def test_a_value_weighs_what_the_arrays_in_it_weigh(kind: type) -> None:
    small, large = np.zeros(10), np.zeros((100, 100), np.float32)
    shell = size_of(kind(np.zeros(0)))
    assert 0 < shell < 1000
    assert size_of(kind(small)) - shell == small.nbytes
    assert size_of(kind(large)) - shell == large.nbytes
    nested = kind(small, {1: [kind(large)]})
    assert small.nbytes + large.nbytes < size_of(nested) < small.nbytes + large.nbytes + 2000


@pytest.mark.parametrize("value", [None, 1.5, "text", (0.0, 0.0), [], {}])
def test_a_value_without_arrays_weighs_little_but_something(value: object) -> None:
    assert sys.getsizeof(value) <= size_of(value) < 200


def test_a_value_that_knows_its_size_is_believed() -> None:
    class Knows:
        nbytes = 12_345

    assert size_of(Knows()) == 12_345


def test_the_cache_holds_as_many_bytes_as_it_may() -> None:
    cache = TileCache(10_000)
    for number in range(20):
        cache.get(number, lambda: Slotted(np.zeros(1000, np.uint8)))
    held = [number for number in range(20) if cache.peek(number)]
    assert held == list(range(20 - len(held), 20))
    assert 5 < len(held) < 10
    assert 1000 * len(held) < cache.nbytes <= 10_000


def test_nothing_is_a_value_too() -> None:
    cache, made = TileCache(10_000), []
    for _ in range(2):
        assert cache.get("key", lambda: made.append(1)) is None
    assert made == [1]


@pytest.mark.parametrize(("seconds", "error"), [(60, AbandonedError), (0.2, OverdueError)])
def test_nobody_waits_for_another_longer_than_the_answer_is_wanted(seconds: float, error: type[Exception]) -> None:
    ticket = Ticket(seconds)
    cache, begun, ends = TileCache(10_000), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert ends.wait(10)
        return 7

    def waiting() -> int:
        current_ticket.set(ticket)
        return cache.get("key", lambda: 8)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "key", slow)
        assert begun.wait(5)
        second = pool.submit(waiting)
        if error is AbandonedError:
            ticket.abandon()
        assert isinstance(second.exception(0.6), error)
        ends.set()
        assert first.result(5) == 7
    assert cache.get("key", lambda: 9) == 7


def test_a_value_larger_than_the_cache_is_given_and_not_kept() -> None:
    cache, large = TileCache(1000), np.zeros(2000, np.uint8)
    assert cache.get("key", lambda: large) is large
    assert not cache.peek("key")


def test_what_one_cache_leaves_free_another_uses_until_it_is_needed() -> None:
    lender = TileCache(1000, size=int)
    borrower = TileCache(500, size=int, lender=lender)

    def put(cache: TileCache, name: str, size: int) -> None:
        assert cache.get(name, lambda: size) == size

    for k in range(5):
        put(borrower, f"b{k}", 300)
    assert (borrower.nbytes, borrower.share) == (1500, 1)
    put(lender, "l0", 400)
    assert borrower.nbytes == 900
    assert not borrower.peek("b1")
    assert borrower.peek("b2")
    for k in range(1, 5):
        put(lender, f"l{k}", 400)
    assert lender.nbytes == 800  # what it lends drives nothing out of it
    assert borrower.nbytes == 600
    put(borrower, "b5", 701)  # more than its own and what is free
    assert borrower.nbytes == 0
