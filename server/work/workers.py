"""Several processes that serve one port: the folder in which they count together, and what they take of the machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import Metric, ProcessCollector
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.registry import Collector

COUNTING_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the Prometheus client; it must be set before the client is imported."""
_SUMMED: Final = frozenset(
    {"process_cpu_seconds", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds"}
)
"""Of what a process takes; the rest (its start, its limits) cannot be added up."""


def counting_folder() -> Path | None:
    """The folder in which the processes count together; None where one process serves alone."""
    named = os.environ.get(COUNTING_FOLDER_VARIABLE)
    return Path(named) if named else None


@contextmanager
def counting_together() -> Iterator[Path]:
    """A folder in which the processes started meanwhile count together; it is gone afterwards."""
    if (named := counting_folder()) is not None:  # by the operator, who keeps it
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="clearsky-metrics-") as folder:
        os.environ[COUNTING_FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[COUNTING_FOLDER_VARIABLE]


class WorkerProcesses(Collector):
    """The processes that count in a folder, and what they take together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _pids(self) -> set[int]:
        return {int(path.stem.rpartition("_")[2]) for path in self._folder.glob("gauge_live*_*.db")}

    def forget_dead(self) -> None:
        """Drop what processes that have ended held; what they counted stays."""
        for pid in self._pids():
            if not _is_alive(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """What the processes take, added up."""
        total: dict[str, Metric] = {}
        for pid in self._pids():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                if metric.name not in _SUMMED:
                    continue
                if (known := total.get(metric.name)) is None:
                    total[metric.name] = metric
                else:
                    (before,), (more,) = known.samples, metric.samples
                    known.samples = [before._replace(value=before.value + more.value)]
        yield from total.values()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
