"""TiTiler's own algorithms, which refuse unsuitable images instead of failing."""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import ConfigDict
from rio_tiler.errors import RioTilerError
from rio_tiler.models import ImageData
from titiler.core.algorithm import algorithms
from titiler.core.algorithm.base import BaseAlgorithm

from algorithms.errors import ParameterError

_DESCRIBING: Final = ("title", "description")
_DESCRIBING_PREFIXES: Final = ("input_", "output_")


def settable(algorithm: type[BaseAlgorithm]) -> list[str]:
    """Names of an algorithm's parameters.

    TiTiler keeps what describes an algorithm in fields next to them, and would let a request set these, too: an
    `output_dtype` of `S1000000` takes a megabyte per pixel.
    """
    return [
        name for name in algorithm.model_fields if name not in _DESCRIBING and not name.startswith(_DESCRIBING_PREFIXES)
    ]


def _guarded(name: str, algorithm: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
    """An algorithm that raises `ParameterError` for images it cannot work on, and refuses unknown parameters."""

    def __call__(self: BaseAlgorithm, img: ImageData) -> ImageData:  # noqa: N807
        image = f"{img.count} band(s) of {img.array.dtype}, {img.width} x {img.height} pixels"
        remedy = "choose bands with `bidx`, a larger image or other `algorithm_params`"
        if img.count < (self.input_nbands or 1):
            raise ParameterError(f"algorithm {name} needs {self.input_nbands} bands, not {image}; {remedy}")
        try:
            result: ImageData = algorithm.__call__(self, img)
        except (ValueError, TypeError, ArithmeticError, LookupError, RioTilerError) as error:
            raise ParameterError(f"algorithm {name} cannot work on {image}: {str(error)[:200]}; {remedy}") from error
        if 0 in result.array.shape:
            raise ParameterError(f"algorithm {name} leaves no pixels of {image}; {remedy}")
        return result

    members: dict[str, Any] = {
        "__call__": __call__,
        "__doc__": algorithm.__doc__,
        "__module__": algorithm.__module__,
        "model_config": ConfigDict(extra="forbid"),
    }
    return type(algorithm.__name__, (algorithm,), members)


STOCK_ALGORITHMS: Final = algorithms.register(
    cast(Any, {name: _guarded(name, algorithms.get(name)) for name in algorithms.list()}), overwrite=True
)
"""TiTiler's algorithms by name."""
