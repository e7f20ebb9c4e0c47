"""Servers that misbehave and files that are damaged: clear errors, and no harm to others."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.errors import RasterioIOError
from starlette.testclient import TestClient

from server.errors import SourceFaultError
from tests.helpers.rangeserver import RangeServer
from tests.helpers.remote import (
    PATH,
    PLAIN,
    TIMEOUT,
    address,
    at,
    good,
    rewrite,
    settled,
)
from tests.helpers.service import sources_by

FAILURES = [
    ("cut", "opening", 502, "cannot be fetched"),
    ("cut", "reading", 502, "cannot be fetched"),
    (500, "reading", 502, "answers 500"),
    (503, "opening", 502, "answers 503"),
    (403, "reading", 403, "refused by its server"),
    (404, "opening", 404, "does not exist"),
    (404, "reading", 404, "does not exist"),
    ("whole", "opening", 502, "ignores `Range`"),
]


@pytest.mark.parametrize(("trouble", "when", "status", "told"), FAILURES)
def test_a_failing_server_fails_clearly_and_only_itself(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    local_image: bytes,
    trouble: Any,
    when: str,
    status: int,
    told: str,
) -> None:
    fails_and_recovers(client, served, fresh, local_image, trouble, status, told, when == "reading")


@pytest.mark.parametrize(("trouble", "late"), [("stall", False), ("stall", True), ("pause", True), ("drip", True)])
def test_a_server_that_does_not_go_on(
    impatient: TestClient, served: RangeServer, fresh: Path, local_image: bytes, trouble: str, late: bool
) -> None:
    begun = time.monotonic()
    fails_and_recovers(impatient, served, fresh, local_image, trouble, 504, "not sent within", late)
    assert time.monotonic() - begun < 10 * TIMEOUT


def fails_and_recovers(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    local_image: bytes,
    trouble: Any,
    status: int,
    told: str,
    late: bool,
) -> None:
    base = address(served, fresh)
    bad = f"/{fresh.name}/replacement.tif"
    served.trouble = lambda path, start: trouble if path == bad and (start > 0) == late else None
    answer = client.get(PATH, params=at(base))
    assert answer.status_code == status, answer.text
    assert "replacement.tif" in answer.json()["detail"]
    assert told in answer.json()["detail"]
    assert "etag" not in answer.headers
    # Others are served meanwhile, also from the same server.
    assert good(client, PLAIN | {"url": f"{base}target.tif"}) == good(client, PLAIN | {"url": f"{fresh}/target.tif"})
    served.trouble = None
    settled()
    assert good(client, at(base)) == local_image


@pytest.mark.parametrize("late", [False, True], ids=["opening", "reading"])
def test_garbage_is_told_and_forgotten(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, late: bool
) -> None:
    served.trouble = lambda path, start: "garbage" if (start > 0) == late else None
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == (502 if late else 400), answer.text
    assert "target.tif" in answer.json()["detail"]
    served.trouble = None
    settled()
    assert good(client, at(address(served, fresh))) == local_image


@pytest.mark.parametrize("trouble", [503, "cut"])
def test_what_fails_now_and_then_is_asked_again(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, trouble: Any
) -> None:
    seen: set[tuple[str, int]] = set()

    def first_time(path: str, start: int) -> Any:
        if (path, start) in seen:
            return None
        seen.add((path, start))
        return trouble

    served.trouble = first_time
    assert good(client, at(address(served, fresh))) == good(client, at(f"{fresh}/"))


def test_faults_at_random_give_errors_or_the_right_pixels(
    impatient: TestClient, served: RangeServer, fresh: Path, local_image: bytes
) -> None:
    """Every request of a server for itself: it answers, fails, cuts, or has another file by now."""
    rng = np.random.default_rng(0)
    faults: list[Any] = [None] * 10 + [500, 503, 404, 403, "cut", "whole", "change"]
    right, state = {local_image}, 0
    for number in range(3):
        rewrite(fresh, seed=20 + number)
        right.add(good(impatient, at(f"{fresh}/")))

    def trouble(path: str, start: int) -> Any:
        nonlocal state
        fault = faults[rng.integers(len(faults))]
        if fault != "change":
            return fault
        if start > 0:
            state += 1
            rewrite(fresh, seed=20 + state % 3)
        return None

    served.trouble = trouble
    statuses = set()
    for _ in range(6):
        settled()
        answer = impatient.get(PATH, params=at(address(served, fresh)))
        statuses.add(answer.status_code)
        assert answer.status_code in (200, 403, 404, 502, 503, 504), answer.text
        assert answer.status_code != 200 or answer.content in right
    assert len(right) == 4
    assert len(statuses) > 1
    served.trouble = None
    settled()
    assert good(impatient, at(address(served, fresh))) == good(impatient, at(f"{fresh}/"))


def test_waiting_requests_do_not_fail_one_after_the_other(
    impatient: TestClient, served: RangeServer, fresh: Path, local_image: bytes
) -> None:
    served.trouble = lambda path, start: "stall" if fresh.name in path else None
    params = at(address(served, fresh))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(impatient.get(PATH, params=params).status_code))
        for _ in range(8)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    assert good(impatient, at(f"{fresh}/")) == local_image
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5 * TIMEOUT
    # Those that come after the first failure are turned away at once.
    assert 504 in answers
    assert set(answers) <= {503, 504}


def test_a_local_file_cut_short(client: TestClient, fresh: Path, local_image: bytes) -> None:
    content = (fresh / "replacement.tif").read_bytes()
    for name, sources in (("url", {"replacement": f"{fresh}/target.tif"}), ("replacement", {})):
        cut = fresh / f"cut-{name}.tif"
        cut.write_bytes(content[: len(content) // 3])
        answer = client.get(PATH, params=at(f"{fresh}/", **sources, **{name: str(cut)}))
        assert answer.status_code == 502, answer.text
        assert cut.name in answer.json()["detail"]
        assert "cut short or damaged" in answer.json()["detail"]
    assert good(client, at(f"{fresh}/")) == local_image


def test_an_error_of_the_reader_is_no_word_about_the_file(served: RangeServer) -> None:
    sources = sources_by(served.base)
    with pytest.raises(ZeroDivisionError), sources.open(f"{served.base}target.tif"):
        _ = 1 / 0
    with pytest.raises(SourceFaultError), sources.open(f"{served.base}target.tif"):
        raise RasterioIOError("Read failed")
