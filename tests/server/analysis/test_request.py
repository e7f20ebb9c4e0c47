"""One request, whoever asks: HTTP, recipes and the command line build the same value."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import pytest
import yaml
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import server.export.scene
from algorithms.errors import BandError
from algorithms.reclassify import Remap
from server.analysis.request import Request
from server.cli import main
from server.export.job import ExportJob
from server.http.params import RequestParams, asked_request
from server.http.shared import shared_sources
from server.raster.sources import Sources
from server.recipes.model import recipe_of
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, sources_by

NAMES = ("target", "first", "second", "mask")

ASKED: list[dict[str, Any]] = [
    {},
    {"replacement": ["first", "second"]},
    {"replacement": ["first"], "mask": "mask", "mask_remap": "1 1;3 1"},
    {"replacement": ["first", "second"], "mask": "mask", "replacement_mask": ["none", "second"]},
    {"model": "ukis-4b-l2a", "level": "l2a", "bands": "blue, green,red,nir , swir16,swir22"},
    {"reflectance_scale": 0.0, "reflectance_offset": -0.1},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("request"), make_pair(size=(64, 64))
    for name in NAMES:
        write_raster(folder / f"{name}.tif", pair.target)
    (folder / "text.tif").write_text("this is not a raster")
    return folder


def placed(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with full paths."""

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(v) for v in value]
        return str(folder / f"{value}.tif") if value in NAMES else value

    return {name: place(value) for name, value in asked.items()}


def by_http(sources: Sources, asked: dict[str, Any]) -> Request:
    app, seen = FastAPI(), []
    app.dependency_overrides[shared_sources] = lambda: sources

    @app.get("/")
    def note(request: Annotated[Request, Depends(asked_request)]) -> None:
        seen.append(request)

    assert TestClient(app).get("/", params=asked).status_code == 200
    return seen[0]


def by_recipe(sources: Sources, asked: dict[str, Any]) -> Request:
    values = {"name": "r", "target": asked["url"], "replacements": asked.get("replacement", [])}
    values["mask"] = {
        key: asked[name]
        for key, name in (
            ("source", "mask"),
            ("remap", "mask_remap"),
            ("model", "model"),
            ("replacements", "replacement_mask"),
        )
        if name in asked
    }
    values |= {name: asked[name] for name in ("level", "reflectance_scale", "reflectance_offset") if name in asked}
    if "bands" in asked:
        values["bands"] = [part.strip() for part in asked["bands"].split(",")]
    return recipe_of(yaml.safe_dump(values).encode(), Path("/r.yaml")).admitted(sources).request


def by_command(asked: dict[str, Any], out: Path, *, recipe: Path | None = None) -> Request:
    seen: list[ExportJob] = []
    options = [
        word
        for name, value in asked.items()
        if name != "url"
        for one in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", str(one))
    ]
    target = [asked["url"]] if "url" in asked else []
    more = ["--recipe", str(recipe)] if recipe else []
    with (
        mock.patch.object(server.export.scene, "export_scene", lambda job, *_: seen.append(job.checked())),
        mock.patch.object(sys, "argv", ["clearsky", "export", *target, str(out), *options, *more]),
    ):
        main()
    return seen[0].request


@pytest.mark.parametrize("asked", ASKED, ids=[",".join(asked) or "target" for asked in ASKED])
def test_three_doors_to_one_request(folder: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    asked = placed({"url": "target"} | asked, folder)
    sources = sources_by(folder)
    http, recipe = by_http(sources, asked), by_recipe(sources, asked)
    command = by_command(asked, tmp_path / "out.tif")
    assert http == recipe == command
    assert len({http, recipe, command}) == 1
    assert http.target == asked["url"]
    if "bands" in asked:
        assert http.bands == ("blue", "green", "red", "nir", "swir16", "swir22")
    if "mask_remap" in asked:
        assert http.remap == Remap(asked["mask_remap"])


def test_options_of_the_command_override_the_recipe(folder: Path, tmp_path: Path) -> None:
    written = placed(
        {"name": "r", "target": "target", "replacements": ["first"], "mask": {"remap": "1 1"}, "nodata": 7}, folder
    )
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(written))
    plain = by_command({}, tmp_path / "out.tif", recipe=tmp_path / "r.yaml")
    first, second = (str(folder / f"{name}.tif") for name in ("first", "second"))
    assert plain == Request(str(folder / "target.tif"), (first,), remap=Remap("1 1"), nodata=7)
    changed = by_command(
        {"url": first, "replacement": [second], "level": "l2a"}, tmp_path / "out.tif", recipe=tmp_path / "r.yaml"
    )
    assert changed == replace(plain, target=first, replacements=(second,), level="l2a")


def test_every_field_can_be_asked_for() -> None:
    """TiTiler has a parameter of its own for `nodata`; `shown` follows from `bidx`, `assets` and `expression`."""
    renamed = {"url": "target", "replacement": "replacements", "mask_remap": "remap"}
    renamed["replacement_mask"] = "replacement_masks"
    parameters = {renamed.get(field.name, field.name) for field in fields(RequestParams)}
    assert parameters | {"nodata", "shown"} == {field.name for field in fields(Request)}


sources = st.text(min_size=1, max_size=5)


@given(st.builds(Request, sources, st.lists(sources, max_size=3).map(tuple), st.none() | sources))
def test_every_source_is_checked_where_it_stands(asked: Request) -> None:
    places: list[tuple[object, ...]] = []

    def at(*place: object) -> Any:
        places.append(place)
        return mock.MagicMock()

    checked = asked.checked(str.upper, at)
    assert checked.sources == tuple(map(str.upper, asked.sources))
    assert places == [("target",), *(("replacements", k) for k in range(len(asked.replacements))), ("mask",)]


@pytest.mark.parametrize("name", ["replacement", "mask"])
def test_no_dataset_is_opened_before_every_name_is_admitted(folder: Path, name: str) -> None:
    with application(folder) as client:
        params = {"url": str(folder / "text.tif")}
        assert client.get("/cog/preview.tif", params=params).status_code == 400
        answer = client.get("/cog/preview.tif", params=params | {name: "/etc/passwd"})
    assert answer.status_code == 403
    assert "/etc/passwd" in answer.json()["detail"]


def test_what_a_request_says_stands_in_place_of_the_rasters_own_metadata(folder: Path) -> None:
    url = str(folder / "target.tif")
    sources = sources_by(folder)
    own = Request(url).target_dataset(sources)
    names = ("red", "green", "blue", "nir", "swir16", "swir22")
    said = Request(url, bands=names, level="l2a", reflectance_offset=-0.1, nodata=9).target_dataset(sources)
    assert (said.names, said.level, said.offsets, said.nodata) == (names, "l2a", (-0.1,) * 6, 9)
    assert said.scales == own.scales
    assert said.reflectance_source == "the request"
    kept = {"names", "level", "offsets", "nodata", "reflectance_source"}
    assert replace(said, **{name: getattr(own, name) for name in kept}) == own
    with pytest.raises(BandError, match="names 2 bands, the raster has 6"):
        Request(url, bands=("red", "nir")).target_dataset(sources)
