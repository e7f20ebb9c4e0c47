"""ASGI middleware that compresses text: pages, JSON, the capabilities of a WMTS."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, Final

import brotli
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders

from server.http.asgi import Message, Receive, Scope, Send

LEAST: Final = 1024
"""Bytes from which compression is worth its header."""
MOST: Final = 16 << 20
"""Bytes of text that are held back to be compressed."""
ASIDE: Final = 256 << 10
"""Bytes from which a thread compresses, so that other requests' answers do not wait."""
GZIP_LEVEL: Final = 6
BROTLI_QUALITY: Final = 5
"""The best that is as fast as gzip."""

_TEXT: Final = ("text/", "application/json", "application/xml", "application/geo+json", "application/javascript")
_SUFFIXES: Final = ("+json", "+xml")

Compress = Callable[[bytes], bytes]
_CODECS: Final[dict[str, Compress]] = {
    "br": lambda data: bytes(brotli.compress(data, quality=BROTLI_QUALITY)),
    "gzip": lambda data: gzip.compress(data, GZIP_LEVEL, mtime=0),
}
"""In order of preference."""


def accepted_coding(accept: str) -> str | None:
    """The best coding that an `Accept-Encoding` admits; None for none of ours."""
    admitted: dict[str, bool] = {}
    for part in accept.lower().split(","):
        name, _, parameters = part.partition(";")
        quality = parameters.strip().removeprefix("q=").strip()
        admitted[name.strip()] = not quality or quality.strip("0.") != ""
    others = admitted.get("*", False)
    return next((name for name in _CODECS if admitted.get(name, others)), None)


def is_text(content_type: str) -> bool:
    """Whether compression pays for a type of content; images are compressed already."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith(_TEXT) or kind.endswith(_SUFFIXES)


class _Answer:
    """One answer: passed on as it is, or held until it is whole."""

    def __init__(self, coding: str | None, send: Send) -> None:
        self._coding = coding
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            text = is_text(headers.get("content-type", ""))
            if text:
                headers.add_vary_header("Accept-Encoding")
            if text and self._coding and message["status"] == 200 and "content-encoding" not in headers:
                self._start = message
                return
        elif self._start is not None:
            if message["type"] == "http.response.body":
                self._body += message.get("body", b"")
                if message.get("more_body", False) and len(self._body) <= MOST:
                    return
                message = message | {"body": await self._finished(complete=not message.get("more_body", False))}
            start, self._start = self._start, None
            await self._send(start)
        await self._send(message)

    async def _finished(self, *, complete: bool) -> bytes:
        """The held text: compressed, with the headers that say so, unless it is short or incomplete."""
        data, self._body = bytes(self._body), bytearray()
        if self._start is None or self._coding is None or not complete or len(data) < LEAST:
            return data
        compress = _CODECS[self._coding]
        packed = compress(data) if len(data) < ASIDE else await to_thread.run_sync(compress, data)
        headers = MutableHeaders(scope=self._start)
        headers["Content-Encoding"] = self._coding
        headers["Content-Length"] = str(len(packed))
        if (tag := headers.get("etag", "")).startswith('"'):
            headers["ETag"] = "W/" + tag  # other bytes than those that the strong tag stands for
        return packed


class CompressedText:
    """Compresses JSON, XML, HTML and scripts by brotli or gzip, as the client accepts."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request and compress its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        coding = accepted_coding(Headers(scope=scope).get("accept-encoding", ""))
        await self.app(scope, receive, _Answer(coding, send))
