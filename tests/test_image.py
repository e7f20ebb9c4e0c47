"""The Dockerfile's steps, followed in a scratch folder without the downloads: what they copy is enough to start."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers.service import ROOT

TAKEN = ("python", "pip", "clearsky", "apt-get", "rm", "useradd", "if", "fi")
"""Commands of the steps; another one may need something that the scratch folder does not have."""


@pytest.fixture(scope="module")
def image() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image", ROOT / ".ci" / "image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(image: ModuleType, tmp_path: Path) -> tuple[Any, list[str]]:
    """A scratch folder with everything copied, and the steps that were to run."""
    steps: list[str] = []

    class Recording(image.Scratch):  # type: ignore[name-defined,misc]
        def run(self, command: str) -> None:
            steps.append(self.inside(command))

    scratch = Recording(tmp_path)
    for word, rest in image.instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        scratch.follow(word, rest)
    return scratch, steps


def test_the_steps_stay_in_the_scratch_folder(built: tuple[Any, list[str]], tmp_path: Path) -> None:
    scratch, steps = built
    assert len(steps) == 4
    for step in steps:
        parts = [shlex.split(part) for part in re.split(r"&&|;|\bthen\b", step)]
        assert {Path(words[0]).name for words in parts if words} <= set(TAKEN)
    assert scratch.environment["PATH"].startswith(f"{tmp_path}/opt/clearsky/bin:")
    assert scratch.commands["CMD"][:2] == ["clearsky", "serve"]
    assert "/healthz" in scratch.commands["HEALTHCHECK"][-1]


def test_what_is_copied_has_the_command_and_its_models(built: tuple[Any, list[str]], tmp_path: Path) -> None:
    """The step `clearsky models`, and the help of what the image starts, from the copies alone."""
    scratch, _ = built
    program = "import server, sys; sys.stderr.write(server.__file__); from server.cli import main; main()"
    for arguments in (["models"], [*scratch.commands["CMD"][1:], "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}/src"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(f"{tmp_path}/src/server/"), done.stderr
