"""The commands `clearsky recipe check` and `clearsky recipe from-rft`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from server.analysis.request import Request
    from server.raster.sources import Sources
    from server.recipes.model import Recipe
    from server.settings import Settings


@click.group(short_help="Check recipes, or convert ArcGIS templates.")
def recipe() -> None:
    """Check recipes, or convert ArcGIS raster function templates into them."""


def _told(found: Recipe) -> str:
    """One line that says what a recipe does."""
    request = found.request
    options = " ".join(f"{name}={value}" for name, value in found.options.items())
    filled = (
        f"filled from {', '.join(request.replacements)}" if request.replacements else "shown as it is (no replacements)"
    )
    clouds = f"clouds of {request.mask} ({_rule(request)})" if request.mask else f"model {request.model or 'auto'}"
    return f"{found.name}: {request.target} {filled}; {clouds}; {options}"


def _rule(request: Request) -> str:
    """Which values of a recipe's mask mean cloud, in words."""
    from server.analysis.clouds import is_preset  # noqa: PLC0415

    if request.mask_bits:
        return f"bits {', '.join(map(str, request.mask_bits))}"
    if request.remap:
        return request.remap.text
    return "its own classes" if is_preset(request.mask) else "everything but 0"


def _problems(name: str, settings: Settings, sources: Sources | None, taken: dict[str, str]) -> list[str]:
    """What is wrong with a recipe; prints what it does if nothing is.

    Args:
        name: of the recipe, or its file.
        settings: where recipes known by name are, and what to search.
        sources: what opens its rasters; None leaves them alone.
        taken: names of recipes and where they are from, to which this one's is added.
    """
    from server.errors import RecipeError, RecipeMissingError  # noqa: PLC0415
    from server.recipes.rasters import raster_problems  # noqa: PLC0415
    from server.recipes.store import load_recipe  # noqa: PLC0415

    try:
        found = load_recipe(name, settings.recipes)
    except RecipeError as error:
        return list(error.problems)
    except RecipeMissingError as error:
        return [str(error)]
    if found.name in taken:
        where = found.document.at(("name",))
        return [f"{where}: name={found.name!r}: {taken[found.name]} already has this name; choose another"]
    taken[found.name] = found.document.name
    problems = [] if sources is None else raster_problems(found, sources, api=settings.stac_api)
    if not problems:
        click.echo(_told(found))
    return problems


@recipe.command(
    short_help="Check recipes and the rasters they name.",
    epilog="\b\nExamples:\n  clearsky recipe check recipes/*.yaml\n  clearsky recipe check july.yaml --offline",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--offline", is_flag=True, help="Check only the files; do not open the rasters they name.")
def check(files: tuple[str, ...], *, offline: bool) -> None:
    """Check recipes: the files, and whether the server may open the rasters and they fit together."""
    from server.models.folder import use_models  # noqa: PLC0415
    from server.raster.sources import Sources  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    settings = Settings()
    use_models(settings.models)
    sources = None if offline else Sources.of(settings)
    taken: dict[str, str] = {}
    problems = [problem for name in files for problem in _problems(name, settings, sources, taken)]
    for problem in problems:
        click.echo(" ".join(problem.split()), err=True)
    if problems:
        sys.exit(2)


def _seen_from(url: str, out: Path | None) -> str:
    """A relative path, as the recipe's own folder sees it."""
    if "://" in url or Path(url).is_absolute() or url.startswith("~"):
        return url
    return url if out is None else Path(os.path.relpath(url, out.parent)).as_posix()


@recipe.command(
    "from-rft",
    short_help="Convert an ArcGIS raster function template.",
    epilog="\b\nExamples:\n"
    "  clearsky recipe from-rft slra.rft.xml --target a.tif --replacement b.tif\n"
    "  clearsky recipe from-rft slra.rft.xml --exact -o recipes/july.yaml",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--target", help="Cloudy raster, instead of the template's.")
@click.option("--replacement", multiple=True, help="Another date; may be repeated.")
@click.option("--mask", help="Raster of cloud classes; without one a cloud model finds the clouds.")
@click.option("--name", help="The recipe's name; by default made from the template's.")
@click.option("--exact", is_flag=True, help="The settings of Esri's function instead of ClearSky's better ones.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: print.")
def from_rft(
    file: Path,
    target: str | None,
    replacement: tuple[str, ...],
    mask: str | None,
    name: str | None,
    *,
    exact: bool,
    output: Path | None,
) -> None:
    """Convert an ArcGIS raster function template (.rft.xml) of Stepwise Local Radiometric Adjustment into a recipe."""
    from server.recipes.convert import write_recipe  # noqa: PLC0415
    from server.recipes.rft import read_template  # noqa: PLC0415

    template = read_template(file)
    text, notes = write_recipe(
        template,
        target=_seen_from(target, output) if target else None,
        replacements=tuple(_seen_from(url, output) for url in replacement),
        mask=_seen_from(mask, output) if mask else None,
        name=name,
        exact=exact,
    )
    if output is None:
        click.echo(text, nl=False)
    elif output.exists():
        raise click.ClickException(f"{str(output)!r} already exists; remove it or write another file")
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"Wrote {output}")
    for note in notes:
        click.echo(f"note: {note}", err=True)
