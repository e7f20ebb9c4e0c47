"""How far exports are, as a file of metrics that Prometheus' node exporter collects (`--metrics`)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

if TYPE_CHECKING:
    from server.export.scene import ExportReport

logger = logging.getLogger("clearsky")

WRITE_SECONDS: Final = 5.0
"""Between two states of the file; Prometheus asks every 15 s."""
_OF_SCENES: Final = {
    "start_time_seconds": "When the export began, since the epoch.",
    "pieces": "Pieces that the scene is cut into.",
    "pieces_done": "Pieces that are finished.",
    "finished": "1 when the outputs are complete.",
    "cloud_fraction": "Share of the pixels with data that is cloud or its buffer.",
    "filled_fraction": "Share of the pixels with data that is filled.",
    "unfilled_fraction": "Share of the pixels with data that stays cloudy.",
    "seconds": "Time that the export has taken.",
}


class ProgressFile:
    """Rewritten every few seconds, each time as a whole; any number of threads export, and none fails for it.

    It shows the scenes at hand and those that have just ended; the others of a batch are in its counts.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is written yet.

        Args:
            path: the file, `*.prom`, in the folder that the node exporter looks at.
        """
        self._path = path
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._written: float | None = None
        self._ended: list[str] = []
        self._of_scene = {
            name: Gauge(f"clearsky_export_{name}", text, ["out"], registry=self._registry)
            for name, text in _OF_SCENES.items()
        }
        self._scenes = Gauge(
            "clearsky_export_scenes", "Scenes of a batch by what became of them.", ["state"], registry=self._registry
        )

    def _write(self) -> None:
        """Write the file; only the first failure is an error, so that it is known before hours of work."""
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            if self._written is None:
                raise
            logger.warning("%s cannot be written: %s", self._path, error)
        self._written = time.monotonic()

    def batch(self, counts: Mapping[str, int]) -> None:
        """Note what became of the scenes of a batch.

        Args:
            counts: scenes by state.

        Raises:
            OSError: the file cannot be written, and never was.
        """
        with self._lock:
            for state, count in counts.items():
                self._scenes.labels(state).set(count)
            self._write()

    def begin(self, out: Path) -> None:
        """Note that an export begins. Raises as `batch` does."""
        with self._lock:
            for gone in self._ended:
                for gauge in self._of_scene.values():
                    gauge.remove(gone)
            self._ended = []
            self._set(out, start_time_seconds=time.time(), finished=0)
            self._write()

    def progress(self, out: Path, done: int, total: int) -> None:
        """Note how many pieces are finished."""
        with self._lock:
            self._set(out, pieces=total, pieces_done=done)
            if done == total or time.monotonic() - (self._written or 0.0) >= WRITE_SECONDS:
                self._write()

    def end(self, out: Path, report: ExportReport | None) -> None:
        """Note that an export has ended.

        Args:
            out: its output.
            report: what was done; None where it failed.
        """
        with self._lock:
            self._ended.append(str(out))
            if report is not None:
                figures = report.summary()
                shares = {f"{name}_fraction": figures[name] for name in ("cloud", "filled", "unfilled")}
                known = {name: share for name, share in shares.items() if share is not None}
                self._set(out, **known, seconds=figures["seconds"], finished=1)
            self._write()

    def _set(self, out: Path, **values: float) -> None:
        for name, value in values.items():
            self._of_scene[name].labels(str(out)).set(value)
