"""`clearsky serve`: what its processes are started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner

import server.http.logs
from server.cli import cli
from tests.helpers.service import free_port


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was set up when uvicorn was started, in place of starting it."""
    seen: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)  # away from any `.env`
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", str(tmp_path))
    for name in ("CLEARSKY_LOG_LEVEL", "CLEARSKY_LOG_FORMAT", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
        monkeypatch.delenv(name)

    def run(*_: Any, **options: Any) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        seen.update(options, level=os.environ.get("CLEARSKY_LOG_LEVEL"), folder=folder and Path(folder))
        assert folder is None or Path(folder).is_dir()

    monkeypatch.setattr(uvicorn, "run", run)
    monkeypatch.setattr(server.http.logs, "configure_logs", lambda *given: seen.update(logs=given))
    return seen


def serve(*options: str) -> int:
    return CliRunner().invoke(cli, ["serve", "--port", str(free_port()), *options]).exit_code


def test_one_process_counts_alone_and_logs_requests(started: dict[str, Any]) -> None:
    assert serve() == 0
    assert started["logs"] == ("info", "text")
    assert (started["workers"], started["folder"], started["level"]) == (1, None, None)
    assert (started["access_log"], started["log_config"]) == (False, None)


def test_several_processes_count_in_one_folder_that_is_gone_afterwards(started: dict[str, Any]) -> None:
    assert serve("--workers", "3") == 0
    assert started["workers"] == 3
    assert started["folder"] is not None
    assert not started["folder"].exists()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_the_level_of_the_command_line_reaches_every_process(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSKY_LOG_LEVEL", "debug")
    monkeypatch.setenv("CLEARSKY_LOG_FORMAT", "json")
    assert serve("--log-level", "error") == 0
    assert started["logs"] == ("error", "json")
    assert started["level"] == "error"
    assert serve("--log-level", "loud") == 2
