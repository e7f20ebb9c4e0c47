"""`/healthz` and `/readyz`: the state of what the service depends on, whatever else is stuck."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from starlette.testclient import TestClient

import server.http.health
from algorithms.loops import compiled_loops
from algorithms.models import CloudModel
from algorithms.providers import Runtime
from algorithms.sessions import SESSIONS
from server.services import Services
from server.work.readiness import Dependency, Readiness, is_ready
from tests.helpers.service import application, good


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("health")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    (folder / "recipes").mkdir()
    with application(folder, recipes=str(folder / "recipes")) as client:
        yield client


def services_of(client: TestClient) -> Services:
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services


def states(client: TestClient, status: int = 200) -> dict[str, Any]:
    answer = client.get("/readyz")
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["status"] == ("ready" if status == 200 else "not ready")
    assert ("detail" in told) == (status != 200)
    found: dict[str, Any] = told["dependencies"]
    return found


def test_everything_that_the_service_depends_on_is_named(client: TestClient) -> None:
    found = states(client)
    assert set(found) == {"models", "provider", "sources", "recipes", "threads", "requests"}
    assert {part["state"] for part in found.values()} == {"ok"}
    assert found["provider"]["detail"] == "cpu"


def test_without_any_model_it_is_not_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CloudModel, "present", property(lambda self: False))
    assert "reinstall ukis_csmask" in states(client, 503)["models"]["detail"]
    assert "models: no file of" in client.get("/readyz").json()["detail"]
    assert good(client.get("/healthz")).json()["status"] == "ok"


def test_without_one_model_it_works_with_less(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CloudModel, "present", property(lambda self: self.id != "ukis-6b-l2a"))
    part = states(client)["models"]
    assert part["state"] == "degraded"
    assert "ukis-6b-l2a" in part["detail"]


def test_recipes_that_are_broken_and_folders_that_are_gone(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "broken.yaml").write_text("name: broken\n")
    gone = tmp_path / "gone"
    with application(f"{tmp_path},{gone}", recipes=str(recipes)) as client:
        found = states(client)
        assert found["recipes"]["state"] == found["sources"]["state"] == "degraded"
        assert "broken.yaml" in found["recipes"]["detail"]
        assert "1 of 2" in found["sources"]["detail"]
        assert str(tmp_path) not in found["sources"]["detail"]  # anybody may ask
        recipes.rename(tmp_path / "elsewhere")
        time.sleep(1.1)  # the folder is looked at once a second
        assert "create the folder" in states(client, 503)["recipes"]["detail"]


def test_a_provider_that_is_missing_is_named_and_the_service_goes_on(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = SESSIONS.runtime
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    try:
        SESSIONS.configure(Runtime(providers=("cuda",)))
        told = good(client.get("/healthz")).json()["provider"]
        assert told["name"] == "cpu"
        assert "clearsky[gpu]" in told["warning"]
        assert states(client)["provider"]["state"] == "degraded"
    finally:
        SESSIONS.configure(before)
    assert good(client.get("/healthz")).json()["provider"] == {"name": "cpu", "warning": None}


def test_which_loops_run_is_told(client: TestClient) -> None:
    compiled_loops().wait()
    expected = "compiled" if find_spec("numba") else "numpy"
    assert good(client.get("/healthz")).json()["loops"] == compiled_loops().state == expected


def test_a_part_can_be_added_and_a_check_that_fails_is_a_failed_part(client: TestClient) -> None:
    readiness = services_of(client).readiness
    try:
        readiness.add("cache", lambda: Dependency("degraded", "the shared cache does not answer"))
        assert states(client)["cache"]["detail"] == "the shared cache does not answer"
        readiness.add("cache", lambda: Dependency("failed", "https://host/?sig=secret"))
        assert "secret" not in client.get("/readyz").text
        readiness.add("cache", lambda: Dependency(*[]))
        assert "TypeError" in states(client, 503)["cache"]["detail"]
    finally:
        readiness.add("cache", lambda: Dependency("ok", ""))


def test_a_check_that_hangs_is_not_waited_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked, and without taking the threads of requests."""
    monkeypatch.setattr(server.http.health, "CHECK_SECONDS", 0.2)
    released, readiness = threading.Event(), services_of(client).readiness

    def hang() -> Dependency:
        released.wait(30)
        return Dependency("ok", "")

    readiness.add("cache", hang)
    try:
        for _ in range(4):
            start = time.monotonic()
            assert "file server" in states(client, 503)["checks"]["detail"]
            assert time.monotonic() - start < 5
            good(client.get("/healthz"))
    finally:
        released.set()
        readiness.add("cache", lambda: Dependency("ok", ""))


def test_only_what_has_failed_makes_it_unready() -> None:
    readiness = Readiness()
    assert is_ready(readiness.states())
    readiness.add("one", lambda: Dependency("degraded", ""))
    assert is_ready(readiness.states())
    readiness.add("two", lambda: Dependency("failed", ""))
    assert not is_ready(readiness.states())
