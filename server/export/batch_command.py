"""`clearsky export --batch`: the scenes of a table, of a STAC ItemCollection or of a search."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from server.export.arguments import job_of
from server.export.batch import BatchOption, BatchScene, read_batch
from server.export.batches import run_batch
from server.export.cluster import OPEN_EXPORTS
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.export.searched import is_search, searched_scenes
from server.export.terminal import interruptible, run_export
from server.export.textfile import ProgressFile
from server.settings import Settings

_WHOLE_BATCH: Final = frozenset({"batch", "per_asset", "as_json", "metrics", "scheduler"})
"""Options that a table of a batch cannot have for single scenes."""


def export_batch(
    command: click.Command,
    batch: str,
    paths: tuple[str, ...],
    given: dict[str, Any],
    settings: Settings,
    metrics: Path | None,
    *,
    as_json: bool,
) -> None:
    """Export the scenes of a file or a search; exit status 2 if any of them failed.

    Args:
        command: `clearsky export`, whose options a table may have as columns.
        batch: the file, or the address of a search.
        paths: the folder for results, if one is given.
        given: the command's options by name, those that are given; a scene's own override them.
        settings: what the operator has set.
        metrics: file of metrics to keep up to date.
        as_json: whether to print what was done as JSON.

    Raises:
        click.UsageError: options that do not go together. ParameterError: a file that cannot be read as a batch.
    """
    if len(paths) > 1:
        raise click.UsageError(f"{paths[1]!r}: with --batch give at most one folder OUT")
    if "provenance" in given:
        raise click.UsageError("--provenance names one file: in a batch it is a column of the table")
    folder = Path(paths[0]) if paths else given.get("per_asset")
    options = {
        p.name: BatchOption((p.opts[0], *p.secondary_opts), bool(getattr(p, "is_flag", False)), bool(p.multiple))
        for p in command.params
        if isinstance(p, click.Option) and p.name is not None and p.name not in _WHOLE_BATCH
    }
    if is_search(batch):
        scenes = searched_scenes(batch, folder, settings, per_asset="per_asset" in given)
    else:
        scenes = read_batch(Path(batch), folder, options, per_asset="per_asset" in given)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def job_of_scene(scene: BatchScene) -> ExportJob:
        own = command.make_context("export", [*scene.arguments, "--", scene.target])
        said = {name for name in own.params if own.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        values = given | {name: value for name, value in own.params.items() if name in said and name in options}
        if "per_asset" in given:
            return job_of((scene.target,), values | {"per_asset": scene.out}, settings)
        return job_of((scene.target, str(scene.out)), values, settings)

    at_once = OPEN_EXPORTS if "scheduler" in given else 1
    file = None if metrics is None else ProgressFile(metrics)

    def export_one(job: ExportJob) -> ExportReport:
        return run_export(job, settings, file, bar=at_once == 1)

    def tell(line: str) -> None:
        click.echo(line, err=True)

    counted: dict[str, Any] = {} if file is None else {"counted": file.batch}
    with interruptible("*.partial next to the results"):
        outcome = run_batch(scenes, job_of_scene, export_one, tell, at_once=at_once, **counted)
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
