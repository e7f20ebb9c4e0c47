"""The dates that a target may be filled from, as a choice leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.scenes.acquisition import Acquisition
from server.scenes.search import LeftOut


@dataclass(frozen=True, slots=True)
class Offer:
    """A date that a target may be filled from."""

    url: str
    """Address of its Item."""
    acquisition: Acquisition
    """What its document says."""
    score: float
    """From 0 to 1."""
    clear: float | None
    """Share of the target's clouds under which it is clear; None where that was not looked at."""
    reasons: tuple[str, ...]
    """What the score is made of."""
    found: str = field(repr=False, compare=False)
    """The address as the API gives it, with what opens it: each request is let in by it again."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The dates that a target may be filled from, and those chosen."""

    target: Acquisition
    """The target."""
    api: str
    """The API that was searched."""
    collection: str
    """The collection in it."""
    items: int
    """Items looked at."""
    cloud_fraction: float
    """Share of the target that is cloud, as seen from afar."""
    covered: float
    """Share of its clouds under which one of the chosen is clear."""
    chosen: tuple[Offer, ...]
    """Those it is filled from, in order."""
    offers: tuple[Offer, ...]
    """The best first, those chosen among them."""
    left_out: tuple[LeftOut, ...]
    """Items that are no candidates, and why."""
    warnings: tuple[str, ...]
    """What may be better elsewhere."""
    lacking: tuple[str, ...] = ()
    """Bands of the target that the chosen lack; no date that helps has them all then."""
    provisional: bool = False
    """Whether a candidate could not be looked at just then, so that the choice is made again soon."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What the chosen are called."""
        return tuple(offer.acquisition.id for offer in self.chosen)

    @property
    def lasting(self) -> bool:
        """Whether other processes may have it, in a store of whoever runs them: final, and without any secret."""
        return not self.provisional and all(offer.found == offer.url for offer in self.offers)
