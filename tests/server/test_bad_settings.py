"""A setting that cannot be used: one line that names variable, value and remedy, and status 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from server.cli import main

COMMANDS = [
    "serve",
    "models",
    "export {folder}/a.tif {folder}/b.tif --replacement {folder}/c.tif",
    "export --batch {folder}/scenes.csv",
    "mask {folder}/a.tif {folder}/b.tif",
    "picture {folder}/a.tif {folder}/b.png --replacement {folder}/c.tif",
    "replacements {folder}/item.json",
    "recipe check {folder}/a.yaml",
]


def ended(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["clearsky", *words.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEARSKY_CACHE_BYTES", "2000000")
    assert ended(command.format(folder=tmp_path), monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "clearsky: CLEARSKY_CACHE_BYTES='2000000': it must be greater than or equal to 16777216; "
        "change it in the environment or in .env, or leave it out\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("PREFETCH", "perhaps", "boolean"),
        ("REQUEST_TIMEOUT", "0", "greater than 0"),
        ("MAX_TILE_SIZE", "big", "integer"),
        ("BASE_MAP", "https://tiles.example.org", "write an address of tiles"),
    ],
)
def test_every_kind_of_value_has_a_remedy(
    name: str, value: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"CLEARSKY_{name}", value)
    monkeypatch.setenv("CLEARSKY_SOURCE_CHECK", "-1")
    assert ended("models", monkeypatch) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"CLEARSKY_{name}={value!r}: " in line
    assert remedy in line
    assert "CLEARSKY_SOURCE_CHECK='-1': it must be greater than or equal to 0" in line
