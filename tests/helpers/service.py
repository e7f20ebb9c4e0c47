"""The application under test: in this process with its own settings, or as a real server process."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import httpx2
import numpy as np
import pytest
import rasterio
import uvicorn
from starlette.testclient import TestClient

from server.analysis.engine import Analysis
from server.app import create_app
from server.raster.sources import Sources
from server.services import Services
from server.settings import Settings

ROOT = Path(__file__).parents[2]


def chosen(allowed: Path | str, settings: dict[str, str]) -> dict[str, str]:
    """Settings by name; no work ahead unless a test asks for it, so that counts are exact."""
    return {"allowed_sources": str(allowed), "prefetch": "false", **settings}


@contextmanager
def application(allowed: Path | str, **settings: str) -> Iterator[TestClient]:
    """A client of an application of its own, with empty caches."""
    given = Settings(**chosen(allowed, settings))  # type: ignore[arg-type]  # text, which pydantic reads
    with TestClient(create_app(given), raise_server_exceptions=False) as client:
        yield client


def services_of(client: TestClient) -> Services:
    """What a client's application shares among requests."""
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services


def analysis_of(client: TestClient) -> Analysis:
    """The masks and fills of a client's application."""
    return services_of(client).analysis


def sources_of(client: TestClient) -> Sources:
    """The rasters of a client's application."""
    return services_of(client).sources


def sources_by(allowed: Path | str, **settings: str) -> Sources:
    """Rasters with settings of their own, and no application."""
    return Sources.of(Settings(**chosen(allowed, settings)))  # type: ignore[arg-type]  # text, which pydantic reads


def unmeasured() -> dict[str, str]:
    """The environment of a process whose coverage does not count: it starts in two thirds of the time."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def listening(app: Any, **options: Any) -> Iterator[str]:
    """An application on a real socket of this process; gives its address.

    Args:
        app: the application.
        options: of uvicorn.
    """
    config = uvicorn.Config(app, port=free_port(), log_level="error", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{config.port}"
    finally:
        server.should_exit = True
        thread.join(15)


@contextmanager
def serve_command(
    allowed: Path | str, *, under: Sequence[str] = (), measured: bool = False, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`clearsky serve` as a process on a free loopback port; gives the process and its address.

    Args:
        allowed: what may be read.
        under: the beginning of the command line, of a program that runs the server.
        measured: whether the coverage of the process counts.
        settings: further settings.
    """
    port = free_port()
    env = dict(os.environ) if measured else unmeasured()
    env |= {f"CLEARSKY_{name.upper()}": value for name, value in chosen(allowed, settings).items()}
    command = [*under, sys.executable, "-c", "from server.cli import main; main()", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(900):  # a machine with other work may take long
            try:
                urllib.request.urlopen(base + "/healthz", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended at start"
                time.sleep(0.1)
        else:
            raise AssertionError("the server does not answer")
        yield process, base
    finally:
        process.terminate()
        process.wait(timeout=15)


@contextmanager
def server_process(allowed: Path | str, **settings: str) -> Iterator[str]:
    """A real server on a free loopback port; gives its address."""
    with serve_command(allowed, **settings) as (_, base):  # type: ignore[arg-type]  # none of them is `measured`
        yield base


def needs(program: str) -> str:
    """Path of a program; skips the test where it is not installed, but never in CI."""
    found = shutil.which(program)
    if found is None:
        assert "CI" not in os.environ, f"CI must install {program}"
        pytest.skip(f"{program} is not installed")
    return found


def without_gdal_settings() -> dict[str, str]:
    """The environment as another program's GDAL should see it: without this server's driver list."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GDAL_")}


def wmts_source(capabilities: str) -> str:
    """GDAL's name of the Web Mercator layer of a WMTS; commas would end the address."""
    return f"WMTS:{capabilities.replace(',', '%2C')},tilematrixset=WebMercatorQuad"


def raster(content: bytes) -> np.ndarray:
    """Bands of an image in an answer, alpha included."""
    with rasterio.open(io.BytesIO(content)) as src:
        return src.read()


def good(answer: httpx2.Response) -> httpx2.Response:
    """An answer that is no error."""
    assert answer.status_code == 200, answer.text
    return answer


def pixels(answer: httpx2.Response) -> Any:
    """The array in an answer that has to be one (`.npy`): bands, then the mask."""
    return np.load(io.BytesIO(good(answer).content))
