"""What a user can choose about masks and fills: names, values, defaults and descriptions, declared here and only here.

The TiTiler algorithms, recipes, the command line, the viewer and `fill_clouds` all derive theirs from `CloudOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar, dataclass_transform, get_args, get_type_hints

from algorithms.errors import ParameterError, check_choice, whole_number

Value = TypeVar("Value")

BUFFER_PIXELS: Final = 2
"""Native pixels of a buffer step: one dilation by a 5 x 5 square, as in Esri's function."""
ESRI_BUFFER: Final = 10
"""Default buffer steps of Esri's function, and of `stepwise_adjustment`, its equivalent here."""


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `least` to `most` in steps; both are multiples of the step."""

    least: int
    """Smallest value."""
    most: int
    """Greatest value."""
    step: int = 1
    """Every value is a multiple of it."""
    pixels: int | None = None
    """Native pixels that 1 stands for, where the number is a length."""

    def __str__(self) -> str:
        """The values in words."""
        kind = "whole number" if self.step == 1 else f"multiple of {self.step}"
        unit = {None: "", 1: " (pixels)"}.get(self.pixels, f" (steps of {self.pixels} pixels)")
        return f"a {kind} from {self.least} to {self.most}{unit}"


@dataclass(frozen=True, slots=True)
class Option:
    """One option as `CloudOptions` declares it: a number, one of several names, or a switch."""

    name: str
    """Its name in requests, recipes and on the command line."""
    type: Any
    """`int`, `bool`, or a `Literal` of the names."""
    default: Any
    """Its value where nothing is said."""
    description: str
    """What it does, without a full stop."""
    range: Range | None = None
    """The values of a number."""
    advanced: bool = False
    """Whether short forms, such as the viewer's, leave it out."""
    whole: tuple[str, ...] = ()
    """Of its names those that are for whole rasters, not for tiles."""

    @property
    def tiled_choices(self) -> tuple[str, ...]:
        """The names to choose from in tiles."""
        return tuple(name for name in self.choices if name not in self.whole)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names to choose from; empty for numbers and switches."""
        return get_args(self.type)

    def check(self, value: Any) -> Any:
        """`value` itself, whole numbers as `int`, if it is one of the option's.

        Raises:
            ParameterError: otherwise; the message lists what there is.
        """
        shown = repr(value) if isinstance(value, str) else value
        if self.range is not None:
            message = f"{self.name} {shown} is out of range: give {self.range}"
            number = whole_number(value, least=self.range.least, most=self.range.most, message=message)
            if number % self.range.step:
                raise ParameterError(message)
            return number
        if self.choices:
            check_choice(value, self.choices, what=self.name)
        if self.type is bool and not isinstance(value, bool):
            raise ParameterError(f"{self.name} {shown} is neither True nor False")
        return value


def _option(
    default: Value,
    description: str,
    *,
    range: Range | None = None,  # noqa: A002
    advanced: bool = False,
    whole: tuple[str, ...] = (),
) -> Value:
    declared: Value = field(
        default=default, metadata={"description": description, "range": range, "advanced": advanced, "whole": whole}
    )
    return declared


@dataclass_transform()
def _options(declaration: type[Value]) -> type[Value]:
    """A frozen dataclass. Type checkers take it for one that is not: pydantic models can then inherit its fields."""
    return dataclass(frozen=True)(declaration)


@_options
class CloudOptions:
    """Every option with its default; a new one is declared here and appears everywhere.

    Raises:
        ParameterError: a value that is not one of its option's.
    """

    window: int = _option(
        80,
        "Radius of the adjustment's narrowest window in native pixels, a multiple of 20",
        range=Range(20, 400, step=20, pixels=1),
    )
    """W in pixels: 80 is a window of 161 x 161."""
    buffer: int = _option(
        2, "Dilation of the cloud mask in steps of 2 native pixels", range=Range(0, 15, pixels=BUFFER_PIXELS)
    )
    """Steps of 2 pixels around clouds; at most 15, as in Esri's function."""
    sensitivity: int = _option(
        10,
        "How readily the cloud model's mask takes ground, in percent: at 10 it takes what is 90 % cloud or shadow",
        range=Range(0, 100),
    )
    """100 minus the probability, in percent, from which on ground counts as cloud or shadow."""
    adjustment: Literal["regression", "moment", "joint", "stepwise"] = _option(
        "regression",
        "Regression on all bands, moment matching band by band (SLRA), regression on the first three replacements "
        "jointly, or, for whole rasters only, SLRA's ring form as in Esri's function",
        whole=("stepwise",),
    )
    """How the replacement is fitted to the target."""
    residual: bool = _option(True, "Make the fill meet the target at the border of the mask")
    """Whether the residual at the mask's border is corrected."""
    refine: bool = _option(
        True, "Let the replacement correct false alarms and thin rims of the model's mask", advanced=True
    )
    """Whether the second date corrects the model's mask."""
    unfilled: Literal["keep", "nodata"] = _option(
        "keep", "What to do with cloud where no replacement is clear", advanced=True
    )
    """What cloud that cannot be filled becomes."""

    def __post_init__(self) -> None:
        check_fields(self)


def _declared() -> Mapping[str, Option]:
    types = get_type_hints(CloudOptions)
    return MappingProxyType(
        {f.name: Option(f.name, types[f.name], f.default, **f.metadata) for f in fields(CloudOptions)}
    )


OPTIONS: Final = _declared()
"""Every option by its name, in the order of the declaration."""


WHOLE_ADJUSTMENT: Final = "stepwise"
"""The adjustment that is for whole rasters."""


def check_tiled(options: CloudOptions) -> None:
    """Refuse values that are for whole rasters, where a part of one is wanted.

    Raises:
        ParameterError: names the value and what takes it.
    """
    for option in OPTIONS.values():
        if (value := getattr(options, option.name)) in option.whole:
            raise ParameterError(
                f"{option.name}={value} fills a whole raster at once, not tiles or other parts of it: write a file "
                f"with `clearsky export`, or choose {' or '.join(option.tiled_choices)}"
            )


def check_fields(chosen: Any) -> None:
    """Check the fields of a dataclass that are named as options.

    Raises:
        ParameterError: see `Option.check`.
    """
    for f in fields(chosen):
        OPTIONS[f.name].check(getattr(chosen, f.name))
