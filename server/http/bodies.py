"""ASGI middleware that reads a request's body before the application, up to a size and within a time."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from server.errors import BodyTimeoutError, BodyTooLargeError
from server.http.asgi import Message, Receive, Scope, Send, respond
from server.http.statuses import error_response


class BoundedBodies:
    """Bodies are GeoJSON that is parsed whole anyway; none is held, or waited for, beyond the bounds."""

    def __init__(self, app: Any, *, most: int, seconds: float) -> None:
        """Wrap an application.

        Args:
            app: the application.
            most: bytes of a body.
            seconds: time for a body to arrive.
        """
        self.app = app
        self._most = most
        self._seconds = seconds

    async def _read(self, scope: Scope, receive: Receive) -> Message:
        """The whole body as one message, or the client's hang-up.

        Raises:
            BodyTooLargeError: more bytes than allowed are announced or sent.
        """
        remedy = f"up to {self._most} are accepted; simplify the geometry (the operator sets CLEARSKY_MAX_BODY_BYTES)"
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > self._most):
            raise BodyTooLargeError(f"the body has {announced[:20]} bytes; {remedy}")
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                raise BodyTooLargeError(f"the body has more than {self._most} bytes; {remedy}")
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then run the request with it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            message = await asyncio.wait_for(self._read(scope, receive), self._seconds)
        except TimeoutError:
            late = BodyTimeoutError(f"the body did not arrive within {self._seconds:g} s; send it faster")
            await _refuse(late, scope, receive, send)
            return
        except BodyTooLargeError as error:
            await _refuse(error, scope, receive, send)
            return
        if message["type"] == "http.disconnect":
            return
        first: list[Message] = [message]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer and have the connection closed, so that the rest of the body is not read."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    await respond(error_response(error), scope, receive, answer)
