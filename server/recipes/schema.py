"""What a recipe file may contain: the keys, their types and ranges, and how errors are reported."""

from __future__ import annotations

import difflib
import json
import math
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    create_model,
    model_validator,
)
from pydantic_core import PydanticKnownError
from rio_tiler.colormap import cmap
from rio_tiler.expression import parse_expression
from rio_tiler.types import RIOResampling, WarpResampling
from titiler.core.validation import validate_color_formula

from algorithms.models import ProcessingLevel, known_models, model_choices
from algorithms.options import OPTIONS
from algorithms.reclassify import Remap
from algorithms.removal import CloudAlgorithm
from algorithms.styles import STYLES
from server.analysis.clouds import mask_name, paired, target_mask_name
from server.analysis.parameters import reflectance_scale as usable_scale
from server.analysis.request import for_each
from server.errors import RecipeError
from server.scenes.masks import HIGHEST_BIT
from server.work.document import Document, ValuePath


def _remap(text: object) -> Remap:
    if not isinstance(text, str):
        raise PydanticKnownError("string_type")
    return Remap(text)


def _model(name: str) -> str:
    if name != "auto" and name not in known_models():
        raise ValueError(f"unknown model; choose from auto, {model_choices()}")
    return name


def _expression(text: str) -> str:
    try:
        parse_expression(text)
    except Exception as error:
        raise ValueError(f"{error}; write for example `(b4-b3)/(b4+b3)`") from error
    return text


def _formula(text: str) -> str:
    try:
        validate_color_formula(text)
    except ValueError as error:
        raise ValueError(f"{error}; write for example `gamma RGB 1.5, saturation 1.2`") from error
    return text


def _colormap(name: str) -> str:
    if name not in cmap.list():
        raise ValueError("unknown colour map; /colorMaps lists them")
    return name


def _range(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] >= limits[1]:
        raise ValueError("the range is empty; write [low, high]")
    return limits


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("the list is empty; fill it in or leave the key out")
    return values


def _bits(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))


def _one_each(masks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    paired(info.data.get("replacements", masks), masks)
    return masks


def _number_each(values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
    for_each(values, len(info.data.get("replacements", values)), str(info.field_name))
    return values


def _nan(value: object) -> object:
    return math.nan if value == "nan" else value


Source = Annotated[str, Field(min_length=1)]
Scale = Annotated[float, AfterValidator(usable_scale)]
MaskSource = Annotated[Source, AfterValidator(mask_name)]
Limits = Annotated[tuple[float, float], AfterValidator(_range)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MaskKeys(_Part):
    """Where the clouds come from: a model, or a raster of classes."""

    model: Annotated[str, AfterValidator(_model)] | None = None
    """Id of a cloud model; `auto`, the default, chooses by bands and level."""
    source: Annotated[Source, AfterValidator(target_mask_name)] | None = None
    """Raster of cloud classes, or the kind of the scenes' own masks."""
    remap: Annotated[Remap, PlainValidator(_remap)] | None = None
    """ArcGIS remap string from classes to 0 and 1."""
    bits: Annotated[tuple[Annotated[int, Field(ge=0, le=HIGHEST_BIT)], ...], AfterValidator(_bits)] = ()
    """Bits of the source that mean cloud."""

    @model_validator(mode="after")
    def _one(self) -> MaskKeys:
        if self.model and self.source:
            raise ValueError("both a `model` and a `source`; keep one of them")
        if self.bits and not self.source:
            raise ValueError("`bits` without a `source` that has them; name the raster, or leave `bits` out")
        return self


def _style(name: str) -> str:
    if name not in STYLES:
        raise ValueError(f"unknown style; choose from {', '.join(STYLES)}")
    return name


class Render(_Part):
    """How the picture looks unless a request says otherwise."""

    style: Annotated[str, AfterValidator(_style)] | None = None
    """Named rendering; by default `natural` where nothing else here says how values become colours."""

    bands: Annotated[tuple[str | Annotated[int, Field(ge=1)], ...], AfterValidator(_some)] | None = None
    """Names or 1-based numbers of the bands to show."""
    expression: Annotated[str, AfterValidator(_expression)] | None = None
    """Band arithmetic instead."""
    rescale: Annotated[tuple[Limits, ...], AfterValidator(_some)] | None = None
    """Values that become 0 and 255: one pair, or one for each band."""
    color_formula: Annotated[str, AfterValidator(_formula)] | None = None
    """Colour operations."""
    colormap_name: Annotated[str, AfterValidator(_colormap)] | None = None
    """Colour map for one band."""
    unscale: bool | None = None
    """Whether the raster's scale and offset apply."""
    resampling: RIOResampling | None = None
    """Resampling of reads."""
    reproject: WarpResampling | None = None
    """Resampling of warps."""

    @model_validator(mode="after")
    def _one(self) -> Render:
        if self.bands and self.expression:
            raise ValueError("both `bands` and `expression`; keep one of them")
        if self.style is not None and (style := STYLES[self.style]).scaling != "none":
            others = ("expression", "rescale", "colormap_name", "unscale", *(() if style.own_bands else ("bands",)))
            if both := [name for name in others if getattr(self, name) is not None]:
                raise ValueError(f"both `style` and `{both[0]}` say what the picture shows; keep one of them")
        return self


class Written(_Part):
    """The keys of a recipe besides the algorithm's options."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    title: str = ""
    target: Source
    replacements: tuple[Source, ...] = ()
    mask: MaskKeys = MaskKeys()
    replacement_masks: Annotated[tuple[MaskSource, ...], AfterValidator(_one_each)] = ()
    bands: tuple[str, ...] = ()
    level: ProcessingLevel | None = None
    reflectance_scale: Scale | None = None
    reflectance_offset: float | None = None
    replacement_reflectance_scales: Annotated[tuple[Scale, ...], AfterValidator(_number_each)] = ()
    replacement_reflectance_offsets: Annotated[tuple[float, ...], AfterValidator(_number_each)] = ()
    nodata: Annotated[float, BeforeValidator(_nan)] | None = None
    assets: tuple[Source, ...] = ()
    render: Render = Render()


# The algorithm's options stand at a recipe's top level, with the algorithm's ranges and defaults.
_File: Final[type[Written]] = create_model(
    "RecipeFile",
    __base__=Written,
    **{name: (CloudAlgorithm.model_fields[name].annotation, CloudAlgorithm.model_fields[name]) for name in OPTIONS},  # type: ignore[call-overload]
)
_KEYS: Final[dict[ValuePath, list[str]]] = {
    (): list(_File.model_fields),
    ("mask",): list(MaskKeys.model_fields),
    ("render",): list(Render.model_fields),
}
_REMEDY: Final = {
    "string_type": "put it in quotes",
    "string_too_short": "fill it in",
    "string_pattern_mismatch": "use up to 64 letters, digits, - and _, since it is part of addresses",
    "tuple_type": "write a list: [a, b]",
    "model_type": "write `key: value` pairs",
}


def _message(error: Any, key: ValuePath) -> str:
    kind, text = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"is missing; add `{key[-1]}: ...`" if isinstance(key[-1], str) else "a number is missing"
    if kind == "extra_forbidden":
        known = _KEYS.get(key[:-1], [])
        close = difflib.get_close_matches(str(key[-1]), known, n=1)
        return f"unknown key; {f'did you mean `{close[0]}`? ' if close else ''}known: {', '.join(known)}"
    remedy = "fill it in" if error["input"] is None else _REMEDY.get(kind)
    return f"{text}; {remedy}" if remedy else text


def _problems(error: ValidationError, document: Document) -> list[str]:
    """One line per value that is wrong, in the order of the file."""
    found: dict[ValuePath, list[Any]] = {}
    for item in error.errors(include_url=False):
        key: ValuePath = item["loc"]
        # pydantic appends the members of a union to the place.
        while item["type"] != "missing" and key not in document.lines and key:
            key = key[:-1]
        found.setdefault(key, []).append(item)
    problems = []
    for key in sorted(found, key=document.line):
        items = found[key]
        silent = items[0]["type"] in ("missing", "extra_forbidden")
        value = "" if silent else f"={items[0]['input']!r:.60}"
        texts = [_message(items[0], key)] if len(items) == 1 else [item["msg"] for item in items]
        text = f"{'.'.join(map(str, key))[:80]}{value}: {' or '.join(dict.fromkeys(texts))}"
        problems.append(f"{document.at(key)}: {' '.join(text.split())[:600]}")
    return problems


def validate(document: Document) -> Written:
    """The document's values with their types and defaults; the algorithm's options are attributes too.

    Raises:
        RecipeError: one problem for each value that is wrong, with file, line, value and remedy.
    """
    values = document.values
    if isinstance(mask := values.get("mask"), str):  # `mask: scl` is short for `mask: {source: scl}`
        values = values | {"mask": {"source": mask}}
    try:
        # Through JSON, where strict validation takes lists for tuples and whole numbers for numbers, and nothing else.
        return _File.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise RecipeError(*_problems(error, document)) from error
