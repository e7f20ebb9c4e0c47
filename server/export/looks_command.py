"""The commands `clearsky mask` and `clearsky picture`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from algorithms.errors import check_choice
from algorithms.options import OPTIONS
from algorithms.styles import DEFAULT_STYLE, STYLES
from server.analysis.parameters import fields_of
from server.export.options import algorithm_options, request_options
from server.export.terminal import one_line

PANEL_PIXELS: Final = 768
"""Longer side of a panel of `clearsky picture` unless its user says otherwise."""
MASK_OPTIONS: Final = ("sensitivity", "refine")
"""Options that a mask depends on; the others are about buffer and fill."""
PICTURE_STYLES: Final = tuple(name for name, style in STYLES.items() if style.scaling != "none")
"""Styles that a picture can have."""


def _given(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of a request, and the options of the algorithm, that the command line names."""
    named = {name: value for name, value in options.items() if value not in (None, (), "")}
    return fields_of(named), {name: named[name] for name in OPTIONS if name in named}


@click.command(
    short_help="Write the cloud mask of a scene.",
    epilog="\b\nExamples:\n"
    "  clearsky mask scene.tif clouds.tif\n"
    "  clearsky mask scene.tif clouds.png --replacement other.tif\n"
    "  clearsky mask ITEM.json clouds.tif --mask scl\n"
    "  clearsky mask scene.tif percent.tif --probability",
)
@click.argument("scene", metavar="IN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--probability", is_flag=True, help="The model's probability of cloud in percent instead of classes.")
@request_options
@partial(algorithm_options, used=MASK_OPTIONS)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def mask(scene: str, out: Path, *, probability: bool, overwrite: bool, **options: Any) -> None:
    """Write the cloud mask of IN: 0 clear, 1 cloud, 2 cloud shadow, 255 no data.

    OUT is a Cloud Optimized GeoTIFF on the scene's own pixels or, where it ends in .png, a picture in colour. With a
    replacement the mask is refined by it.
    """
    from algorithms.removal import CloudMask, CloudProbability  # noqa: PLC0415  (start-up of the other commands)
    from server.analysis.request import Request  # noqa: PLC0415
    from server.export.looking import looking  # noqa: PLC0415
    from server.export.masking import MASK_ENDINGS, write_mask  # noqa: PLC0415
    from server.export.output import check_output, input_files  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    with one_line():
        fields, chosen = _given(options)
        algorithm = (CloudProbability if probability else CloudMask)(**chosen)
        with looking(Request(scene, **fields), Settings()) as scenery:
            check_output(out, input_files(scenery.request), MASK_ENDINGS, overwrite=overwrite)
            share = write_mask(scenery, out, algorithm)
    click.echo(f"Wrote {out}: {share:.1%} {'at 50 % or more' if probability else 'cloud and shadow'}")


@click.command(
    short_help="Write a picture of a scene before and after.",
    epilog="\b\nExamples:\n"
    "  clearsky picture scene.tif --replacement other.tif look.png\n"
    "  clearsky picture ITEM.json --replacement auto look.png --style false-color",
)
@click.argument("scene", metavar="IN")
@click.argument("out", metavar="OUT.png", type=click.Path(path_type=Path))
@click.option(
    "--style", default=DEFAULT_STYLE.name, show_default=True, metavar="|".join(PICTURE_STYLES), help="Colours."
)
@click.option(
    "--size", default=PANEL_PIXELS, show_default=True, type=click.IntRange(64, 4096), help="Longer side of a panel."
)
@request_options
@partial(algorithm_options, tiled=True)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def picture(scene: str, out: Path, *, style: str, size: int, overwrite: bool, **options: Any) -> None:
    """Write IN, its clouds, and IN without them side by side as OUT.png."""
    from algorithms.removal import CloudRemoval  # noqa: PLC0415  (start-up of the other commands)
    from server.analysis.request import Request  # noqa: PLC0415
    from server.export.looking import looking  # noqa: PLC0415
    from server.export.output import check_output, input_files, write_bytes  # noqa: PLC0415
    from server.export.panels import before_and_after  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    with one_line():
        check_choice(style, PICTURE_STYLES, what="--style")
        fields, chosen = _given(options)
        request = Request(scene, **fields)
        if not request.replacements:
            raise click.UsageError("give another date of the same place with --replacement")
        with looking(request, Settings()) as scenery:
            check_output(out, input_files(scenery.request), (".png",), overwrite=overwrite)
            write_bytes(out, lambda: before_and_after(scenery, CloudRemoval(**chosen), size=size, style=style))
    click.echo(f"Wrote {out}")
