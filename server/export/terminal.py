"""Exports on a terminal: progress, results in words, every error in one line, and how to resume."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS

if TYPE_CHECKING:
    from server.export.job import ExportJob
    from server.export.scene import ExportReport
    from server.export.textfile import ProgressFile
    from server.settings import Settings

_SWITCHES: Final = "overwrite|per_asset|provenance|scheduler"
_NAMES: Final = "|".join(sorted([*PARAMETERS, *OPTIONS, *_SWITCHES.split("|")], key=len, reverse=True))
_NAMED: Final = re.compile(rf"`({_NAMES})=?(?:True)?`|(?<![\w/.?&'\"-])({_NAMES})=(?=[^\s`])")
_OF_A_FILE: Final = re.compile(r"\S+:\d+: ")
"""How messages about lines of a file begin, which has keys of its own."""


def in_words(report: ExportReport) -> str:
    """What an export has done, for a terminal."""
    done = report.summary()
    wrote = f"Wrote {', '.join(done['outputs'])}"
    if report.replacements and done["filled"] != 0:
        wrote += f"\nFilled from {', '.join(origin.label for origin in report.replacements)}"
    return wrote if done["cloud"] is None else f"{wrote}\n{figures_in_words(report)}"


def figures_in_words(report: ExportReport) -> str:
    """What was cloud and what of it is filled, and the time it took, as one line."""
    done = report.summary()
    if done["cloud"] is None:
        return f"Cloud not known: an earlier run found it; {done['seconds']:.1f} s"
    confidence = "" if done["mean_confidence"] is None else f" (mean confidence {done['mean_confidence']:.0f} %)"
    return (
        f"Cloud {done['cloud']:.1%}: filled {done['filled']:.1%}{confidence}, "
        f"unfilled {done['unfilled']:.1%}; {done['seconds']:.1f} s"
    )


@contextmanager
def one_line() -> Iterator[None]:
    """Report every error that an export can meet in one line."""
    from pydantic import ValidationError  # noqa: PLC0415
    from rasterio._err import CPLE_BaseError  # noqa: PLC0415
    from rasterio.errors import RasterioError  # noqa: PLC0415
    from rio_tiler.errors import RioTilerError  # noqa: PLC0415

    from server.settings import bad_settings  # noqa: PLC0415

    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or click.get_current_context(silent=True)  # whose help is named
        raise
    except ValidationError as error:
        if bad_settings(error) is not None:  # no option's value: the command reports it
            raise
        parts = [f"--{'.'.join(map(str, e['loc']))} {e.get('input')}: {e['msg']}" for e in error.errors()]
        raise click.UsageError("; ".join(parts), click.get_current_context(silent=True)) from error
    except (RasterioError, RioTilerError, CPLE_BaseError) as error:
        raise click.ClickException(f"{_innermost(error)}; check the rasters, then run the command again") from error
    except MemoryError as error:
        raise click.ClickException("out of memory; lower --workers or CLEARSKY_CACHE_BYTES") from error


def in_flags(text: str) -> str:
    """A message with the names of parameters as the command line writes them: `--mask scl` for `mask=scl`."""
    if _OF_A_FILE.match(text):
        return text
    return _NAMED.sub(lambda m: f"--{(m[1] or m[2]).replace('_', '-')}{'' if m[1] else ' '}", text)


class FlagFormatter(logging.Formatter):
    """Log lines on a terminal, with the names of parameters as `in_flags` writes them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return in_flags(super().format(record))


def _innermost(error: BaseException) -> BaseException:
    """The error that names the file: rasterio's own says `see previous exception`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def interruptible(work: str) -> Iterator[None]:
    """Report Ctrl-C and a request to terminate in one line that says how to resume.

    Args:
        work: where finished pieces stay.
    """
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        # GDAL, at a file when the signal comes, takes it for one that cannot be read.
        if not (stopped or isinstance(error, KeyboardInterrupt)):
            raise
        click.echo(
            f"clearsky: interrupted; finished pieces stay in {work}, and the same command resumes from there", err=True
        )
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_export(job: ExportJob, settings: Settings, metrics: ProgressFile | None, *, bar: bool = True) -> ExportReport:
    """Export, on a terminal with a progress bar.

    Args:
        job: what to do.
        settings: caches, threads and how remote files are read.
        metrics: where progress is noted, too.
        bar: whether there may be a bar; several exports at a time have none.
    """
    from server.export.scene import export_scene  # noqa: PLC0415
    from server.work.ticket import current_ticket  # noqa: PLC0415

    report, ticket = None, current_ticket.get()
    shown = bar and sys.stderr.isatty()
    if metrics is not None:
        metrics.begin(job.out)
    try:
        with click.progressbar(length=1, label="Filling", file=sys.stderr, hidden=not shown) as line:

            def progress(done: int, total: int) -> None:
                if ticket is not None:
                    ticket.check()
                line.length = total
                line.update(done - line.pos)
                if metrics is not None:
                    metrics.progress(job.out, done, total)

            def announce(text: str) -> None:
                if shown:
                    click.echo(f"\n{text}", err=True, nl=False)

            report = export_scene(job, settings, progress, announce)
    finally:
        if metrics is not None:
            metrics.end(job.out, report)
    return report
