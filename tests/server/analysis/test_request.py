"""One request, whoever asks: HTTP, recipes and the command line build the same value."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import server.export.scene
import server.http.reader
from algorithms.errors import BandError, ParameterError
from algorithms.reclassify import Remap
from server.analysis.request import Request
from server.cli import main
from server.export.figures import FillFigures
from server.export.job import ExportJob
from server.export.scene import ExportReport
from server.raster.sources import Sources
from server.recipes.model import recipe_of
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, sources_by

NAMES = ("target", "first", "second", "mask", "mask1", "mask2")

ASKED: list[dict[str, Any]] = [
    {},
    {"replacement": ["first", "second"]},
    {"replacement": ["first"], "mask": "mask", "mask_remap": "1 1;3 1"},
    {"replacement": ["first", "second"], "mask": "mask", "replacement_mask": ["none", "second"]},
    {"model": "ukis-4b-l2a", "level": "l2a", "bands": "blue, green,red,nir , swir16,swir22"},
    {"reflectance_scale": 2e-4, "reflectance_offset": 0.0},
    {"replacement": ["first", "second"], "mask": "mask", "replacement_mask": ["mask1", "mask2"], "mask_bits": "4, 3"},
    {"replacement": ["first"], "mask": "auto"},
    {"assets": ["red", "nir"]},
    {"nodata": 7.0},
    {"replacement": ["first", "second"], "replacement_reflectance_scale": [1e-4, 2.75e-5]},
    {"replacement": ["first", "second"], "replacement_reflectance_offset": [-0.1]},
]
"""As HTTP asks; together they name every field of a `Request`."""
DERIVED = {"shown"}
"""Fields that nobody names: `shown` follows from `bidx`, `expression` and `assets`."""


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


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def by_http(client: TestClient, asked: dict[str, Any]) -> Request:
    """The request that the analysis of a picture works with."""
    seen: list[Request] = []

    def note(request: Request, *_: object) -> None:
        seen.append(request)
        raise ParameterError("seen")

    with mock.patch.object(server.http.reader, "make_task", note):
        answer = client.get("/cog/preview.tif", params={"algorithm": "cloud_mask"} | asked)
    assert answer.json() == {"detail": "seen"}
    return seen[0]


RECIPE_KEYS = {"url": "target"} | {
    name: f"{name}s"
    for name in (
        "replacement",
        "replacement_mask",
        "replacement_reflectance_scale",
        "replacement_reflectance_offset",
    )
}
MASK_KEYS = {"mask": "source", "mask_remap": "remap", "mask_bits": "bits", "model": "model"}
LISTS: dict[str, Callable[[str], Any]] = {"bands": str, "mask_bits": int}
"""What HTTP writes with commas and a recipe as a list."""


def by_recipe(sources: Sources, asked: dict[str, Any]) -> Request:
    def written(name: str) -> Any:
        return [LISTS[name](part.strip()) for part in asked[name].split(",")] if name in LISTS else asked[name]

    values = {RECIPE_KEYS.get(name, name): written(name) for name in asked if name not in MASK_KEYS}
    values |= {"name": "r", "mask": {MASK_KEYS[name]: written(name) for name in asked if name in MASK_KEYS}}
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

    def exported(job: ExportJob, *_: object) -> ExportReport:
        seen.append(job.checked())
        return ExportReport(job.outputs(), FillFigures(), 0.0)

    with (
        mock.patch.object(server.export.scene, "export_scene", exported),
        mock.patch.object(sys, "argv", ["clearsky", "export", *target, str(out), *options, *more]),
    ):
        main()
    return seen[0].request


@pytest.mark.parametrize("asked", ASKED, ids=[",".join(asked) or "target" for asked in ASKED])
def test_three_doors_to_one_request(client: TestClient, folder: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    asked = placed({"url": "target"} | asked, folder)
    http, recipe = by_http(client, asked), by_recipe(sources_by(folder), asked)
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


def test_every_field_can_be_asked_for(client: TestClient, folder: Path) -> None:
    """Those of `ASKED` alone are compared between the three doors: none of them may lack a field."""
    found = [by_http(client, placed({"url": "target"} | asked, folder)) for asked in ASKED]
    plain = Request("")
    named = {f.name for f in fields(Request) for one in found if getattr(one, f.name) != getattr(plain, f.name)}
    assert named == {f.name for f in fields(Request)} - DERIVED


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
    with pytest.raises(BandError, match=r"names 2 bands, .*target.tif. has 6"):
        Request(url, bands=("red", "nir")).target_dataset(sources)
