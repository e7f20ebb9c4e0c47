"""The command `clearsky export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS, fields_of
from server.export.terminal import in_words, interruptible, one_line, run_export

if TYPE_CHECKING:
    from server.export.job import ExportJob
    from server.export.scene import ExportReport
    from server.settings import Settings

AS_THEY_ARE = ("workers", "provenance", "overwrite", "scheduler")
"""Options that are fields of an `ExportJob`."""
_WHOLE_BATCH = frozenset({"batch", "per_asset", "as_json", "metrics", "scheduler"})
"""Options that a table of a batch cannot have for single scenes."""

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


def algorithm_options(command: Command) -> Command:
    """Every option of the algorithm; one that is left out keeps the recipe's value or its default."""
    for option in reversed(list(OPTIONS.values())):
        flag, text = option.name.replace("_", "-"), f"{option.description}."
        if option.type is bool:
            command = click.option(f"--{flag}/--no-{flag}", default=None, help=text)(command)
        elif (values := option.range) is not None:
            command = click.option(f"--{flag}", type=int, metavar=f"{values.least}-{values.most}", help=text)(command)
        else:
            command = click.option(f"--{flag}", metavar="|".join(option.choices), help=text)(command)
    return command


@click.command(
    short_help="Write a raster or scene without its clouds.",
    epilog="\b\nExamples:\n"
    "  clearsky export scene.tif clear.tif --replacement other.tif\n"
    "  clearsky export ITEM.json --per-asset made --replacement auto\n"
    "  clearsky export --recipe july.yaml july.tif --provenance sources.tif",
)
@click.argument("paths", nargs=-1, metavar="TARGET [OUT]")
@click.option(
    "--batch",
    metavar="FILE|ADDRESS",
    help="In place of TARGET many scenes: a CSV table with columns target, out and options by name, a STAC "
    "ItemCollection, or the address of a search in a STAC API; OUT is the folder for results that these give no place "
    "for.",
)
@click.option(
    "--per-asset",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="In place of OUT a folder: one file for each band at its own resolution, and a STAC Item.",
)
@request_options
@click.option("--recipe", help="Recipe by name or file; other options override it, and TARGET may be left out.")
@algorithm_options
@click.option("--workers", type=click.IntRange(1, 1024), help="Threads; by default one per core.")
@click.option(
    "--scheduler", metavar="tcp://HOST:8786", help="Dask scheduler whose workers do the work in place of threads."
)
@click.option("--provenance", type=click.Path(path_type=Path), help="File that records where every pixel comes from.")
@click.option(
    "--analysis-resolution",
    default="fine",
    show_default=True,
    metavar="fine|native",
    help="Where statistics are taken: on cells as for tiles, or on every pixel.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of metrics (*.prom) to keep up to date, for Prometheus' node exporter.",
)
@click.pass_context
def export(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    batch: str | None,
    as_json: bool,
    metrics: Path | None,
    **options: Any,
) -> None:
    """Write the whole raster TARGET without its clouds as a Cloud Optimized GeoTIFF OUT, or one for each band.

    An interrupted export resumes where it stopped when the same command is run again.
    """
    from server.models.folder import use_models  # noqa: PLC0415  (start-up of the other commands)
    from server.settings import Settings  # noqa: PLC0415

    given = {name: value for name, value in options.items() if value not in (None, (), "")}
    with one_line():
        settings = Settings()
        use_models(settings.models)  # before a recipe names one
        if batch is not None:
            _export_batch(context.command, batch, paths, given, settings, metrics, as_json=as_json)
            return
        job = _job(paths, given, settings)
        with interruptible(job.out):
            report = run_export(job, settings, metrics)
    click.echo(json.dumps(report.summary()) if as_json else in_words(report))


def _job(paths: tuple[str, ...], given: dict[str, Any], settings: Settings) -> ExportJob:
    from server.export.job import ExportJob  # noqa: PLC0415

    return ExportJob(**_arguments(paths, given, settings))


def _export_batch(
    command: click.Command,
    batch: str,
    paths: tuple[str, ...],
    given: dict[str, Any],
    settings: Settings,
    metrics: Path | None,
    *,
    as_json: bool,
) -> None:
    """Export the scenes of a file or a search; exit status 2 if any of them failed."""
    from server.export.batch import BatchScene, Option, read_batch  # noqa: PLC0415
    from server.export.batches import run_batch  # noqa: PLC0415
    from server.export.searched import is_search, searched_scenes  # noqa: PLC0415

    if len(paths) > 1:
        raise click.UsageError(f"{paths[1]!r}: with --batch give at most one folder OUT")
    if "provenance" in given:
        raise click.UsageError("--provenance names one file: in a batch it is a column of the table")
    folder = Path(paths[0]) if paths else given.get("per_asset")
    options = {
        p.name: Option((p.opts[0], *p.secondary_opts), bool(getattr(p, "is_flag", False)), bool(p.multiple))
        for p in command.params
        if isinstance(p, click.Option) and p.name is not None and p.name not in _WHOLE_BATCH
    }
    if is_search(batch):
        scenes = searched_scenes(batch, folder, settings, per_asset="per_asset" in given)
    else:
        scenes = read_batch(Path(batch), folder, options, per_asset="per_asset" in given)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def job_of(scene: BatchScene) -> ExportJob:
        own = command.make_context("export", [*scene.arguments, "--", scene.target])
        said = {name for name in own.params if own.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        values = given | {name: value for name, value in own.params.items() if name in said and name in options}
        if "per_asset" in given:
            return _job((scene.target,), values | {"per_asset": scene.out}, settings)
        return _job((scene.target, str(scene.out)), values, settings)

    def export_one(job: ExportJob) -> ExportReport:
        with interruptible(job.out):
            return run_export(job, settings, metrics)

    outcome = run_batch(scenes, job_of, export_one, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(outcome.summary()))
    else:
        click.echo(
            f"{outcome.count('done')} done, {outcome.count('skipped')} there already, {len(outcome.failed)} failed"
        )
        for one in outcome.failed:
            click.echo(f"{one.scene.where}: {one.error}")
    if outcome.failed:
        sys.exit(2)


def _arguments(paths: tuple[str, ...], given: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The fields of an `ExportJob`: the recipe's values, overridden by the command line's."""
    from dataclasses import replace  # noqa: PLC0415

    from algorithms.removal import CloudRemoval  # noqa: PLC0415
    from server.analysis.request import Request  # noqa: PLC0415
    from server.recipes.store import load_recipe  # noqa: PLC0415

    recipe = load_recipe(given["recipe"], settings.recipes) if "recipe" in given else None
    target, out = _places(paths, given.get("per_asset"), recipe.request.target if recipe else None)
    request = replace(recipe.request, target=target) if recipe else Request(target)
    options = {name: given[name] for name in OPTIONS if name in given}
    return {
        "request": replace(request, **fields_of(given)),
        "out": out,
        "per_asset": "per_asset" in given,
        "algorithm": CloudRemoval(**((recipe.options if recipe else {}) | options)),
        "resolution": given["analysis_resolution"],
        **{name: given[name] for name in AS_THEY_ARE if name in given},
    }


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
