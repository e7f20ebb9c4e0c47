"""The pretrained cloud models: their cards, and the choice among them. `algorithms.sessions` runs them.

The four U-Nets (EfficientNet-b4 encoder) come with the package `ukis-csmask` (DLR, Apache-2.0). Their files
are read as package data; the package's own code is not used, since it builds a session per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Literal, get_args

from algorithms.bands import ROLES, role_indexes
from algorithms.errors import ModelError, ParameterError

INPUT_CELLS: Final = 256
"""Side in cells of the only input the networks take."""

ProcessingLevel = Literal["l1c", "l2a"]
"""Top-of-atmosphere and surface reflectance."""
PROCESSING_LEVELS: Final[tuple[ProcessingLevel, ...]] = get_args(ProcessingLevel)
"""Both of them."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file and what has to be in it."""

    name: str
    """File name inside the package."""
    sha256: str
    """Checksum of the content, hexadecimal."""


@dataclass(frozen=True, slots=True)
class CloudModel:
    """The card of one network: what goes in, what comes out, where its files are."""

    id: str
    """The name a request asks for."""
    bands: tuple[str, ...]
    """Common names of the input bands, in the network's order."""
    level: str
    """Processing level the network was trained on, `l1c` or `l2a`."""
    network: ModelFile
    """The network, as ONNX."""
    statistics: ModelFile
    """JSON with mean and standard deviation of the training data, by which the input is normalised."""
    package: str = "ukis_csmask"
    """Package that carries the files."""
    resolution: tuple[float, float] = (20.0, 60.0)
    """Ground resolutions in metres at which the network is used (accuracy collapses beyond)."""
    classes: tuple[str, ...] = ("clear", "cloud", "shadow")
    """Meaning of the output channels."""

    def __hash__(self) -> int:
        """Of the id alone: cards are part of many cache keys."""
        return hash(self.id)

    def place(self, file: ModelFile) -> Traversable:
        """Where a file of the package is, or would be.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        return files(self.package).joinpath(file.name)

    @property
    def present(self) -> bool:
        """Whether the model's files are there; whether they are intact shows when they are loaded."""
        try:
            return all(self.place(file).is_file() for file in (self.network, self.statistics))
        except ModuleNotFoundError:
            return False


def _ukis(count: int, level: str, network: str, statistics: str) -> CloudModel:
    """The card of one of `ukis-csmask`'s networks, with the checksums of its two files."""
    name = f"model_{count}b_{level}"
    return CloudModel(
        id=f"ukis-{count}b-{level}",
        bands=ROLES[:count],
        level=level,
        network=ModelFile(f"{name}.onnx", network),
        statistics=ModelFile(f"{name}.json", statistics),
    )


MODELS: Final[dict[str, CloudModel]] = {
    model.id: model
    for model in (
        _ukis(
            6,
            "l1c",
            "aa79e9a0f02ff8e0243d93771d1daf6a8d1166b7ac06c3771560b83367c6c573",
            "b575f242f91699f8e2836161ebb362fba7043423cf2741d45ef58a02976b6b7f",
        ),
        _ukis(
            4,
            "l1c",
            "81611f290adc315b86bb7e7c69b0f2496b3abe0390c2a5c8e9e9da9622e8a0c8",
            "5577e4e5f2bec02fa4478ed6788f91dc71c8345404a7c552779183fd844e2fcd",
        ),
        _ukis(
            6,
            "l2a",
            "d11c530978637ca420eedc40791c62bf78997dd39e1201777e2527e4bd94904e",
            "89b0df80fd67c33eb99843512f3703f3bb0415cc7f58157ce49c00d3ef88aae3",
        ),
        _ukis(
            4,
            "l2a",
            "3884d75ca497ec59d8335973477bd31eb038857007bbb36fb2aba1ad375ee043",
            "ac4108ce3b80ee70393df313faada01a7bcbe1be603965a44120e929c975f024",
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
    if level not in PROCESSING_LEVELS:
        raise ParameterError(f"level {level!r} is unknown: choose from {', '.join(PROCESSING_LEVELS)}")
    if model is not None:
        if model not in MODELS:
            raise ModelError(f"cloud model {model!r} is unknown: choose from {', '.join(MODELS)}")
        chosen = MODELS[model]
    else:
        count = 6 if all(role in names for role in ROLES) else 4
        chosen = MODELS[f"ukis-{count}b-{level}"]
    role_indexes(names, chosen.bands)
    return chosen
