"""Publishing an export: both files or none, whenever it is killed, and finished by the same command."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.exports import finished, killed_where, run
from tests.helpers.scenes import read_raster
from tests.helpers.service import ROOT, unmeasured

KILLED = killed_where("str(self).endswith('finished')")
"""The command, killed before its n-th output gets its name; with 2, before the work folder goes."""


@pytest.fixture
def both(arguments: list[object], tmp_path: Path) -> tuple[list[object], Path, Path]:
    """A small export with provenance, and its two outputs."""
    out, provenance = tmp_path / "out.tif", tmp_path / "elsewhere" / "from.tif"
    provenance.parent.mkdir()
    return [*arguments, "--provenance", provenance], out, provenance


def killed(arguments: list[object], moves: int) -> None:
    command = [sys.executable, "-c", KILLED, str(moves), "export", *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=ROOT, env=unmeasured(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_killed_while_publishing_the_same_command_finishes(
    both: tuple[list[object], Path, Path], whole: tuple[Path, Path], tmp_path: Path, moves: int
) -> None:
    arguments, out, provenance = both
    killed(arguments, moves)
    assert provenance.exists() == (moves > 0)
    assert out.exists() == (moves > 1)
    assert run(*arguments) == 0
    assert sorted(tmp_path.rglob("*.tif")) == sorted([out, provenance])
    assert not list(tmp_path.rglob("*.partial"))
    for made, expected in zip((out, provenance), whole, strict=True):
        np.testing.assert_array_equal(read_raster(made), read_raster(expected))
    assert run(*arguments) == 2  # it exists, and is not ours to replace any more


def test_other_parameters_replace_what_was_published_in_part(
    both: tuple[list[object], Path, Path], tmp_path: Path
) -> None:
    arguments, out, provenance = both
    killed(arguments, 1)
    assert run(*arguments, "--adjustment", "moment") == 0
    assert out.exists()
    assert provenance.exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_other_parameters_do_not_replace_what_was_published_whole(
    both: tuple[list[object], Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, out, provenance = both
    killed(arguments, 2)
    before = out.read_bytes(), provenance.read_bytes()
    assert run(*arguments, "--adjustment", "moment") == 2
    assert "already exists" in capfd.readouterr().err
    assert (out.read_bytes(), provenance.read_bytes()) == before


def test_a_file_of_somebody_else_is_not_taken_for_ours(
    both: tuple[list[object], Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, _, provenance = both
    killed(arguments, 1)
    provenance.unlink()
    provenance.write_text("mine")
    assert run(*arguments) == 2
    assert "already exists" in capfd.readouterr().err
    assert provenance.read_text() == "mine"


def test_if_the_image_cannot_have_its_name_the_provenance_has_none(
    both: tuple[list[object], Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, out, provenance = both
    out.write_text("before")
    provenance.write_text("before, too")
    moves = Path.replace

    def replace(self: Path, to: Path) -> Path:
        if to == out and self.name == "finished":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return moves(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        assert run(*arguments, "--overwrite") == 2
    assert "cannot be written" in capfd.readouterr().err
    assert (out.read_text(), provenance.read_text()) == ("before", "before, too")
    assert run(*arguments, "--overwrite") == 0
    assert read_raster(out).shape[1:] == read_raster(provenance).shape[1:]


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("damage", ["cut short", "flipped", "gone", "record cut short"])
def test_a_damaged_piece_is_made_again(
    arguments: list[object], killed: Path, whole: tuple[Path, Path], damage: str
) -> None:
    pieces = finished(killed)
    content = pieces[2].read_bytes()
    if damage == "cut short":
        pieces[2].write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        pieces[2].write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "gone":
        pieces[2].unlink()
    else:
        sums = pieces[2].parent / "sums.txt"
        sums.write_bytes(sums.read_bytes()[:-7])
    assert run(*arguments) == 0
    np.testing.assert_array_equal(read_raster(killed), read_raster(whole[0]))


@pytest.mark.parametrize("name", ["out.png", "out.jp2", "out", "out.tif.gz", "out.vrt", "x" * 300 + ".tif"])
@pytest.mark.parametrize("which", ["out", "provenance"])
def test_names_that_cannot_be(
    arguments: list[object], tmp_path: Path, name: str, which: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    changed = [arguments[0], path, *arguments[2:]] if which == "out" else [*arguments, "--provenance", path]
    assert run(*changed) == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1
    assert name[:40] in said
    assert list(tmp_path.iterdir()) == []
