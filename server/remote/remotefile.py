"""A remote file as GDAL reads it, with the failure that GDAL may hide."""

from __future__ import annotations

from algorithms.errors import ClearSkyError
from server.remote.files import Remotes
from server.remote.pieces import CHUNK_BYTES
from server.remote.transfer import Identity


class RemoteFile:
    """A remote file in one state, as GDAL reads it; after the first failure there are no more bytes."""

    def __init__(self, remotes: Remotes, identity: Identity) -> None:
        self._remotes = remotes
        self.identity = identity
        self.fault: Exception | None = None
        """Why bytes were missing. GDAL may go on without them: whoever reads must look here."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.identity.stamp.size

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on; fewer at the end of the file, none after a failure."""
        pieces = self.read_many([(offset, size)])
        return pieces[0] if pieces else b""

    def read_many(self, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        """Several pieces (offset, size) at once; None after a failure."""
        if self.fault is not None:
            return None
        spans = [(start, min(start + size, self.size)) for start, size in ranges]
        numbers = (n for start, stop in spans for n in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)))
        try:
            chunks = self._remotes.pieces.get(self.identity, numbers)
        except Exception as error:  # GDAL calls: nothing may pass through it
            self.fault = error
            if isinstance(error, ClearSkyError):
                self._remotes.failed(self.identity, error)
            return None
        return [_cut(chunks, start, stop) for start, stop in spans]


def _cut(chunks: dict[int, bytes], start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of a file from its pieces."""
    if start >= stop:
        return b""
    first = start // CHUNK_BYTES
    joined = b"".join(chunks[n] for n in range(first, -(-stop // CHUNK_BYTES)))
    return joined[start - first * CHUNK_BYTES : stop - first * CHUNK_BYTES]
