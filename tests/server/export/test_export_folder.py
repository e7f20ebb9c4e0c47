"""Publishing an export per band: the folder whole or not at all, whenever it is killed, and no one else's touched."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from server.analysis.request import Request
from server.export.job import ExportJob
from server.export.scene import export_scene
from server.settings import Settings
from tests.helpers.exports import filled_from, finished, killed_where, run, start
from tests.helpers.service import ROOT, unmeasured

KILLED = killed_where("self.name in ('result', 'finished')")
"""The command, killed before the folder is complete, or has its name; with 2, before the work folder goes."""


@pytest.fixture
def wanted(bad: Path, tmp_path: Path) -> tuple[list[object], Path]:
    """A small export per band, and its folder."""
    folder = tmp_path / "made"
    args = [bad / "target.tif", "--per-asset", folder, *filled_from(bad)]
    return [*args, "--assets", "red,nir"], folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


FILES = {"target_red.tif", "target_nir.tif", "fill_source.tif", "fill_confidence.tif", "item.json"}


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_while_publishing_the_same_command_finishes(
    wanted: tuple[list[object], Path], tmp_path: Path, moves: int, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, folder = wanted
    command = [sys.executable, "-c", KILLED, str(moves), "export", *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert folder.exists() == (moves == 2)
    assert run(*arguments, "--json") == 0
    assert json.loads(capfd.readouterr().out)["filled"] > 0.2
    assert names(folder) == FILES
    assert names(tmp_path) == {"made"}
    assert run(*arguments) == 2  # it exists, and is not ours to replace any more
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.usefixtures("in_pieces")
def test_stopped_half_way_a_second_run_goes_on(wanted: tuple[list[object], Path], tmp_path: Path) -> None:
    arguments, folder = [*wanted[0][:-1], "red"], wanted[1]
    process = start(*arguments)
    while len(finished(folder)) < 6:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, len(said.splitlines())) == (130, 1)
    assert not folder.exists()
    there, seen = len({path.name[:11] for path in finished(folder)}), []
    target, _, _, _, other, _, mask, _, none = map(str, arguments[:9])
    job = ExportJob(Request(target, (other,), mask, replacement_masks=(none,), assets=("red",)), folder, per_asset=True)
    export_scene(job, Settings(), lambda done, _: seen.append(done))
    assert 0 < there <= min(seen) < max(seen) == 60
    assert names(folder) == FILES - {"target_nir.tif"}
    assert names(tmp_path) == {"made"}


def test_overwrite_replaces_only_what_an_export_wrote(
    wanted: tuple[list[object], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, folder = wanted
    assert run(*arguments) == 0
    first = (folder / "item.json").stat().st_ino
    (folder / "target_red.tif.aux.xml").write_text("<PAMDataset/>")  # as a GIS leaves it
    assert run(*arguments[:-1], "red", "--overwrite") == 0
    assert names(folder) == FILES - {"target_nir.tif"}
    assert (folder / "item.json").stat().st_ino != first
    (folder / "diary.txt").write_text("mine")
    capfd.readouterr()
    assert run(*arguments, "--overwrite") == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert "diary.txt" in said
    assert names(folder) == (FILES | {"diary.txt"}) - {"target_nir.tif"}


@pytest.mark.parametrize("content", [None, "[]", '{"assets": {}, "properties": {}}'])
def test_a_folder_of_somebody_else_is_left_alone(
    wanted: tuple[list[object], Path], content: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, folder = wanted
    folder.mkdir()
    path = folder / ("notes.txt" if content is None else "item.json")
    path.write_text(content or "mine")
    assert run(*arguments) == 2
    assert run(*arguments, "--overwrite") == 2
    exists, strange = capfd.readouterr().err.splitlines()
    assert "--overwrite" in exists
    assert path.name in strange
    assert path.read_text() == (content or "mine")


def test_no_room_leaves_nothing_under_the_final_name(wanted: tuple[list[object], Path]) -> None:
    """Pieces fit, a whole band does not."""
    arguments, folder = wanted
    room = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (60_000, 60_000))
    process = start(*arguments, preexec_fn=room)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, len(said.splitlines())) == (2, 1), said
    assert "cannot be written" in said
    assert "free disk space" in said
    assert not folder.exists()
    assert run(*arguments) == 0
    assert names(folder) == FILES


def test_a_folder_that_cannot_have_its_name_leaves_the_old_one(
    wanted: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, folder = wanted
    assert run(*arguments) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    moves = Path.replace

    def replace(self: Path, to: Path) -> Path:
        if self.name == "finished":
            raise PermissionError(13, os.strerror(13))
        return moves(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        assert run(*arguments, "--adjustment", "moment", "--overwrite") == 2
    assert "cannot be written" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
