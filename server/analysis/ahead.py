"""Work ahead: blocks around the last views requested, computed while the server is idle."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from server.analysis.plane import Plane
from server.errors import AbandonedError
from server.raster.grid import BLOCK_CELLS, BlockNumber, Box
from server.work.activity import QUIET_SECONDS, Activity
from server.work.ticket import Ticket, check_wanted, current_ticket

KEPT_VISITS: Final = 4
"""Views remembered, the last ones."""
VISIT_SIDE: Final = 512
"""Cells along a side of a visit beyond which it is not a map tile, and nothing is computed around it."""

logger = logging.getLogger("clearsky")


@dataclass(frozen=True, slots=True)
class Visit:
    """A view that a client has just requested."""

    plane: Plane
    """What was analysed."""
    box: Box
    """Cells seen."""
    in_pixels: bool = True
    """Whether native pixels matter there."""

    def around(self) -> list[list[BlockNumber]]:
        """Blocks under a visit of the same size on every side, the nearest first: those of one square together."""
        middle = (self.box.top + self.box.bottom) / 2, (self.box.left + self.box.right) / 2
        wide = self.box.pad(max(self.box.shape)).clip(self.plane.shape)
        per_square = BLOCK_CELLS // self.plane.side(in_pixels=self.in_pixels)
        squares: dict[BlockNumber, list[BlockNumber]] = {}
        for i, j in self.plane.blocks(wide, in_pixels=self.in_pixels):
            squares.setdefault((i // per_square, j // per_square), []).append((i, j))

        def distance(square: BlockNumber) -> float:
            return max(abs((n + 0.5) * BLOCK_CELLS - m) for n, m in zip(square, middle, strict=True))

        return [squares[square] for square in sorted(squares, key=distance)]


class Ahead:
    """One thread that computes blocks around recent views, one after the other."""

    def __init__(
        self,
        missing: Callable[[Visit, BlockNumber], bool],
        compute: Callable[[Visit, list[BlockNumber]], object],
        activity: Activity,
    ) -> None:
        """Start it.

        Args:
            missing: whether a block around a view is not there yet.
            compute: computes some.
            activity: the requests that come first.
        """
        self._missing = missing
        self._compute = compute
        self._activity = activity
        self._visits: deque[Visit] = deque(maxlen=KEPT_VISITS)
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)
        self._thread.start()

    @property
    def visits(self) -> tuple[Visit, ...]:
        """Visits around which there may be something left to do, the last one last."""
        with self._wake:
            return tuple(self._visits)

    def seen(self, visit: Visit) -> None:
        """Remember a visit."""
        if max(visit.box.shape) > VISIT_SIDE:
            return
        with self._wake:
            if visit in self._visits:
                self._visits.remove(visit)
            self._visits.append(visit)
            self._wake.notify()

    def close(self) -> None:
        """Stop after the current job."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._visits and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                visit = self._visits[-1]
            if (ticket := self._activity.lend()) is None:
                time.sleep(QUIET_SECONDS / 3)
            elif self._finished(visit, ticket):
                with self._wake:
                    if visit in self._visits:
                        self._visits.remove(visit)

    def _finished(self, visit: Visit, ticket: Ticket) -> bool:
        """Compute what is missing around a visit; whether there is nothing left to do."""
        token = current_ticket.set(ticket)
        try:
            for numbers in visit.around():
                if self._closed:
                    return True
                check_wanted()
                if missing := [number for number in numbers if self._missing(visit, number)]:
                    self._compute(visit, missing)
        except AbandonedError:
            return False
        except Exception:  # a raster that is gone; whoever asks for it gets the error
            logger.debug("work ahead around %s stopped", visit.box, exc_info=True)
        finally:
            current_ticket.reset(token)
        return True
