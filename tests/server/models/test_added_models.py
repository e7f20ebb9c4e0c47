"""A network of one's own in tiles, recipes, exports and Python: one mask, whoever asks, and kept under its own name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient

from algorithms import cloud_mask
from algorithms.errors import ModelError
from algorithms.sessions import SESSIONS
from server.models.folder import read_models, use_models
from server.work.document import write_values
from tests.helpers.exports import run
from tests.helpers.networks import card, write_card, write_network
from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import application, good

PAIR = make_pair(size=(560, 620), bands=4)
BRIGHT = [[0, 0, 0], [3, 3, 3], [-3, -3, -3]]
"""Weights of clear, cloud and shadow for standardised red, green and near infrared."""
BIAS = [2.0, 0.0, -14.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("added")
    write_pair(folder, PAIR)
    checksum = write_network(folder / "tiny.onnx", BRIGHT, BIAS)
    write_card(folder, card(checksum))
    write_card(folder, card(checksum, name="coarse", resolution=[40, 60]))
    whole = card(checksum, name="wide", normalisation={"mean": [4000] * 3, "std": [2500] * 3})
    write_card(folder, whole | {"scale": 10000, "size": {"multiple": 320, "most": 640}})
    classes = write_network(folder / "classes.onnx", BRIGHT, BIAS, gives="classes", side=256)
    write_card(folder, card(classes, name="classes", file="classes.onnx", output="classes", classes=DENSITIES))
    return folder


DENSITIES = ["clear", {"meaning": "cloud", "density": "high"}, {"meaning": "cloud", "density": "low"}]


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, models=str(folder)) as client:
        yield client
    use_models(None)


def params(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "url": str(folder / "target.tif"),
        "model": "tiny",
        "algorithm": "cloud_mask",
        "reflectance_scale": 0.0001,
        **more,
    }


def values(client: TestClient, path: str, given: dict[str, Any]) -> np.ndarray:
    return np.load(BytesIO(good(client.get(path, params=given)).content))[0]


def whole(client: TestClient, folder: Path, **more: Any) -> np.ndarray:
    return values(client, "/cog/preview.npy", params(folder, max_size=620, **more))


@pytest.mark.parametrize("model", ["tiny", "wide", "classes"])
def test_parts_are_the_whole_and_the_whole_is_pythons(client: TestClient, folder: Path, model: str) -> None:
    """The statistics of a window, too: it stands on the scene's lattice, whichever part asks first."""
    with rasterio.open(folder / "target.tif") as src:
        left, top = src.bounds.left, src.bounds.top
        size = src.res[0]
    parts = []
    for rows, cols in ((slice(0, 280), slice(300, 620)), (slice(200, 560), slice(0, 340))):
        box = (left + cols.start * size, top - rows.stop * size, left + cols.stop * size, top - rows.start * size)
        path = f"/cog/bbox/{','.join(map(str, box))}/{cols.stop - cols.start}x{rows.stop - rows.start}.npy"
        crs = {"coord_crs": "EPSG:32633", "dst_crs": "EPSG:32633"}
        parts.append((rows, cols, values(client, path, params(folder, model=model) | crs)))
    found = whole(client, folder, model=model)
    for rows, cols, part in parts:
        np.testing.assert_array_equal(part, found[rows, cols])
    oracle = cloud_mask(
        PAIR.target * np.float32(0.0001), ["blue", "green", "red", "nir"], model=model, analysis_factor=2
    )
    np.testing.assert_array_equal(found, oracle)
    assert (found[PAIR.mask] == 1).mean() > 0.95
    assert (found[~PAIR.mask] == 0).mean() > 0.9


def test_the_mask_is_kept_by_the_card_and_not_by_its_name(client: TestClient, folder: Path, tmp_path: Path) -> None:
    """Another card under the same name is another mask and another `ETag`, in the same caches."""
    before = whole(client, folder)
    asked = params(folder, max_size=620)
    tag = client.get("/cog/preview.npy", params=asked).headers["etag"]
    runs = SESSIONS.inferences()
    whole(client, folder)
    assert SESSIONS.inferences() == runs
    changed = tmp_path / "changed"
    changed.mkdir()
    write_card(changed, card(write_network(changed / "tiny.onnx", BRIGHT, [2.0, -12.0, -14.0])))
    try:
        use_models(changed)
        after = good(client.get("/cog/preview.npy", params=asked))
        assert after.headers["etag"] != tag
        assert SESSIONS.inferences() > runs
        assert (np.load(BytesIO(after.content))[0] != before).any()
    finally:
        use_models(folder)
    np.testing.assert_array_equal(whole(client, folder), before)
    assert client.get("/cog/preview.npy", params=asked).headers["etag"] == tag


def test_descriptions_name_it_and_what_it_is_not_made_for(client: TestClient, folder: Path) -> None:
    info = good(client.get("/cog/info", params={"url": str(folder / "target.tif"), "model": "coarse"})).json()
    assert info["clearsky"]["model"] == "coarse"
    assert any("made for 40-60 m" in text and "cells of 20 m" in text for text in info["clearsky"]["warnings"])
    answer = good(client.get("/cog/preview.npy", params=params(folder, model="coarse")))
    assert "made for 40-60 m" in answer.headers["x-clearsky-warning"]
    assert "x-clearsky-warning" not in good(client.get("/cog/preview.npy", params=params(folder))).headers
    unknown = client.get("/cog/preview.npy", params=params(folder, model="nope"))
    assert unknown.status_code == 400
    assert all(name in unknown.json()["detail"] for name in ("'nope'", "ukis-6b-l1c", "tiny", "rgb-rules"))
    assert good(client.get("/readyz")).json()["dependencies"]["models"]["state"] == "ok"


def test_recipes_and_exports_take_it_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    content = {"name": "r", "target": str(folder / "target.tif"), "replacements": [str(folder / "replacement.tif")]}
    more = {"reflectance_scale": 0.0001, "replacement_masks": ["none"]}
    recipe.write_text(write_values(content | more | {"mask": {"model": "tiny"}}))
    assert run("check", recipe, command="recipe") == 2
    assert "tiny" in capsys.readouterr().err
    monkeypatch.setenv("CLEARSKY_MODELS", str(folder))
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", str(folder))
    assert run("check", recipe, command="recipe") == 0
    out = tmp_path / "out.tif"
    assert run("--recipe", recipe, out, "--json") == 0
    assert 0.2 < json.loads(capsys.readouterr().out.splitlines()[-1])["cloud"] < 0.5
    (model,) = (model for model in read_models(folder) if model.id == "tiny")
    with rasterio.open(out) as file:
        assert file.tags()["CLEARSKY_MODEL"] == "tiny"
        assert file.tags()["CLEARSKY_MODEL_SHA256"] == model.files[0].sha256
    use_models(None)


BAD_NETWORKS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"side": 512}, {}, ["takes", "512", "size"]),
    ({}, {"bands": ["red", "nir"]}, ["takes", "bands"]),
    ({}, {"classes": ["clear", "cloud", "shadow", "snow"]}, ["gives", "classes"]),
    ({}, {"output": "classes"}, ["gives", "output"]),
    ({"external": True}, {}, ["one ONNX file", "weights included"]),
]


@pytest.mark.parametrize(("network", "changes", "words"), BAD_NETWORKS)
def test_a_network_that_does_not_fit_its_card_is_an_error_of_the_request(
    folder: Path, tmp_path: Path, network: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    write_card(tmp_path, card(write_network(tmp_path / "tiny.onnx", BRIGHT, BIAS, **network), **changes))
    use_models(tmp_path)
    try:
        with pytest.raises(ModelError, match="'tiny'") as caught:
            cloud_mask(np.full((3, 20, 20), 0.1), ["red", "green", "nir"], model="tiny")
        assert all(word in str(caught.value) for word in words), caught.value
    finally:
        use_models(None)


def test_what_is_no_network_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"no network")
    write_card(tmp_path, card(hashlib.sha256(b"no network").hexdigest()))
    use_models(tmp_path)
    try:
        with pytest.raises(ModelError, match=r"'tiny': tiny\.onnx is not a network that runs here"):
            cloud_mask(np.full((3, 20, 20), 0.1), ["red", "green", "nir"], model="tiny")
    finally:
        use_models(None)


def test_rules_are_labelled_and_never_chosen_by_themselves(client: TestClient, tmp_path: Path, folder: Path) -> None:
    given = params(folder, model="rgb-rules", max_size=620)
    answer = good(client.get("/cog/preview.npy", params=given))
    assert "degraded" in answer.headers["x-clearsky-warning"]
    found = np.load(BytesIO(answer.content))[0]
    assert (found[PAIR.mask] == 1).mean() > 0.95
    assert set(np.unique(found)) <= {0, 1}
    info = good(client.get("/cog/info", params={"url": given["url"], "model": "rgb-rules"})).json()["clearsky"]
    assert info["model"] == "rgb-rules"
    assert any("degraded" in text for text in info["warnings"])
    refused = client.get("/cog/preview.npy", params=params(folder, bands="a,green,red,blue") | {"model": ""})
    assert refused.status_code == 400
    assert "nir not found" in refused.json()["detail"]
    assert "rgb-rules" in refused.json()["detail"]
