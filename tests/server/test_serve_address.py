"""`clearsky serve`: an address that cannot be had is found out before anything is made."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.service import ROOT


@pytest.mark.parametrize("case", ["port in use", "no such host", "address of another machine"])
def test_one_line_and_no_demo(tmp_path: Path, case: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        host = {"no such host": "no.such.host.invalid", "address of another machine": "192.0.2.1"}.get(
            case, "127.0.0.1"
        )
        command = [sys.executable, "-c", "from server.cli import main; main()", "serve"]
        ended = subprocess.run(
            [*command, "--host", host, "--port", str(port)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "CLEARSKY_DEMO": str(tmp_path / "demo")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert (str(port) if case == "port in use" else host) in ended.stderr
    assert list(tmp_path.iterdir()) == []
