"""A server killed in the middle of its work leaves nothing behind: the next one answers with the same pixels."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import application, serve_command
from tests.helpers.views import paths_of, planted, state_when_ready

QUERIES = [{"max_size": "200"}, {"max_size": "333", "bidx": "1"}, {"algorithm": "fill_source"}, {"expression": "b1/b2"}]


def test_a_killed_server_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, temporary = tmp_path / "rasters", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    pair = write_pair(folder, make_pair(size=(400, 420)))
    there = sorted(folder.rglob("*"))
    path = "/cog/preview.tif"
    with application(folder) as client:
        expected = [client.get(path, params=pair | query).content for query in QUERIES]
    monkeypatch.setenv("TMPDIR", str(temporary))
    for seconds in (0.05, 0.8):
        with serve_command(folder) as (process, base), ThreadPoolExecutor() as pool:
            httpx2.get(base + path, params={"url": pair["url"], "max_size": 8}, timeout=60)
            jobs = [pool.submit(httpx2.get, base + path, params=pair | query, timeout=60) for query in QUERIES]
            time.sleep(seconds)
            process.kill()
            for job, right in zip(jobs, expected, strict=True):
                with contextlib.suppress(httpx2.HTTPError):  # cut off, or answered before
                    assert job.result().content == right
    assert sorted(folder.rglob("*")) == there
    assert list(temporary.rglob("*")) == []
    # The next one also starts warm, from what others have noted.
    store = (tmp_path / "tier").as_uri()
    planted(store, folder, f"{paths_of(pair['url'])[-1]}?url={pair['url']}")
    with serve_command(folder, cache_url=store, warm_start_seconds="60") as (_, base):
        with httpx2.Client(base_url=base, timeout=60) as client:
            assert state_when_ready(client).startswith("1 views loaded")
        assert [httpx2.get(base + path, params=pair | query, timeout=60).content for query in QUERIES] == expected
