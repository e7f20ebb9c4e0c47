"""Inference: one session per process and model, from files whose checksums fit, a bounded number at once."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from importlib.resources import as_file
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.errors import ModelError, ParameterError, whole_number
from algorithms.models import CloudModel, ModelFile

Image = npt.NDArray[np.float32]

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


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

    def execution_providers(self) -> list[str]:
        """ONNX Runtime's provider names, those present on this machine only, CPU last.

        Raises:
            ParameterError: an unknown provider. ModelError: one that is not built in.
        """
        import onnxruntime as ort  # here, so that importing the numerics alone stays light  # noqa: PLC0415

        present = ort.get_available_providers()
        wanted: list[str] = []
        for name in self.providers:
            if name == "auto":
                wanted += [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in present]
            elif name not in _PROVIDERS:
                raise ParameterError(f"model provider {name!r} is unknown: choose from auto, {', '.join(_PROVIDERS)}")
            elif _PROVIDERS[name] not in present:
                raise ModelError(
                    f"model provider {name!r} is not in this onnxruntime build (it has {', '.join(present)})"
                )
            else:
                wanted.append(_PROVIDERS[name])
        return list(dict.fromkeys([*wanted, "CPUExecutionProvider"]))


@dataclass(frozen=True, slots=True)
class _Session:
    """A network ready to run."""

    network: Any
    """The ONNX Runtime session."""
    input: str
    """Name of its only input."""
    mean: Image
    """(B, 1, 1) mean of the training data."""
    std: Image
    """(B, 1, 1) standard deviation."""


class Sessions:
    """Sessions by model, each built at first use; any number of threads may ask."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._building = threading.Lock()
        self._counting = threading.Lock()
        self._counts: Counter[CloudModel] = Counter()
        self._use(runtime or Runtime())

    def _use(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._slots = threading.BoundedSemaphore(runtime.concurrency)
        self._sessions: dict[CloudModel, _Session] = {}

    @property
    def runtime(self) -> Runtime:
        """How sessions are built."""
        return self._runtime

    @property
    def identity(self) -> str:
        """What tells results apart that differ by more than rounding: values of one identity may be mixed."""
        return ",".join(provider for provider in self._runtime.providers if provider != "auto") or "cpu"

    def configure(self, runtime: Runtime) -> None:
        """Set how sessions are built from now on; those that exist are dropped if that changes.

        Raises:
            ParameterError, ModelError: see `Runtime.execution_providers`; nothing has changed then.
        """
        if runtime == self._runtime:
            return
        runtime.execution_providers()
        with self._building:
            self._use(runtime)

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

    def probabilities(self, model: CloudModel, reflectance: Image) -> Image:
        """Class probabilities of one window.

        Args:
            model: the network.
            reflectance: (B, 256, 256) float32, 0..1, finite, in the order of the model's bands.

        Returns:
            (3, 256, 256) float32, softmax over clear, cloud, shadow. Not calibrated.

        Raises:
            ModelError: see `load`.
        """
        session = self._session(model)
        batch = ((reflectance - session.mean) / session.std)[None]
        with self._slots:
            logits: Image = session.network.run(None, {session.input: batch})[0][0]
        with self._counting:
            self._counts[model] += 1
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        return logits

    def _session(self, model: CloudModel) -> _Session:
        if (session := self._sessions.get(model)) is None:
            with self._building:
                if (session := self._sessions.get(model)) is None:
                    session = self._sessions[model] = _built(model, self._runtime)
        return session


SESSIONS: Final = Sessions()
"""The process's own, shared by its applications: a network takes 40 MB, 100 MB at work, and depends on its file alone;
the bound on inferences at once is the machine's."""


def _built(model: CloudModel, runtime: Runtime) -> _Session:
    import onnxruntime as ort  # noqa: PLC0415

    mean, std = _statistics(model)
    _checked(model, model.network)
    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    # Spinning threads would burn the cores that other windows and GDAL need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # From the file: from bytes in memory a session keeps 40 MB more.
    with as_file(model.place(model.network)) as path:
        network = ort.InferenceSession(str(path), options, providers=runtime.execution_providers())
    return _Session(network, network.get_inputs()[0].name, mean, std)


def _checked(model: CloudModel, file: ModelFile) -> bytes:
    """A file's content.

    Raises:
        ModelError: the file is missing, or its checksum differs.
    """
    remedy = f"reinstall {model.package}"
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


def _statistics(model: CloudModel) -> tuple[Image, Image]:
    """Mean and standard deviation of the training data, each (B, 1, 1).

    Raises:
        ModelError: see `_checked`; or the file holds no such numbers for the model's bands.
    """
    content = _checked(model, model.statistics)
    try:
        both = np.asarray(json.loads(content)["data"]["dataset_statistics"]["img"], np.float32)
        mean, std = both.reshape(2, len(model.bands), 1, 1)
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(
            f"cloud model {model.id!r}: {model.statistics.name} has no training statistics of "
            f"{len(model.bands)} bands; reinstall {model.package}"
        ) from error
    return mean, std
