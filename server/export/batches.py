"""A batch at work: a few scenes at a time, none stopped by another's failure, and only what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from algorithms.errors import ClearSkyError, ParameterError
from server.errors import CancelledWorkError
from server.export.batch import BatchScene
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.export.terminal import figures_in_words, one_line
from server.export.work import partial_folder
from server.remote.redaction import redacted
from server.work.ticket import Ticket, current_ticket

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

    def in_words(self) -> str:
        """What became of it as one line, for a terminal."""
        if self.error is not None:
            return f"failed: {self.error}"
        return "there already" if self.report is None else figures_in_words(self.report)

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
    *,
    at_once: int = 1,
    counted: Callable[[Mapping[str, int]], None] = lambda _: None,
) -> BatchOutcome:
    """Export the scenes in their order.

    Args:
        scenes: what to export.
        job_of: what is asked for of one of them.
        export_one: exports it.
        tell: called with a line before each, and with one of what became of it after each.
        at_once: scenes that are exported at a time; more than one each in a thread of its own, under a ticket that is
            taken back where the batch ends early.
        counted: called with the number of scenes by state, before the first and after each.
    """
    states: Counter[str] = Counter(waiting=len(scenes), done=0, skipped=0, failed=0)
    counted(states)

    def export(number: int, scene: BatchScene) -> SceneOutcome:
        where = f"[{number}/{len(scenes)}]"
        tell(f"{where} {scene.out}")
        outcome = _exported(scene, job_of, export_one)
        tell(f"{where} {outcome.in_words()}")
        return outcome

    def count(outcome: SceneOutcome) -> None:
        states.update({"waiting": -1, outcome.state: 1})
        counted(states)

    outcomes: dict[int, SceneOutcome] = {}
    if at_once == 1:
        for number, scene in enumerate(scenes, start=1):
            outcomes[number] = export(number, scene)
            count(outcomes[number])
        return BatchOutcome(list(outcomes.values()))
    with _at_a_time(at_once) as submit:
        running = {submit(export, number, scene): number for number, scene in enumerate(scenes, start=1)}
        for future in as_completed(running):
            outcomes[running[future]] = future.result()
            count(future.result())
    return BatchOutcome([outcomes[number] for number in sorted(outcomes)])


def _exported(
    scene: BatchScene, job_of: Callable[[BatchScene], ExportJob], export_one: Callable[[ExportJob], ExportReport]
) -> SceneOutcome:
    """What becomes of one scene."""
    try:
        with one_line():
            if scene.trouble is not None:
                raise ParameterError(scene.trouble)
            job = job_of(scene)
            if is_there(job.out) and not job.overwrite:
                return SceneOutcome(scene, "skipped")
            return SceneOutcome(scene, "done", report=export_one(job))
    except CancelledWorkError:
        raise
    except (ClearSkyError, OSError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        return SceneOutcome(scene, "failed", error=redacted(" ".join(message.split())))


@contextmanager
def _at_a_time(threads: int) -> Iterator[Callable[..., Future[SceneOutcome]]]:
    """What gives work to so many threads; where the block ends early, they stop at their next piece."""
    ticket = Ticket()

    def start() -> None:
        current_ticket.set(ticket)

    with ThreadPoolExecutor(threads, thread_name_prefix="scene", initializer=start) as pool:
        try:
            yield pool.submit
        except BaseException:
            ticket.abandon()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def is_there(out: Path) -> bool:
    """Whether a result is finished, by an earlier run that left nothing undone."""
    return out.exists() and not partial_folder(out.resolve()).exists()
