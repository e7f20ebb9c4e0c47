"""A host that nobody knows is named at once, and not asked for again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.service import application

HOST = "no.such.host.invalid"


def test_an_unknown_host_is_named_without_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("server.remote.web.time.sleep", pauses.append)
    with application(f"https://{HOST}/") as client:
        answer = client.get("/cog/info", params={"url": f"https://{HOST}/a.tif"})
    assert answer.status_code == 502
    assert f"its host '{HOST}' is unknown here; check the address" in answer.json()["detail"]
    assert pauses == []
