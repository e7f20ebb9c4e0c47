"""Model cards: YAML files that say what a network takes, what it gives and which file it is."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from algorithms.bands import common_names
from algorithms.errors import ModelError
from algorithms.models import (
    INPUT_CELLS,
    CloudModel,
    FixedStatistics,
    ModelFile,
    OutputKind,
    ProcessingLevel,
    SizeRule,
)
from algorithms.reclassify import Remap, reclassify
from server.work.document import Document, ValuePath, read_yaml

MOST_CLASSES: Final = 32
"""Classes of one network."""
CARD_BANDS: Final = 32
"""Bands of one network."""
LARGEST_SIDE: Final = 1024
"""Greatest input in cells: windows have 256, the rest is mirrored."""

Meaning = Literal["clear", "land", "water", "snow", "no data", "cloud", "thin cloud", "shadow"]
Density = Literal["low", "medium", "high"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CardClass(_Part):
    """One class of a network."""

    meaning: Meaning
    """What it stands for."""
    density: Density | None = None
    """Of clouds, how dense they are."""

    @model_validator(mode="after")
    def _cloudy(self) -> CardClass:
        if self.density and self.meaning != "cloud":
            raise ValueError(f"a density is of `cloud`, not of `{self.meaning}`; leave it out")
        return self

    @property
    def label(self) -> str:
        """As lists show it."""
        return f"{self.meaning} ({self.density})" if self.density else self.meaning


class CardSize(_Part):
    """Inputs that a network takes, in cells per side."""

    multiple: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 1
    least: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 1
    most: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = LARGEST_SIDE

    @model_validator(mode="after")
    def _fits(self) -> CardSize:
        if SizeRule(self.multiple, self.least, self.most).side is None:
            raise ValueError(
                f"no side of {INPUT_CELLS} cells, the least of a window, or more; export the network for such inputs"
            )
        return self


class CardStatistics(_Part):
    """Mean and standard deviation of every band."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


def _class(value: object) -> object:
    return {"meaning": value} if isinstance(value, str) else value


def _name(name: str) -> str:
    if name == "auto" or name.startswith(("ukis-", "rgb-")):
        raise ValueError("is a name of ClearSky's own; choose another")
    return name


def _bands(names: tuple[str, ...]) -> tuple[str, ...]:
    # With the bands that tell sensors apart in front, so that numbers are not guessed from a few names.
    found = common_names(names)
    for name, known in zip(names, found, strict=True):
        if known is None or not re.fullmatch(r"[a-z]+[0-9]*", known):
            raise ValueError(f"{name!r} is not a known band; write common names such as red, nir, swir16")
    bands = tuple(name or "" for name in found)
    if len(set(bands)) < len(bands):
        raise ValueError("a band occurs twice; name each once")
    return bands


def _file(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError("leads out of the card's folder; put the network into it")
    return name


def _remap(text: str) -> str:
    Remap(text)
    return text


def _range(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the range is empty; write [finest, coarsest] in metres")
    return limits


Metres = Annotated[float, Field(gt=0, le=1e5)]


class Card(_Part):
    """A card as it is written."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"), AfterValidator(_name)]
    """What `model=` names."""
    title: Annotated[str, Field(max_length=200)] = ""
    """For people."""
    file: Annotated[str, Field(min_length=1, max_length=240), AfterValidator(_file)]
    """The network, in the card's folder."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Its checksum."""
    licence: Annotated[str, Field(max_length=200)] = "not stated"
    """Licence of the weights."""
    bands: Annotated[tuple[str, ...], Field(min_length=1, max_length=CARD_BANDS), AfterValidator(_bands)]
    """Common names of the input's bands, in its order."""
    level: ProcessingLevel | None = None
    """Processing level it was trained on."""
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """The input is reflectance times this: 10000 for digital numbers of Sentinel-2."""
    normalisation: Literal["none", "window"] | CardStatistics = "none"
    """Not at all, by each window's own statistics (z-score), or by fixed ones in units of the scaled input."""
    size: CardSize = CardSize()
    """Inputs that it takes."""
    resolution: Annotated[tuple[Metres, Metres], AfterValidator(_range)]
    """Finest and coarsest ground resolution in metres it was trained for."""
    output: OutputKind
    """What it gives."""
    classes: Annotated[
        tuple[Annotated[CardClass, BeforeValidator(_class)], ...], Field(min_length=2, max_length=MOST_CLASSES)
    ]
    """Meaning of its channels or numbers, from 0."""
    remap: Annotated[str, AfterValidator(_remap)] | None = None
    """ArcGIS remap string: which numbers of classes are covered; without one clouds and shadows."""

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        given = self.normalisation
        if isinstance(given, CardStatistics):
            for part, values in (("mean", given.mean), ("std", given.std)):
                if len(values) != len(self.bands):
                    raise ValueError(
                        f"normalisation.{part} has {len(values)} numbers for {len(self.bands)} bands; give one for each"
                    )
        if not any(self.covered()):
            raise ValueError("no class counts as cloud or shadow; correct `classes` or `remap`")
        return self

    def covered(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers of the classes that count as cloud, and as shadow."""
        numbers = range(len(self.classes))
        if self.remap is None:
            taken = {k for k in numbers if self.classes[k].meaning in ("cloud", "thin cloud", "shadow")}
        else:
            taken = {k for k in numbers if reclassify([[k]], self.remap)[0, 0] == 1}
        shadows = tuple(sorted(k for k in taken if self.classes[k].meaning == "shadow"))
        return tuple(sorted(taken - {*shadows})), shadows

    def model(self, folder: Path) -> CloudModel:
        """The card as the analysis knows it, its file in a folder."""
        given = self.normalisation
        cloud, shadow = self.covered()
        return CloudModel(
            id=self.name,
            bands=self.bands,
            level=self.level,
            network=ModelFile(self.file, self.sha256),
            folder=folder,
            resolution=self.resolution,
            classes=tuple(one.label for one in self.classes),
            cloud=cloud,
            shadow=shadow,
            scale=self.scale,
            normalisation=FixedStatistics(given.mean, given.std) if isinstance(given, CardStatistics) else given,
            size=SizeRule(self.size.multiple, self.size.least, self.size.most),
            output=self.output,
            licence=self.licence,
        )


_KEYS: Final = (*Card.model_fields,)


def read_card(content: bytes, name: str) -> Card:
    """Read a card.

    Args:
        content: the file's bytes.
        name: what messages call the file.

    Raises:
        ModelError: the first thing that is wrong, with file, line, key, value and remedy.
    """
    document = read_yaml(content, name, refuse=ModelError, keys=("name", "file", "sha256"))
    try:
        # Through JSON, where strict validation takes lists for tuples and whole numbers for numbers.
        return Card.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise ModelError(_first_problem(error, document)) from error


def _first_problem(error: ValidationError, document: Document) -> str:
    """The first value that is wrong; of what is wrong with it and with parts of it, the parts."""
    found: dict[ValuePath, list[Any]] = {}
    for item in error.errors(include_url=False):
        key: ValuePath = item["loc"]
        # pydantic appends the members of a union to the place.
        while item["type"] != "missing" and key not in document.lines and key:
            key = key[:-1]
        found.setdefault(key, []).append(item)
    exact = [key for key in found if not any(len(key) < len(other) and other[: len(key)] == key for other in found)]
    key = min(exact or found, key=document.line)
    first, word = found[key][0], ".".join(map(str, key))[:80]
    if first["type"] == "missing":
        return f"{document.at(key)}: {word} is missing; add `{key[-1]}: ...`"
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(key[-1]), _KEYS, n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        return f"{document.at(key)}: {word} is no key of a card; {hint}known: {', '.join(_KEYS)}"
    text = " or ".join(dict.fromkeys(item["msg"].removeprefix("Value error, ") for item in found[key][:4]))
    value = f"={first['input']!r:.60}" if key else ""
    return " ".join(f"{document.at(key)}: {word}{value}: {text}".split())[:600]
