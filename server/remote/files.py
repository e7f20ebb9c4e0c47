"""Remote files: what state they are in, looked up again when it is a few seconds old."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import cachetools

from algorithms.errors import ClearSkyError
from server import __version__
from server.errors import SourceBusyError, SourceChangedError, SourceDeniedError, SourceFaultError, SourceMissingError
from server.remote.allowlist import AllowList
from server.remote.gate import Gate
from server.remote.logins import Logins
from server.remote.names import WEB
from server.remote.objects import ObjectTransfer
from server.remote.pieces import CHUNK_BYTES, Pieces
from server.remote.rules import Rules
from server.remote.signatures import Signatures, plain_name, unsigned_name
from server.remote.transfer import Identity, Part, Transfer, again, host_of
from server.remote.web import WebDocument, WebTransfer
from server.settings import Settings

HEAD_CHUNKS: Final = 2
"""Pieces that the look at a file's state brings along: the header of most cloud-optimized GeoTIFFs."""
PATIENCE: Final = 1.0
"""Seconds without an answer after which no more threads wait for a host: see `Gate`."""
NO_RULES: Final = Rules()
PUBLIC_SECONDS: Final = 30.0
"""Seconds for which a file that was had without a signature counts as public, unless somebody comes with one."""
KNOWN_FILES: Final = 4096
"""Files whose state is remembered."""


def is_remote(url: str) -> bool:
    """Whether a dataset's name is an address."""
    return "://" in url


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in WEB


def _version(part: Part) -> str:
    """Size and entity tag; without a strong one also the time; without either a digest of the header."""
    stamp = part.stamp
    if stamp.etag and not stamp.etag.startswith("W/"):
        told = stamp.etag
    elif stamp.etag or stamp.modified:
        told = f"{stamp.etag}-{stamp.modified}"
    else:
        told = hashlib.sha256(part.data or b"").hexdigest()
    return f"{stamp.size}-{told}"


def _good(known: Identity | ClearSkyError) -> Identity:
    if isinstance(known, ClearSkyError):
        raise again(known)
    return known


class Remotes:
    """States and pieces of remote files, shared by all requests of an application."""

    def __init__(
        self,
        allowed: AllowList,
        *,
        cache_bytes: int,
        check: float,
        timeout: float,
        threads: int = 40,
        rules: Rules = NO_RULES,
    ) -> None:
        """Make it.

        Args:
            allowed: where redirects may lead, and which hosts may have private addresses.
            cache_bytes: for pieces of files.
            check: seconds after which a file's state is looked up again.
            timeout: seconds for one request to a server.
            rules: what the operator says of buckets and hosts.
            threads: threads that requests run in; servers that stall can hold a quarter each, and half in all.
        """
        agent = f"ClearSky/{__version__}"
        self._web: Final = WebTransfer(allowed, timeout=timeout, agent=agent, logins=Logins(rules, allowed))
        self._objects: Transfer = ObjectTransfer(timeout=timeout, agent=agent, rules=rules)
        share = max(2, threads // 4)
        self._gate = Gate(per_host=share, total=2 * share, patience=PATIENCE)
        self._lock = threading.Lock()
        self.pieces: Final = Pieces(cache_bytes=cache_bytes, fetch=self._bytes, gate=self._gate)
        """Their bytes."""
        self._signatures = Signatures()
        self._public: cachetools.TTLCache[str, bool] = cachetools.TTLCache(KNOWN_FILES, PUBLIC_SECONDS)
        self._last: cachetools.LRUCache[str, Identity] = cachetools.LRUCache(KNOWN_FILES)
        self._known: cachetools.TTLCache[str, Identity | ClearSkyError] = cachetools.TTLCache(KNOWN_FILES, check)
        self._checking = threading.Condition()
        self._check = cachetools.cached(self._known, key=lambda url: url, condition=self._checking)(self._look)

    @classmethod
    def of(cls, settings: Settings, allowed: AllowList) -> Remotes:
        """Remote files as the settings want them.

        Raises:
            ParameterError: a file of rules that cannot be used.
        """
        return cls(
            allowed,
            cache_bytes=settings.source_cache_bytes,
            check=settings.source_check,
            timeout=settings.source_timeout,
            threads=settings.request_threads,
            rules=Rules.read(settings.sources_file),
        )

    def admit(self, url: str) -> str:
        """The name of a file that somebody asks for, once its server has let in who asks.

        What was read by another's signature must not be had without one: the file's state is looked up with exactly
        what was given, again when that is a few seconds old; of a file that nobody signs, when half a minute is over.

        Args:
            url: an admitted address, with its signature if it has one.

        Returns:
            The address without it, under which everything is kept.

        Raises:
            See `identity`.
        """
        name = unsigned_name(url)
        if not _is_web(url):  # the operator's credentials open objects, whoever asks
            return name
        with self._lock:
            public = name in self._public
        if url == name and public and not self._signatures.any(name):
            self._signatures.bind(name, url)
            return name
        self._seen(url)
        self._signatures.add(name, url)
        if url == name:
            with self._lock:
                self._public[name] = True
        return name

    def identity(self, url: str) -> Identity:
        """State of a file, looked up again when it is a few seconds old; a failure is remembered as long.

        Args:
            url: its name; its server is asked with the signature that the running request has given, for work of the
                process itself with the newest that it has accepted.

        Raises:
            SourceMissingError, SourceForbiddenError, SourceTimeoutError, SourceFaultError. SourceBusyError: its server
                does not answer, and enough threads wait for it.
        """
        *newer, oldest = self._signatures.of(url)
        for asked in newer:
            with suppress(SourceDeniedError):
                return self._seen(asked)
            self._signatures.drop(url, asked)
        return self._seen(oldest)

    def _seen(self, asked: str) -> Identity:
        """The state of a file as an address, signature included, shows it. Raises as `identity` does."""
        with self._checking:
            known = self._known.get(asked)
        if known is None:
            with self._gate.waiting(host_of(asked)):
                return _good(self._check(asked))
        return _good(known)

    def _look(self, asked: str) -> Identity | ClearSkyError:
        """Ask the server: one small request, with no body if nothing changed since this very address was let in.

        What another signature has seen is not asked about: "nothing changed" is no answer to whether this one may read,
        and some servers give it before they look at signatures.
        """
        if plain_name(asked) != asked:
            return SourceChangedError(f"{plain_name(asked)!r} cannot be looked up without its token; ask again")
        url = unsigned_name(asked)
        with self._lock:
            last = self._last.get(asked)
        try:
            part = self._transfer(url).fetch(asked, 0, HEAD_CHUNKS * CHUNK_BYTES, last.stamp if last else None)
        except ClearSkyError as error:
            if isinstance(error, SourceDeniedError | SourceMissingError):
                with self._lock:
                    self._last.pop(asked, None)
            return again(error)
        if part.data is None and last:
            identity = Identity(url, last.version, last.stamp, part.where, asked)
        else:
            identity = Identity(url, _version(part), part.stamp, part.where, asked)
            self.pieces.keep(identity, 0, part.data or b"")
        with self._lock:
            self._last[asked] = identity
        return identity

    def _transfer(self, url: str) -> Transfer:
        return self._web if _is_web(url) else self._objects

    def document(self, url: str, *, most_bytes: int, body: str | None = None) -> WebDocument:
        """The whole answer of a web service, requested now. Raises as `WebTransfer.document` does.

        Raises:
            SourceBusyError: its server does not answer, and enough threads wait for it.
        """
        with self._gate.waiting(host_of(url)):
            return self._web.document(url, most_bytes=most_bytes, body=body)

    def failed(self, identity: Identity, error: ClearSkyError) -> None:
        """Remember that a file cannot be read now, so that those who wait for it do not try one after the other.

        A file that changed is looked up again.
        """
        with self._checking:
            if isinstance(error, SourceChangedError):
                self._known.pop(identity.asked, None)
            elif not isinstance(error, SourceBusyError):
                self._known[identity.asked] = again(error)

    def forget(self, url: str) -> None:
        """Drop the pieces of a file that turned out to be damaged: its server may send them whole the next time."""
        self.pieces.forget(url)
        for asked in self._signatures.known(url):
            with self._lock:
                self._last.pop(asked, None)
            with self._checking:
                self._known.pop(asked, None)

    def _bytes(self, identity: Identity, start: int, stop: int) -> bytes:
        """Bytes of the state that was seen, and of no other."""
        transfer = self._transfer(identity.url)
        try:
            part = transfer.fetch(identity.where, start, stop)
        except (SourceMissingError, SourceDeniedError):
            # Where a redirect led may hold for minutes only.
            part = transfer.fetch(identity.asked, start, stop)
        if not identity.stamp.agrees(part.stamp) or part.data is None:
            raise SourceChangedError(f"{identity.url!r} changed while it was read; ask again")
        if len(part.data) != stop - start:
            raise SourceFaultError(
                f"{identity.url!r} came with {len(part.data)} bytes instead of {stop - start}; "
                "try again, or report it to its provider"
            )
        return part.data
