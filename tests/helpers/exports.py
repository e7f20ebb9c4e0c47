"""The export command, in this process or as one of its own, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from server.cli import main
from tests.helpers.service import ROOT, unmeasured

SMALL = "import server.export.plan as p; p.PIECE_PIXELS = (32, 64); from server.cli import main; main()"
"""The real command, cutting the scene into more pieces."""


CLEAR = ("--replacement-mask", "none")
"""Next to a user's mask: no model looks for clouds of the replacements, which in made-up textures it does find."""


def filled_from(folder: Path | str, other: str = "other.tif") -> list[str]:
    """Arguments of a small export without a model: a replacement and a mask in a folder, or under an address."""
    return ["--replacement", f"{folder}/{other}", "--mask", f"{folder}/mask.tif", *CLEAR]


def run(*args: object, command: str = "export", measured: bool = False) -> int:
    """A command's exit status, in this process; not `measured`, the coverage of those that it starts does not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["clearsky", command, *map(str, args)])
        for name in () if measured else os.environ.keys() - unmeasured().keys():
            patch.delenv(name)
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def start(*args: object, measured: bool = False, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own; not `measured`, it writes no coverage data when it ends."""
    command = [sys.executable, "-c", SMALL, "export", *map(str, args)]
    env = dict(os.environ) if measured else unmeasured()
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def finished(out: Path) -> list[Path]:
    """Finished pieces of an export that has not ended."""
    return sorted(out.with_name(out.name + ".partial").glob("*/*.image.tif"))


def same_description(target: Path, out: Path, *, added_mask: bool = False) -> None:
    """Everything the target says of itself, the output says, too."""
    with rasterio.open(target) as a, rasterio.open(out) as b:
        for name in ("crs", "transform", "shape", "count", "dtypes", "nodatavals", "descriptions", "scales", "offsets"):
            np.testing.assert_equal(getattr(b, name), getattr(a, name), err_msg=name)
        assert b.units == a.units
        assert b.colorinterp == a.colorinterp
        assert added_mask or b.mask_flag_enums == a.mask_flag_enums
        own = {k: v for k, v in a.tags().items() if k != "OVR_RESAMPLING_ALG"}
        assert own.items() <= b.tags().items()
        assert {k: v for k, v in b.tags().items() if not k.startswith("CLEARSKY_")}.keys() <= own.keys() | {
            "OVR_RESAMPLING_ALG"
        }


def killed_where(condition: str) -> str:
    """A program that runs the command, and is killed before the n-th path that meets a condition gets its next name.

    Args:
        condition: of Python, on the path `self`.

    Returns:
        The program; n, from 0, is its first argument, and with 2 it is killed before the work folder goes.
    """
    return _KILLED.replace("CONDITION", condition)


_KILLED = """
import os, pathlib, signal, sys
moves, left = pathlib.Path.replace, int(sys.argv.pop(1))
def replace(self, to):
    global left
    if CONDITION:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return moves(self, to)
pathlib.Path.replace = replace
if left == 2:
    import shutil
    remove = shutil.rmtree
    def rmtree(path, **options):
        if (path / "publication.json").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        remove(path, **options)
    shutil.rmtree = rmtree
from server.cli import main
main()
"""
