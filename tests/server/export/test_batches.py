"""Several scenes of a batch at a time: as many as wanted, in order, and stopped together."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.analysis.request import Request
from server.errors import SourceMissingError
from server.export.batch import BatchScene
from server.export.batches import BatchOutcome, run_batch
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.work.ticket import check_wanted

SCENES = [BatchScene(f"line {k}", f"{k}.tif", Path(f"/nowhere/{k}-out.tif")) for k in range(6)]


def job_of(scene: BatchScene) -> ExportJob:
    return ExportJob(Request(scene.target), scene.out)


def states(outcome: BatchOutcome) -> list[str]:
    return [one.state for one in outcome.scenes]


@pytest.mark.parametrize("at_once", [2, 3])
def test_so_many_are_exported_at_a_time_and_told_in_their_order(at_once: int) -> None:
    together = threading.Barrier(at_once, timeout=30)
    lock, running, most = threading.Lock(), 0, 0

    def export_one(job: ExportJob) -> ExportReport:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()  # never passed by fewer
        time.sleep(0.02 if job.request.target == "0.tif" else 0)
        with lock:
            running -= 1
        return ExportReport((job.out,), None, 0.0)

    lines: list[str] = []
    outcome = run_batch(SCENES, job_of, export_one, lines.append, at_once=at_once)
    assert most == at_once
    assert [one.scene for one in outcome.scenes] == SCENES
    assert [one.report and one.report.outputs for one in outcome.scenes] == [(scene.out,) for scene in SCENES]
    assert sorted(lines) == [f"[{k + 1}/6] {scene.out}" for k, scene in enumerate(SCENES)]


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_scene_that_fails_stops_no_other_and_all_are_counted(at_once: int) -> None:
    def export_one(job: ExportJob) -> ExportReport:
        if job.request.target == "2.tif":
            raise SourceMissingError("2.tif is gone")
        return ExportReport((job.out,), None, 0.0)

    scenes = [*SCENES, BatchScene("Item x", "x", Path("/nowhere"), trouble="has no address")]
    seen: list[dict[str, int]] = []

    def counted(counts: Mapping[str, int]) -> None:
        seen.append(dict(counts))

    outcome = run_batch(scenes, job_of, export_one, lambda _: None, at_once=at_once, counted=counted)
    assert states(outcome) == ["done", "done", "failed", "done", "done", "done", "failed"]
    assert [one.error for one in outcome.failed] == ["2.tif is gone", "has no address"]
    assert [counts["waiting"] for counts in seen] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert seen[-1] == {"waiting": 0, "done": 5, "skipped": 0, "failed": 2}


def test_a_batch_that_is_interrupted_stops_what_is_running() -> None:
    begun: list[str] = []

    def export_one(job: ExportJob) -> ExportReport:
        begun.append(job.request.target)
        while job.request.target != "0.tif":
            check_wanted()
            time.sleep(0.01)
        return ExportReport((job.out,), None, 0.0)

    def counted(counts: Mapping[str, int]) -> None:
        if counts["done"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(SCENES, job_of, export_one, lambda _: None, at_once=2, counted=counted)
    assert len(begun) < len(SCENES)
