"""The pages of a search, one after the other, within bounds: the one loop that follows `next`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeVar

from server.errors import SourceTimeoutError
from server.scenes.paging import PageRequest

PAGE_BYTES: Final = 8 << 20
"""Bytes of a page: those of the archives have up to 80 kB an Item, and 50 are asked for."""


class Page(Protocol):
    """A page that has been read."""

    @property
    def following(self) -> PageRequest | None:
        """What brings the next page."""


PageT = TypeVar("PageT", bound=Page)


class Halt(Enum):
    """Why a walk ends before the last page."""

    CIRCLE = "the pages lead in a circle"
    PAGES = "there are more pages than are requested"


@dataclass(frozen=True, slots=True)
class SearchDeadline:
    """When a search has to be at its end."""

    seconds: float
    """Time for all pages."""
    until: float
    """The same as `time.monotonic` has it."""
    search: str
    """What the search is called in the message."""
    remedy: str
    """What to do where it takes longer."""

    @classmethod
    def within(cls, seconds: float, *, search: str, remedy: str) -> SearchDeadline:
        """From now on."""
        return cls(seconds, time.monotonic() + seconds, search, remedy)

    def check(self) -> None:
        """Go on only while there is time.

        Raises:
            SourceTimeoutError: there is none.
        """
        if time.monotonic() > self.until:
            raise SourceTimeoutError(f"{self.search} did not end within {self.seconds:g} s; {self.remedy}")


def walk_pages(
    first: PageRequest,
    read: Callable[[PageRequest], PageT],
    *,
    most_pages: int,
    go_on: Callable[[], None],
    halted: Callable[[Halt], None] = lambda _: None,
) -> Iterator[PageT]:
    """Each page of a search.

    Args:
        first: what brings the first page.
        read: gives the page.
        most_pages: pages that are requested.
        go_on: called before each; what it raises ends the walk.
        halted: called where a next page is not requested; what it raises reaches the caller.
    """
    visited: set[PageRequest] = set()
    following: PageRequest | None = first
    while following is not None:
        if following in visited or len(visited) == most_pages:
            halted(Halt.CIRCLE if following in visited else Halt.PAGES)
            return
        go_on()
        visited.add(following)
        page = read(following)
        yield page
        following = page.following
