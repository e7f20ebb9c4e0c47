"""The log of a server process: a line per request, in text or JSON, with its number and without secrets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from starlette.testclient import TestClient

from server.http.logs import configure_logs
from server.http.observation import Observed
from server.http.recent import RecentViews
from server.settings import LogFormat, LogLevel
from server.work.figures import Figures
from server.work.metrics import Metrics
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, good

Log = Callable[[], list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("log"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.fixture
def logs(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[LogLevel, LogFormat], Log]]:
    """Configures the log as a server process does; gives the lines since the last look."""
    root, ours = logging.getLogger(), logging.getLogger("clearsky")
    before = root.handlers[:], root.level, ours.level
    for handler in before[0]:  # of pytest, which `force` would close
        root.removeHandler(handler)

    def configure(level: LogLevel, form: LogFormat) -> Log:
        configure_logs(level, form)

        def lines() -> list[str]:
            return capsys.readouterr().err.splitlines()

        return lines

    yield configure
    root.handlers[:], level, ours_level = before
    root.setLevel(level)
    ours.setLevel(ours_level)


def test_a_line_of_text_per_request(client: TestClient, folder: Path, logs: Any) -> None:
    lines = logs("info", "text")
    params: dict[str, Any] = {"url": folder / "target.tif", "replacement": folder / "replacement.tif", "bidx": 1}
    answer = good(client.get("/cog/preview.png", params=params, headers={"X-Request-Id": "given-by-proxy"}))
    (line,) = lines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}"
    assert re.match(time + r" INFO given-by-proxy GET /cog/preview.png\?url=\S+ 200 ", line)
    assert f" {len(answer.content)} B" in line
    for stage in ("read", "mask", "adjust", "encode"):
        assert f" {stage}=" in line


def test_a_line_of_json_per_request(client: TestClient, folder: Path, logs: Any) -> None:
    lines = logs("info", "json")
    params: dict[str, Any] = {"url": folder / "target.tif", "replacement": folder / "replacement.tif", "bidx": 2}
    answer = good(client.get("/cog/preview.png", params=params))  # of another band: the first one's answer is kept
    told = json.loads(lines()[0])
    assert told["request"] == answer.headers["x-request-id"]
    assert (told["method"], told["status"], told["bytes"]) == ("GET", 200, len(answer.content))
    assert told["path"].startswith("/cog/preview.png?url=")
    assert all(0 <= spent < told["seconds"] + 0.01 for spent in told["stages"].values())
    assert told["cloud_fraction"] == pytest.approx(float(answer.headers["x-clearsky-cloud-fraction"]), abs=1e-4)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$", told["time"])


@pytest.mark.parametrize("path", ["/no/such/path", "/cog/info", "/cog/info?url=/etc/passwd", "/viewer"])
def test_every_answer_has_its_line(client: TestClient, logs: Any, path: str) -> None:
    lines = logs("info", "json")
    answer = client.get(path)
    told = json.loads(lines()[-1])
    assert (told["status"], told["request"]) == (answer.status_code, answer.headers["x-request-id"])


def test_an_error_of_the_server_is_logged_once_with_its_number(logs: Any, tmp_path: Path) -> None:
    with application(tmp_path) as client:
        lines = logs("info", "json")
        client.app.state.services = None  # type: ignore[attr-defined]
        answer = client.get("/metrics")
    told = [json.loads(line) for line in lines()]
    errors = [line for line in told if line["level"] == "error"]
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    assert [line["request"] for line in errors] == [answer.headers["x-request-id"]]
    assert "AttributeError" in errors[0]["traceback"]


SIGNED = "https://host/a.tif?sv=2022&sig=SECRETVALUE&access_token=OTHERSECRET"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "query",
    [
        f"url={quote(SIGNED, safe='')}",
        f"url={SIGNED}",
        f"replacement={quote(SIGNED)}",
        "access_token=SECRETVALUE",
        "url=https://host/a.tif%3FX-Amz-Signature%3DSECRETVALUE",
    ],
)
def test_no_secret_is_logged(client: TestClient, logs: Any, form: LogFormat, query: str) -> None:
    lines = logs("debug", form)
    client.get(f"/cog/info?{query}")
    text = "\n".join(lines())
    assert "/cog/info" in text
    assert "SECRET" not in text.replace("https://host", "")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_client_can_forge_a_line(client: TestClient, logs: Any, form: LogFormat) -> None:
    lines = logs("info", form)
    client.get("/no%0A2026 INFO - GET /forged 200")
    client.get("/no\u2028such%0d%0a")
    client.get("/x", headers={"X-Request-Id": "forged line\tINFO"})
    text = lines()
    assert len(text) == 3
    assert not any("forged line" in line for line in text)


def test_levels(client: TestClient, logs: Any) -> None:
    probes = ("/healthz", "/readyz", "/metrics")
    counts = {}
    for level in ("debug", "info", "warning", "error"):
        lines = logs(level, "text")
        for path in (*probes, "/viewer"):
            good(client.get(path))
        logging.getLogger("another.library").info("something")
        logging.getLogger("another.library").warning("something")
        counts[level] = len(lines())
    assert counts == {"debug": 5, "info": 2, "warning": 1, "error": 0}


def observed(app: Any, lines: Log) -> tuple[str, str]:
    """The status of a request to an ASGI application, in the metrics and in the log."""
    metrics = Metrics("1", lambda: Figures((), 0, "cpu"))
    scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"", "headers": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: dict[str, Any]) -> None:
        return

    async def ask() -> None:
        await Observed(app, metrics=metrics, recent=RecentViews(None, ()))(scope, receive, send)

    with suppress(RuntimeError):
        anyio.run(ask)
    (logged,) = lines()
    (counted,) = re.findall(r'clearsky_requests_total\{.*status="(\w+)"\} 1\.0', metrics.render()[0].decode())
    return logged.split()[5], counted


def test_requests_without_an_answer_have_a_status(logs: Any) -> None:
    lines = logs("info", "text")

    async def gone(*_: Any) -> None:
        return

    async def failing(*_: Any) -> None:
        raise RuntimeError

    async def failing_late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    assert observed(gone, lines) == ("499", "4xx")
    assert observed(failing, lines) == ("500", "5xx")
    assert observed(failing_late, lines) == ("200", "2xx")
