"""Metrics of one process and of several that serve one port."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.work.cache import TileCache
from server.work.figures import CacheFigures, Figures
from server.work.metrics import Metrics
from server.work.trace import Trace
from server.work.workers import counting_folder, counting_together
from tests.helpers.service import ROOT


def figures(hits: int = 0, misses: int = 0, nbytes: int = 0, *, waiting: int = 0, provider: str = "cpu") -> Figures:
    return Figures((CacheFigures("computed", "memory", nbytes, hits, misses),), waiting, provider)


def lines(metrics: Metrics) -> list[str]:
    return metrics.render()[0].decode().splitlines()


def test_what_is_looked_up_is_of_the_moment_and_counts_only_grow() -> None:
    now = figures(hits=3, misses=5, nbytes=100, waiting=7)
    metrics = Metrics("1", lambda: now)
    assert 'clearsky_cache_hits_total{cache="computed",tier="memory"} 3.0' in lines(metrics)
    now = figures(hits=4, misses=5, nbytes=50, waiting=0)
    text = lines(metrics)
    assert 'clearsky_cache_hits_total{cache="computed",tier="memory"} 4.0' in text
    assert 'clearsky_cache_misses_total{cache="computed",tier="memory"} 5.0' in text
    assert 'clearsky_cache_bytes{cache="computed"} 50.0' in text
    assert "clearsky_inference_queue 0.0" in text
    now = figures(hits=0)  # of a cache that was made again
    assert 'clearsky_cache_hits_total{cache="computed",tier="memory"} 4.0' in lines(metrics)


def test_tiers_of_one_cache_are_counted_and_weighed_apart() -> None:
    tiers = (CacheFigures("windows", "memory", 10, 1, 2), CacheFigures("windows", "shared", 5, 3, 4))
    text = lines(Metrics("1", lambda: Figures(tiers, 0, "cpu")))
    assert 'clearsky_cache_hits_total{cache="windows",tier="memory"} 1.0' in text
    assert 'clearsky_cache_hits_total{cache="windows",tier="shared"} 3.0' in text
    assert 'clearsky_cache_bytes{cache="windows"} 10.0' in text
    assert 'clearsky_shared_cache_bytes{cache="windows"} 5.0' in text


def test_a_provider_that_gives_way_is_no_longer_named() -> None:
    now = figures(provider="cuda")
    metrics = Metrics("1", lambda: now)
    assert 'clearsky_provider_info{provider="cuda"} 1.0' in lines(metrics)
    now = figures(provider="cpu")
    assert [line for line in lines(metrics) if line.startswith("clearsky_provider_info") and line.endswith(" 1.0")] == [
        'clearsky_provider_info{provider="cpu"} 1.0'
    ]


@pytest.mark.parametrize(("works", "told"), [(None, []), (True, ["1.0"]), (False, ["0.0"])])
def test_whether_the_shared_cache_works(works: bool | None, told: list[str]) -> None:
    text = lines(Metrics("1", lambda: Figures((), 0, "cpu", works)))
    assert [line.split()[-1] for line in text if line.startswith("clearsky_shared_cache_up{")] == told


def test_two_of_one_process_count_for_themselves() -> None:
    one, other = Metrics("1", figures), Metrics("1", figures)
    one.request("GET", 200, 0.1, Trace(route="/healthz"))
    sample = 'clearsky_requests_total{method="GET",route="/healthz",status="2xx"} 1.0'
    assert sample in lines(one)
    assert sample not in lines(other)


def test_figures_of_a_cache_are_what_it_holds() -> None:
    cache = TileCache(1000, name="computed", size=len)
    assert cache.figures == CacheFigures("computed", "memory", 0, 0, 0)
    for _ in range(3):
        cache.get("a", lambda: b"123")
    with pytest.raises(ValueError, match="no"):
        cache.get("b", lambda: int("no"))
    assert cache.figures == CacheFigures("computed", "memory", 3, 2, 2)


def test_the_folder_of_several_processes_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with counting_together() as folder:
        assert counting_folder() == folder
        (folder / "counter_1.db").touch()
    assert not folder.exists()
    assert counting_folder() is None
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # by the operator, who may collect them otherwise
    with counting_together() as folder:
        assert folder == tmp_path
    assert tmp_path.exists()
    assert counting_folder() == tmp_path


WORKER = """
import json, sys
from server.work.figures import CacheFigures, Figures
from server.work.metrics import Metrics
from server.work.trace import Trace
count = int(sys.argv[1])
metrics = Metrics("1", lambda: Figures((CacheFigures("computed", "memory", 100 * count, count, 0),), count, "cpu"))
for _ in range(count):
    metrics.request("GET", 200, 0.1, Trace(route="/healthz"))
print(json.dumps(metrics.render()[0].decode().splitlines()), flush=True)
sys.stdin.read()
"""


def test_any_of_several_processes_answers_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of one that has ended stay; what it held goes."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    processes = []

    def start(count: int) -> dict[str, float]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return {name: float(value) for name, _, value in (x.rpartition(" ") for x in told if not x.startswith("#"))}

    seen = [start(3), start(4)]
    processes[0].communicate("")
    seen.append(start(1))
    for process in processes[1:]:
        process.communicate("")
    counted = 'clearsky_requests_total{method="GET",route="/healthz",status="2xx"}'
    assert [one[counted] for one in seen] == [3, 7, 8]
    assert [one['clearsky_request_seconds_bucket{le="+Inf",route="/healthz"}'] for one in seen] == [3, 7, 8]
    assert [one['clearsky_cache_hits_total{cache="computed",tier="memory"}'] for one in seen] == [3, 7, 8]
    assert [one['clearsky_cache_bytes{cache="computed"}'] for one in seen] == [300, 700, 500]
    assert [one["clearsky_inference_queue"] for one in seen] == [3, 7, 5]
    assert [one['clearsky_provider_info{provider="cpu"}'] for one in seen] == [1, 1, 1]
    assert [one["clearsky_workers"] for one in seen] == [1, 2, 2]
    memory = [one["process_resident_memory_bytes"] for one in seen]
    assert 1.5 * memory[0] < memory[1] < 3 * memory[0]
    assert memory[2] < 1.5 * memory[1]
