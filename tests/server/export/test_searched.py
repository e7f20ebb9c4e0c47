"""Batches of what a search in a STAC API finds: every page, each Item once, and clear answers of an API that lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from algorithms.errors import ClearSkyError
from server.export import searched
from server.export.searched import is_search, searched_scenes
from server.settings import Settings
from tests.helpers.exports import run
from tests.helpers.stacapi import StacApi, four_dates, stac_api

COLLECTION = "sentinel-2-l2a"
ID = "a-scene"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[StacApi]:
    with stac_api(tmp_path) as api:
        yield api


def bare(name: str, **changes: Any) -> dict[str, Any]:
    """An Item without files."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": COLLECTION,
        "properties": {"datetime": "2025-06-15T10:00:00Z"},
        "assets": {},
        "links": [],
        **changes,
    }


def found_at(address: str, *, per_asset: bool = False) -> list[tuple[str, str, str | None]]:
    """Target, result and trouble of every scene of a search."""
    scenes = searched_scenes(address, Path("out"), Settings(), per_asset=per_asset)
    return [(scene.target, str(scene.out), scene.trouble) for scene in scenes]


def test_what_is_a_search() -> None:
    assert is_search("https://host/search?collections=a")
    assert is_search("HTTP://host/search")
    assert not is_search("scenes.csv")
    assert not is_search("/data/https/items.json")


@pytest.mark.parametrize(
    ("path", "posts"),
    [
        ("/search?collections=sentinel-2-l2a", False),
        ("/search?collections=sentinel-2-l2a", True),
        ("/collections/sentinel-2-l2a/items", False),
    ],
)
def test_every_page_is_read(api: StacApi, path: str, posts: bool) -> None:
    api.posts = posts
    names = [f"scene-{k}" for k in range(2 * api.page + 1)]
    api.items = [bare(name) for name in names]
    assert found_at(api.base + path) == [(api.address(name), f"out/{name}.tif", None) for name in names]
    assert [query["limit"] for query in api.searched] == ["50"] * 3
    assert [out for _, out, _ in found_at(api.base + path, per_asset=True)] == [f"out/{name}" for name in names]


def test_what_the_user_asks_for_reaches_the_api(api: StacApi) -> None:
    api.items = [bare("in-june"), bare("in-july", properties={"datetime": "2025-07-15T10:00:00Z"})]
    query = "collections=sentinel-2-l2a&datetime=2025-06-01T00:00:00Z/2025-07-01T00:00:00Z&bbox=0,0,90,80&limit=7"
    assert [target for target, _, _ in found_at(f"{api.base}/search?{query}")] == [api.address("in-june")]
    assert api.searched[0]["limit"] == "7"
    assert api.searched[0]["bbox"] == "0,0,90,80"


def pages(api: StacApi, *answers: dict[str, Any]) -> str:
    """An API that gives these pages whatever it is asked for; `next` of a link stands for the following one."""

    def answer(request: Request) -> Response | None:
        number = int(request.query_params.get("token", 0))
        page = {"type": "FeatureCollection", "features": [], "links": []} | answers[min(number, len(answers) - 1)]
        return JSONResponse(json.loads(json.dumps(page).replace("NEXT", f"{api.base}/search?token={number + 1}")))

    api.instead = answer
    return f"{api.base}/search?collections={COLLECTION}"


NEXT = {"rel": "next", "href": "NEXT"}
POST = NEXT | {"method": "POST", "body": {}}


@pytest.mark.parametrize(
    ("status", "place", "says"),
    [
        (307, "/search?again", None),
        (308, "/search?again", None),
        (302, "/search?again", "302"),
        (307, "http://localhost:1/search", "not allowed"),
        (307, "https://elsewhere.example/search", "another host"),
    ],
)
def test_a_post_is_sent_on_to_its_own_host_alone(
    api: StacApi, status: int, place: str, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", "https://elsewhere.example/")

    def moved(request: Request) -> Response | None:
        away = request.method == "POST" and not request.url.query
        return Response(status_code=status, headers={"location": place}) if away else None

    api.items, api.posts, api.page, api.instead = [bare(name) for name in "abc"], True, 2, moved
    search = f"{api.base}/search?collections={COLLECTION}"
    if says is None:
        assert len(found_at(search)) == 3
        return
    with pytest.raises(ClearSkyError) as error:
        found_at(search)
    assert says in str(error.value)


def test_an_item_on_two_pages_is_one_scene(api: StacApi) -> None:
    address = pages(api, {"features": [bare(ID), bare("b")], "links": [NEXT]}, {"features": [bare(ID)]})
    assert [out for _, out, _ in found_at(address)] == [f"out/{ID}.tif", "out/b.tif"]


SELF = {"rel": "self", "href": "https://elsewhere.example/a.json"}
STRANGE = [
    (bare("../../etc/passwd"), "cannot be the name of a file"),
    (bare(".hidden"), "cannot be the name of a file"),
    (bare("a\nb"), "cannot be the name of a file"),
    (bare(None), "cannot be the name of a file"),  # type: ignore[arg-type]
    (bare(ID, collection="landsat-c2-l2"), "which was not asked for"),
    (bare(ID, collection=[7]), "which was not asked for"),
    (bare(ID, links=[SELF]), "CLEARSKY_ALLOWED_SOURCES"),
    (bare(ID, links=[SELF | {"href": "http://169.254.169.254/latest"}]), "CLEARSKY_ALLOWED_SOURCES"),
    (bare(ID, links=[SELF | {"href": "file:///etc/passwd"}]), "not a web address"),
    (bare(ID, links=[SELF | {"href": "s3://bucket/a.json"}]), "not a web address"),
    ("no Item", "cannot be the name of a file"),
]


@pytest.mark.parametrize(("item", "says"), STRANGE)
def test_an_item_that_cannot_be_exported_is_named_and_stops_no_other(
    item: Any, says: str, api: StacApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", "https://sentinel.example/")
    good, bad = found_at(pages(api, {"features": [item, bare("good")]}))
    assert good == (f"{api.base}/collections/{COLLECTION}/items/good", "out/good.tif", None)
    assert says in (bad[2] or "")


def test_two_items_of_one_name_are_not_written_over_each_other(api: StacApi) -> None:
    other = bare(ID, links=[{"rel": "self", "href": "/collections/other/items/a"}])
    scenes = found_at(pages(api, {"features": [bare(ID), other]}))
    assert [trouble is None for _, _, trouble in scenes] == [True, False]
    assert "same place" in (scenes[1][2] or "")


LIES: list[tuple[Any, str]] = [
    ([{"features": []}], "finds no scene"),
    ([{"type": "Feature"}], "without a list of STAC Items"),
    ([{"features": 7}], "without a list of STAC Items"),
    ([{"features": [bare(ID)], "links": [NEXT | {"method": "PUT"}]}], "neither GET nor POST brings"),
    ([{"features": [bare(ID)], "links": [POST | {"href": "http://10.0.0.1/search"}]}], "another host"),
    ([{"features": [bare(ID)], "links": [POST | {"body": {"token": "x" * 70_000}}]}], "up to 65536 are"),
    ([{"features": [bare(ID)], "links": [POST | {"href": "search"}]}], "lead in a circle"),
    ([{"features": [bare(ID)], "links": [NEXT | {"href": "file:///etc/passwd"}]}], "not a web address"),
    ([{"features": [bare(ID)], "links": [NEXT | {"href": "http://10.0.0.1/search"}]}], "CLEARSKY_ALLOWED_SOURCES"),
    ([{"features": [bare(ID)], "links": [NEXT | {"href": "search?token=0"}]}], "lead in a circle"),
    ([{"features": [bare(ID)], "links": [NEXT]}], "more than 3 pages"),
]


@pytest.mark.parametrize(("answers", "says"), LIES)
def test_an_api_that_lies_gets_nothing_exported(
    answers: Any, says: str, api: StacApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searched, "MOST_BATCH_PAGES", 3)
    with pytest.raises(ClearSkyError) as error:
        found_at(pages(api, *answers))
    assert says in str(error.value)


def test_more_scenes_than_a_batch_may_have(api: StacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "MOST_SCENES", 2)
    with pytest.raises(ClearSkyError, match="more than 2 scenes"):
        found_at(pages(api, {"features": [bare(name) for name in "abc"]}))


def test_a_search_that_takes_too_long(api: StacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched, "BATCH_SEARCH_SECONDS", -1)
    with pytest.raises(ClearSkyError, match="did not end within"):
        found_at(pages(api, {"features": [bare(ID)]}))


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_api_that_fails(api: StacApi, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    api.instead = lambda request: Response("no", status)
    with pytest.raises(ClearSkyError):
        found_at(f"{api.base}/search?collections={COLLECTION}")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_no_folder_and_no_secret_in_words(api: StacApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"{api.base}/search?collections={COLLECTION}&sig=verysecret"
    assert run("--batch", address) == 2
    assert "give the folder OUT" in (said := one_line(capsys))
    assert run("--batch", address, tmp_path / "out") == 2
    assert "finds no scene" in (said := said + one_line(capsys))
    assert "verysecret" not in said


@pytest.fixture
def dates(tmp_path: Path, documents: Path) -> Iterator[StacApi]:
    with four_dates(tmp_path, documents) as api:
        yield api


def test_a_search_is_exported_and_a_second_run_makes_what_is_missing(
    dates: StacApi, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", f"{dates.base}/")
    search = f"{dates.base}/search?collections=sentinel-2-l2a&datetime=2025-06-14T00:00:00Z/2025-06-18T00:00:00Z"
    arguments = ("--batch", search, tmp_path / "out", "--replacement", dates.address("right_1"), "--mask", "scl")
    broken = dates.items[1] | {"id": "broken", "assets": {}}
    dates.items.append(broken)

    def states() -> dict[str, str]:
        assert run(*arguments, "--json") == 2
        done = json.loads(capsys.readouterr().out)
        return {Path(scene["target"]).name: scene["state"] for scene in done["scenes"]}

    assert states() == {"target": "done", "cloudy-here": "done", "broken": "failed"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cloudy-here.tif", "target.tif"]
    (tmp_path / "out" / "target.tif").unlink()
    assert states() == {"target": "done", "cloudy-here": "skipped", "broken": "failed"}
