"""`replacement=auto`: the dates are looked up, ranked by what is clear under the clouds, and the same for all tiles."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi import Request
from fastapi.responses import JSONResponse
from httpx2 import Response
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from server.cli import main
from server.export.command import export
from server.export.replacements import replacements
from tests.helpers.scenes import read_raster, write_raster
from tests.helpers.service import application, good, pixels
from tests.helpers.stacapi import StacApi, four_dates, put

FILL: Final = '{"residual": false, "buffer": 0}'


@pytest.fixture(scope="module")
def client(api: StacApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("recipes")
    recipe = {"name": "best", "target": api.address("target"), "replacements": ["auto"], "mask": {"source": "scl"}}
    (folder / "best.json").write_text(json.dumps(recipe | json.loads(FILL)))
    with application(f"{api.folder},{api.base}/", recipes=str(folder)) as client:
        yield client


def asked(api: StacApi, **others: Any) -> dict[str, Any]:
    return {"url": api.address("target"), "replacement": "auto", "mask": "scl", "algorithm_params": FILL} | others


def test_the_picture_is_that_of_the_right_date(client: TestClient, api: StacApi) -> None:
    chosen = good(client.get("/stac/preview.npy", params=asked(api)))
    assert chosen.headers["X-Clearsky-Replacements"] == "right_1"
    named = client.get("/stac/preview.npy", params=asked(api, replacement=api.address("right_1")))
    assert_array_equal(pixels(chosen), pixels(named))
    assert "X-Clearsky-Replacements" not in named.headers
    other = client.get("/stac/preview.npy", params=asked(api, replacement=api.address("far")))
    assert (pixels(chosen) != pixels(other)).any()


def test_all_tiles_agree_and_the_choice_is_made_once(client: TestClient, api: StacApi) -> None:
    good(client.get("/stac/replacements", params=asked(api)))
    api.searched.clear()
    bounds = good(client.get("/stac/info", params={"url": api.address("target")})).json()["bounds"]
    (left, bottom, right, top), names = bounds, set()
    middle = (left + right) / 2
    for box in ((left, bottom, middle, top), (middle, bottom, right, top)):
        path = f"/stac/bbox/{','.join(map(str, box))}/80x160.npy"
        params = asked(api, coord_crs="EPSG:32633", dst_crs="EPSG:32633")
        answer = good(client.get(path, params=params))
        named = client.get(path, params=params | {"replacement": api.address("right_1")})
        assert_array_equal(pixels(answer), pixels(named))
        names.add(answer.headers["X-Clearsky-Replacements"])
    assert names == {"right_1"}
    assert api.searched == []


def test_the_scene_names_what_is_chosen(client: TestClient, api: StacApi) -> None:
    [replacement] = good(client.get("/stac/scene", params=asked(api))).json()["replacements"]
    assert (replacement["id"], replacement["url"]) == ("right_1", api.address("right_1"))
    assert replacement["datetime"] == "2025-06-20T10:00:00+00:00"


def test_the_ranking_says_why(client: TestClient, api: StacApi) -> None:
    answer = good(client.get("/stac/replacements", params={"url": api.address("target"), "mask": "scl"}))
    ranking = answer.json()
    assert ranking["chosen"] == ["right_1"]
    assert (ranking["items"], ranking["covered"], ranking["api"]) == (5, 1.0, api.base)
    assert ranking["target"]["id"] == "target"
    assert ranking["target"]["cloud_fraction"] == pytest.approx(44 * 36 / 80**2, rel=0.1)
    first, second = ranking["candidates"]
    assert [first["id"], second["id"]] == ["right_1", "far"]
    assert first["score"] > second["score"]
    assert (first["clear"], first["cloud_cover"], first["chosen"]) == (1.0, 60.0, True)
    assert {"5 days later", "same tile 33TVG", "100% clear under the target's clouds"} <= set(first["reasons"])
    reasons = {item["id"]: item["reason"] for item in ranking["left_out"]}
    assert reasons.keys() == {"target", "cloudy-here", "right_0"}
    assert "own clouds" in reasons["target"]
    assert "cloudy wherever" in reasons["cloudy-here"]
    assert "older version" in reasons["right_0"]
    one = client.get("/stac/replacements", params={"url": api.address("target"), "mask": "scl", "limit": 1}).json()
    assert [candidate["id"] for candidate in one["candidates"]] == ["right_1"]


@pytest.fixture
def secretive(tmp_path: Path, documents: Path) -> Iterator[StacApi]:
    """An API behind a key, whose addresses carry tokens, with one Item that cannot be read."""
    with four_dates(tmp_path, documents) as api:

        def behave(request: Request) -> JSONResponse | None:
            if request.url.path != "/search":
                return None
            found = []
            for item in map(api.shown, api.items):
                assets = item["assets"]
                item["assets"] = {
                    key: asset | {"href": f"{asset['href']}?token=SECRET1"} for key, asset in assets.items()
                }
                item["links"] = [link | {"href": f"{link['href']}?api_key=SECRET2"} for link in item["links"]]
                found.append(item)
            bad = found[2] | {"id": "bad", "links": []}
            bad["assets"] = {key: asset | {"href": f"ftp://u@h/{key}?sig=SECRET3"} for key, asset in assets.items()}
            return JSONResponse({"type": "FeatureCollection", "features": [*found, bad], "links": []})

        api.instead = behave
        yield api


def test_no_answer_shows_a_secret(
    secretive: StacApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api, operator = secretive, f"{secretive.base}/?subscription-key=SECRET4"
    shared = f"file://{api.folder}/shared"
    with application(f"{api.folder},{api.base}/", stac_api=operator, cache_url=shared) as client:
        ranking = good(client.get("/stac/replacements", params=asked(api) | {"limit": 50}))
        assert ranking.json()["api"] == f"{api.base}/"
        assert {candidate["id"] for candidate in ranking.json()["candidates"]} == {"right_1", "far"}
        assert "bad" in {item["id"] for item in ranking.json()["left_out"]}
        for path in ("/stac/scene", "/stac/info", "/stac/preview.npy"):
            answer = good(client.get(path, params=asked(api)))
            assert b"SECRET" not in answer.content
            assert "SECRET" not in str(answer.headers)
        assert "SECRET" not in ranking.text
    behave, searched = api.instead, []

    def counted(request: Request) -> Any:
        searched.append(request.url.path)
        return behave(request)

    api.instead = counted
    with application(f"{api.folder},{api.base}/", stac_api=operator, cache_url=shared) as client:
        good(client.get("/stac/replacements", params=asked(api)))
        assert "/search" in searched  # addresses with secrets are not left in a store that processes share
    monkeypatch.setenv("CLEARSKY_STAC_API", operator)
    for options in ([], ["--json"]):
        printed = CliRunner().invoke(replacements, [api.address("target"), "--mask", "scl", *options])
        assert "right_1" in printed.output
        assert "SECRET" not in printed.output
    api.items.clear()
    api.instead = lambda request: JSONResponse({}, status_code=404) if request.url.path == "/search" else None
    monkeypatch.setattr(sys, "argv", ["clearsky", "replacements", str(api.folder / "target.json")])
    with pytest.raises(SystemExit):
        main()
    assert "SECRET" not in capsys.readouterr().err


def test_an_answers_tag_changes_with_the_choice(client: TestClient, api: StacApi, documents: Path) -> None:
    before = good(client.get("/stac/preview.npy", params=asked(api)))
    again = client.get("/stac/preview.npy", params=asked(api), headers={"If-None-Match": before.headers["ETag"]})
    assert again.status_code == 304
    put(api, "nearer", "2025-06-14", documents, brightness=1.05, cover=5.0)
    with application(f"{api.folder},{api.base}/") as other:
        after = good(other.get("/stac/preview.npy", params=asked(api)))
    api.items.pop()
    assert [answer.headers["X-Clearsky-Replacements"] for answer in (before, after)] == ["right_1", "nearer"]
    assert before.headers["ETag"] != after.headers["ETag"]


def test_a_recipe_has_its_dates_chosen(client: TestClient, api: StacApi) -> None:
    answer = good(client.get("/recipes/best/preview.npy"))
    assert answer.headers["X-Clearsky-Replacements"] == "right_1"
    assert answer.headers["ETag"]
    assert_array_equal(pixels(answer), pixels(client.get("/stac/preview.npy", params=asked(api))))


def test_without_date_or_api_there_is_a_remedy(client: TestClient, api: StacApi) -> None:
    plain = write_raster(api.folder / "plain.tif", np.ones((6, 64, 64), np.uint16))
    item = json.loads((api.folder / "target.json").read_text()) | {"links": []}
    (api.folder / "alone.json").write_text(json.dumps(item))
    for url, says in ((plain, "STAC Item"), (str(api.folder / "alone.json"), "CLEARSKY_STAC_API")):
        for path in ("/stac/preview.npy", "/cog/preview.npy", "/stac/replacements"):
            refused(client.get(path, params={"url": url, "replacement": "auto"}), says, "name the replacements")
    refused(client.get("/stac/preview.npy", params=asked(api, replacement_mask=plain)), "replacement_mask")
    refused(client.get("/stac/replacements", params={"url": api.address("target"), "limit": 0}), "limit")


def refused(response: Response, *words: str) -> None:
    assert response.status_code == 400, response.text
    assert all(word in response.json()["detail"] for word in words), response.text


@pytest.fixture
def terminal(api: StacApi, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A terminal of an operator who names the API, and what may be read of it."""
    monkeypatch.setenv("CLEARSKY_STAC_API", api.base)
    return CliRunner()


def test_the_command_prints_what_the_route_answers(terminal: CliRunner, client: TestClient, api: StacApi) -> None:
    answer = good(client.get("/stac/replacements", params={"url": api.address("target"), "mask": "scl"})).json()
    printed = terminal.invoke(replacements, [api.address("target"), "--mask", "scl", "--json"])
    assert json.loads(printed.output) == answer
    heading, columns, first, second = terminal.invoke(
        replacements, [str(api.folder / "target.json")]
    ).output.splitlines()
    assert api.base in heading
    assert columns.split() == ["score", "clear", "cover", "date", "id", "why"]
    assert first.split()[:6] == ["*", f"{answer['candidates'][0]['score']:.3f}", "100%", "60%", "2025-06-20", "right_1"]
    assert "far" in second.split()
    assert "*" not in second


@pytest.mark.parametrize(
    ("item", "options", "says"),
    [
        ("missing.json", [], "does not exist"),
        ("plain.tif", [], "STAC Item"),
        ("target.json", ["--mask", "udm2"], "udm2"),
        ("target.json", ["--limit", "0"], "--limit"),
        ("damaged.json", [], "damaged.tif"),
    ],
)
def test_bad_input_ends_the_command_with_one_line(
    terminal: CliRunner,
    api: StacApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    item: str,
    options: list[str],
    says: str,
) -> None:
    write_raster(api.folder / "plain.tif", np.ones((6, 64, 64), np.uint16))
    (api.folder / "damaged.tif").write_bytes((api.folder / "target-scl.tif").read_bytes()[:700])
    target = (api.folder / "target.json").read_text()
    (api.folder / "damaged.json").write_text(target.replace("target-scl.tif", "damaged.tif"))
    monkeypatch.setattr(sys, "argv", ["clearsky", "replacements", str(api.folder / item), *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line


def test_an_export_has_its_dates_chosen(terminal: CliRunner, api: StacApi, tmp_path: Path) -> None:
    options = ["--mask", "scl", "--no-residual", "--buffer", "0", "--replacement"]
    chosen = {"id": "right_1", "url": api.address("right_1"), "datetime": "2025-06-20T10:00:00Z"}
    for name, given in (("auto.tif", "auto"), ("named.tif", api.address("right_1"))):
        result = terminal.invoke(export, [api.address("target"), str(tmp_path / name), *options, given, "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["replacements"] == [chosen]
    words = terminal.invoke(export, [api.address("target"), str(tmp_path / "words.tif"), *options, "auto"])
    assert "Filled from right_1 (2025-06-20)" in words.stdout.splitlines()
    assert_array_equal(read_raster(tmp_path / "auto.tif"), read_raster(tmp_path / "named.tif"))
