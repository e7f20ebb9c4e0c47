"""What processes share of the analysis: the same names everywhere, nothing computed twice, the same picture."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import numpy as np
import pytest

from algorithms.models import MODELS
from algorithms.options import CloudOptions
from algorithms.providers import Runtime
from algorithms.sessions import SESSIONS
from server.analysis.admissible import SHARED_KEYS
from server.analysis.choosing import ChoiceKey
from server.analysis.keys import FillKey, FirstFitKey, SceneKey, ShiftKey, WindowKey
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.sharing import name_of
from server.analysis.tasking import make_task
from server.raster.cache import PixelsKey
from server.raster.grid import fine_grid
from server.work.codec import Codec
from server.work.shared import NamedKey
from tests.helpers.redisserver import RedisServer
from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import ROOT, analysis_of, application, free_port, good, serve_command, sources_by

NAMES = """
import sys
from tests.server.analysis.test_sharing import keys_of
from server.analysis.sharing import name_of
print(*map(name_of, keys_of(*sys.argv[1:])), sep="\\n")
"""


def plane_of(target: str, replacement: str, **options: object) -> Plane:
    task = make_task(Request(target, (replacement,)), sources_by(str(Path(target).parent)), CloudOptions(**options))  # type: ignore[arg-type]
    return Plane(task, fine_grid(task.target.dataset))


def keys_of(target: str, replacement: str) -> list[object]:
    """A key of each kind that is shared."""
    plane = plane_of(target, replacement)
    return [
        WindowKey(plane.target, next(iter(MODELS)), plane.grid, (0, 0)),
        FirstFitKey.of(plane, 1),
        ShiftKey.of(plane, 1),
        SceneKey.of(plane, 1),
        FillKey(plane, (0, 0), 0, in_pixels=False),
        ChoiceKey(Request(target), "state", 20_000),
        NamedKey("Answer", ("tag",)),
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_pair(tmp_path_factory.mktemp("sharing"), make_pair(size=(300, 300)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


def test_another_process_calls_the_same_value_by_the_same_name(pair: dict[str, str]) -> None:
    keys = keys_of(pair["url"], pair["replacement"])
    names = [name_of(key) for key in keys]
    assert {type(key) for key in keys} == set(SHARED_KEYS)
    command = [sys.executable, "-c", NAMES, pair["url"], pair["replacement"]]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == names


def test_whatever_a_value_depends_on_changes_its_name(pair: dict[str, str], tmp_path: Path) -> None:
    other = write_pair(tmp_path, make_pair(size=(300, 300), seed=1))
    plane = plane_of(pair["url"], pair["replacement"])
    planes = [
        plane,
        plane_of(other["url"], pair["replacement"]),
        plane_of(pair["url"], other["replacement"]),
        *(plane_of(pair["url"], pair["replacement"], **{name: value}) for name, value in OPTIONS.items()),
        Plane(plane.task, replace(plane.grid, side=64)),
        Plane(replace(plane.task, clouds=replace(plane.task.clouds, model=list(MODELS.values())[-1])), plane.grid),
    ]
    keys = [FillKey(each, (0, 0), 0, in_pixels=False) for each in planes] + [
        FillKey(plane, (0, 1), 0, in_pixels=False),
        FillKey(plane, (0, 0), 1, in_pixels=False),
        FillKey(plane, (0, 0), 0, in_pixels=True),
    ]
    assert len({name_of(key) for key in keys}) == len(keys)


OPTIONS = {"window": 100, "buffer": 8, "adjustment": "moment", "residual": False, "refine": False}


def test_names_tell_precisions_apart(pair: dict[str, str]) -> None:
    key = keys_of(pair["url"], pair["replacement"])[0]
    before, runtime = name_of(key), SESSIONS.runtime
    SESSIONS.configure(Runtime(providers=("cpu",)))
    assert name_of(key) == before
    SESSIONS.configure(runtime)


def test_what_is_quick_to_read_is_not_shared(pair: dict[str, str]) -> None:
    assert name_of(PixelsKey(plane_of(pair["url"], pair["replacement"]).target, (0, 0))) is None


@dataclass(frozen=True)
class _Place:
    where: object


def test_a_key_that_no_other_process_could_name_is_an_error(pair: dict[str, str]) -> None:
    plane = plane_of(pair["url"], pair["replacement"])
    with pytest.raises(TypeError, match="no name that other processes would know"):
        name_of(FillKey(plane, _Place(object()), 0, in_pixels=False))  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["redis", "folder"])
def test_a_second_application_infers_nothing_that_the_first_has(
    store: str, pair: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = tmp_path.as_uri() if store == "folder" else request.getfixturevalue("server").url
    folder = Path(pair["url"]).parent
    pictures, seen = [], {"url": pair["url"], "replacement": pair["replacement"], "max_size": "200"}
    for k in range(2):
        with application(folder, cache_url=url) as client:
            runs = SESSIONS.inferences()
            for algorithm in ("cloud_removal", "fill_source", "cloud_probability"):
                answer = client.get("/cog/preview.npy", params={**seen, "algorithm": algorithm})
                assert answer.status_code == 200
                pictures.append(answer.content)
            assert (SESSIONS.inferences() > runs) == (k == 0)
            state = analysis_of(client).shared
            assert state is not None
            assert state.state.working
    assert pictures[:3] == pictures[3:]
    with application(folder) as client:
        assert client.get("/cog/preview.npy", params=seen).content == pictures[0]


def names_in(server: RedisServer) -> set[bytes]:
    return set(server.client.scan_iter())


@pytest.mark.parametrize("kind", ["changed", "number", "texts"])
def test_garbage_in_the_store_changes_no_picture(pair: dict[str, str], server: RedisServer, kind: str) -> None:
    others = {"number": 5, "texts": ((("content-type", "image/png"),), "body")}
    server.client.flushall()
    folder, params = Path(pair["url"]).parent, {**pair, "max_size": "200"}
    with application(folder, cache_url=server.url) as client:
        right = client.get("/cog/preview.npy", params=params).content
        picture = client.get("/cog/preview.png", params=params | {"bidx": "1"}).content
    rng = np.random.default_rng(0)
    for name in names_in(server):
        value = bytearray(server.client.get(name) or b"")  # type: ignore[arg-type]
        value[rng.integers(len(value))] ^= 255
        server.client.set(name, bytes(value) if kind == "changed" else Codec([]).encode(others[kind]))
    with application(folder, cache_url=server.url) as client:
        assert client.get("/cog/preview.npy", params=params).content == right
        assert client.get("/cog/preview.png", params=params | {"bidx": "1"}).content == picture
        state = analysis_of(client).shared
        assert state is not None
        assert state.counts["damaged"] > 0


def inferences(base: str) -> int:
    """Windows that a server process has looked at."""
    lines = httpx2.get(base + "/metrics", timeout=60).text.splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("clearsky_inferences_total")))


def settled(base: str) -> None:
    """Wait until a server has loaded its loops: its threads wait for that one, and a store seems slow to them."""
    deadline = time.monotonic() + 60
    while httpx2.get(base + "/healthz", timeout=60).json()["loops"] == "loading":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def picture(wanted: tuple[str, dict[str, str]]) -> bytes:
    """What a server answers to a view."""
    base, view = wanted
    return good(httpx2.get(base + "/cog/preview.npy", params=view, timeout=90)).content


def test_two_server_processes_under_load_and_a_redis_that_is_killed(tmp_path: Path, server: RedisServer) -> None:
    """At the same time they infer each window once; while there is no Redis, each works for itself."""
    server.client.flushall()
    written = write_pair(tmp_path, make_pair(size=(520, 260)))
    pair = {"url": written["url"], "replacement": written["replacement"]}
    views = [{**pair, "max_size": str(size)} for size in (300, 150)]
    with (
        serve_command(tmp_path, measured=True, cache_url=server.url) as (_, first),
        serve_command(tmp_path, measured=True, cache_url=server.url) as (_, second),
        ThreadPoolExecutor(8) as pool,
    ):

        def answers(views: list[dict[str, str]]) -> list[bytes]:
            """Of both, to the same views at the same time."""
            return list(pool.map(picture, [(base, view) for view in views for base in (first, second)]))

        for base in (first, second):
            settled(base)
        seen = answers(views)
        assert seen[::2] == seen[1::2]
        windows = {name for name in names_in(server) if b":WindowKey:" in name}
        assert len(windows) >= 4
        assert inferences(first) + inferences(second) == len(windows)

        more = [{**pair, "max_size": str(size), "algorithm_params": '{"buffer": 9}'} for size in range(140, 146)]
        asking = pool.submit(answers, more[:3])
        server.kill()
        alone = asking.result()
        assert alone[::2] == alone[1::2]
        asking = pool.submit(answers, more[3:])
        server.start()
        again = asking.result()
        assert again[::2] == again[1::2]
    with application(tmp_path) as client:
        for view, content in ((views[0], seen[0]), (more[0], alone[0]), (more[-1], again[-1])):
            assert client.get("/cog/preview.npy", params=view).content == content


def test_a_shared_cache_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--port", str(free_port())]
    env = {"PATH": "/usr/bin:/bin", "CLEARSKY_CACHE_URL": "memcached://x", "CLEARSKY_ALLOWED_SOURCES": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "CLEARSKY_CACHE_URL" in done.stderr
    assert done.stderr.count("\n") == 1
