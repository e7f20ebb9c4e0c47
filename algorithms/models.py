"""The pretrained cloud models: their cards, their checked files, and one session per process and model.

The four U-Nets (EfficientNet-b4 encoder) come with the package `ukis-csmask` (DLR, Apache-2.0). Their files
are read as package data; the package's own code is not used, since it builds a session per image.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import as_file, files
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.bands import ROLES, role_indexes
from algorithms.errors import BandError, ModelError, ParameterError, whole_number

WINDOW: Final = 256
"""Side in cells of the only input the networks take."""

LEVELS: Final = ("l1c", "l2a")
"""Processing levels: top-of-atmosphere and surface reflectance."""

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """How sessions are built and how many windows may be in inference at once."""

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
        """ONNX Runtime's provider names, those present on this machine only, CPU last."""
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


class _State:
    """The process-wide runtime and the bound on inferences at once."""

    def __init__(self) -> None:
        self.runtime = Runtime()
        self.slots = threading.BoundedSemaphore(self.runtime.concurrency)
        self.lock = threading.Lock()


_state = _State()


def configure(runtime: Runtime) -> None:
    """Set how sessions are built from now on; sessions that exist already are dropped."""
    if runtime == _state.runtime:
        return
    runtime.execution_providers()
    with _state.lock:
        _state.runtime = runtime
        _state.slots = threading.BoundedSemaphore(runtime.concurrency)
        for model in MODELS.values():
            model.__dict__.pop("_session", None)


@dataclass(frozen=True)
class CloudModel:
    """The card of one network: what goes in, what comes out, where its file is."""

    id: str
    """The name a request asks for."""
    bands: tuple[str, ...]
    """Common names of the input bands, in the network's order."""
    level: str
    """Processing level the network was trained on, `l1c` or `l2a`."""
    file: str
    """File name inside the package."""
    sha256: str
    """Checksum of the file."""
    package: str = "ukis_csmask"
    """Package that carries the file."""
    resolution: tuple[float, float] = (20.0, 60.0)
    """Ground resolutions in metres at which the network is used (accuracy collapses beyond)."""
    classes: tuple[str, ...] = ("clear", "cloud", "shadow")
    """Meaning of the output channels."""
    runs: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    """Windows inferred so far in this process, as its only element."""

    @property
    def present(self) -> bool:
        """Whether the model's file is there."""
        try:
            return files(self.package).joinpath(self.file).is_file()
        except ModuleNotFoundError:
            return False

    def _content(self, name: str) -> bytes:
        """A file of the package.

        Raises:
            ModelError: it is not there.
        """
        try:
            return files(self.package).joinpath(name).read_bytes()
        except (ModuleNotFoundError, OSError) as error:
            message = f"cloud model {self.id!r}: its file {name} is missing; reinstall {self.package}"
            raise ModelError(message) from error

    @cached_property
    def normalisation(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of the training data, each (B, 1, 1), from the json beside the model."""
        name = self.file.replace(".onnx", ".json")
        content = self._content(name)
        try:
            mean, std = json.loads(content)["data"]["dataset_statistics"]["img"]
        except (ValueError, LookupError, TypeError) as error:
            message = f"cloud model {self.id!r}: {name} holds no training statistics; reinstall {self.package}"
            raise ModelError(message) from error
        return tuple(np.asarray(v, np.float32)[:, None, None] for v in (mean, std))  # type: ignore[return-value]

    @cached_property
    def _session(self) -> Any:
        import onnxruntime as ort  # noqa: PLC0415

        if (found := hashlib.sha256(self._content(self.file)).hexdigest()) != self.sha256:
            raise ModelError(
                f"cloud model {self.id!r}: {self.file} has sha256 {found[:16]}..., expected {self.sha256[:16]}...; "
                f"reinstall {self.package}"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = _state.runtime.threads
        options.inter_op_num_threads = 1
        # Spinning threads would burn the cores that other windows and GDAL need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # From the file: from bytes in memory a session keeps 40 MB more.
        with as_file(files(self.package).joinpath(self.file)) as path:
            return ort.InferenceSession(str(path), options, providers=_state.runtime.execution_providers())

    def load(self) -> None:
        """Check the file and build the session now rather than at the first window.

        Raises:
            ModelError: the file is missing or its checksum differs.
        """
        with _state.lock:
            _ = self._session

    def probabilities(self, reflectance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Class probabilities of one window.

        Args:
            reflectance: (B, 256, 256) float32, 0..1, finite, in the order of `bands`.

        Returns:
            (3, 256, 256) float32, softmax over clear, cloud, shadow. Not calibrated.
        """
        self.load()
        session = self._session
        mean, std = self.normalisation
        batch = ((reflectance - mean) / std)[None]
        with _state.slots:
            logits: npt.NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
        with _state.lock:
            self.runs[0] += 1
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        return logits


MODELS: Final[dict[str, CloudModel]] = {
    model.id: model
    for model in (
        CloudModel(
            id="ukis-6b-l1c",
            bands=ROLES,
            level="l1c",
            file="model_6b_l1c.onnx",
            sha256="aa79e9a0f02ff8e0243d93771d1daf6a8d1166b7ac06c3771560b83367c6c573",
        ),
        CloudModel(
            id="ukis-4b-l1c",
            bands=ROLES[:4],
            level="l1c",
            file="model_4b_l1c.onnx",
            sha256="81611f290adc315b86bb7e7c69b0f2496b3abe0390c2a5c8e9e9da9622e8a0c8",
        ),
        CloudModel(
            id="ukis-6b-l2a",
            bands=ROLES,
            level="l2a",
            file="model_6b_l2a.onnx",
            sha256="d11c530978637ca420eedc40791c62bf78997dd39e1201777e2527e4bd94904e",
        ),
        CloudModel(
            id="ukis-4b-l2a",
            bands=ROLES[:4],
            level="l2a",
            file="model_4b_l2a.onnx",
            sha256="3884d75ca497ec59d8335973477bd31eb038857007bbb36fb2aba1ad375ee043",
        ),
    )
}
"""Every cloud model by its id."""


def select_model(names: Sequence[str | None], *, level: str = "l1c", model: str | None = None) -> CloudModel:
    """The model named, or the best for the bands and the processing level: 6 bands where both SWIR bands exist.

    Args:
        names: common names of the raster's bands.
        level: `l1c` (top of atmosphere) or `l2a` (surface).
        model: id of a model; it overrides `level`.

    Raises:
        ParameterError: unknown level. ModelError: unknown model. BandError: a band the model needs is missing.
    """
    if level not in LEVELS:
        raise ParameterError(f"level {level!r} is unknown: choose from {', '.join(LEVELS)}")
    if model is not None:
        if model not in MODELS:
            raise ModelError(f"cloud model {model!r} is unknown: choose from {', '.join(MODELS)}")
        chosen = MODELS[model]
    else:
        count = 6 if all(role in names for role in ROLES) else 4
        chosen = MODELS[f"ukis-{count}b-{level}"]
    role_indexes(names, chosen.bands)
    return chosen


__all__ = ["LEVELS", "MODELS", "WINDOW", "BandError", "CloudModel", "Runtime", "configure", "select_model"]
