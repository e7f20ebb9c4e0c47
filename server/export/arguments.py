"""From the words of `clearsky export` to an export: paths, options, and the recipe that they override."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from algorithms.options import OPTIONS
from algorithms.removal import CloudRemoval
from server.analysis.parameters import fields_of
from server.analysis.request import Request
from server.export.job import ExportJob
from server.recipes.store import load_recipe
from server.settings import Settings

AS_THEY_ARE: Final = ("workers", "provenance", "overwrite", "scheduler")
"""Options that are fields of an `ExportJob`."""


def job_of(paths: tuple[str, ...], given: dict[str, Any], settings: Settings) -> ExportJob:
    """The export that a command line asks for: the recipe's values, overridden by its own.

    Args:
        paths: what to read and what to write; the recipe's target may be left out.
        given: the command's options by name, those that are given.
        settings: what the operator has set.

    Raises:
        click.UsageError: too few paths, or too many. InputError, SourceError: a value or a recipe that
            cannot be used.
    """
    recipe = load_recipe(given["recipe"], settings.recipes) if "recipe" in given else None
    target, out = _places(paths, given.get("per_asset"), recipe.request.target if recipe else None)
    request = replace(recipe.request, target=target) if recipe else Request(target)
    options = {name: given[name] for name in OPTIONS if name in given}
    return ExportJob(
        replace(request, **fields_of(given)),
        out,
        per_asset="per_asset" in given,
        algorithm=CloudRemoval(**((recipe.options if recipe else {}) | options)),
        resolution=given["analysis_resolution"],
        **{name: given[name] for name in AS_THEY_ARE if name in given},
    )


def _places(paths: tuple[str, ...], folder: Path | None, of_recipe: str | None) -> tuple[str, Path]:
    """The raster to read, and the file or folder to write.

    Raises:
        click.UsageError: too few are named, or too many.
    """
    if folder is not None:
        if len(paths) > 1:
            raise click.UsageError(f"{paths[1]!r} and --per-asset {str(folder)!r}: give one of them, OUT or the folder")
        if not paths and of_recipe is None:
            raise click.UsageError("give the scene to read: TARGET --per-asset DIR")
        return (*paths, of_recipe or "")[0], folder
    if of_recipe is not None and len(paths) == 1:
        paths = (of_recipe, *paths)
    if len(paths) != 2:
        raise click.UsageError("give the raster to read and the file to write: TARGET OUT, or TARGET --per-asset DIR")
    return paths[0], Path(paths[1])
