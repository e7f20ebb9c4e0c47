"""The command `clearsky`."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn, get_args

import click
from pydantic import ValidationError

from algorithms.errors import ClearSkyError
from server import __version__
from server.export.command import export
from server.export.looks_command import mask, picture
from server.export.replacements import replacements
from server.export.terminal import FlagFormatter, in_flags
from server.recipes.command import recipe
from server.remote.redaction import redacted
from server.settings import LogLevel, bad_settings

_NOT_LISTED = " (not on CLEARSKY_ALLOWED_SOURCES: nobody can name what is there)"


def _fail(message: str) -> NoReturn:
    """One line on stderr, exit status 2."""
    click.echo(f"clearsky: {' '.join(message.split())}", err=True)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clearsky")
def cli() -> None:
    """Remove clouds from satellite images on the fly."""


def _check_address(host: str, port: int) -> None:
    """Fail now, before minutes go into a demo scene, if the server cannot listen.

    Raises:
        click.ClickException: the port is in use, or the host is not one of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(
                f"port {port} is in use; give another --port, or stop what listens there"
            ) from error
        raise click.ClickException(
            f"cannot listen on host {host!r}, port {port}: {error.strerror}; give one of this machine's addresses"
        ) from error


@cli.command(
    epilog="\b\nExamples:\n"
    "  clearsky serve\n"
    "  CLEARSKY_ALLOWED_SOURCES=/data/scenes clearsky serve --port 9000 --workers 4",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
@click.option("--log-level", type=click.Choice(get_args(LogLevel)), help="What is logged at least. [default: info]")
def serve(host: str, port: int, workers: int, log_level: LogLevel | None) -> None:
    """Serve tiles of the rasters that requests name.

    Without CLEARSKY_ALLOWED_SOURCES a demo scene is generated once.
    """
    import uvicorn  # noqa: PLC0415  (start-up of the other commands)

    from server.demo import write_demo  # noqa: PLC0415
    from server.http.logs import configure_logs  # noqa: PLC0415
    from server.http.protocol import MOST_CONNECTIONS, SILENT_WORKER_SECONDS, PatientProtocol  # noqa: PLC0415
    from server.models.folder import use_models  # noqa: PLC0415
    from server.remote.allowlist import AllowList  # noqa: PLC0415
    from server.remote.rules import Rules  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415
    from server.work.workers import counting_together  # noqa: PLC0415

    _check_address(host, port)
    if log_level is not None:
        os.environ["CLEARSKY_LOG_LEVEL"] = log_level  # of the processes that answer, too
    settings = Settings()
    use_models(settings.models)
    allowed = AllowList.of(settings)
    present = all((settings.demo / name).is_file() for name in ("cloudy.tif", "clear.tif"))
    if not settings.allowed_sources and not present:
        click.echo(f"Generating the demo scene in {settings.demo}, once ...")
        write_demo(settings.demo)
    rules = Rules.read(settings.sources_file)
    for line in allowed.describe():
        click.echo(f"May be read: {line}")
    for prefix, rule in rules.entries:
        click.echo(f"Settings for {prefix}: {rule.describe()}{'' if allowed.may_name(prefix) else _NOT_LISTED}")
    click.echo(f"Viewer: http://{host}:{port}/viewer")
    configure_logs(settings.log_level, settings.log_format)
    with counting_together() if workers > 1 else nullcontext():
        uvicorn.run(
            "server.app:create_sealed_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            log_level="warning",
            access_log=False,
            http=PatientProtocol,
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=7,
            timeout_worker_healthcheck=SILENT_WORKER_SECONDS,
        )


@cli.command(
    short_help="Write a generated scene with clouds.",
    epilog="\b\nExamples:\n  clearsky demo demo-scene\n  clearsky demo other --size 1024 --seed 7",
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--size", default=2048, show_default=True, help="Pixels per side.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random scene; each gives another one.")
def demo(directory: Path, size: int, seed: int) -> None:
    """Write a generated scene: cloudy.tif, clear.tif, truth.tif, truth_mask.tif."""
    from server.demo import write_demo  # noqa: PLC0415

    write_demo(directory, size=size, seed=seed)
    click.echo(f"Wrote the demo scene to {directory}")


@cli.command(
    short_help="List the cloud models.",
    epilog="\b\nExamples:\n  clearsky models\n  CLEARSKY_MODELS=/data/models clearsky models",
)
def models() -> None:
    """List the cloud models that can be used: those of ClearSky, then those of the cards in CLEARSKY_MODELS.

    One line each: id, bands, level, resolution, classes, whether the file is there and its checksum fits, licence.
    """
    from server.models.listing import model_lines  # noqa: PLC0415  (start-up of the other commands)
    from server.settings import Settings  # noqa: PLC0415

    lines, problems = model_lines(Settings().models)
    for line in lines:
        click.echo("\t".join(line))
    for problem in problems:
        click.echo(f"clearsky: {problem}", err=True)
    if problems:
        sys.exit(2)


cli.add_command(export)
cli.add_command(mask)
cli.add_command(picture)
cli.add_command(replacements)
cli.add_command(recipe)


def main() -> None:
    """Run the command; bad usage and bad input end with one line on stderr and status 2."""
    if logging.lastResort is not None:  # prints warnings where no logs are configured
        logging.lastResort.setFormatter(FlagFormatter())
    try:
        cli.main(prog_name="clearsky", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help, in lines
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        _fail(f"{error.format_message()} (see `{context.command_path if context else 'clearsky'} --help`)")
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(130)
    except ValidationError as error:
        if (why := bad_settings(error)) is None:
            raise
        _fail(redacted(why))
    except (ClearSkyError, OSError) as error:
        _fail(in_flags(redacted(str(error))))


if __name__ == "__main__":
    main()
