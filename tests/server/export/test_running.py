"""Pieces on their way when an export ends early."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.export.plan import Piece
from server.export.running import make_pieces
from server.export.work import WorkFolder
from server.raster.grid import Box
from server.work.ticket import Ticket, check_wanted, current_ticket


class Slow:
    """Makes pieces that take as long as somebody waits for them, at most half a minute."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def kinds(self, _: Piece) -> tuple[str, ...]:
        return ("image.tif",)

    def announce(self, _: list[Piece]) -> None: ...

    def infer(self, _: list[Piece]) -> None: ...

    def prepare(self, _: list[Piece]) -> None: ...

    def keep(self, _: list[list[Piece]]) -> None: ...

    def make(self, piece: Piece) -> Iterator[tuple[str, bytes]]:
        if piece.row == 1:
            assert self.begun.wait(10)
            raise ValueError("the second")
        self.begun.set()
        for _ in range(300):
            check_wanted()
            time.sleep(0.1)
        yield "image.tif", b""


def test_an_error_does_not_wait_for_the_pieces_on_their_way(tmp_path: Path) -> None:
    plan = [[Piece(row, 0, Box(row, row + 1, 0, 1)) for row in range(8)]]
    token = current_ticket.set(Ticket())
    begun = time.monotonic()
    try:
        with pytest.raises(ValueError, match="the second"):
            make_pieces(plan, WorkFolder.open(tmp_path / "out.tif", {}), Slow(), 2, lambda *_: None)
    finally:
        current_ticket.reset(token)
    assert time.monotonic() - begun < 10
