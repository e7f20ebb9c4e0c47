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
from server.export.figures import FillFigures
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.export.terminal import figures_in_words, in_words
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
    assert sorted(line for line in lines if "Cloud" not in line) == [
        f"[{k + 1}/6] {scene.out}" for k, scene in enumerate(SCENES)
    ]


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


@pytest.mark.parametrize("at_once", [1, 2])
def test_after_each_scene_one_line_says_what_became_of_it(tmp_path: Path, at_once: int) -> None:
    done = FillFigures(pixels=1000, filled=200, unfilled=50, confidence=200 * 87, rated=200)
    reports = {
        "0.tif": (done, "Cloud 25.0%: filled 20.0% (mean confidence 87 %), unfilled 5.0%; 12.3 s"),
        "1.tif": (FillFigures(pixels=1000), "Cloud 0.0%: filled 0.0%, unfilled 0.0%; 12.3 s"),
        "2.tif": (None, "Cloud not known: an earlier run found it; 12.3 s"),
    }

    def export_one(job: ExportJob) -> ExportReport:
        if job.request.target not in reports:
            raise SourceMissingError("it is\ngone")
        return ExportReport((job.out,), reports[job.request.target][0], 12.34)

    kept = tmp_path / "kept.tif"
    kept.touch()
    lines: list[str] = []
    run_batch([*SCENES[:4], BatchScene("line 9", "9.tif", kept)], job_of, export_one, lines.append, at_once=at_once)
    ends = [*(words for _, words in reports.values()), "failed: it is gone", "there already"]
    begins = [*(str(scene.out) for scene in SCENES[:4]), str(kept)]
    expected = [f"[{k}/5] {text}" for k, pair in enumerate(zip(begins, ends, strict=True), start=1) for text in pair]
    assert (lines if at_once == 1 else sorted(lines)) == (expected if at_once == 1 else sorted(expected))
    assert (
        figures_in_words(ExportReport((kept,), done, 12.34))
        == in_words(ExportReport((kept,), done, 12.34)).splitlines()[-1]
    )
