"""The parameters of a request as addresses and command lines write them: descriptions, choices, and how they are read.

HTTP and `clearsky export` take theirs from here; a recipe writes the same with keys of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from algorithms.errors import ParameterError, check_choice
from algorithms.models import MODELS, PROCESSING_LEVELS
from algorithms.reclassify import Remap
from server.analysis.clouds import mask_name, target_mask_name
from server.scenes.masks import AUTO, PRESETS, parse_bits


def split_names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _all_names(texts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(part for text in texts for part in split_names(text))


def _mask_names(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(map(mask_name, names))


def reflectance_scale(value: float) -> float:
    """A scale as it is.

    Raises:
        ParameterError: with it no value would become a reflectance.
    """
    if not 0 < value < math.inf:
        raise ParameterError(
            f"a reflectance_scale of {value:g} makes no reflectance of the values; give one above 0, e.g. 0.0001"
        )
    return value


def _scales(values: tuple[float, ...] | list[float]) -> tuple[float, ...]:
    return tuple(map(reflectance_scale, values))


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter next to the target."""

    name: str
    """Its public name; `-` stands for `_` on the command line."""
    description: str
    """What it does, without a full stop."""
    type: type[str] | type[float] = str
    """Of one value."""
    repeated: bool = False
    """Whether it may be given several times."""
    choices: tuple[str, ...] = ()
    """The values to choose from; empty where there are others."""
    field: str = ""
    """The field of a `Request` that it becomes, where that has another name."""
    read: Callable[[Any], Any] = _same
    """From the value as it is written to the field's."""

    def value(self, written: Any) -> Any:
        """The field's value.

        Raises:
            ParameterError, RemapError: one that cannot be read, or is not among the choices.
        """
        if self.choices:
            check_choice(written, self.choices, what=self.name)
        return self.read(written)


PARAMETERS: Final[Mapping[str, Parameter]] = MappingProxyType(
    {
        parameter.name: parameter
        for parameter in (
            Parameter(
                "replacement",
                "Another date of the same place; may be repeated; the first clear one at a pixel fills it. "
                "`auto` has the best dates looked up in the STAC API of the target's archive",
                repeated=True,
                field="replacements",
                read=tuple,
            ),
            Parameter(
                "mask",
                "Raster of cloud classes to use instead of the model, or the scenes' own masks: "
                f"{', '.join([*PRESETS, AUTO])}",
                read=target_mask_name,
            ),
            Parameter("mask_bits", "Bits of a bit-packed mask that mean cloud or shadow, e.g. `3,4`", read=parse_bits),
            Parameter(
                "replacement_mask",
                "Masks of the replacements, in their order, of the same form as `mask`, or `none` for no clouds; a "
                "single `none` or kind of mask for all. Without it next to a raster as `mask` the model looks",
                repeated=True,
                field="replacement_masks",
                read=_mask_names,
            ),
            Parameter(
                "mask_remap",
                "ArcGIS remap string from classes to 0/1, e.g. `1 1;2 1;3 1`",
                field="remap",
                read=Remap,
            ),
            Parameter("model", f"Cloud model: {', '.join(MODELS)}, rgb-rules, or one of `clearsky models`"),
            Parameter("level", "Processing level, where the dataset does not state it", choices=PROCESSING_LEVELS),
            Parameter("bands", "Common names of the bands in order, e.g. `blue,green,red,nir`", read=split_names),
            Parameter("reflectance_scale", "Reflectance per digital number", type=float, read=reflectance_scale),
            Parameter("reflectance_offset", "Reflectance at digital number 0", type=float),
            *(
                Parameter(
                    f"replacement_{name}",
                    f"`{name}` of each replacement, in their order, or a single one for all; without it that of the "
                    "target holds",
                    type=float,
                    repeated=True,
                    field=f"replacement_{name}s",
                    read=read,
                )
                for name, read in (("reflectance_scale", _scales), ("reflectance_offset", tuple))
            ),
            Parameter("nodata", "Value without data, in place of the dataset's own", type=float),
            Parameter(
                "assets",
                "Bands to show or write by name, e.g. `red`, `B04`; may be repeated, or with commas",
                repeated=True,
                read=_all_names,
            ),
        )
    }
)
"""By name. Below `/cog` and `/stac`, `nodata` is TiTiler's own parameter."""


def fields_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `Request` from parameters as an address or a command line gives them.

    Args:
        given: by their public names; None and empty ones count as not given, other names are left out.

    Raises:
        ParameterError, RemapError: see `Parameter.value`.
    """
    return {
        parameter.field or name: parameter.value(given[name])
        for name, parameter in PARAMETERS.items()
        if given.get(name) not in (None, "", (), [])
    }
