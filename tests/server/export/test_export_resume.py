"""An export that is killed, stopped or out of room: nothing is lost, nothing half-done is published."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from server.analysis.request import Request
from server.export import plan
from server.export.job import ExportJob
from server.export.scene import export_scene
from server.settings import Settings
from tests.helpers.exports import finished, run, start
from tests.helpers.scenes import read_raster


def some_more(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until a process has finished a few more pieces."""
    there = len(finished(out))
    while len(finished(out)) < there + 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def test_killed_half_way_a_second_run_goes_on(
    arguments: list[object],
    killed: Path,
    whole: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed, then asked to stop, then left alone: what was finished is kept, and the pixels are the same."""
    kept = {path: path.stat().st_mtime_ns for path in finished(killed)}
    process = start(*arguments, measured=True)
    some_more(process, killed)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, len(said.splitlines())) == (130, 1)
    assert "resumes from there" in said
    assert not killed.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    seen: list[int] = []
    there = len(finished(killed))
    target, out, _, other, _, mask, _, clear = map(str, arguments)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "PIECE_PIXELS", (32, 64))
        job = ExportJob(Request(target, (other,), mask, replacement_masks=(clear,)), Path(out))
        export_scene(job, Settings(), lambda done, _: seen.append(done))
    assert there < 60
    assert min(seen) >= there
    assert max(seen) == 60
    assert list(tmp_path.iterdir()) == [killed]
    np.testing.assert_array_equal(read_raster(killed), read_raster(whole[0]))


def test_other_parameters_start_afresh(arguments: list[object], killed: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.tif"
    more = ["--adjustment", "moment", "--no-residual"]
    assert run(*arguments, *more) == 0
    assert run(arguments[0], clean, *arguments[2:], *more) == 0
    np.testing.assert_array_equal(read_raster(killed), read_raster(clean))
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "clean.tif"}


@pytest.mark.parametrize("short", [None, 1])
def test_no_room_leaves_nothing_under_the_final_name(
    arguments: list[object], whole: tuple[Path, Path], tmp_path: Path, short: int | None
) -> None:
    """Neither a piece that does not fit, nor the last byte of the whole."""
    limit = whole[0].stat().st_size - short if short else 10_000
    room = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    process = start(*arguments, preexec_fn=room)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, len(said.splitlines())) == (2, 1), said
    assert "cannot be written" in said
    assert "free disk space" in said
    assert not (tmp_path / "out.tif").exists()
