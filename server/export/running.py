"""The pieces of a scene made one strip after the other, by any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Protocol

from server.export.plan import Piece
from server.export.work import WorkFolder
from server.work.ticket import check_wanted

Progress = Callable[[int, int], None]
"""Told the pieces finished and the pieces of the whole scene."""


class Filler(Protocol):
    """What makes the files of pieces; any number of threads may use it."""

    def kinds(self, piece: Piece, /) -> tuple[str, ...]:
        """The files of a piece, in the order they are written."""

    def announce(self, pieces: list[Piece], /) -> None:
        """Prepare for all that will be made."""

    def prepare(self, pieces: list[Piece], /) -> None:
        """Compute and keep what making some neighbouring pieces needs."""

    def make(self, piece: Piece, /) -> Iterator[tuple[str, bytes]]:
        """The files of a piece, by kind and in the order of `kinds`."""


def make_pieces(plan: list[list[Piece]], work: WorkFolder, filler: Filler, workers: int, progress: Progress) -> None:
    """Make every missing piece: the analysis of a strip while the one before is read and written."""
    total = sum(map(len, plan))
    plan = [[piece for piece in strip if not work.has(piece, filler.kinds(piece))] for strip in plan]
    done = total - sum(map(len, plan))
    running: set[Future[None]] = set()

    def collect(ready: set[Future[None]]) -> None:
        nonlocal done
        for future in ready:
            running.discard(future)
            future.result()
            done += 1
        progress(done, total)

    progress(done, total)
    filler.announce([piece for strip in plan for piece in strip])
    with ThreadPoolExecutor(workers, thread_name_prefix="piece") as pool:
        try:
            for missing in filter(None, plan):
                before = set(running)
                filler.prepare(missing)
                running |= {pool.submit(copy_context().run, partial(_make, piece, work, filler)) for piece in missing}
                collect(wait(before).done)
            while running:
                collect(wait(running, return_when=FIRST_COMPLETED).done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(piece: Piece, work: WorkFolder, filler: Filler) -> None:
    check_wanted()
    for kind, content in filler.make(piece):
        work.write_piece(piece, kind, content)
