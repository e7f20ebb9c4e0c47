"""`/stac/replacements`: the dates that a target may be filled from, with scores and reasons."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, Field

from server.analysis.offers import Ranking
from server.analysis.ranking import LISTED_CANDIDATES
from server.analysis.request import Request
from server.http.params import asked_target
from server.http.shared import SharedChooser
from server.remote.redaction import redacted
from server.remote.signatures import shown_name
from server.work.ticket import holding

SHOWN_CANDIDATES: Final = 10
"""Candidates that are listed unless a request asks for another number."""


class RankedCandidate(BaseModel):
    """A date that the target may be filled from."""

    id: str = Field(description="Id of its Item")
    url: str = Field(description="Address of its Item, for `replacement`; without its secrets")
    datetime: str | None = Field(description="When it was taken")
    score: float = Field(description="From 0 to 1, the best first")
    clear: float | None = Field(description="Share of the target's clouds under which it is clear; null: not looked at")
    cloud_cover: float | None = Field(description="Percent of the whole scene, as its document says")
    chosen: bool = Field(description="Whether `replacement=auto` takes it")
    reasons: list[str] = Field(description="What the score is made of")


class RefusedItem(BaseModel):
    """An Item that is no candidate."""

    id: str = Field(description="Its id")
    reason: str = Field(description="Why it is none")


class SearchedTarget(BaseModel):
    """What is to be filled."""

    id: str = Field(description="Id of its Item or product")
    datetime: str | None = Field(description="When it was taken")
    tile: str | None = Field(description="MGRS tile, or WRS path and row")
    cloud_fraction: float = Field(description="Share of it that is cloud, as seen from afar")


class ReplacementRanking(BaseModel):
    """The dates that a target may be filled from."""

    target: SearchedTarget
    api: str = Field(description="The STAC API that was searched")
    collection: str = Field(description="The collection in it")
    items: int = Field(description="Items looked at")
    covered: float = Field(description="Share of the target's clouds under which one of the chosen dates is clear")
    chosen: list[str] = Field(description="Ids of the dates that `replacement=auto` takes, in order")
    candidates: list[RankedCandidate] = Field(description="The best first")
    left_out: list[RefusedItem] = Field(description="Items that are no candidates")
    warnings: list[str] = Field(description="What may be better elsewhere")


def described_ranking(ranking: Ranking, limit: int = SHOWN_CANDIDATES) -> ReplacementRanking:
    """A ranking as it is answered.

    Args:
        ranking: the ranking.
        limit: how many candidates, and how many Items that are none, are listed.
    """
    about, chosen = ranking.target, ranking.ids
    return ReplacementRanking(
        target=SearchedTarget(
            id=redacted(about.id),
            datetime=about.when.isoformat() if about.when else None,
            tile=about.tile,
            cloud_fraction=round(ranking.cloud_fraction, 4),
        ),
        api=shown_name(ranking.api),
        collection=ranking.collection,
        items=ranking.items,
        covered=round(ranking.covered, 4),
        chosen=[redacted(name) for name in chosen],
        candidates=[
            RankedCandidate(
                id=redacted(offer.acquisition.id),
                url=shown_name(offer.url),
                datetime=offer.acquisition.when.isoformat() if offer.acquisition.when else None,
                score=offer.score,
                clear=None if offer.clear is None else round(offer.clear, 4),
                cloud_cover=offer.acquisition.cloud_cover,
                chosen=offer.acquisition.id in chosen,
                reasons=[redacted(reason) for reason in offer.reasons],
            )
            for offer in ranking.offers[:limit]
        ],
        left_out=[RefusedItem(id=redacted(item.id), reason=redacted(item.reason)) for item in ranking.left_out[:limit]],
        warnings=[redacted(warning) for warning in ranking.warnings],
    )


def list_replacements(
    request: Annotated[Request, Depends(asked_target)],
    chooser: SharedChooser,
    limit: Annotated[
        int, Query(description="Candidates that are listed", ge=1, le=LISTED_CANDIDATES)
    ] = SHOWN_CANDIDATES,
) -> ReplacementRanking:
    """List the dates that a target may be filled from, ranked as `replacement=auto` ranks them."""
    with holding():
        return described_ranking(chooser.ranking(request), limit)


def add_replacements(app: FastAPI) -> None:
    """Add `/stac/replacements`.

    Args:
        app: The application to add the route to.
    """
    app.get("/stac/replacements", tags=["Cloud-free scenes of several files"])(list_replacements)
