"""Options that the commands share: every parameter of a request, and every option of the algorithm."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import click

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS

Command = Callable[..., Any]


def request_options(command: Command) -> Command:
    """Every parameter of a request but its target, as HTTP has them; one that is left out keeps the recipe's value."""
    for parameter in reversed(list(PARAMETERS.values())):
        command = click.option(
            f"--{parameter.name.replace('_', '-')}",
            type=parameter.type,
            multiple=parameter.repeated,
            metavar="|".join(parameter.choices) or None,
            help=f"{parameter.description.replace('`', chr(39))}.",
        )(command)
    return command


def algorithm_options(command: Command, *, used: Collection[str] = tuple(OPTIONS), tiled: bool = False) -> Command:
    """Every option of the algorithm; one that is left out keeps the recipe's value or its default.

    Args:
        command: what gets them.
        used: those that it has a use for.
        tiled: whether only values for parts of a raster are of use.
    """
    for option in reversed([each for each in OPTIONS.values() if each.name in used]):
        flag, text = option.name.replace("_", "-"), f"{option.description}."
        if option.type is bool:
            command = click.option(f"--{flag}/--no-{flag}", default=None, help=text)(command)
        elif (values := option.range) is not None:
            command = click.option(f"--{flag}", type=int, metavar=f"{values.least}-{values.most}", help=text)(command)
        else:
            command = click.option(
                f"--{flag}", metavar="|".join(option.tiled_choices if tiled else option.choices), help=text
            )(command)
    return command
