"""Inference: one session per process and model, from files whose checksums fit, a bounded number at once."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from algorithms.errors import ModelError
from algorithms.modelfiles import checked_file, file_statistics
from algorithms.models import CloudModel
from algorithms.networks import (
    Image,
    InputStatistics,
    check_input,
    class_probabilities,
    fixed_statistics,
    network_input,
)
from algorithms.providers import Runtime, on_first_that_starts

logger = logging.getLogger("clearsky")

PRECISION: Final = "float32"
"""Numbers that every provider computes with."""


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
    statistics = fixed_statistics(model) if model.statistics is None else file_statistics(model, model.statistics)
    content = checked_file(model, model.network)
    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    # Spinning threads would burn the cores that other windows and GDAL need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if model.folder is None:
        # From the file: from bytes in memory a session keeps 40 MB more.
        with as_file(model.place(model.network)) as path:
            network, provider = on_first_that_starts(
                names, runtime.threads, lambda wanted: ort.InferenceSession(str(path), options, wanted)
            )
        return _Session(network, network.get_inputs()[0].name, statistics, provider)

    def start() -> tuple[Any, str]:
        return on_first_that_starts(
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
            f"cloud model {model.id!r}: {model.network and model.network.name} is not a network that runs here: {why}; "
            "export it as one ONNX file, weights included"
        ) from error
    inputs = network.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        kinds = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise ModelError(f"cloud model {model.id!r}: the network takes {kinds}; it must take one tensor of float32")
    check_input(model, inputs[0].shape)
    return network, provider
