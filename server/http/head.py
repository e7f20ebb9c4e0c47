"""ASGI middleware that answers HEAD wherever GET is answered."""

from __future__ import annotations

from typing import Any

from server.http.asgi import Message, Receive, Scope, Send


class HeadAsGet:
    """Runs HEAD as GET and leaves the body out: FastAPI's routes know only GET."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request; the headers are those of the GET, its length included."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body", False):
                    return
                message = message | {"body": b""}
            await send(message)

        await self.app(scope | {"method": "GET"}, receive, answer)
