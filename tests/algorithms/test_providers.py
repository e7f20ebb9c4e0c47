"""Where the models run: what is wanted, what there is, and the processor where the rest fails."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from algorithms.models import MODELS
from algorithms.providers import Runtime
from algorithms.sessions import Sessions
from tests.algorithms.test_sessions import FakeSession, card, fake_session, package, window

__all__ = ["fake_session", "package"]

CPU, CUDA, OPENVINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the providers of this build of ONNX Runtime."""

    def build(*names: str) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, CPU])

    return build


@pytest.mark.parametrize(
    ("wanted", "there", "used", "warned"),
    [
        (("auto",), (), "cpu", False),
        (("auto",), (CUDA, OPENVINO, "TensorrtExecutionProvider"), "cuda", False),
        (("cpu",), (CUDA,), "cpu", False),
        (("cuda",), (CUDA,), "cuda", False),
        (("cuda",), (), "cpu", True),
        (("cuda", "openvino"), (OPENVINO,), "openvino", True),
        (("openvino", "cuda"), (CUDA, OPENVINO), "openvino", False),
        (("cpu", "cuda"), (CUDA,), "cpu", False),
        ((), (), "cpu", False),
    ],
)
def test_the_first_that_is_built_in_runs_the_models(
    package: Path,
    fake_session: type[FakeSession],
    built_in: Any,
    caplog: pytest.LogCaptureFixture,
    wanted: tuple[str, ...],
    there: tuple[str, ...],
    used: str,
    warned: bool,
) -> None:
    built_in(*there)
    sessions = Sessions(Runtime(concurrency=1))
    with caplog.at_level(logging.WARNING):
        sessions.configure(Runtime(providers=wanted, concurrency=2))
        expected = sessions.provider
        sessions.load(card())
    assert (expected, sessions.provider) == (used, used)
    names = [one if isinstance(one, str) else one[0] for one in fake_session.providers]
    assert names[-1] == CPU
    assert names[0] == {"cpu": CPU, "cuda": CUDA, "openvino": OPENVINO}[used]
    assert bool(caplog.messages) == (sessions.fallback is not None) == warned
    if warned:
        assert f"{wanted[0]!r}" in caplog.messages[0]
        assert f"run on {used}" in caplog.messages[0]


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_one_that_fails_to_start_gives_way_with_a_warning(
    package: Path, fake_session: type[FakeSession], built_in: Any, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    built_in(CUDA, OPENVINO)
    setattr(fake_session, how, frozenset({CUDA}))
    sessions = Sessions(Runtime(providers=("cuda", "openvino")))
    assert sessions.provider == "cuda"
    with caplog.at_level(logging.WARNING):
        sessions.load(card())
    assert sessions.provider == "openvino"
    assert "'cuda' failed to start" in (sessions.fallback or "")
    assert any("run on openvino" in message for message in caplog.messages)
    assert np.isfinite(sessions.probabilities(card(), window(0.1))).all()


def test_all_models_run_on_one_provider(package: Path, fake_session: type[FakeSession], built_in: Any) -> None:
    """Also where the second one no longer fits on the device: what was there is built again."""
    built_in(CUDA)
    sessions, one, two = Sessions(Runtime(providers=("cuda",))), card(name="one"), card(name="two")
    sessions.load(one)
    identity = sessions.identity
    fake_session.broken = frozenset({CUDA})
    sessions.load(two)
    assert sessions.provider == "cpu"
    assert sessions.identity != identity
    sessions.load(one)
    assert fake_session.providers == [CPU]


def test_a_fault_of_the_model_is_an_error_on_every_provider(
    package: Path, fake_session: type[FakeSession], built_in: Any
) -> None:
    built_in(CUDA)
    fake_session.broken = frozenset({CUDA, CPU})
    with pytest.raises(RuntimeError, match="no device"):
        Sessions(Runtime(providers=("cuda",))).load(card())


def test_results_are_told_apart_by_provider_precision_and_runtime(built_in: Any) -> None:
    built_in(CUDA, OPENVINO)
    names = [Sessions(Runtime(providers=(name,))).identity for name in ("cpu", "cuda", "openvino")]
    assert len(set(names)) == 3
    assert all("float32" in name and onnxruntime.__version__ in name for name in names)


def test_watchers_see_every_inference_until_they_are_gone(package: Path, fake_session: type[FakeSession]) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.seen: list[tuple[str, float]] = []

        def inferred(self, model: str, seconds: float) -> None:
            self.seen.append((model, seconds))

    sessions, watcher, other = Sessions(), Watcher(), Watcher()
    sessions.watch(watcher)
    sessions.watch(other)
    sessions.probabilities(card(), window())
    del other
    sessions.probabilities(card(name="two"), window())
    assert [model for model, _ in watcher.seen] == ["fake", "two"]
    assert all(0.005 < seconds < 5 for _, seconds in watcher.seen)


def test_the_real_models_run_where_the_processor_is_all_there_is() -> None:
    """A provider that this build lacks, named by an operator: the answers are those of the processor."""
    if "OpenVINOExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has it")
    model = MODELS["ukis-4b-l1c"]
    values = np.random.default_rng(0).uniform(0, 0.4, (4, 256, 256)).astype(np.float32)
    sessions = Sessions(Runtime(providers=("openvino",)))
    np.testing.assert_array_equal(
        sessions.probabilities(model, values), Sessions(Runtime(providers=("cpu",))).probabilities(model, values)
    )
    assert sessions.provider == "cpu"
