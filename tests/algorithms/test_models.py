"""The model registry: checked files, one session per process, a bound on inferences at once, clear errors."""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from algorithms import models
from algorithms.bands import ROLES
from algorithms.errors import BandError, ModelError, ParameterError
from algorithms.models import MODELS, WINDOW, CloudModel, Runtime, configure, select_model

CONTENT = b"stands for a network"
PACKAGE = "clearsky_fake_models"
STATISTICS = {"data": {"dataset_statistics": {"img": [[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 4.0, 8.0]]}}}


class FakeSession:
    """Counts the sessions and how many runs overlap; its logits tell what the input was."""

    built = 0
    running = 0
    most = 0
    lock = threading.Lock()
    options: Any = None
    providers: Any = None
    seen: Any = None

    def __init__(self, path: str, options: Any, providers: list[str]) -> None:
        time.sleep(0.02)
        assert Path(path).read_bytes() == CONTENT
        with self.lock:
            type(self).built += 1
        type(self).options, type(self).providers = options, providers

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
    (folder / "model.json").write_text(json.dumps(STATISTICS))
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def fake_session(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    class Session(FakeSession):
        pass

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return Session


@pytest.fixture
def runtime() -> Iterator[None]:
    """Puts the process's runtime and its sessions back."""
    before = models._state.runtime
    sessions = {key: model.__dict__["_session"] for key, model in MODELS.items() if "_session" in model.__dict__}
    yield
    configure(before)
    for key, session in sessions.items():
        MODELS[key].__dict__["_session"] = session


def card(**changes: Any) -> CloudModel:
    fields: dict[str, Any] = {
        "id": "fake",
        "bands": ROLES[:4],
        "level": "l1c",
        "file": "model.onnx",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "package": PACKAGE,
    }
    return CloudModel(**(fields | changes))


def window(value: float = 0.0) -> np.ndarray:
    return np.full((4, WINDOW, WINDOW), value, np.float32)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.id)
def test_cards_agree_with_the_installed_files(model: CloudModel) -> None:
    assert model.present
    assert hashlib.sha256(files(model.package).joinpath(model.file).read_bytes()).hexdigest() == model.sha256
    mean, std = model.normalisation
    assert mean.shape == std.shape == (len(model.bands), 1, 1)
    assert mean.dtype == std.dtype == np.float32
    assert (std > 0).all()
    assert f"{len(model.bands)}b-{model.level}" in model.id


def test_a_file_that_fits_its_checksum_is_loaded_once(package: Path, fake_session: type[FakeSession]) -> None:
    model = card()
    assert model.present
    model.load()
    model.load()
    assert fake_session.built == 1


def test_a_damaged_file_is_an_error_and_no_session_is_built(package: Path, fake_session: type[FakeSession]) -> None:
    (package / "model.onnx").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ModelError, match=r"'fake'.*model\.onnx has sha256 [0-9a-f]{16}.*reinstall clearsky_fake"):
        card().load()
    assert fake_session.built == 0


def test_the_registrys_own_file_damaged_on_disk(
    tmp_path: Path, package: Path, fake_session: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MODELS["ukis-4b-l1c"]
    (package / original.file).write_bytes(b"\0" * 10)
    with pytest.raises(ModelError, match=original.sha256[:16]):
        card(file=original.file, sha256=original.sha256).load()


def test_a_missing_file_is_an_error(package: Path, fake_session: type[FakeSession]) -> None:
    model = card(file="other.onnx")
    assert not model.present
    with pytest.raises(ModelError, match=r"other\.onnx is missing; reinstall clearsky_fake_models"):
        model.load()


def test_a_missing_package_is_an_error() -> None:
    model = card(package="clearsky_no_such_package")
    assert not model.present
    with pytest.raises(ModelError, match="clearsky_no_such_package"):
        model.load()


@pytest.mark.parametrize("text", [None, "{", "{}"], ids=["missing", "not json", "no statistics"])
def test_a_damaged_normalisation_is_an_error(package: Path, fake_session: type[FakeSession], text: str | None) -> None:
    if text is None:
        (package / "model.json").unlink()
    else:
        (package / "model.json").write_text(text)
    with pytest.raises(ModelError, match="'fake'"):
        card().probabilities(window())


def test_one_session_however_many_threads_ask_first(package: Path, fake_session: type[FakeSession]) -> None:
    model = card()
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        model.probabilities(window())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake_session.built == 1
    assert model.runs == [8]


@pytest.mark.parametrize("bound", [1, 3])
def test_inferences_at_once_are_bounded(
    package: Path, fake_session: type[FakeSession], runtime: None, bound: int
) -> None:
    configure(Runtime(concurrency=bound))
    model = card()
    threads = [threading.Thread(target=model.probabilities, args=(window(),)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake_session.most == bound
    assert model.runs == [9]


def test_a_failed_inference_gives_its_slot_back(
    package: Path, fake_session: type[FakeSession], runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(Runtime(concurrency=1))
    model = card()
    model.load()
    good = fake_session.run

    def fail(*args: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fake_session, "run", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            model.probabilities(window())
    assert model.runs == [0]
    monkeypatch.setattr(fake_session, "run", good)
    model.probabilities(window())
    assert model.runs == [1]


def test_runtime_reaches_the_session(package: Path, fake_session: type[FakeSession], runtime: None) -> None:
    configure(Runtime(providers=("cpu",), threads=3))
    card().load()
    assert fake_session.options.intra_op_num_threads == 3
    assert fake_session.providers == ["CPUExecutionProvider"]


def test_reconfiguring_drops_the_registrys_sessions(runtime: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS["ukis-4b-l2a"].__dict__, "_session", "an old session")
    configure(models._state.runtime)
    assert MODELS["ukis-4b-l2a"].__dict__["_session"] == "an old session"
    configure(Runtime(threads=2))
    assert "_session" not in MODELS["ukis-4b-l2a"].__dict__


@pytest.mark.parametrize("providers", [("gpu",), ("cpu", "tpu")])
def test_unknown_provider_lists_the_choices(providers: tuple[str, ...], runtime: None) -> None:
    before = models._state.runtime
    with pytest.raises(ParameterError, match=rf"'{providers[-1]}' is unknown.*auto, cpu, cuda, openvino"):
        configure(Runtime(providers=providers))
    assert models._state.runtime is before


def test_provider_that_is_not_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match=r"'cuda'.*CPUExecutionProvider"):
        Runtime(providers=("cuda",)).execution_providers()
    assert Runtime().execution_providers() == ["CPUExecutionProvider"]


def test_auto_prefers_the_graphics_card_and_keeps_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    present = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    assert Runtime().execution_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize("changes", [{"concurrency": 0}, {"concurrency": -1}])
def test_a_runtime_that_could_never_run_is_refused(changes: dict[str, Any], runtime: None) -> None:
    (name,) = changes
    with pytest.raises(ParameterError, match=name):
        configure(Runtime(**changes))


def test_input_is_normalised_and_output_is_a_softmax(package: Path, fake_session: type[FakeSession]) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (4, WINDOW, WINDOW)).astype(np.float32)
    before = values.copy()
    probabilities = card().probabilities(values)
    mean, std = np.array(STATISTICS["data"]["dataset_statistics"]["img"])[:, :, None, None]
    np.testing.assert_allclose(fake_session.seen[0], (values - mean) / std, rtol=1e-5, atol=1e-6)
    logits = (values - mean)[:3] / std[:3] * 100
    expected = np.exp(logits - logits.max(axis=0))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=0), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(values, before)


def test_extreme_logits_do_not_overflow(package: Path, fake_session: type[FakeSession]) -> None:
    probabilities = card().probabilities(window(50.0))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "level", "chosen"),
    [
        (ROLES, "l1c", "ukis-6b-l1c"),
        (ROLES, "l2a", "ukis-6b-l2a"),
        (ROLES[:4], "l1c", "ukis-4b-l1c"),
        (ROLES[:5], "l2a", "ukis-4b-l2a"),
        ((*ROLES[:4], "swir22"), "l1c", "ukis-4b-l1c"),
        (("coastal", None, *reversed(ROLES)), "l1c", "ukis-6b-l1c"),
    ],
)
def test_choice_by_bands_and_level(names: tuple[str | None, ...], level: str, chosen: str) -> None:
    assert select_model(names, level=level) is MODELS[chosen]


def test_choice_by_name_overrides_bands_and_level() -> None:
    assert select_model(ROLES, level="l1c", model="ukis-4b-l2a") is MODELS["ukis-4b-l2a"]


def test_unknown_model_lists_the_ids() -> None:
    with pytest.raises(ModelError, match="'nope' is unknown") as caught:
        select_model(ROLES, model="nope")
    assert all(name in str(caught.value) for name in MODELS)


def test_unknown_level_lists_the_levels() -> None:
    with pytest.raises(ParameterError, match="'l3' is unknown: choose from l1c, l2a"):
        select_model(ROLES, level="l3")


@pytest.mark.parametrize(("names", "model"), [(ROLES[:3], None), (ROLES[:4], "ukis-6b-l1c"), ((), None)])
def test_missing_bands_are_an_error(names: tuple[str, ...], model: str | None) -> None:
    with pytest.raises(BandError, match="swir16, swir22 not found" if model else "nir not found"):
        select_model(names, model=model)
