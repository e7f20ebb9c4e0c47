"""Secrets in text: which parameters of an address sign it, and messages and logs without their values."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Any, Final

_AZURE: Final = frozenset(
    {
        "sig", "se", "st", "sp", "sv", "sr", "ss", "srt", "spr", "sip", "si", "skoid", "sktid", "skt", "ske", "sks",
        "skv", "sdd", "saoid", "suoid", "scid", "ses",
    }
)  # fmt: skip
"""Parameters of a shared access signature; others than `sig` are too short to mean one where that is missing."""
_SIGNED_BY_HAND: Final = frozenset(
    {"signature", "expires", "policy", "hash-algorithm", "key-pair-id", "awsaccesskeyid", "ossaccesskeyid"}
)
"""Parameters of CloudFront and of the older signatures of Amazon, Google and Alibaba, where there is a `Signature`."""
_TOKENS: Final = frozenset({"token", "access_token", "api_key", "apikey", "key", "subscription-key"})
"""Parameters that say who asks: what a server gives may depend on that."""
_ALWAYS: Final = _TOKENS | {"sig", "signature", "key-pair-id", "googleaccessid"}
"""Parameters that are secrets wherever they are."""
TOKEN_MARK: Final = "#token-"  # noqa: S105  (no address that somebody gives has a fragment)
"""In the name of a file, before the digest of its tokens."""
TOKEN_DIGITS: Final = 24
"""Hexadecimal digits of that digest."""
_PASSING: Final = frozenset({"code"})
"""Parameters that prove something for a moment, on the way back from a login."""
_PREFIXES: Final = ("x-amz-", "x-goog-", "x-oss-")

_SECRET: Final = re.compile(
    r"(?P<name>(?:[?&]|%(?:25)*(?:3F|26))(?:x-(?:amz|goog|oss)-[\w-]+|"
    + "|".join(sorted(_ALWAYS | _PASSING | {"awsaccesskeyid", "ossaccesskeyid", "policy"}))
    + r")(?:=|%(?:25)*3D))(?P<value>(?:(?!%(?:25)*26)[^&\s'\"<>])+)",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(
    r"(?P<start>(?::|%(?:25)*3A)(?:/|%(?:25)*2F){2})(?:(?!%(?:25)*(?:2F|3F|40))[^/?#\s'\"<>@])+(?P<end>@|%(?:25)*40)",
    re.IGNORECASE,
)
"""What stands before the host of an address; percent-encoded any number of times, as above."""
_DIGEST: Final = re.compile(f"{TOKEN_MARK}[0-9a-f]{{{TOKEN_DIGITS}}}")


def is_token(name: str) -> bool:
    """Whether a parameter (name in lower case) says who asks, so that it may select what is sent."""
    return name in _TOKENS


def is_secret(name: str, others: Collection[str]) -> bool:
    """Whether a parameter signs an address that has these (names in lower case)."""
    return (
        name in _ALWAYS
        or name.startswith(_PREFIXES)
        or ("sig" in others and name in _AZURE)
        or ("signature" in others and name in _SIGNED_BY_HAND)
    )


def redacted(text: str) -> str:
    """Any text with signatures and logins replaced by dots, and names without digests: for messages and logs."""
    return _LOGIN.sub(r"\g<start>...\g<end>", _SECRET.sub(r"\g<name>...", _DIGEST.sub("", text)))


def redacted_values(value: Any) -> Any:
    """What an answer in JSON consists of, every text in it as `redacted` has it."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(part) for part in value]
    return value


LOGS: Final = ("clearsky", "urllib3.connectionpool")
"""Loggers that write of addresses; urllib3's does where the operator asks for its debugging lines."""


def redact_logs() -> None:
    """Keep signatures out of this process's logs."""
    for name in LOGS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, Redacting) for known in logger.filters):
            logger.addFilter(Redacting())


class Redacting(logging.Filter):
    """Keeps signatures out of a log."""

    _formatter: Final = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, its text and traceback without the values of signatures."""
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = redacted(self._formatter.formatException(record.exc_info))
        return True
