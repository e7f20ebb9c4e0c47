"""Sessions: checked files, one per model, a bound on inferences at once, clear errors."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from algorithms.bands import ROLES
from algorithms.errors import ModelError, ParameterError
from algorithms.models import INPUT_CELLS, MODELS, CloudModel, ModelFile
from algorithms.providers import Runtime
from algorithms.sessions import Sessions

CONTENT = b"stands for a network"
PACKAGE = "clearsky_fake_models"
NUMBERS = {"data": {"dataset_statistics": {"img": [[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 4.0, 8.0]]}}}
STATISTICS = json.dumps(NUMBERS).encode()


class FakeSession:
    """Counts the sessions and how many runs overlap; its logits tell what the input was."""

    built = 0
    running = 0
    most = 0
    lock = threading.Lock()
    options: Any = None
    providers: Any = None
    seen: Any = None

    broken: frozenset[str] = frozenset()
    """Providers that raise when a session starts on them."""
    absent: frozenset[str] = frozenset()
    """Providers that ONNX Runtime leaves out without an error."""

    def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
        time.sleep(0.02)
        assert Path(path).read_bytes() == CONTENT
        with self.lock:
            type(self).built += 1
        type(self).options, type(self).providers = options, providers
        self.mine = [one if isinstance(one, str) else one[0] for one in providers]
        if self.broken & set(self.mine):
            raise RuntimeError("no device")

    def get_providers(self) -> list[str]:
        return [name for name in self.mine if name not in self.absent]

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "image"})()]

    def run(self, outputs: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with self.lock:
            type(self).running += 1
            type(self).most = max(self.most, self.running)
        time.sleep(0.01)
        with self.lock:
            type(self).running -= 1
        (batch,) = feed.values()
        type(self).seen = batch
        return [np.concatenate([batch[:, :3]]) * 100]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a model file and its json."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "model.onnx").write_bytes(CONTENT)
    (folder / "model.json").write_bytes(STATISTICS)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def fake_session(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    class Session(FakeSession):
        pass

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return Session


def file_of(name: str, content: bytes) -> ModelFile:
    return ModelFile(name, hashlib.sha256(content).hexdigest())


NETWORK = file_of("model.onnx", CONTENT)


def card(
    *, network: ModelFile = NETWORK, statistics: bytes = STATISTICS, package: str = PACKAGE, name: str = "fake"
) -> CloudModel:
    return CloudModel(name, ROLES[:4], "l1c", network, file_of("model.json", statistics), package)


def window(value: float = 0.0) -> np.ndarray:
    return np.full((4, INPUT_CELLS, INPUT_CELLS), value, np.float32)


def test_files_that_fit_their_checksums_are_loaded_once(package: Path, fake_session: type[FakeSession]) -> None:
    sessions = Sessions()
    sessions.load(card())
    sessions.load(card())
    sessions.probabilities(card(), window())
    assert fake_session.built == 1


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_damaged_file_is_an_error_and_no_session_is_built(
    package: Path, fake_session: type[FakeSession], name: str
) -> None:
    content = (package / name).read_bytes()
    for damaged in (content[:-1] + b" ", content + b"\n", content[:-1], b"", content.replace(b"0.1", b"0.2") + b" "):
        (package / name).write_bytes(damaged)
        found = hashlib.sha256(damaged).hexdigest()[:16]
        for use in (Sessions().load, lambda model: Sessions().probabilities(model, window())):
            with pytest.raises(
                ModelError, match=rf"'fake': {name} has sha256 {found}\.\.\., expected .*; reinstall {PACKAGE}"
            ):
                use(card())
    assert fake_session.built == 0
    (package / name).write_bytes(content)
    Sessions().load(card())


def test_altered_statistics_of_a_real_model_are_found(package: Path, fake_session: type[FakeSession]) -> None:
    real = MODELS["ukis-4b-l1c"]
    network, trained = real.files
    for file in (network, trained):
        (package / file.name).write_bytes(real.place(file).read_bytes())
    statistics = json.loads((package / trained.name).read_text())
    statistics["data"]["dataset_statistics"]["img"][0][0] += 1e-9
    (package / trained.name).write_text(json.dumps(statistics, indent=4))
    with pytest.raises(ModelError, match=rf"model_4b_l1c\.json has sha256.*{trained.sha256[:16]}"):
        Sessions().load(replace(real, package=PACKAGE))


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_missing_file_is_an_error(package: Path, fake_session: type[FakeSession], name: str) -> None:
    (package / name).unlink()
    with pytest.raises(ModelError, match=rf"{name} is missing; reinstall clearsky_fake_models"):
        Sessions().load(card())
    assert fake_session.built == 0


def test_a_missing_package_is_an_error() -> None:
    with pytest.raises(ModelError, match="missing; reinstall clearsky_no_such_package"):
        Sessions().load(card(package="clearsky_no_such_package"))


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{}",
        b"\xff",
        b"[]",
        b'{"data": {"dataset_statistics": {"img": [[0.1, 0.2], [1, 2]]}}}',
        b'{"data": {"dataset_statistics": {"img": [[0.1, 0.2, 0.3, "x"], [1, 2, 3, 4]]}}}',
        b'{"data": {"dataset_statistics": {"img": 3}}}',
    ],
)
def test_statistics_that_are_none_are_an_error(package: Path, fake_session: type[FakeSession], content: bytes) -> None:
    (package / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"'fake'.*model\.json has no training statistics of 4 bands"):
        Sessions().load(card(statistics=content))
    assert fake_session.built == 0


def test_one_session_however_many_threads_ask_first(package: Path, fake_session: type[FakeSession]) -> None:
    sessions, start = Sessions(), threading.Barrier(8)

    def ask() -> None:
        start.wait()
        sessions.probabilities(card(), window())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake_session.built == 1
    assert sessions.inferences(card()) == sessions.inferences() == 8


def test_inferences_are_counted_by_model(package: Path, fake_session: type[FakeSession]) -> None:
    sessions, one, two = Sessions(), card(name="one"), card(name="two")
    assert sessions.inferences() == sessions.inferences(one) == 0
    for model in (one, two, one):
        sessions.probabilities(model, window())
    assert [sessions.inferences(model) for model in (one, two, None)] == [2, 1, 3]
    assert fake_session.built == 2


@pytest.mark.parametrize("bound", [1, 3])
def test_inferences_at_once_are_bounded(package: Path, fake_session: type[FakeSession], bound: int) -> None:
    sessions = Sessions(Runtime(concurrency=bound))
    threads = [threading.Thread(target=sessions.probabilities, args=(card(), window())) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake_session.most == bound
    assert sessions.inferences() == 9


def test_a_failed_inference_gives_its_slot_back(
    package: Path, fake_session: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(Runtime(concurrency=1))
    sessions.load(card())
    good = fake_session.run

    def fail(*args: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fake_session, "run", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            sessions.probabilities(card(), window())
    assert sessions.inferences() == 0
    monkeypatch.setattr(fake_session, "run", good)
    sessions.probabilities(card(), window())
    assert sessions.inferences() == 1


def test_runtime_reaches_the_session(package: Path, fake_session: type[FakeSession]) -> None:
    Sessions(Runtime(providers=("cpu",), threads=3)).load(card())
    assert fake_session.options.intra_op_num_threads == 3
    assert fake_session.providers == ["CPUExecutionProvider"]


def test_another_runtime_drops_sessions_and_the_same_one_does_not(
    package: Path, fake_session: type[FakeSession]
) -> None:
    sessions = Sessions(Runtime(threads=1))
    sessions.probabilities(card(), window())
    sessions.configure(Runtime(threads=1))
    sessions.load(card())
    assert fake_session.built == 1
    sessions.configure(Runtime(threads=2))
    sessions.load(card())
    assert fake_session.built == 2
    assert fake_session.options.intra_op_num_threads == 2
    assert sessions.inferences() == 1  # what has been counted stays


@pytest.mark.parametrize("providers", [("gpu",), ("cpu", "tpu")])
def test_unknown_provider_lists_the_choices(providers: tuple[str, ...]) -> None:
    sessions = Sessions()
    before = sessions.runtime
    with pytest.raises(ParameterError, match=rf"'{providers[-1]}' is unknown.*auto, cpu, cuda, openvino"):
        sessions.configure(Runtime(providers=providers))
    assert sessions.runtime is before


@pytest.mark.parametrize("changes", [{"concurrency": 0}, {"concurrency": -1}])
def test_a_runtime_that_could_never_run_is_refused(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ParameterError, match=name):
        Runtime(**changes)


def test_input_is_normalised_and_output_is_a_softmax(package: Path, fake_session: type[FakeSession]) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (4, INPUT_CELLS, INPUT_CELLS)).astype(np.float32)
    before = values.copy()
    probabilities = Sessions().probabilities(card(), values)
    mean, std = np.array(NUMBERS["data"]["dataset_statistics"]["img"])[:, :, None, None]
    np.testing.assert_allclose(fake_session.seen[0], (values - mean) / std, rtol=1e-5, atol=1e-6)
    logits = (values - mean)[:3] / std[:3] * 100
    expected = np.exp(logits - logits.max(axis=0))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(values, before)


def test_extreme_logits_do_not_overflow(package: Path, fake_session: type[FakeSession]) -> None:
    probabilities = Sessions().probabilities(card(), window(50.0))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
