"""Remote files: what state they are in, and their bytes in pieces that are fetched once."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import cachetools

from algorithms.errors import ClearSkyError
from server import __version__
from server.errors import SourceBusyError, SourceChangedError, SourceDeniedError, SourceFaultError, SourceMissingError
from server.remote.gate import Gate
from server.remote.objects import ObjectTransfer
from server.remote.transfer import Part, Stamp, Transfer
from server.remote.web import WebTransfer
from server.settings import get_settings

CHUNK: Final = 16 << 10
"""Bytes of the pieces in which files are kept."""
HEAD: Final = 2
"""Pieces that the look at a file's state brings along: the header of most cloud-optimized GeoTIFFs."""
LONGEST: Final = 8 << 20
"""Bytes fetched with one request at most."""
HELPERS: Final = 8
"""Requests to one host beside those that the waiting threads make themselves."""
THREADS: Final = 4 * HELPERS
"""The same, to all hosts."""
PATIENCE: Final = 1.0
"""Seconds without an answer after which no more threads wait for a host: see `Gate`."""
FILES: Final = 4096
"""Files whose state is remembered."""

ANNOUNCED: Final = 64
"""Files of which is remembered what will be read."""

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """State of a remote file."""

    url: str
    """Its name."""
    version: str
    """Changes when the content changes."""
    stamp: Stamp
    """What the server said."""
    where: str
    """Address that sent it, after redirects."""


def is_remote(url: str) -> bool:
    """Whether a dataset's name is an address."""
    return "://" in url


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


def _again(error: ClearSkyError) -> ClearSkyError:
    """The same error for another request: one object raised by many threads would keep all their frames."""
    return type(error)(*error.args)


def _good(known: Identity | ClearSkyError) -> Identity:
    if isinstance(known, ClearSkyError):
        raise _again(known)
    return known


class Remotes:
    """States and pieces of remote files, shared by all requests of the process."""

    def __init__(self, *, cache_bytes: int, check: float, timeout: float, threads: int = 40) -> None:
        """Make it.

        Args:
            cache_bytes: for pieces of files.
            check: seconds after which a file's state is looked up again.
            timeout: seconds for one request to a server.
            threads: threads that requests run in; servers that stall can hold a quarter each, and half in all.
        """
        agent = f"ClearSky/{__version__}"
        self._web: Transfer = WebTransfer(timeout=timeout, agent=agent)
        self._objects: Transfer = ObjectTransfer(timeout=timeout, agent=agent)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
        share = max(2, threads // 4)
        self._gate = Gate(per_host=share, total=2 * share, patience=PATIENCE)
        self._helpers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._chunks: cachetools.LRUCache[Key, bytes] = cachetools.LRUCache(cache_bytes, getsizeof=len)
        self._coming: dict[Key, Future[bytes]] = {}
        self._announced: cachetools.LRUCache[tuple[str, str], set[int]] = cachetools.LRUCache(ANNOUNCED)
        self._last: cachetools.LRUCache[str, Identity] = cachetools.LRUCache(FILES)
        self._known: cachetools.TTLCache[str, Identity | ClearSkyError] = cachetools.TTLCache(FILES, check)
        self._checking = threading.Condition()
        self._check = cachetools.cached(self._known, key=lambda url: url, condition=self._checking)(self._look)

    def identity(self, url: str) -> Identity:
        """State of a file, looked up again when it is a few seconds old; a failure is remembered as long.

        Raises:
            SourceMissingError, SourceForbiddenError, SourceTimeoutError, SourceFaultError. SourceBusyError: its server
                does not answer, and enough threads wait for it.
        """
        with self._checking:
            known = self._known.get(url)
        if known is None:
            with self._gate.waiting(_host(url)):
                return _good(self._check(url))
        return _good(known)

    def _look(self, url: str) -> Identity | ClearSkyError:
        """Ask the server: one small request, with no body if nothing changed."""
        with self._lock:
            last = self._last.get(url)
        try:
            part = self._transfer(url).fetch(url, 0, HEAD * CHUNK, last.stamp if last else None)
        except ClearSkyError as error:
            return _again(error)
        if part.data is None and last:
            identity = Identity(url, last.version, last.stamp, part.where)
        else:
            identity = Identity(url, _version(part), part.stamp, part.where)
            with self._lock:
                self._keep(identity, 0, part.data or b"")
        with self._lock:
            self._last[url] = identity
        return identity

    def _transfer(self, url: str) -> Transfer:
        return self._web if urlsplit(url).scheme in ("http", "https") else self._objects

    def _keep(self, identity: Identity, first: int, data: bytes) -> None:
        """Store whole pieces; the last one of the file may be short."""
        ends = first * CHUNK + len(data) == identity.stamp.size
        for number, at in enumerate(range(0, len(data), CHUNK), start=first):
            if at + CHUNK <= len(data) or ends:
                self._chunks[identity.url, identity.version, number] = data[at : at + CHUNK]

    def failed(self, identity: Identity, error: ClearSkyError) -> None:
        """Remember that a file cannot be read now, so that those who wait for it do not try one after the other.

        A file that changed is looked at anew.
        """
        with self._checking:
            if isinstance(error, SourceChangedError):
                self._known.pop(identity.url, None)
            elif not isinstance(error, SourceBusyError):
                self._known[identity.url] = _again(error)

    def forget(self, url: str) -> None:
        """Drop the pieces of a file that turned out to be damaged: its server may send them whole the next time."""
        with self._lock:
            self._last.pop(url, None)
            for key in [key for key in self._chunks if key[0] == url]:
                del self._chunks[key]
        with self._checking:
            self._known.pop(url, None)

    def chunks(self, identity: Identity, numbers: Iterable[int]) -> dict[int, bytes]:
        """Pieces of a file: kept ones, those that another thread fetches, and the rest in as few requests as fit.

        Raises:
            Errors of `Transfer.fetch`. SourceBusyError: see `identity`.
        """
        wanted = sorted(set(numbers))
        with self._lock:
            kept = {
                n: data for n in wanted if (data := self._chunks.get((identity.url, identity.version, n))) is not None
            }
        if len(kept) == len(wanted):
            return kept
        host = _host(identity.url)
        with self._gate.waiting(host):
            return kept | self._gathered(identity, [n for n in wanted if n not in kept], host)

    def _gathered(self, identity: Identity, wanted: list[int], host: str) -> dict[int, bytes]:
        """Pieces (ascending numbers) that were not kept a moment ago."""
        have: dict[int, bytes] = {}
        waiting: dict[int, Future[bytes]] = {}
        mine: list[int] = []
        with self._lock:
            for number in wanted:
                key = (identity.url, identity.version, number)
                if (data := self._chunks.get(key)) is not None:
                    have[number] = data
                elif (future := self._coming.get(key)) is not None:
                    waiting[number] = future
                else:
                    mine.append(number)
                    self._coming[key] = Future()
            for number in self._along(identity, mine):
                mine.append(number)
                self._coming[identity.url, identity.version, number] = Future()
            runs = _runs(mine)
            # The last run is fetched here: a thread that needs one piece needs no other thread.
            free = min(HELPERS - self._helpers[host], THREADS - self._helpers.total())
            helped = min(max(len(runs) - 1, 0), free)
            self._helpers[host] += helped
        others = [self._pool.submit(self._help, identity, run, host) for run in runs[:helped]]
        error: BaseException | None = None
        for run in reversed(runs[helped:]):
            try:
                if error is None:
                    have |= self._fetch(identity, run)
                else:
                    self._give_up(identity, run, error)
            except BaseException as failure:
                error = failure
        for other in others:
            error = error or other.exception()
        if error is not None:
            raise error
        for other in others:
            have |= other.result()
        return have | {number: future.result() for number, future in waiting.items()}

    def _help(self, identity: Identity, run: range, host: str) -> dict[int, bytes]:
        """Fetch in a thread of the pool."""
        try:
            return self._fetch(identity, run)
        finally:
            with self._lock:
                self._helpers[host] -= 1
                self._helpers += Counter()  # drops what is zero

    def announce(self, url: str, version: str, spans: Iterable[tuple[int, int]]) -> None:
        """Note bytes (start, stop) that will be read soon: who fetches those before them fetches them along."""
        numbers = {n for start, stop in spans for n in range(start // CHUNK, -(-stop // CHUNK))}
        with self._lock:
            self._announced.setdefault((url, version), set()).update(numbers)

    def _along(self, identity: Identity, wanted: list[int]) -> list[int]:
        """Announced pieces right behind the last of the wanted ones (ascending), as many as fit into its request.

        Blocks of a raster are read one by one, while neighbours lie side by side in the file: without this, a scene
        costs a request per block.
        """
        announced = self._announced.get((identity.url, identity.version))
        if not announced:
            return []
        announced.difference_update(wanted)
        along: list[int] = []
        if wanted:
            last = _runs(wanted)[-1]
            for number in range(last.stop, last.start + LONGEST // CHUNK):
                key = (identity.url, identity.version, number)
                if number not in announced or key in self._chunks or key in self._coming:
                    break
                along.append(number)
            announced.difference_update(along)
        return along

    def _fetch(self, identity: Identity, run: range) -> dict[int, bytes]:
        """Fetch consecutive pieces and hand them to all who wait."""
        try:
            data = self._bytes(identity, run.start * CHUNK, min(run.stop * CHUNK, identity.stamp.size))
        except BaseException as error:
            self._give_up(identity, run, error)
            raise
        pieces = {number: data[at : at + CHUNK] for number, at in zip(run, range(0, len(data), CHUNK), strict=True)}
        with self._lock:
            self._keep(identity, run.start, data)
            futures = self._taken(identity, run)
        for future, piece in zip(futures, pieces.values(), strict=True):
            future.set_result(piece)
        return pieces

    def _give_up(self, identity: Identity, run: range, error: BaseException) -> None:
        """Tell all who wait for pieces that these do not come."""
        with self._lock:
            futures = self._taken(identity, run)
        for future in futures:
            future.set_exception(_again(error) if isinstance(error, ClearSkyError) else error)

    def _taken(self, identity: Identity, run: range) -> list[Future[bytes]]:
        """What others wait for, no longer on its way; the lock is held."""
        return [self._coming.pop((identity.url, identity.version, number)) for number in run]

    def _bytes(self, identity: Identity, start: int, stop: int) -> bytes:
        """Bytes of the state that was seen, and of no other."""
        transfer = self._transfer(identity.url)
        try:
            part = transfer.fetch(identity.where, start, stop)
        except (SourceMissingError, SourceDeniedError):
            # Where a redirect led may hold for minutes only (signed addresses).
            part = transfer.fetch(identity.url, start, stop)
        if not identity.stamp.agrees(part.stamp) or part.data is None:
            raise SourceChangedError(f"{identity.url!r} changed while it was read; ask again")
        if len(part.data) != stop - start:
            raise SourceFaultError(
                f"{identity.url!r} came with {len(part.data)} bytes instead of {stop - start}; "
                "try again or tell its provider"
            )
        return part.data


def _host(url: str) -> str:
    """The host or bucket of an address."""
    return urlsplit(url).netloc


def _runs(numbers: list[int]) -> list[range]:
    """Ascending numbers as consecutive runs, none longer than one request."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < LONGEST // CHUNK:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


@lru_cache(maxsize=1)
def get_remotes() -> Remotes:
    """The process's remote files, configured from the settings."""
    settings = get_settings()
    return Remotes(
        cache_bytes=settings.source_cache_bytes,
        check=settings.source_check,
        timeout=settings.source_timeout,
        threads=settings.request_threads,
    )
