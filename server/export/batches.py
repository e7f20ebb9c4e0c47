"""A batch at work: one scene after the other, none stopped by another's failure, and only what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from algorithms.errors import ClearSkyError, ParameterError
from server.errors import CancelledWorkError
from server.export.batch import BatchScene
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.export.terminal import one_line
from server.export.work import partial_folder
from server.remote.redaction import redacted

SceneState = Literal["done", "skipped", "failed"]
"""How a scene of a batch ended."""


@dataclass(frozen=True, slots=True)
class SceneOutcome:
    """What became of a scene."""

    scene: BatchScene
    """The scene."""
    state: SceneState
    """How it ended; `skipped`: its result was there."""
    error: str | None = None
    """Why it failed."""
    report: ExportReport | None = None
    """What was done."""

    def summary(self) -> dict[str, Any]:
        """As JSON has it."""
        found = {"target": redacted(self.scene.target), "state": self.state}
        if self.error is not None:
            found |= {"where": self.scene.where, "error": self.error}
        return found | ({"outputs": [str(self.scene.out)]} if self.report is None else self.report.summary())


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch."""

    scenes: list[SceneOutcome] = field(default_factory=list)
    """Of each scene, in the order of the file."""

    def count(self, state: SceneState) -> int:
        """Scenes that ended so."""
        return sum(outcome.state == state for outcome in self.scenes)

    @property
    def failed(self) -> list[SceneOutcome]:
        """Those that failed."""
        return [outcome for outcome in self.scenes if outcome.state == "failed"]

    def summary(self) -> dict[str, Any]:
        """As JSON has it."""
        counts = {state: self.count(state) for state in ("done", "skipped", "failed")}
        return {**counts, "scenes": [outcome.summary() for outcome in self.scenes]}


def run_batch(
    scenes: list[BatchScene],
    job_of: Callable[[BatchScene], ExportJob],
    export_one: Callable[[ExportJob], ExportReport],
    tell: Callable[[str], None],
) -> BatchOutcome:
    """Export one scene after the other.

    Args:
        scenes: what to export.
        job_of: what is asked for of one of them.
        export_one: exports it.
        tell: called with a line before and after each.
    """
    outcome = BatchOutcome()
    for number, scene in enumerate(scenes, start=1):
        tell(f"[{number}/{len(scenes)}] {scene.out}")
        try:
            with one_line():
                if scene.trouble is not None:
                    raise ParameterError(scene.trouble)
                job = job_of(scene)
                if is_there(job.out) and not job.overwrite:
                    outcome.scenes.append(SceneOutcome(scene, "skipped"))
                else:
                    outcome.scenes.append(SceneOutcome(scene, "done", report=export_one(job)))
        except CancelledWorkError:
            raise
        except (ClearSkyError, OSError, click.ClickException) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else str(error)
            outcome.scenes.append(SceneOutcome(scene, "failed", error=redacted(" ".join(message.split()))))
            tell(f"[{number}/{len(scenes)}] failed: {outcome.scenes[-1].error}")
    return outcome


def is_there(out: Path) -> bool:
    """Whether a result is finished, by an earlier run that left nothing undone."""
    return out.exists() and not partial_folder(out.resolve()).exists()
