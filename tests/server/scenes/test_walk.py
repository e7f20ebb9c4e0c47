"""The pages of a search: each once, in order, and never without end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceTimeoutError
from server.scenes.walk import Halt, SearchDeadline, walk_pages


@dataclass(frozen=True)
class Page:
    address: str
    following: str | None


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([*"abcdef", None])), st.integers(1, 7))
def test_any_web_of_pages_is_walked_to_an_end(links: dict[str, str | None], most: int) -> None:
    halts: list[Halt] = []
    pages = list(
        walk_pages(
            "a", lambda page: Page(page, links.get(page)), most_pages=most, go_on=lambda: None, halted=halts.append
        )
    )
    walked = [page.address for page in pages]
    assert walked[0] == "a"
    assert len(set(walked)) == len(walked) <= most
    assert [page.following for page in pages[:-1]] == walked[1:]
    left = pages[-1].following
    assert halts == ([] if left is None else [Halt.CIRCLE if left in walked else Halt.PAGES])


def test_what_goes_on_no_longer_requests_no_page() -> None:
    asked: list[str] = []

    def read(page: str) -> Page:
        asked.append(page)
        return Page(page, None)

    late = SearchDeadline.within(-1, search="the search", remedy="narrow it")
    with pytest.raises(SourceTimeoutError, match="the search did not end within -1 s; narrow it"):
        list(walk_pages("a", read, most_pages=9, go_on=late.check))
    assert asked == []


def test_a_page_is_requested_only_when_the_one_before_has_been_taken() -> None:
    asked: list[str] = []

    def read(page: str) -> Page:
        asked.append(page)
        return Page(page, page + "a")

    pages = walk_pages("a", read, most_pages=9, go_on=lambda: None)
    next(pages)
    next(pages)
    assert asked == ["a", "aa"]
