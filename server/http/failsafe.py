"""ASGI middleware around everything: a number for every request, an answer for every error."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders

from server.errors import ShutdownError
from server.http.asgi import Message, Receive, Scope, Send, respond
from server.http.statuses import error_response
from server.work.trace import request_id

logger = logging.getLogger("clearsky")

HEADER: Final = "X-Request-Id"
_GIVEN: Final = re.compile(r"[A-Za-z0-9_.:+/=@-]{1,64}")
"""What a proxy may give as a request's number: one word for the log, without quotes."""


class Failsafe:
    """Numbers requests and turns what nothing else caught into an answer, so that each error is logged once."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request; an error that leaves the application becomes a 500, or ends an answer already begun.

        What the server cancels, as it ends and waits no longer, is answered with 503.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        number = given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(number)
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[HEADER] = number
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except (Exception, asyncio.CancelledError) as error:
            if begun:  # the server closes the connection, so that the client sees that something is missing
                raise
            known = error if isinstance(error, Exception) else ShutdownError("the server is shutting down; ask again")
            await respond(error_response(known), scope, receive, answer)
        finally:
            request_id.reset(token)
