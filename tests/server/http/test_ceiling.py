"""The largest answer that is admitted takes no more memory than the budget says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import serve_command

LIMIT = 256 << 20
SPARE = 96 << 20
"""What the first large answer leaves behind: GDAL's cache of blocks, what threads and allocators keep."""

FILLED: Final = ["url", "replacement", "mask", "replacement_mask"]
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux' /proc")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_pair(tmp_path_factory.mktemp("ceiling"), make_pair(size=(128, 128)))


@pytest.fixture(scope="module")
def server(files: dict[str, str]) -> Iterator[tuple[int, httpx2.Client, int]]:
    """The process and a client of a server with a small budget, and what it holds before the first request."""
    with (
        serve_command(Path(files["url"]).parent, max_request_bytes=str(LIMIT)) as (process, base),
        httpx2.Client(base_url=base, timeout=60) as client,
    ):
        while client.get("/healthz").json()["loops"] == "loading":  # a hundred megabytes next to the first requests
            time.sleep(0.05)
        yield process.pid, client, resident(process.pid, "VmRSS")


def resident(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) << 10


@pytest.mark.parametrize(
    ("names", "query"),
    [
        (["url"], {}),
        (["url"], {"expression": ";".join(f"b{k}*2.5/b1" for k in range(1, 7))}),
        (["url"], {"algorithm": "hillshade", "bidx": 1}),
        (FILLED, {}),
        (FILLED, {"expression": "b1/b2;b3/b4"}),
    ],
    ids=["plain", "expressions", "hillshade", "filled", "filled, expressions"],
)
def test_the_largest_admitted(
    files: dict[str, str], server: tuple[int, httpx2.Client, int], names: list[str], query: dict[str, Any]
) -> None:
    pid, client, idle = server
    params = query | {name: files[name] for name in names}

    def ask(side: int) -> httpx2.Response:
        return client.get(f"/cog/preview/{side}x{side}.tif", params=params)

    refused = re.search(r"take (\d+) MB, more than 256", ask(4000).text)
    assert refused is not None
    side = int(4000 * (LIMIT / ((int(refused[1]) + 1) << 20)) ** 0.5)
    assert ask(side + 10).status_code == 400
    assert ask(100).status_code == 200  # what is loaded and kept is there
    before = resident(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    assert ask(side).status_code == 200
    peak = resident(pid, "VmHWM")
    assert peak - before < LIMIT + SPARE, f"{(peak - before) >> 20} MB"
    assert peak - idle > LIMIT / 8  # it is large: what an answer before it has left may be enough for it
