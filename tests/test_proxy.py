"""The cache in front, as `deploy/nginx.conf` sets it up: a real nginx before an application on a socket."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.app import create_app
from server.settings import Settings
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import ROOT, free_port, good, listening, needs


@dataclass(frozen=True)
class Front:
    """A proxy and what is behind it."""

    base: str
    behind: str
    log: Path
    raster: str

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(self.base + path, timeout=60, **options)

    def preview(self, size: int, **options: Any) -> httpx2.Response:
        return self.get("/cog/preview.png", params={"url": self.raster, "bidx": 1, "max_size": size}, **options)

    def lines(self, path: str, count: int) -> list[dict[str, Any]]:
        """What the log says of a path, once it says so often."""
        for _ in range(100):
            found = [line for line in map(json.loads, self.log.read_text().splitlines()) if line["path"] == path]
            if len(found) >= count:
                break
            time.sleep(0.02)
        return found


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    nginx, folder = needs("nginx"), tmp_path_factory.mktemp("front")
    raster = write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    config = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    port = free_port()
    app = create_app(Settings(allowed_sources=(str(folder),), prefetch=False))
    with listening(app) as behind:
        places = {
            "clearsky:8000": behind.removeprefix("http://"),
            "listen 8080": f"listen 127.0.0.1:{port}",
            "/var/cache/nginx": f"{folder}/answers",
            "/tmp/": f"{folder}/",
            "/dev/stdout": f"{folder}/access.log",
            "/dev/stderr": f"{folder}/error.log",
        }
        assert [place for place in places if place not in config] == []
        config = re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], config)
        (folder / "nginx.conf").write_text(f"daemon off;\nuser root;\n{config}")
        process = subprocess.Popen([nginx, "-c", folder / "nginx.conf", "-p", folder])
        base = f"http://127.0.0.1:{port}"
        try:
            for _ in range(100):
                try:
                    httpx2.get(base + "/healthz", timeout=5)
                    break
                except httpx2.TransportError:
                    assert process.poll() is None
                    time.sleep(0.05)
            yield Front(base, behind, folder / "access.log", raster)
        finally:
            process.terminate()
            process.wait(10)


def test_an_answer_is_kept_with_its_headers(front: Front) -> None:
    first, second = good(front.preview(20)), good(front.preview(20))
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["MISS", "HIT"]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    same = front.preview(20, headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_many_who_ask_at_once_are_one_request(front: Front) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: front.preview(21), range(12)))
    assert len({good(answer).content for answer in answers}) == 1
    assert [answer.headers["x-cache"] for answer in answers].count("MISS") == 1


def test_clients_that_want_other_formats_get_them(front: Front) -> None:
    page = front.get("/", headers={"Accept": "text/html"})
    told = front.get("/", headers={"Accept": "application/json"})
    assert page.headers["content-type"].startswith("text/html")
    assert told.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/cog/preview.png?url=/etc/passwd", "/cog/preview.png", "/no/such/path", "/healthz"])
def test_errors_and_states_are_not_kept(front: Front, path: str) -> None:
    assert "HIT" not in [front.get(path).headers["x-cache"] for _ in range(2)]


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_operators_ask_for_is_not_public(front: Front, path: str) -> None:
    assert front.get(path).status_code == 404
    assert httpx2.get(front.behind + path, timeout=60).status_code == 200


def test_links_lead_through_the_proxy(front: Front) -> None:
    params: dict[str, Any] = {"url": front.raster, "bidx": 1}
    told = good(front.get("/cog/WebMercatorQuad/tilejson.json", params=params)).json()
    assert all(tile.startswith(front.base + "/cog/tiles/") for tile in told["tiles"])


def test_one_number_in_every_log_and_no_query_in_this_one(front: Front) -> None:
    answer = front.get("/cog/bounds", params={"url": front.raster, "access_token": "SECRETVALUE"})
    (line,) = front.lines("/cog/bounds", 1)
    assert line["request"] == answer.headers["x-request-id"]
    assert line["status"] == answer.status_code
    assert "SECRETVALUE" not in front.log.read_text()
