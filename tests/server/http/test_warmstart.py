"""The warm start: what was looked at before a restart is there before anybody asks, and nothing else is read for it."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from server.analysis.sharing import shared_cache
from server.http.asgi import Message, Receive, Scope, Send
from server.http.recent import RecentViews
from server.http.warmstart import WARM_CACHE_SHARE, WarmStart
from server.work.figures import Figures
from server.work.metrics import Metrics
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.redisserver import RedisServer
from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import application, good, services_of
from tests.helpers.views import paths_of, planted, state_when_ready

SLOWLY = {"warm_start_seconds": "60"}
"""For a machine with other work."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_pair(tmp_path_factory.mktemp("scene"), make_pair(size=(300, 300)))


def raster_bytes(client: TestClient) -> int:
    """What is held of rasters."""
    return sum(each.nbytes for each in services_of(client).analysis.cache_figures if each.cache == "rasters")


@pytest.fixture(scope="module")
def tier(pair: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """A shared cache left by a server that was asked for all tiles but the middle one; and that one, computed alone.

    As it is before the server ends, which may be killed.
    """
    folder, left, allowed = tmp_path_factory.mktemp("tier"), tmp_path_factory.mktemp("left"), Path(pair["url"]).parent
    *paths, held = paths_of(pair["url"])
    with application(allowed, cache_url=folder.as_uri()) as client:
        for path in paths:
            good(client.get(path, params=pair))
        for _ in range(600):
            if RecentViews(shared_cache(folder.as_uri()), (str(allowed),)).saved():
                break
            time.sleep(0.05)
        shutil.copytree(folder, left, dirs_exist_ok=True)
    with application(allowed) as alone:
        return left.as_uri(), good(alone.get(held, params=pair)).content


def test_a_tile_never_asked_for_is_answered_from_memory(pair: dict[str, str], tier: tuple[str, bytes]) -> None:
    url, expected = tier
    with application(Path(pair["url"]).parent, cache_url=url, **SLOWLY) as client:
        assert not state_when_ready(client).startswith("0 ")
        before = misses(client)
        assert good(client.get(paths_of(pair["url"])[-1], params=pair)).content == expected
        assert misses(client) == before
        text = client.get("/metrics").text
        assert 'clearsky_warm_views_total{result="loaded"}' in text
        assert 'clearsky_requests_total{method="GET",route="/cog/tiles' in text
        (counted,) = (x for x in text.splitlines() if x.startswith("clearsky_requests_total") and "/cog/tiles" in x)
        assert counted.endswith(" 1.0")  # what is loaded at start is no request of a client


def test_it_can_be_turned_off(pair: dict[str, str], tier: tuple[str, bytes]) -> None:
    with application(Path(pair["url"]).parent, cache_url=tier[0], warm_start_seconds="0") as client:
        assert state_when_ready(client).startswith("0 ")
        assert raster_bytes(client) == 0


def test_what_is_not_admitted_or_not_there_is_not_read(pair: dict[str, str], tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "broken.tif").write_bytes(b"II*\0 and nothing else")
    url, path = (tmp_path / "tier").as_uri(), paths_of(pair["url"])[-1]
    forbidden = (f"{path}?url={pair['url']}", f"{path}?url={allowed}/../{Path(pair['url']).name}")
    missing = (f"{path}?url={allowed}/none.tif", f"{path}?url={allowed}/broken.tif", f"{path}?url=")
    planted(url, allowed, *forbidden, *missing)
    with application(allowed, cache_url=url, **SLOWLY) as client:
        assert state_when_ready(client).startswith("0 views loaded, 5 that cannot be had")
        assert raster_bytes(client) == 0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RangeServer]:
    with range_server(tmp_path) as served:
        yield served


def test_no_remote_file_is_asked_for(pair: dict[str, str], tmp_path: Path, served: RangeServer) -> None:
    """However an address gets into a view: in a name of several parts, in a recipe."""
    write_pair(tmp_path, make_pair(size=(300, 300)))
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "far.yaml").write_text(f"name: far\ntarget: {served.base}target.tif\n")
    path, url = paths_of(pair["url"])[-1], (tmp_path / "tier").as_uri()
    views = f"/recipes/far/{path[5:]}?", f"{path}?url={{http:}}{served.base[5:]}target.tif"
    planted(url, served.base, *views)
    with application(served.base, cache_url=url, recipes=str(recipes), **SLOWLY) as client:
        assert state_when_ready(client).startswith("0 views loaded, 2 that cannot be had")
        assert served.counts.requests == 0
        for view in views:
            good(client.get(view.replace(path, paths_of(pair["url"])[0])))
        assert served.counts.requests > 0
    notes = RecentViews(shared_cache(url), (served.base,)).saved()
    assert notes == views  # those of a client are not noted


@dataclass
class Application:
    """One that answers, fails, or goes on until its client hangs up."""

    does: str = "answer"
    asked: list[str] = field(default_factory=list)
    hung_up: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert (await receive())["type"] == "http.request"
        self.asked.append(f"{scope['path']}?{scope['query_string'].decode()}")
        if self.does == "fail":
            raise RuntimeError("broken")
        if self.does == "hang":
            self.hung_up += (await receive())["type"] == "http.disconnect"
            return
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b""})


VIEWS = tuple(f"/cog/tiles/WebMercatorQuad/15/{x}/0.png?url=/data/a.tif" for x in (0, 2, 4))


async def started(
    app: Application, recent: RecentViews, *, seconds: float = 30.0, busy: bool = False, filled: float = 0.0
) -> WarmStart:
    """A warm start of an application, which serves until it is over."""
    metrics = Metrics("0", lambda: Figures((), 0, "cpu"))
    warm = WarmStart(recent, seconds=seconds, busy=lambda: busy, filled=lambda: filled, metrics=metrics)
    async with warm.around(app):
        while warm.state().state != "ok":
            await asyncio.sleep(0.01)
    return warm


@pytest.fixture
def recent(tmp_path: Path) -> RecentViews:
    url = tmp_path.as_uri()
    planted(url, Path("/data"), *VIEWS)
    return RecentViews(shared_cache(url), ("/data",))


@pytest.mark.parametrize(
    ("does", "options", "asked", "told"),
    [
        ("answer", {}, VIEWS, "3 views loaded, 0 that"),
        ("fail", {}, VIEWS, "0 views loaded, 3 that"),
        ("hang", {"seconds": 0.2}, VIEWS[:1], "0 views loaded, 1 that"),
        ("answer", {"seconds": 0.2, "busy": True}, (), "0 views loaded, 0 that"),
        ("answer", {"filled": WARM_CACHE_SHARE + 0.01}, (), "0 views loaded, 0 that"),
        ("answer", {"seconds": 0.0}, (), "0 views loaded, 0 that"),
    ],
)
def test_it_is_bounded(
    does: str, options: dict[str, Any], asked: tuple[str, ...], told: str, recent: RecentViews
) -> None:
    """In time, by what the caches hold, and by clients, who go first; whatever the application does."""
    app = Application(does)
    warm = asyncio.run(started(app, recent, **options))
    assert tuple(app.asked) == asked
    assert warm.state().detail.startswith(told)
    assert app.hung_up == (does == "hang")


def test_the_end_of_the_process_ends_it(recent: RecentViews) -> None:
    app = Application("hang")

    async def ended() -> str:
        metrics = Metrics("0", lambda: Figures((), 0, "cpu"))
        warm = WarmStart(recent, seconds=60.0, busy=lambda: False, filled=lambda: 0.0, metrics=metrics)
        async with warm.around(app):
            while not app.asked:
                await asyncio.sleep(0.01)
            assert warm.state().state == "failed"
            recent.note("/cog/tiles/WebMercatorQuad/15/8/8.png", b"url=/data/a.tif")
        return warm.state().state

    begun = time.monotonic()
    assert asyncio.run(asyncio.wait_for(ended(), 30)) == "ok"
    assert time.monotonic() - begun < 30
    assert (len(app.asked), app.hung_up) == (1, 1)
    assert len(recent.saved() or ()) == 4


def test_notes_that_cannot_be_had_in_time_are_left(recent: RecentViews, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(recent, "saved", lambda: released.wait(60) and VIEWS)
    app = Application()
    try:
        warm = asyncio.run(asyncio.wait_for(started(app, recent, seconds=0.2), 30))
    finally:
        released.set()
    assert app.asked == []
    assert warm.state().state == "ok"


@pytest.mark.parametrize(("fails", "loaded"), [(1, VIEWS), (2, ())])
def test_a_shared_cache_that_fails_is_asked_for_the_notes_twice(
    fails: int, loaded: tuple[str, ...], recent: RecentViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None] * fails + [VIEWS])
    monkeypatch.setattr(recent, "saved", lambda: next(answers))
    monkeypatch.setattr("server.http.warmstart.RETRY_SECONDS", 0.01)
    app = Application()
    asyncio.run(started(app, recent))
    assert tuple(app.asked) == loaded


def test_what_was_looked_at_is_found_in_redis(tmp_path: Path) -> None:
    redis, app = RedisServer(tmp_path), Application()
    redis.start()
    try:
        planted(redis.url, "/data", *VIEWS)
        asyncio.run(started(app, RecentViews(shared_cache(redis.url), ("/data",))))
    finally:
        redis.close()
    assert tuple(app.asked) == VIEWS


def misses(client: httpx2.Client | TestClient) -> list[str]:
    """What had to be computed or read so far."""
    kinds = tuple(f'clearsky_cache_misses_total{{cache="{cache}",tier="memory"' for cache in ("computed", "rasters"))
    return [line for line in client.get("/metrics").text.splitlines() if line.startswith(kinds)]
