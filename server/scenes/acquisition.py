"""When, where and how a scene was taken, as its documents say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a document says of a scene as far as dates are compared by it; None where it says nothing."""

    id: str
    """What names it in its archive."""
    when: datetime | None = None
    """Time of the picture, with its time zone."""
    collection: str | None = None
    """Collection in its archive."""
    tile: str | None = None
    """MGRS tile or WRS path and row."""
    level: str | None = None
    """`l1c` or `l2a`."""
    relative_orbit: int | None = None
    """Which of its orbits the satellite was on."""
    sun_elevation: float | None = None
    """Degrees above the horizon."""
    cloud_cover: float | None = None
    """Percent of the whole scene."""
    baseline: str | None = None
    """Processing baseline, `05.11`; the newest of several products of one acquisition counts."""
    box: Box | None = None
    """West, south, east, north in degrees; west is greater than east across the antimeridian."""


def moment(text: object) -> datetime | None:
    """A time with its zone, UTC where none is stated; None for what is none."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def footprint(corners: Sequence[tuple[float, float]]) -> Box | None:
    """The box around longitudes and latitudes; None without any. Those far apart lie on both sides of 180 degrees."""
    if not corners:
        return None
    lons, lats = zip(*corners, strict=True)
    west, east = min(lons), max(lons)
    if east - west > 180:
        west, east = min(lon for lon in lons if lon > 0), max(lon for lon in lons if lon <= 0)
    return west, min(lats), east, max(lats)


def footprint_overlap(box: Box, other: Box) -> float:
    """Share of a box that another one covers, from 0 to 1; longitudes go around."""
    width, height = (box[2] - box[0]) % 360, box[3] - box[1]
    tall = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0 or tall <= 0:
        return 0.0
    start = (other[0] - box[0]) % 360
    end = start + (other[2] - other[0]) % 360
    wide = max(0.0, min(width, end) - start) + max(0.0, min(width, end - 360))
    return min(1.0, wide / width) * min(1.0, tall / height)
