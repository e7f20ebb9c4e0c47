"""Lanes: workers are shared evenly among requests, however many jobs each has and however long these take."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from server.work.lanes import Batch, Lanes
from server.work.ticket import Ticket


def batch(jobs: int, ticket: Ticket) -> Batch[None]:
    return Batch([lambda: None] * jobs, ticket)


def taken(lanes: Lanes) -> Batch[None]:
    """The next batch, one of its jobs begun by a worker."""
    found = lanes.next()
    assert found is not None
    found.claim()
    lanes.begin(found)
    return found


def test_short_jobs_have_a_worker_of_their_own_next_to_long_ones() -> None:
    lanes, long, short = Lanes(), batch(9, Ticket()), batch(9, Ticket())
    lanes.put(long)
    lanes.put(short)
    assert taken(lanes) is long  # and goes on
    for _ in range(9):
        assert taken(lanes) is short
        lanes.end(short)
    assert taken(lanes) is long  # nothing else is left


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.lists(st.integers(0, 9), max_size=40))
def test_a_worker_goes_where_the_fewest_are(counts: list[int], ends: list[int]) -> None:
    lanes, at_work = Lanes(), Counter[object]()
    batches = [batch(count, Ticket()) for count in counts]
    for each in batches:
        lanes.put(each)
    running: list[Batch[None]] = []
    for end in ends:
        if end < len(running):
            ended = running.pop(end)
            lanes.end(ended)
            at_work[ended.owner] -= 1
        elif open_ := [each for each in batches if not each.exhausted]:
            least = min(at_work[each.owner] for each in open_)
            running.append(taken(lanes))
            assert at_work[running[-1].owner] == least
            at_work[running[-1].owner] += 1
        else:
            assert lanes.next() is None
        assert lanes.waiting == sum(len(each.jobs) - each.next for each in batches)


def test_the_newest_batch_of_a_request_is_first_and_equal_requests_take_turns() -> None:
    lanes, one, other = Lanes(), Ticket(), Ticket()
    first, second, elsewhere = batch(2, one), batch(1, one), batch(2, other)
    for each in (first, second, elsewhere):
        lanes.put(each)
    order = []
    for _ in range(5):
        order.append(taken(lanes))
        lanes.end(order[-1])
    assert order == [second, elsewhere, first, elsewhere, first]
