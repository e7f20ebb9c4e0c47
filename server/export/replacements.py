"""The command `clearsky replacements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from server.http.replacements import ReplacementRanking


@click.command(
    short_help="List the dates that ITEM may be filled from.",
    epilog="\b\nExamples:\n"
    "  clearsky replacements https://host/collections/sentinel-2-l2a/items/ID\n"
    "  clearsky replacements ITEM.json --mask scl --json",
)
@click.argument("item", metavar="ITEM")
@click.option("--mask", help="Raster of cloud classes, or the scenes' own masks: scl, qa_pixel, ...")
@click.option("--model", help="Cloud model to look for the target's clouds with (see `clearsky models`).")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 50), help="Candidates to list.")
@click.option("--json", "as_json", is_flag=True, help="Print what /stac/replacements answers.")
def replacements(item: str, mask: str | None, model: str | None, limit: int, *, as_json: bool) -> None:
    """List the dates that ITEM may be filled from: a STAC Item, a .SAFE or a Landsat product.

    They are looked up in the STAC API that the Item names, or in CLEARSKY_STAC_API.
    """
    from server.analysis.request import Request  # noqa: PLC0415  (start-up of the other commands)
    from server.export.chosen import own_apis, own_chooser  # noqa: PLC0415
    from server.export.inputs import own_source  # noqa: PLC0415
    from server.export.terminal import one_line  # noqa: PLC0415
    from server.http.replacements import described_ranking  # noqa: PLC0415
    from server.raster.sources import Sources  # noqa: PLC0415
    from server.settings import Settings  # noqa: PLC0415

    with one_line():
        settings = Settings()
        request = Request(item, mask=mask, model=model).checked(own_source)
        sources = Sources.of(settings, own=[*request.sources, *own_apis(settings)])
        with own_chooser(settings, sources) as chooser:
            ranking = described_ranking(chooser.ranking(request.checked(sources.check)), limit)
    click.echo(ranking.model_dump_json(indent=2) if as_json else _table(ranking))


def _table(ranking: ReplacementRanking) -> str:
    """A ranking as lines of text."""
    target = ranking.target
    heading = (
        f"{target.id}: {target.cloud_fraction:.0%} cloud; {ranking.items} Items of {ranking.collection} at "
        f"{ranking.api}; the dates marked * are clear under {ranking.covered:.0%} of the clouds"
    )
    rows: list[tuple[Any, ...]] = [("", "score", "clear", "cover", "date", "id", "why")]
    for candidate in ranking.candidates:
        clear, cover = candidate.clear, candidate.cloud_cover
        rows.append(
            (
                "*" if candidate.chosen else "",
                f"{candidate.score:.3f}",
                "" if clear is None else f"{clear:.0%}",
                "" if cover is None else f"{cover:.0f}%",
                (candidate.datetime or "")[:10],
                candidate.id,
                "; ".join(candidate.reasons),
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(6)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[6]]) for row in rows
    ]
    return "\n".join([heading, *lines, *(f"note: {warning}" for warning in ranking.warnings)])
