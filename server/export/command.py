"""The command `clearsky export`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS, fields_of

if TYPE_CHECKING:
    from server.export.job import ExportJob
    from server.export.scene import ExportReport
    from server.settings import Settings

AS_THEY_ARE = ("workers", "provenance", "overwrite")
"""Options that are fields of an `ExportJob`."""

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
    "--per-asset",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="In place of OUT a folder: one file for each band at its own resolution, and a STAC Item.",
)
@request_options
@click.option("--recipe", help="Recipe by name or file; other options override it, and TARGET may be left out.")
@algorithm_options
@click.option("--workers", type=click.IntRange(1, 1024), help="Threads; by default one per core.")
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
def export(paths: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Write the whole raster TARGET without its clouds as a Cloud Optimized GeoTIFF OUT, or one for each band.

    An interrupted export resumes where it stopped when the same command is run again.
    """
    from server.export.job import ExportJob  # noqa: PLC0415  (start-up of the other commands)
    from server.settings import Settings  # noqa: PLC0415

    given = {name: value for name, value in options.items() if value not in (None, (), "")}
    with one_line():
        settings = Settings()
        job = ExportJob(**_arguments(paths, given, settings))
        with _interruptible(job.out):
            report = _run(job, settings)
    click.echo(json.dumps(report.summary()) if as_json else _in_words(report))


def _in_words(report: ExportReport) -> str:
    """What an export has done, for a terminal."""
    done = report.summary()
    wrote = f"Wrote {', '.join(done['outputs'])}"
    if report.replacements and done["filled"] != 0:
        wrote += f"\nFilled from {', '.join(origin.label for origin in report.replacements)}"
    if done["cloud"] is None:
        return wrote
    confidence = "" if done["mean_confidence"] is None else f" (mean confidence {done['mean_confidence']:.0f} %)"
    return (
        f"{wrote}\nCloud {done['cloud']:.1%}: filled {done['filled']:.1%}{confidence}, "
        f"unfilled {done['unfilled']:.1%}; {done['seconds']:.1f} s"
    )


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


@contextmanager
def one_line() -> Iterator[None]:
    """Report every error that an export can meet in one line."""
    from pydantic import ValidationError  # noqa: PLC0415
    from rasterio._err import CPLE_BaseError  # noqa: PLC0415
    from rasterio.errors import RasterioError  # noqa: PLC0415
    from rio_tiler.errors import RioTilerError  # noqa: PLC0415

    try:
        yield
    except ValidationError as error:
        parts = [f"--{'.'.join(map(str, e['loc']))} {e.get('input')}: {e['msg']}" for e in error.errors()]
        raise click.UsageError("; ".join(parts)) from error
    except (RasterioError, RioTilerError, CPLE_BaseError) as error:
        raise click.ClickException(f"{_innermost(error)}; check the rasters, then run the command again") from error
    except MemoryError as error:
        raise click.ClickException("out of memory; lower --workers or CLEARSKY_CACHE_BYTES") from error


def _innermost(error: BaseException) -> BaseException:
    """The error that names the file: rasterio's own says `see previous exception`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _interruptible(out: Path) -> Iterator[None]:
    """Report Ctrl-C and a request to terminate in one line that says how to resume."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"clearsky: interrupted; finished pieces stay in {out}.partial, and the same command resumes from there",
            err=True,
        )
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(job: ExportJob, settings: Settings) -> ExportReport:
    """Export, on a terminal with a progress bar."""
    from server.export.scene import export_scene  # noqa: PLC0415

    if not sys.stderr.isatty():
        return export_scene(job, settings)
    with click.progressbar(length=1, label="Filling", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        return export_scene(job, settings, progress, lambda text: click.echo(f"\n{text}", err=True, nl=False))
