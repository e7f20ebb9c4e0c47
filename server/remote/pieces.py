"""Pieces of remote files: kept ones, those on their way, and the rest in as few requests as fit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import cachetools

from algorithms.errors import ClearSkyError
from server.errors import SourceDeniedError, SourceMissingError
from server.remote.gate import Gate
from server.remote.transfer import Identity, again
from server.work.figures import CacheFigures

CHUNK_BYTES: Final = 16 << 10
"""Bytes of the pieces in which files are kept."""
LONGEST_READ_BYTES: Final = 8 << 20
"""Most bytes fetched with one request."""
HELPERS: Final = 8
"""Requests to one host besides those that the waiting threads make themselves."""
THREADS: Final = 4 * HELPERS
"""The same, to all hosts."""
ANNOUNCED: Final = 64
"""Files whose announced reads are remembered."""

ChunkKey = tuple[str, str, int]


class _Coming(NamedTuple):
    """A piece on its way."""

    asked: str
    """Address by which its file is had, see `Identity`."""
    future: Future[bytes]
    """Gives it."""


class Pieces:
    """Pieces of files in the states that were seen, each fetched once however many threads want it."""

    def __init__(self, *, cache_bytes: int, fetch: Callable[[Identity, int, int], bytes], gate: Gate) -> None:
        """Make it.

        Args:
            cache_bytes: for pieces that are kept.
            fetch: gives the bytes `start` to `stop` of a file, all of them, or raises.
            gate: who may wait for a host.
        """
        self._bytes = fetch
        self._gate = gate
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetch")
        self._helpers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._chunks: cachetools.LRUCache[ChunkKey, bytes] = cachetools.LRUCache(cache_bytes, getsizeof=len)
        self._coming: dict[ChunkKey, _Coming] = {}
        self._hits = self._misses = 0
        self._announced: cachetools.LRUCache[tuple[str, str], set[int]] = cachetools.LRUCache(ANNOUNCED)

    def keep(self, identity: Identity, first: int, data: bytes) -> None:
        """Store whole pieces, from number `first` on; the last one of the file may be short."""
        with self._lock:
            self._keep(identity, first, data)

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and how often a piece was there."""
        with self._lock:
            return CacheFigures("pieces", "memory", int(self._chunks.currsize), self._hits, self._misses)

    def forget(self, url: str) -> None:
        """Drop the pieces of a file."""
        with self._lock:
            for key in [key for key in self._chunks if key[0] == url]:
                del self._chunks[key]

    def _keep(self, identity: Identity, first: int, data: bytes) -> None:
        """See `keep`; the lock is held."""
        ends = first * CHUNK_BYTES + len(data) == identity.stamp.size
        for number, at in enumerate(range(0, len(data), CHUNK_BYTES), start=first):
            if at + CHUNK_BYTES <= len(data) or ends:
                self._chunks[identity.url, identity.version, number] = data[at : at + CHUNK_BYTES]

    def get(self, identity: Identity, numbers: Iterable[int]) -> dict[int, bytes]:
        """Pieces of a file: kept ones, those that another thread fetches, and the rest in as few requests as fit.

        Raises:
            Errors of `Transfer.fetch`. SourceBusyError: see `Gate`.
        """
        wanted = sorted(set(numbers))
        with self._lock:
            kept = {
                n: data for n in wanted if (data := self._chunks.get((identity.url, identity.version, n))) is not None
            }
            self._hits += len(kept)
            self._misses += len(wanted) - len(kept)
        if len(kept) == len(wanted):
            return kept
        with self._gate.waiting(identity.host):
            return kept | self._gathered(identity, [n for n in wanted if n not in kept], identity.host)

    def _gathered(self, identity: Identity, wanted: list[int], host: str) -> dict[int, bytes]:
        """Pieces (ascending numbers) that were not kept a moment ago."""
        have: dict[int, bytes] = {}
        waiting: dict[int, _Coming] = {}
        mine: list[int] = []
        with self._lock:
            for number in wanted:
                key = (identity.url, identity.version, number)
                if (data := self._chunks.get(key)) is not None:
                    have[number] = data
                elif (coming := self._coming.get(key)) is not None:
                    waiting[number] = coming
                else:
                    mine.append(number)
            mine += self._along(identity, mine)
            for number in mine:
                self._coming[identity.url, identity.version, number] = _Coming(identity.asked, Future())
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
        return have | self._awaited(identity, waiting, host)

    def _awaited(self, identity: Identity, waiting: Mapping[int, _Coming], host: str) -> dict[int, bytes]:
        """Pieces that others fetch; what they are refused for their own signature is fetched with this one."""
        have: dict[int, bytes] = {}
        refused: list[int] = []
        for number, coming in waiting.items():
            try:
                have[number] = coming.future.result()
            except (SourceDeniedError, SourceMissingError):
                if coming.asked == identity.asked:
                    raise
                refused.append(number)
        return have | self._gathered(identity, refused, host) if refused else have

    def _help(self, identity: Identity, run: range, host: str) -> dict[int, bytes]:
        """Fetch in a thread of the pool."""
        try:
            return self._fetch(identity, run)
        finally:
            with self._lock:
                self._helpers[host] -= 1
                self._helpers += Counter()  # drops what is zero

    def announce(self, url: str, version: str, spans: Iterable[tuple[int, int]]) -> None:
        """Note bytes (start, stop) that will be read soon: a request for those before them brings them along."""
        numbers = {n for start, stop in spans for n in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES))}
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
            for number in range(last.stop, last.start + LONGEST_READ_BYTES // CHUNK_BYTES):
                key = (identity.url, identity.version, number)
                if number not in announced or key in self._chunks or key in self._coming:
                    break
                along.append(number)
            announced.difference_update(along)
        return along

    def _fetch(self, identity: Identity, run: range) -> dict[int, bytes]:
        """Fetch consecutive pieces and hand them to all who wait."""
        try:
            data = self._bytes(identity, run.start * CHUNK_BYTES, min(run.stop * CHUNK_BYTES, identity.stamp.size))
        except BaseException as error:
            self._give_up(identity, run, error)
            raise
        pieces = {
            number: data[at : at + CHUNK_BYTES]
            for number, at in zip(run, range(0, len(data), CHUNK_BYTES), strict=True)
        }
        with self._lock:
            self._keep(identity, run.start, data)
            futures = self._taken(identity, run)
        for future, piece in zip(futures, pieces.values(), strict=True):
            future.set_result(piece)
        return pieces

    def _give_up(self, identity: Identity, run: range, error: BaseException) -> None:
        """Inform all who wait for pieces that these do not come."""
        with self._lock:
            futures = self._taken(identity, run)
        for future in futures:
            future.set_exception(again(error) if isinstance(error, ClearSkyError) else error)

    def _taken(self, identity: Identity, run: range) -> list[Future[bytes]]:
        """What others wait for, no longer on its way; the lock is held."""
        return [self._coming.pop((identity.url, identity.version, number)).future for number in run]


def _runs(numbers: list[int]) -> list[range]:
    """Ascending numbers as consecutive runs, none longer than one request."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < LONGEST_READ_BYTES // CHUNK_BYTES:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
