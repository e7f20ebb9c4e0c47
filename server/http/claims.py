"""ASGI middleware that gives every request its ticket, and takes it back when the client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from server.work.activity import activity
from server.work.ticket import Ticket, current_ticket

Scope = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Claims:
    """Listens for the client's disconnection while the application works."""

    def __init__(self, app: Any, *, timeout: float) -> None:
        self.app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request with a ticket."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ticket = Ticket(self._timeout)
        token = current_ticket.set(ticket)
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def listen() -> None:
            while True:
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    ticket.abandon()
                    return

        listener = asyncio.create_task(listen())
        try:
            with activity.request():
                await self.app(scope, messages.get, send)
        finally:
            listener.cancel()
            current_ticket.reset(token)
