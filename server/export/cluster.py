"""The pieces of a scene made by a cluster: a strip per task of `dask.distributed`, the same bits as made here."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any, Final

import cachetools

from algorithms.errors import ClearSkyError
from server.analysis.sharing import software
from server.errors import ClusterError
from server.export.analysing import export_analysis
from server.export.inputs import own_source
from server.export.job import ExportJob
from server.export.plan import Piece
from server.export.preparation import PreparedExport, prepare_export
from server.export.running import Filler, Progress
from server.export.work import WorkFolder
from server.settings import Settings

STRIPS_PER_THREAD: Final = 2
"""Strips on their way for each thread of the cluster: one at work, one waiting. 70 MB each of a Sentinel-2 scene."""
CONNECT_SECONDS: Final = 10
"""Time for the scheduler to answer."""
OPEN_EXPORTS: Final = 2
"""Exports that a worker keeps ready, and scenes of a batch that are exported at a time: while one is planned and put
together, or has too few strips for all workers, they make the other one's."""

PieceFiles = list[tuple[Piece, str, bytes]]
"""Pieces with the kinds and the contents of their files, in the order they are written."""


@dataclass(frozen=True, slots=True)
class Order:
    """Some neighbouring pieces of an export."""

    job: ExportJob
    """The export; rasters as the user names them, places of files absolute."""
    fingerprint: str
    """Of everything that the pieces depend on, as the process that writes them sees it."""
    pieces: list[Piece]
    """What to make."""


def make_pieces_on(
    scheduler: str,
    plan: list[list[Piece]],
    work: WorkFolder,
    ready: PreparedExport,
    kinds: Callable[[Piece], tuple[str, ...]],
    progress: Progress,
) -> None:
    """Have every missing piece made by the workers of a scheduler, and write them here.

    Strips of a worker that is lost are made by the others.

    Args:
        scheduler: address, `tcp://HOST:8786`.
        plan: strips of pieces.
        work: where their files are written.
        ready: the export.
        kinds: the files of a piece.
        progress: called with the number of finished pieces and of all pieces.

    Raises:
        ClusterError: the cluster cannot be used. ClearSkyError: a worker cannot read a raster, and says which.
    """
    distributed = _distributed()
    total = sum(map(len, plan))
    strips = [[piece for piece in strip if not work.has(piece, kinds(piece))] for strip in plan]
    strips = [strip for strip in strips if strip]
    done = total - sum(map(len, strips))
    progress(done, total)
    if not strips:
        return
    out, provenance = ready.job.out.resolve(), ready.job.provenance and ready.job.provenance.resolve()
    job = replace(ready.job, request=ready.named, out=out, provenance=provenance)
    fingerprint = fingerprint_of(ready)
    with _client(distributed, scheduler) as client:
        orders = iter([Order(job, fingerprint, strip) for strip in strips])

        def submit(order: Order) -> Any:
            return client.submit(fill_strip, order, key=_key(order), pure=False)

        threads = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
        first = [submit(order) for order in islice(orders, STRIPS_PER_THREAD * threads)]
        making = distributed.as_completed(first, loop=client.loop)
        for future in making:
            for piece, kind, content in _result(future):
                work.write_piece(piece, kind, content)
                done += kind == kinds(piece)[-1]
            future.release()  # the worker may forget it
            progress(done, total)
            if (order := next(orders, None)) is not None:
                making.add(submit(order))


def _key(order: Order) -> str:
    first = order.pieces[0]
    return f"clearsky-{order.fingerprint[:16]}-{first.name}-{len(order.pieces)}"


def _distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ClusterError("`scheduler` needs dask.distributed: pip install 'clearsky[dask]'") from error
    return distributed


def _client(distributed: Any, scheduler: str) -> Any:
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"the scheduler {scheduler!r} does not answer: {str(error) or type(error).__name__}; give tcp://HOST:8786"
        ) from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise ClusterError(f"the scheduler {scheduler!r} has no workers: start `dask worker {scheduler}`")
    return client


def _result(future: Any) -> PieceFiles:
    try:
        files: PieceFiles = future.result()
    except ClearSkyError:
        raise
    except Exception as error:
        raise ClusterError(f"a worker failed: {type(error).__name__}: {error}") from error
    return files


def fingerprint_of(ready: PreparedExport) -> str:
    """What tells apart everything that pieces depend on: rasters and their states, parameters, software."""
    return hashlib.sha256(f"{software()} {ready.manifest}".encode()).hexdigest()


def fill_strip(order: Order) -> PieceFiles:
    """Make pieces; runs on a worker, with its own settings (`CLEARSKY_...` in its environment).

    Raises:
        ClusterError: rasters or software differ from what the process that writes the pieces sees. ClearSkyError: a
            raster cannot be read.
    """
    filler = _fillers().get(order)
    filler.announce(order.pieces)
    filler.infer(order.pieces)
    filler.prepare(order.pieces)
    return [(piece, kind, content) for piece in order.pieces for kind, content in filler.make(piece)]


@cache
def _fillers() -> _Fillers:
    return _Fillers()


class _Fillers:
    """What a worker keeps between strips of one export."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: cachetools.LRUCache[str, Filler] = cachetools.LRUCache(OPEN_EXPORTS)

    def get(self, order: Order) -> Filler:
        """What fills the pieces of an order, made at the first of its export."""
        with self._lock:
            if (filler := self._open.get(order.fingerprint)) is None:
                filler = self._open[order.fingerprint] = _filler(order)
            return filler


def _filler(order: Order) -> Filler:
    from distributed import get_worker  # noqa: PLC0415  (an extra)

    worker, settings = get_worker(), Settings()
    job = replace(order.job, request=order.job.request.checked(own_source))
    ready = prepare_export(job, settings)
    if fingerprint_of(ready) != order.fingerprint:
        raise ClusterError(
            f"the worker {worker.address} sees other rasters, settings or software than the process that writes the "
            "result: give both the same ClearSky, and files under the same names and with the same times"
        )
    whole = ready.filler(export_analysis(ready.sources, settings, threads=worker.state.nthreads))
    return ready.by_band(whole) or whole
