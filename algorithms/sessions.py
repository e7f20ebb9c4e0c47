"""Inference: one session per process and model, from files whose checksums fit, a bounded number at once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import as_file
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from algorithms.errors import ModelError, ParameterError, whole_number
from algorithms.models import CloudModel, ModelFile
from algorithms.networks import (
    Image,
    InputStatistics,
    check_input,
    class_probabilities,
    fixed_statistics,
    network_input,
)

logger = logging.getLogger("clearsky")

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_EXTRAS: Final = {"cuda": "gpu", "openvino": "openvino"}
PRECISION: Final = "float32"
"""Numbers that every provider computes with."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """How sessions are built and how many windows may be in inference at once.

    Raises:
        ParameterError: a number below 1.
    """

    providers: tuple[str, ...] = ("auto",)
    """Any of auto, cpu, cuda, openvino, in the order of preference."""
    threads: int = 1
    """Threads inside one inference; 1 gives the best throughput, since windows run side by side."""
    concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Inferences at the same time in this process; each takes about 100 MB."""

    def __post_init__(self) -> None:
        for name in ("threads", "concurrency"):
            value = getattr(self, name)
            whole_number(value, least=1, most=None, message=f"model {name} {value} is not a whole number of at least 1")

    def names(self) -> tuple[str, ...]:
        """The wanted providers in order, `auto` replaced by what it stands for, the processor last.

        Raises:
            ParameterError: an unknown provider.
        """
        for name in self.providers:
            if name != "auto" and name not in _PROVIDERS:
                raise ParameterError(f"model provider {name!r} is unknown: choose from auto, {', '.join(_PROVIDERS)}")
        wanted = ["cuda" if name == "auto" else name for name in self.providers]
        wanted = list(dict.fromkeys([*wanted, "cpu"]))
        return tuple(wanted[: wanted.index("cpu") + 1])  # the processor runs everything: nothing comes after it

    def usable(self) -> tuple[str, ...]:
        """Those of them that this build of ONNX Runtime has.

        Raises:
            ParameterError: an unknown provider.
        """
        import onnxruntime as ort  # here, so that importing the numerics alone stays light  # noqa: PLC0415

        present = ort.get_available_providers()
        return tuple(name for name in self.names() if _PROVIDERS[name] in present or name == "cpu")

    def missing(self) -> str | None:
        """What is wrong if the provider that is wanted first is not built in; `auto` wants none."""
        first = self.names()[0]
        if self.providers[:1] in ((), ("auto",)) or first in self.usable():
            return None
        return (
            f"model provider {first!r} is not in this build of onnxruntime; "
            f"install clearsky[{_EXTRAS.get(first, first)}] as docs/operations.md says"
        )


class Watcher(Protocol):
    """Whoever counts inferences."""

    def inferred(self, model: str, seconds: float) -> None:
        """A model has looked at a window."""


@dataclass(frozen=True, slots=True)
class _Session:
    """A network ready to run."""

    network: Any
    """The ONNX Runtime session."""
    input: str
    """Name of its only input."""
    statistics: InputStatistics | None
    """What the input is normalised by, unless each window's own statistics do."""
    provider: str
    """Where it runs."""


class Sessions:
    """Sessions by model, each built at first use; any number of threads may ask."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._building = threading.Lock()
        self._counting = threading.Lock()
        self._counts: Counter[CloudModel] = Counter()
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self._use(runtime or Runtime())

    def _use(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._slots = threading.BoundedSemaphore(runtime.concurrency)
        self._sessions: dict[CloudModel, _Session] = {}
        self._provider: str | None = None
        self._fallback: str | None = None

    @property
    def runtime(self) -> Runtime:
        """How sessions are built."""
        return self._runtime

    def configure(self, runtime: Runtime) -> None:
        """Set how sessions are built from now on; those that exist are dropped if that changes.

        Raises:
            ParameterError: see `Runtime.names`; nothing has changed then.
        """
        if runtime == self._runtime:
            return
        missing = runtime.missing()
        if missing is not None:
            logger.warning("%s; the models run on %s", missing, runtime.usable()[0])
        with self._building:
            self._use(runtime)

    @property
    def provider(self) -> str:
        """Where the models run: cpu, cuda or openvino; before any has been loaded, where the first one will."""
        return self._provider or self._runtime.usable()[0]

    @property
    def fallback(self) -> str | None:
        """Why the models do not run where they were wanted to; None where they do."""
        return self._fallback or self._runtime.missing()

    @property
    def identity(self) -> str:
        """What probabilities depend on besides the model and its input: provider, precision, version of the runtime.

        Two providers round differently, so what one has computed must not be mixed with the other's.
        """
        import onnxruntime as ort  # noqa: PLC0415

        return f"onnxruntime-{ort.__version__}-{self.provider}-{PRECISION}"

    def watch(self, watcher: Watcher) -> None:
        """Report every inference to someone, for as long as they exist."""
        with self._counting:
            self._watchers.add(watcher)

    def load(self, model: CloudModel) -> None:
        """Check a model's files and build its session now rather than at the first window.

        Raises:
            ModelError: a file is missing, its checksum differs, or it has no training statistics.
        """
        self._session(model)

    def inferences(self, model: CloudModel | None = None) -> int:
        """Windows inferred so far: by one model, or by all of them."""
        with self._counting:
            return self._counts.total() if model is None else self._counts[model]

    def probabilities(self, model: CloudModel, reflectance: Image, valid: npt.NDArray[np.bool_] | None = None) -> Image:
        """Class probabilities of one window.

        Args:
            model: the network.
            reflectance: (B, 256, 256) float32, 0..1, finite, in the order of the model's bands.
            valid: (256, 256), cells that are data rather than filled in; None for all.

        Returns:
            (C, 256, 256) float32 of the model's classes: softmax over clear, cloud, shadow. Not calibrated.

        Raises:
            ModelError: see `load`; or the network gives something else than its card says.
        """
        session = self._session(model)
        here = np.ones(reflectance.shape[1:], bool) if valid is None else valid
        batch = network_input(model, reflectance, here, session.statistics)
        with self._slots:
            start = time.perf_counter()
            output = session.network.run(None, {session.input: batch})[0]
            seconds = time.perf_counter() - start
        with self._counting:
            self._counts[model] += 1
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.inferred(model.id, seconds)
        return class_probabilities(model, output)

    def _session(self, model: CloudModel) -> _Session:
        if (session := self._sessions.get(model)) is None:
            with self._building:
                if (session := self._sessions.get(model)) is None:
                    session = self._started(model)
        return session

    def _started(self, model: CloudModel) -> _Session:
        """Build a network where the others run; the lock is held."""
        wanted = self.provider
        names = self._runtime.usable()
        session = _built(model, self._runtime, names[names.index(wanted) :])
        if session.provider != wanted:
            self._fallback = f"model provider {wanted!r} failed to start; the log has the reason"
            logger.warning("%s; the models run on %s", self._fallback, session.provider)
            self._sessions.clear()  # all run on the same one, so that their results may be kept together
        self._provider = session.provider
        self._sessions[model] = session
        return session


SESSIONS: Final = Sessions()
"""The process's own, shared by its applications: a network takes 40 MB, 100 MB at work, and depends on its file alone;
the bound on inferences at once is the machine's."""


def _built(model: CloudModel, runtime: Runtime, names: tuple[str, ...]) -> _Session:
    import onnxruntime as ort  # noqa: PLC0415

    assert model.network is not None  # noqa: S101  (rules are not run in sessions)
    statistics = fixed_statistics(model) if model.statistics is None else _statistics(model, model.statistics)
    content = _checked(model, model.network)
    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    # Spinning threads would burn the cores that other windows and GDAL need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if model.folder is None:
        # From the file: from bytes in memory a session keeps 40 MB more.
        with as_file(model.place(model.network)) as path:
            network, provider = _on_first_that_starts(
                names, runtime.threads, lambda wanted: ort.InferenceSession(str(path), options, wanted)
            )
        return _Session(network, network.get_inputs()[0].name, statistics, provider)

    def start() -> tuple[Any, str]:
        return _on_first_that_starts(
            names, runtime.threads, lambda wanted: ort.InferenceSession(content, options, wanted)
        )

    network, provider = _of_card(model, start)
    return _Session(network, network.get_inputs()[0].name, statistics, provider)


def _of_card(model: CloudModel, start: Callable[[], tuple[Any, str]]) -> tuple[Any, str]:
    """A network of an operator's card: from the bytes that were checked, so that nothing else is read.

    Raises:
        ModelError: it is no network, needs other files, or does not fit its card.
    """
    try:
        network, provider = start()
    except Exception as error:  # whatever ONNX Runtime raises for a file of somebody else
        why = str(error).splitlines()[0][:200]
        raise ModelError(
            f"cloud model {model.id!r}: {model.network and model.network.name} is no network that runs here: {why}; "
            "export it as one ONNX file, weights included"
        ) from error
    inputs = network.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        kinds = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise ModelError(f"cloud model {model.id!r}: the network takes {kinds}; it must take one tensor of float32")
    check_input(model, inputs[0].shape)
    return network, provider


def _options(provider: str, threads: int) -> dict[str, str]:
    """Options of a provider: what keeps it from computing with fewer bits than the processor does, and its threads."""
    if provider == "cuda":
        return {"use_tf32": "0"}
    return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}


def _on_first_that_starts(names: tuple[str, ...], threads: int, start: Callable[[list[Any]], Any]) -> tuple[Any, str]:
    """A network on the first provider that starts, and which one that is."""
    for name in names:
        if name == "cpu":
            break
        try:
            network = start([(_PROVIDERS[name], _options(name, threads)), _PROVIDERS["cpu"]])
        except Exception as error:  # whatever a driver raises; a fault of the model shows on the processor, too
            logger.warning("model provider %r failed to start: %s", name, error)
            continue
        # One whose libraries are missing is left out without an error.
        if _PROVIDERS[name] in network.get_providers():
            return network, name
    return start([_PROVIDERS["cpu"]]), "cpu"


def _checked(model: CloudModel, file: ModelFile) -> bytes:
    """A file's content.

    Raises:
        ModelError: the file is missing, or its checksum differs.
    """
    remedy = model.remedy
    try:
        content = model.place(file).read_bytes()
    except (ModuleNotFoundError, OSError) as error:
        raise ModelError(f"cloud model {model.id!r}: its file {file.name} is missing; {remedy}") from error
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise ModelError(
            f"cloud model {model.id!r}: {file.name} has sha256 {found[:16]}..., "
            f"expected {file.sha256[:16]}...; {remedy}"
        )
    return content


def _statistics(model: CloudModel, file: ModelFile) -> InputStatistics:
    """Mean and standard deviation of the training data, each (B, 1, 1).

    Raises:
        ModelError: see `_checked`; or the file holds no such numbers for the model's bands.
    """
    content = _checked(model, file)
    try:
        both = np.asarray(json.loads(content)["data"]["dataset_statistics"]["img"], np.float32)
        mean, std = both.reshape(2, len(model.bands), 1, 1)
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(
            f"cloud model {model.id!r}: {file.name} has no training statistics of "
            f"{len(model.bands)} bands; reinstall {model.package}"
        ) from error
    return mean, std
