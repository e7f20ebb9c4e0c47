"""The command `clearsky export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from server.export.options import algorithm_options, request_options
from server.export.terminal import in_words, interruptible, one_line, run_export


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
    from server.export.arguments import job_of  # noqa: PLC0415  (start-up of the other commands)
    from server.export.textfile import ProgressFile  # noqa: PLC0415
    from server.models.folder import use_models  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    given = {name: value for name, value in options.items() if value not in (None, (), "")}
    with one_line():
        settings = Settings()
        use_models(settings.models)  # before a recipe names one
        if batch is not None:
            from server.export.batch_command import export_batch  # noqa: PLC0415

            export_batch(context.command, batch, paths, given, settings, metrics, as_json=as_json)
            return
        job = job_of(paths, given, settings)
        with interruptible(f"{job.out}.partial"):
            report = run_export(job, settings, None if metrics is None else ProgressFile(metrics))
    click.echo(json.dumps(report.summary()) if as_json else in_words(report))
