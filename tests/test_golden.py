"""`benchmarks.golden`: the same code gives the same results, and another result is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.golden import Result, ask, differences
from benchmarks.golden_calls import prepare
from benchmarks.golden_cases import Request, demo_requests, document_requests
from benchmarks.golden_scenes import prepare_scenes, scene_requests
from tests.helpers.scenes import Demo
from tests.helpers.service import application

CASES = (
    "user mask", "recipe source", "tile without replacement", "info", "error: bad window", "scene: own mask",
    "scene: bands", "scene: error: no such band", "bits", "scene", "error: unknown style",
)  # fmt: skip
"""A few of every kind of answer, without inferences."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_scene: Demo) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(demo_scene(512).cloudy.parent, folder / "demo")
    prepare(folder / "demo")
    prepare_scenes(folder / "demo")
    return folder


def results(folder: Path, requests: dict[str, Request]) -> dict[str, Result]:
    with application(folder, recipes=str(folder / "demo" / "recipes")) as client:
        return {name: ask(client, requests[name], folder) for name in CASES}


def test_the_same_code_gives_the_same_results(folder: Path) -> None:
    demo = folder / "demo"
    every = (*demo_requests(demo), *scene_requests(demo), *document_requests(demo))
    requests = {request.name: request for request in every}
    assert len(requests) == len(every)
    one, other = results(folder, requests), results(folder, requests)
    assert differences(one, other, None) == []
    assert {name: result["status"] for name, result in one.items()} == {
        name: 400 if "error" in name else 200 for name in CASES
    }
    pixels = [result["pixels"] for result in one.values() if "pixels" in result]
    assert len(set(pixels)) == len(pixels) == 5


@pytest.mark.parametrize("key", ["status", "pixels", "means", "text", "description"])
def test_another_result_is_noticed(key: str) -> None:
    before = {"a": {key: "one"}, "b": {key: "one"}}
    (line,) = differences(before, before | {"b": {key: "other"}}, None)
    assert line.startswith(f"b: {key} ")
    assert differences(before, before, None) == []
    assert differences(before, {"a": before["a"]}, None) == ["b: only before"]
