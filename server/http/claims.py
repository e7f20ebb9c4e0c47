"""ASGI middleware that gives every request its ticket, answers in time, and takes it back when the client hangs up."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from server.errors import BusyError
from server.http.asgi import PROBED, REPLAYED, Message, Receive, Scope, Send, below_root, respond
from server.http.statuses import error_response
from server.http.stuck import StuckThreads
from server.work.activity import Activity
from server.work.ticket import Ticket, current_ticket

logger = logging.getLogger("clearsky")

GRACE: Final = 0.25
"""Seconds within which a request's own thread may notice that its time is over."""


class Claims:
    """Stands between the client and the threads that work for it.

    A thread inside GDAL cannot be stopped. When its request's time is over, or its client gone, the event loop answers
    and gives the place in the line of requests to the next one; the thread ends its call and finds its ticket taken
    back. How many such threads there may be is bounded: beyond that, requests are refused at once rather than left to
    wait for nothing.
    """

    def __init__(self, app: Any, *, timeout: float, stuck: StuckThreads, activity: Activity) -> None:
        """Wrap an application.

        Args:
            app: the application.
            timeout: seconds for an answer.
            stuck: the threads whose requests were given up.
            activity: where requests under way are counted.
        """
        self.app = app
        self._timeout = timeout
        self._stuck = stuck
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request with a ticket."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._stuck.exhausted and below_root(scope) not in PROBED:
            count = self._stuck.count()
            logger.error("%d threads are stuck in reads that take too long; refusing requests", count)
            busy = BusyError(f"{count} reads that were given up have not ended yet; try again later")
            await respond(error_response(busy), scope, receive, send)
            return
        ticket = Ticket(self._timeout, signatures={}, local=REPLAYED in scope)
        token = current_ticket.set(ticket)
        try:
            await self._run(ticket, scope, receive, send)
        finally:
            current_ticket.reset(token)
            if ticket.held:
                self._stuck.add(ticket)

    async def _run(self, ticket: Ticket, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request until it is answered, its time is over, or its client has gone."""
        messages: asyncio.Queue[Message] = asyncio.Queue()
        answering = False

        async def listen() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                messages.put_nowait(message)
            messages.put_nowait(message)

        async def answer(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        async def work() -> None:
            with self._activity.request():
                await self.app(scope, messages.get, answer)

        worker, listener = asyncio.create_task(work()), asyncio.create_task(listen())
        try:
            left = ticket.seconds_left
            timeout = None if left is None else left + GRACE
            await asyncio.wait({worker, listener}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if worker.done() or answering:
                await worker
                return
            gone = listener.done()
            ticket.abandon()
            worker.cancel()  # the event loop waits no longer for the thread, which gives up at its next check
            await asyncio.wait({worker})
            if not gone:
                await respond(error_response(ticket.overdue()), scope, receive, send)
        finally:
            listener.cancel()
            worker.cancel()
