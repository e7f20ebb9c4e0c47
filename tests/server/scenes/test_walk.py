"""The pages of a search: each once, in order, and never without end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceTimeoutError
from server.scenes.paging import PageRequest
from server.scenes.walk import Halt, SearchDeadline, walk_pages


@dataclass(frozen=True)
class Page:
    asked: PageRequest
    following: PageRequest | None


FIRST, SECOND, *OTHERS = (PageRequest(address, body) for address in "abc" for body in (None, "{}"))
REQUESTS = st.sampled_from([FIRST, SECOND, *OTHERS])


@given(st.dictionaries(REQUESTS, st.none() | REQUESTS), st.integers(1, 7))
def test_any_web_of_pages_is_walked_to_an_end(links: dict[PageRequest, PageRequest | None], most: int) -> None:
    halts: list[Halt] = []
    pages = list(
        walk_pages(
            FIRST, lambda asked: Page(asked, links.get(asked)), most_pages=most, go_on=lambda: None, halted=halts.append
        )
    )
    walked = [page.asked for page in pages]
    assert walked[0] == FIRST
    assert len(set(walked)) == len(walked) <= most
    assert [page.following for page in pages[:-1]] == walked[1:]
    left = pages[-1].following
    assert halts == ([] if left is None else [Halt.CIRCLE if left in walked else Halt.PAGES])


def test_what_goes_on_no_longer_requests_no_page() -> None:
    asked: list[PageRequest] = []

    def read(page: PageRequest) -> Page:
        asked.append(page)
        return Page(page, None)

    late = SearchDeadline.within(-1, search="the search", remedy="narrow it")
    with pytest.raises(SourceTimeoutError, match="the search did not end within -1 s; narrow it"):
        list(walk_pages(FIRST, read, most_pages=9, go_on=late.check))
    assert asked == []


def test_a_page_is_requested_only_when_the_one_before_has_been_taken() -> None:
    asked: list[PageRequest] = []

    def read(page: PageRequest) -> Page:
        asked.append(page)
        return Page(page, SECOND)

    pages = walk_pages(FIRST, read, most_pages=9, go_on=lambda: None)
    next(pages)
    next(pages)
    assert asked == [FIRST, SECOND]
