"""The pretrained cloud models: their cards, and the choice among them. `algorithms.sessions` runs them.

The four U-Nets (EfficientNet-b4 encoder) come with the package `ukis-csmask` (DLR, Apache-2.0). Their files
are read as package data; the package's own code is not used, since it builds a session per image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Literal, get_args

from algorithms.bands import ROLES, VISIBLE_BANDS, role_indexes
from algorithms.errors import BandError, ModelError, ParameterError

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
    """Path inside the package or the card's folder."""
    sha256: str
    """Checksum of the content, hexadecimal."""


@dataclass(frozen=True, slots=True)
class FixedStatistics:
    """Mean and standard deviation by which a network's input is normalised, one of each for every band."""

    mean: tuple[float, ...]
    """In the units of the input."""
    std: tuple[float, ...]
    """Likewise, above 0."""


Normalisation = Literal["trained", "window", "none"] | FixedStatistics
"""By the statistics in the file next to the network; by those of each window's own cells with data; not at all."""
OutputKind = Literal["logits", "probabilities", "classes"]
"""What a network gives of each cell: a number per class before or after softmax, or the number of its class."""


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Sides in cells of the inputs that a network takes."""

    multiple: int = INPUT_CELLS
    """Every side is a multiple of it."""
    least: int = INPUT_CELLS
    """The smallest side."""
    most: int = INPUT_CELLS
    """The greatest side."""

    @property
    def side(self) -> int | None:
        """The smallest side that holds a window of `INPUT_CELLS`; None where there is none."""
        side = -(-max(self.least, INPUT_CELLS) // self.multiple) * self.multiple
        return side if side <= self.most else None


@dataclass(frozen=True, slots=True)
class CloudModel:
    """The card of one model: what goes in, what comes out, where its files are."""

    id: str
    """The name a request asks for."""
    bands: tuple[str, ...]
    """Common names of the input bands, in the network's order."""
    level: str | None
    """Processing level the network was trained on, `l1c` or `l2a`; None for both."""
    network: ModelFile | None
    """The network, as ONNX; None for the rule of `algorithms.rules`, which needs no file."""
    statistics: ModelFile | None = None
    """JSON with mean and standard deviation of the training data, where the input is normalised by them."""
    package: str = "ukis_csmask"
    """Package that carries the files."""
    folder: Path | None = field(default=None, compare=False, repr=False)
    """Folder of the files of a card that was added; None for the package's."""
    resolution: tuple[float, float] = (20.0, 60.0)
    """Ground resolutions in metres at which the network is used (accuracy collapses beyond)."""
    classes: tuple[str, ...] = ("clear", "cloud", "shadow")
    """Meaning of the output channels."""
    cloud: tuple[int, ...] = (1,)
    """Channels that count as cloud."""
    shadow: tuple[int, ...] = (2,)
    """Channels that count as shadow."""
    scale: float = 1.0
    """The input is reflectance times this, before it is normalised."""
    normalisation: Normalisation = "trained"
    """How the input is normalised."""
    size: SizeRule = SizeRule()
    """Inputs that the network takes."""
    output: OutputKind = "logits"
    """What it gives."""
    licence: str = "Apache-2.0"
    """Licence of the weights."""
    caveat: str | None = None
    """What whoever sees its masks has to know; None for nothing."""

    def __hash__(self) -> int:
        """Of the id alone: cards are part of many cache keys."""
        return hash(self.id)

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """The files that it needs."""
        return tuple(file for file in (self.network, self.statistics) if file is not None)

    def place(self, file: ModelFile) -> Traversable:
        """Where a file is, or would be.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        return (resources.files(self.package) if self.folder is None else self.folder).joinpath(file.name)

    @property
    def present(self) -> bool:
        """Whether the model's files are there; whether they are intact shows when they are loaded."""
        try:
            return all(self.place(file).is_file() for file in self.files)
        except ModuleNotFoundError:
            return False

    @property
    def remedy(self) -> str:
        """What helps where a file is missing or damaged."""
        if self.folder is None:
            return f"reinstall {self.package}"
        return "put the file that the card means there, or correct the card"

    @property
    def fingerprint(self) -> str:
        """What tells its masks from those of every other card, under the same name, too."""
        return _fingerprint(self)


@lru_cache(maxsize=256)
def _fingerprint(model: CloudModel) -> str:
    return hashlib.sha256(repr(model).encode()).hexdigest()[:32]


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
"""Every cloud model that comes with ClearSky, by its id."""


RGB_RULES: Final = CloudModel(
    id="rgb-rules",
    bands=("blue", "green", "red"),
    level=None,
    network=None,
    resolution=(0.1, 1000.0),
    classes=("clear", "cloud"),
    shadow=(),
    normalisation="none",
    output="probabilities",
    licence="part of ClearSky",
    caveat="rgb-rules is a degraded mask, by colour alone: no shadows, and snow, sand and bright roofs count as cloud; "
    "with near infrared leave `model` out for the networks",
)
"""The card of the rules; nobody gets them who does not name them."""

_added: dict[str, CloudModel] = {}


def add_models(models: Iterable[CloudModel]) -> None:
    """Make these models known to the whole process, in place of those added before; tasks under way keep theirs."""
    global _added  # noqa: PLW0603  (a dictionary that others may be reading is never changed)
    _added = {model.id: model for model in models}


def known_models() -> dict[str, CloudModel]:
    """Every model by its id: networks, rules, then those added."""
    return MODELS | {RGB_RULES.id: RGB_RULES} | _added


def model_choices() -> str:
    """Every model by its id, and how there come to be others, for a message."""
    others = "" if _added else "; cards in the folder CLEARSKY_MODELS add others"
    return ", ".join(known_models()) + others


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
        known = known_models()
        if model not in known:
            raise ModelError(f"cloud model {model!r} is unknown: choose from {model_choices()}")
        chosen = known[model]
    else:
        count = 6 if all(role in names for role in ROLES) else 4
        chosen = MODELS[f"ukis-{count}b-{level}"]
    try:
        role_indexes(names, chosen.bands)
    except BandError as error:
        named = set(VISIBLE_BANDS) <= set(names)
        if model is not None or not (named or len(names) == len(VISIBLE_BANDS)):
            raise
        bands = "" if named else " with `bands=red,green,blue`"
        raise BandError(
            f"{error}; for pictures of no more bands there is a degraded mask by colour alone, "
            f"`model={RGB_RULES.id}`{bands}"
        ) from error
    return chosen
