"""What the answer of a web server brings: a part of a file or a whole document, complete, or why there is none."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn

from server.errors import (
    SourceChangedError,
    SourceDeniedError,
    SourceFaultError,
    SourceMissingError,
    SourceTimeoutError,
)
from server.remote.transfer import Part, Stamp

MOST_JSON_BYTES: Final = 8 << 20
"""Bytes of a document in JSON that may be sent whole where its beginning was requested."""
REFUSED_STATUSES: Final = frozenset({401, 403, 409})
"""Statuses of who may not read; Azure answers 409 where a container is not public."""
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PIECE: Final = 1 << 18
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_JSON: Final = re.compile(r"application/(?:[\w.+-]{1,40}\+)?json\b", re.IGNORECASE)


class TransientError(Exception):
    """A failure that another attempt may avoid."""

    def __init__(self, error: SourceFaultError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when an answer must be here."""

    at: float
    """Of the monotonic clock."""
    seconds: float
    """Time that it leaves a request from its beginning on."""

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.at

    def error(self, url: str) -> SourceTimeoutError:
        """What to raise then."""
        return SourceTimeoutError(
            f"{url!r} was not sent within {self.seconds:g} s; try again, or raise CLEARSKY_SOURCE_TIMEOUT"
        )


def read_part(
    answer: Any, url: str, where: str, wanted: tuple[int, int], unless: Stamp | None, deadline: Deadline
) -> Part:
    """The part of a file that an answer brings, or the news that nothing changed.

    Args:
        answer: of urllib3, its body not read yet.
        url: what messages call the file.
        where: address that answers.
        wanted: first byte and the one after the last.
        unless: the state that the request named.
        deadline: by when all must be here.

    Raises:
        As `Transfer.fetch`. TransientError: a failure that another attempt may avoid.
    """
    if answer.status == HTTPStatus.NOT_MODIFIED and unless:
        return Part(None, unless, where)
    if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        _refuse(url, answer.status, wanted[0])
    first, last, size = _span(answer, url, wanted)
    stamp = Stamp(size, _validator(answer, "etag"), _validator(answer, "last-modified"))
    data = _body(answer, url, last - first, deadline)
    return Part(data, stamp, where)


def _body(answer: Any, url: str, length: int, deadline: Deadline) -> bytes:
    """The whole body, and no more than was announced."""
    data = _bytes(answer, url, length, deadline)
    if len(data) != length:
        raise TransientError(
            SourceFaultError(
                f"{url!r} came with {len(data)} bytes instead of {length}; try again or inform its provider"
            )
        )
    return data


def read_whole(answer: Any, url: str, most: int, deadline: Deadline) -> bytes:
    """The body of an answer whose length may not be announced: up to so many bytes. See `read_part`."""
    if answer.status != HTTPStatus.OK:
        _refuse(url, answer.status, 0)
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceFaultError(f"{url!r} is sent compressed, which was not asked for; inform its provider")
    announced = answer.headers.get("content-length", "")
    if _LENGTH.fullmatch(announced) and int(announced) <= most:
        return _body(answer, url, int(announced), deadline)
    data = b"" if announced else _bytes(answer, url, most, deadline)
    if announced or len(data) > most:
        raise SourceFaultError(f"{url!r} answers with more than {most} bytes, the most that are read")
    return data


def _bytes(answer: Any, url: str, most: int, deadline: Deadline) -> bytes:
    """The body, or somewhat more than `most` bytes of a longer one."""
    pieces: list[bytes] = []
    got = 0
    while got <= most and (piece := answer.read1(_PIECE, decode_content=False)):
        got += len(piece)
        pieces.append(piece)
        if deadline.over:
            raise deadline.error(url)
    return b"".join(pieces)


def _validator(answer: Any, name: str) -> str | None:
    """A header to send with the next request, unless it contains what no header may."""
    value: str | None = answer.headers.get(name)
    return value if value and value.isascii() and value.isprintable() and len(value) <= 1024 else None


def _refuse(url: str, status: int, start: int) -> NoReturn:
    """The error for an answer without bytes."""
    if status in (404, 410):
        raise SourceMissingError(f"{url!r} does not exist (its server answers {status}); check the name")
    if status in REFUSED_STATUSES:
        raise SourceDeniedError(f"{url!r} is refused by its server ({status}); give a public or signed address")
    if status == 416 and start:
        raise SourceChangedError(f"{url!r} changed while it was read: it is shorter now; try again")
    error = SourceFaultError(
        f"{url!r} cannot be fetched: its server answers {status}; try again or inform its provider"
    )
    if status in _TRANSIENT:
        raise TransientError(error)
    raise error


def _span(answer: Any, url: str, wanted: tuple[int, int]) -> tuple[int, int, int]:
    """First and last byte (excluded) of the body, and the file's size."""
    start, stop = wanted
    length = answer.headers.get("content-length", "")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceFaultError(f"{url!r} is sent compressed, so its parts cannot be read; inform its provider")
    if answer.status == HTTPStatus.OK:
        # A server may send a small file whole; of a large one that would be paid again with every part. Services that
        # answer in JSON know no parts.
        most = max(stop, MOST_JSON_BYTES if _JSON.match(answer.headers.get("content-type", "")) else 0)
        if start == 0 and _LENGTH.fullmatch(length) and int(length) <= most:
            return 0, int(length), int(length)
        raise SourceFaultError(
            f"the server of {url!r} sends no parts of files (it ignores `Range`); use a server that supports ranges"
        )
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None:
        raise SourceFaultError(f"the server of {url!r} does not say which part it sends (`Content-Range`)")
    first, last, size = (int(group) for group in match.groups())
    if first != start or last != min(stop, size) - 1:
        raise SourceFaultError(f"the server of {url!r} sends bytes {first}-{last} instead of {start}-{stop - 1}")
    return first, last + 1, size
