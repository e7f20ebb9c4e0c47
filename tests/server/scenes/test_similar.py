"""The choice of dates: what is better goes first, other things being equal, and the order of input does not count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.errors import ParameterError
from server.scenes.acquisition import Acquisition, footprint, footprint_overlap
from server.scenes.similar import covering, ranked

NOON = datetime(2024, 6, 15, 10, 0, tzinfo=UTC)
TARGET = Acquisition(
    id="target",
    when=NOON,
    collection="sentinel-2-l2a",
    tile="33UWP",
    level="l2a",
    relative_orbit=122,
    sun_elevation=60.0,
    cloud_cover=50.0,
    baseline="05.10",
    box=(15.0, 47.0, 16.5, 48.0),
)
GOOD = replace(TARGET, id="good", when=NOON + timedelta(days=10), cloud_cover=5.0)


def _ids(target: Acquisition, *candidates: Acquisition, **clear: float) -> list[str]:
    return [found.acquisition.id for found in ranked(target, candidates, clear=clear)]


@pytest.mark.parametrize(
    "change",
    [
        {"cloud_cover": 60.0},
        {"cloud_cover": None},
        {"when": NOON - timedelta(days=40)},
        {"when": NOON + timedelta(days=180)},
        {"when": None},
        {"relative_orbit": 22},
        {"sun_elevation": 20.0},
        {"level": "l1c"},
        {"collection": "landsat-c2-l2"},
        {"tile": "33UXP"},
        {"box": (15.8, 47.0, 17.3, 48.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_thing_worse_is_one_rank_lower(change: dict[str, object]) -> None:
    worse = replace(GOOD, id="a-worse", when=NOON - timedelta(days=10))  # another acquisition, as near
    worse = replace(worse, **change)  # type: ignore[arg-type]
    assert _ids(TARGET, worse, GOOD) == ["good", "a-worse"]


def test_the_season_counts_beyond_the_days() -> None:
    summer = replace(GOOD, id="summer", when=NOON.replace(year=2023))
    winter = replace(GOOD, id="winter", when=NOON.replace(year=2023, month=12))
    assert _ids(TARGET, winter, summer) == ["summer", "winter"]


def test_what_was_measured_goes_before_what_the_archive_says() -> None:
    cloudy_elsewhere = replace(GOOD, id="cloudy", cloud_cover=70.0, when=NOON + timedelta(days=11))
    assert _ids(TARGET, GOOD, cloudy_elsewhere, good=0.2, cloudy=0.95) == ["cloudy", "good"]
    assert _ids(TARGET, GOOD, cloudy_elsewhere, cloudy=0.0) == ["good"]


def test_the_newest_of_one_acquisitions_products_counts() -> None:
    old = replace(GOOD, id="z_N0209", baseline="02.09")
    new = replace(GOOD, id="a_N0500", baseline="05.00", when=NOON + timedelta(days=10, seconds=14))
    newest = replace(GOOD, id="b_N0510", baseline="05.10")
    for order in permutations((old, new, newest)):
        assert _ids(TARGET, *order) == ["b_N0510"]


def test_the_target_does_not_fill_itself() -> None:
    again = replace(TARGET, id="target-l1c", level="l1c", when=NOON + timedelta(seconds=30))
    assert _ids(TARGET, TARGET, again, GOOD) == ["good"]


def test_a_neighbour_of_the_same_pass_shows_the_same_clouds() -> None:
    neighbour = replace(GOOD, id="neighbour", tile="33UXP", when=NOON + timedelta(seconds=20))
    assert _ids(TARGET, neighbour, GOOD) == ["good"]


def test_what_does_not_overlap_is_left_out() -> None:
    assert _ids(TARGET, replace(GOOD, box=(20.0, 47.0, 21.0, 48.0)), replace(GOOD, box=(15.0, 49.0, 16.5, 50.0))) == []


def test_every_score_has_its_reasons() -> None:
    (found,) = ranked(TARGET, [GOOD], clear={"good": 0.8})
    assert found.reasons == (
        "80% clear under the target's clouds",
        "same tile 33UWP",
        "covers 100% of the target",
        "10 days later",
        "10 days off the season",
        "same relative orbit 122",
        "sun elevation differs by 0°",
        "same level l2a",
        "same collection sentinel-2-l2a",
    )


ACQUISITIONS = st.builds(
    Acquisition,
    id=st.text(max_size=3),
    when=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    tile=st.none() | st.sampled_from(["33UWP", "33UXP"]),
    level=st.none() | st.sampled_from(["l1c", "l2a"]),
    relative_orbit=st.none() | st.integers(),
    sun_elevation=st.none() | st.floats(),
    cloud_cover=st.none() | st.floats(),
    baseline=st.none() | st.text(max_size=6),
    box=st.none() | st.tuples(*[st.floats(-1e3, 1e3)] * 4),
)


@given(st.lists(ACQUISITIONS, max_size=4, unique_by=lambda candidate: candidate.id), ACQUISITIONS)
def test_scores_lie_between_0_and_1_whatever_the_documents_say(
    candidates: list[Acquisition], target: Acquisition
) -> None:
    scores = [found.score for found in ranked(target, candidates)]
    assert all(0 < score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(0, 99)), min_size=1, max_size=5, unique_by=lambda d: d[0]))
def test_the_order_of_input_does_not_count(drawn: list[tuple[int, int]]) -> None:
    candidates = [
        replace(GOOD, id=f"c{days}", when=NOON + timedelta(days=days), cloud_cover=float(cover))
        for days, cover in drawn
    ]
    assert (
        len({ranked(TARGET, order) for order in (candidates, candidates[::-1], candidates[1:] + candidates[:1])}) == 1
    )


@given(st.tuples(*[st.floats(-180, 180)] * 2), st.floats(0.1, 170), st.floats(0.1, 170), st.floats(-500, 500))
def test_overlap_does_not_depend_on_where_longitudes_begin(
    west: tuple[float, float], width: float, other_width: float, turn: float
) -> None:
    def box(start: float, wide: float) -> tuple[float, float, float, float]:
        return ((start + 180) % 360 - 180, 10.0, (start + wide + 180) % 360 - 180, 20.0)

    plain = footprint_overlap(box(west[0], width), box(west[1], other_width))
    turned = footprint_overlap(box(west[0] + turn, width), box(west[1] + turn, other_width))
    assert plain == pytest.approx(turned, abs=1e-6)
    assert 0 <= plain <= 1


@pytest.mark.parametrize(
    ("box", "other", "share"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 1, 3, 3), 0.25),
        ((0, 0, 2, 2), (2, 0, 3, 2), 0.0),
        ((179, 0, -179, 1), (-180, 0, -179, 1), 0.5),
        ((-180, 0, -179, 1), (179, 0, -179, 1), 1.0),
        ((0, 0, 0, 0), (0, 0, 1, 1), 0.0),
    ],
)
def test_known_overlaps(box: tuple[float, ...], other: tuple[float, ...], share: float) -> None:
    assert footprint_overlap(box, other) == pytest.approx(share)  # type: ignore[arg-type]


def test_as_many_as_cover_the_clouds_in_the_order_of_the_ranking() -> None:
    candidates = [replace(GOOD, id=name, when=NOON + timedelta(days=10 + k)) for k, name in enumerate("abcd")]
    ranking = ranked(TARGET, candidates)
    clear = {
        "a": np.array([1, 1, 0, 0], bool),
        "b": np.array([1, 0, 0, 0], bool),  # nothing that the first does not have
        "c": np.array([0, 0, 1, 1], bool),
        "d": np.array([1, 1, 1, 1], bool),
    }
    assert [found.acquisition.id for found in covering(ranking, clear)] == ["a", "c"]
    assert [found.acquisition.id for found in covering(ranking, clear, most=1)] == ["a"]
    assert [found.acquisition.id for found in covering(ranking, {"d": clear["d"]})] == ["d"]
    assert covering(ranking, {}) == ()
    clear["a"] = np.array([1, 0, 0, 0], bool)
    clear["b"] = np.array([1, 1, 0, 0], bool)
    assert [found.acquisition.id for found in covering(ranking, clear)] == ["a", "b", "c"]
    assert [found.acquisition.id for found in covering(ranking, clear, gain=0.3)] == ["b", "c"]


def test_what_cannot_be_chosen_from_is_refused() -> None:
    with pytest.raises(ParameterError, match="from 0 to 1"):
        ranked(TARGET, [GOOD], clear={"good": 1.5})
    with pytest.raises(ParameterError, match="at least 1"):
        covering((), {}, most=0)
    with pytest.raises(ParameterError, match="take them on one grid"):
        covering((), {"a": np.ones(2, bool), "b": np.ones(3, bool)})


def test_the_footprint_of_corners_goes_around_the_globe() -> None:
    assert footprint([]) is None
    assert footprint([(10, 50), (11, 50.5), (11, 49), (10, 49)]) == (10, 49, 11, 50.5)
    assert footprint([(179, 1), (-179, 1), (-179, 0), (179, 0)]) == (179, 0, -179, 1)
