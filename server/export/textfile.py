"""How far an export is, as a file of metrics that Prometheus' node exporter collects (`--metrics`)."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

if TYPE_CHECKING:
    from server.export.scene import ExportReport

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 5.0
"""Between two states of the file; Prometheus asks every 15 s."""


class ProgressFile:
    """Rewritten every few seconds, each time as a whole; an export does not fail for it."""

    def __init__(self, path: Path, out: Path) -> None:
        """Begin the file.

        Args:
            path: the file, `*.prom`, in the folder that the node exporter looks at.
            out: what is exported, the label of every series.

        Raises:
            OSError: it cannot be written.
        """
        self._path = path
        self._out = str(out)
        self._registry = CollectorRegistry()
        self._written = 0.0
        self._pieces = self._gauge("pieces", "Pieces that the scene is cut into.")
        self._done = self._gauge("pieces_done", "Pieces that are finished.")
        self._finished = self._gauge("finished", "1 when the outputs are complete.")
        self._gauge("start_time_seconds", "When the export began, since the epoch.").labels(self._out).set(time.time())
        self._finished.labels(self._out).set(0)
        self._write()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"clearsky_export_{name}", text, ["out"], registry=self._registry)

    def _write(self) -> None:
        write_to_textfile(str(self._path), self._registry)
        self._written = time.monotonic()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def progress(self, done: int, total: int) -> None:
        """Note how many pieces are finished."""
        self._pieces.labels(self._out).set(total)
        self._done.labels(self._out).set(done)
        if done == total or time.monotonic() - self._written >= WRITE_SECONDS:
            self._try_to_write()

    def finish(self, report: ExportReport) -> None:
        """Note that the outputs are complete, and their figures."""
        figures: dict[str, Any] = report.summary()
        for name, text in (
            ("cloud", "Share of the pixels with data that is cloud or its buffer."),
            ("filled", "Share of the pixels with data that is filled."),
            ("unfilled", "Share of the pixels with data that stays cloudy."),
        ):
            if figures[name] is not None:
                self._gauge(f"{name}_fraction", text).labels(self._out).set(figures[name])
        self._gauge("seconds", "Time that the export has taken.").labels(self._out).set(figures["seconds"])
        self._finished.labels(self._out).set(1)
        self._try_to_write()
