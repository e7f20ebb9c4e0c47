"""Where networks run: providers of ONNX Runtime in the order of preference, and how many inferences at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from algorithms.errors import ParameterError, whole_number

logger = logging.getLogger("clearsky")

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_EXTRAS: Final = {"cuda": "gpu", "openvino": "openvino"}


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


def _options(provider: str, threads: int) -> dict[str, str]:
    """Options of a provider: what keeps it from computing with fewer bits than the processor does, and its threads."""
    if provider == "cuda":
        return {"use_tf32": "0"}
    return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}


def on_first_that_starts(names: tuple[str, ...], threads: int, start: Callable[[list[Any]], Any]) -> tuple[Any, str]:
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
