"""Styles of recipes: natural colour unless a recipe or a request says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.helpers.recipes import clearsky
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

STRETCH = {"bands": ["red", "green", "blue"], "rescale": [[0, 4000]]}
RECIPES: dict[str, dict[str, Any]] = {
    "bare": {},
    "smooth": {"render": {"resampling": "bilinear"}},
    "green": {"render": {"style": "ndvi"}},
    "infrared": {"render": {"style": "natural", "bands": ["nir", "red", "green"]}},
    "stretched": {"render": STRETCH},
    "some": {"assets": ["nir"]},
    "some-green": {"assets": ["nir", "red", "green"], "render": {"style": "ndvi"}},
    "as-is": {"render": {"style": "raw", "bands": [1]}},
}
SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("bare", {}, {"style": "natural"}),
    ("bare", {"style": "swir"}, {"style": "swir"}),
    ("bare", {"bidx": 4}, {"bidx": 4}),
    ("smooth", {}, {"style": "natural", "resampling": "bilinear"}),
    ("green", {}, {"style": "ndvi"}),
    ("green", {"style": "natural"}, {"style": "natural"}),
    ("green", {"bidx": [3, 2, 1], "rescale": "0,3000"}, {"bidx": [3, 2, 1], "rescale": "0,3000"}),
    ("infrared", {}, {"style": "natural", "bidx": [4, 3, 2]}),
    ("infrared", {"style": "ndsi"}, {"style": "ndsi"}),
    ("stretched", {}, {"bidx": [3, 2, 1], "rescale": "0,4000"}),
    ("stretched", {"style": "natural"}, {"style": "natural"}),
    ("some-green", {}, {"style": "ndvi"}),
    ("some-green", {"style": "false-color"}, {"style": "false-color"}),
    ("some", {}, {"assets": "nir"}),
    ("some", {"style": "ndwi"}, {"style": "ndwi"}),
    ("as-is", {}, {"bidx": 1}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styled")
    write_raster(folder / "t.tif", make_pair(size=(90, 90)).target)
    for name, rest in RECIPES.items():
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "target": "t.tif", **rest}))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
        yield client


@pytest.mark.parametrize(("name", "asked", "equal"), SAME, ids=str)
def test_a_recipe_looks_as_the_same_request(
    client: TestClient, folder: Path, name: str, asked: dict[str, Any], equal: dict[str, Any]
) -> None:
    ours = client.get(f"/recipes/{name}/preview.png", params=asked)
    theirs = client.get("/cog/preview.png", params={"url": str(folder / "t.tif"), **equal})
    assert (ours.status_code, theirs.status_code) == (200, 200), ours.text
    assert ours.content == theirs.content


@pytest.mark.parametrize("name", list(RECIPES))
def test_values_are_values_whatever_the_style(client: TestClient, name: str) -> None:
    assert client.get(f"/recipes/{name}/preview.tif").status_code == 200


@pytest.mark.parametrize(
    ("render", "says"),
    [
        ({"style": "pretty"}, "natural"),
        ({"style": "ndvi", "rescale": [[0, 1]]}, "keep one"),
        ({"style": "natural", "expression": "b1"}, "keep one"),
        ({"style": "ndvi", "bands": [1]}, "keep one"),
    ],
    ids=str,
)
def test_contradictions_are_found_by_check(
    tmp_path: Path,
    render: dict[str, Any],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"name": "bad", "target": "t.tif", "render": render}))
    assert clearsky(monkeypatch, "check", "--offline", file) == 2
    assert says in capsys.readouterr().err
