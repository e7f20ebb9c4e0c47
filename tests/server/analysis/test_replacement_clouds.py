"""Clouds of replacements next to a user's mask: looked for by the model, or as `replacement_mask` says."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from starlette.testclient import TestClient

from server.demo import DemoScene
from tests.helpers.scenes import CLEAR_REPLACEMENTS, Demo, read_raster, write_raster
from tests.helpers.service import application, raster

SIDE: Final = 320
FILLED: Final = np.s_[40:280, 60:260]
"""What the user's mask marks: whole cells of any size in question."""
NO_BUFFER: Final = {"algorithm_params": json.dumps({"buffer": 0})}
WARNING: Final = "x-clearsky-warning"
ALL: Final = "all.tif"


@pytest.fixture(scope="module")
def scene(demo_scene: Demo) -> DemoScene:
    return demo_scene(SIDE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scene: DemoScene) -> Path:
    """A clear target, a cloudy replacement and a clear one, of 10 m and of 3 m; a mask of the target's."""
    folder = tmp_path_factory.mktemp("replacements")
    mask = np.zeros((SIDE, SIDE), bool)
    mask[FILLED] = True
    with rasterio.open(scene.cloudy) as src:
        names, crs, left, top = src.descriptions, src.crs, src.bounds.left, src.bounds.top
    for metres in (10, 3):
        place: dict[str, Any] = {"crs": crs, "transform": from_origin(left, top, metres, metres)}
        (folder / str(metres)).mkdir()
        for name, path in (("target", scene.clear), ("cloudy", scene.cloudy), ("clear", scene.truth)):
            write_raster(folder / f"{metres}/{name}.tif", read_raster(path), descriptions=names, **place)
        write_raster(folder / f"{metres}/mask.tif", mask[None].astype(np.uint8), nodata=None, **place)
        write_raster(folder / f"{metres}/{ALL}", np.ones((1, SIDE, SIDE), np.uint8), nodata=None, **place)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def asked(folder: Path, *replacements: str, metres: int = 10, **more: Any) -> dict[str, Any]:
    place = folder / str(metres)
    others = [str(place / f"{name}.tif") for name in replacements]
    files = {"url": str(place / "target.tif"), "replacement": others, "mask": str(place / "mask.tif")}
    return files | NO_BUFFER | {"algorithm": "fill_source"} | more


def source(client: TestClient, params: dict[str, Any]) -> np.ndarray:
    """Where the pixels come from that the user's mask marks."""
    answer = client.get("/cog/preview.tif", params=params)
    assert answer.status_code == 200, answer.text
    assert (WARNING in answer.headers) == (ALL in str(params.get("replacement_mask")))  # one that marks everything
    return raster(answer.content)[0][FILLED]


@pytest.fixture(scope="module", params=[10, 3])
def detected(request: pytest.FixtureRequest, client: TestClient, folder: Path) -> tuple[int, np.ndarray]:
    """Size of a pixel in metres, and what the model takes for cloud in the replacement."""
    metres: int = request.param
    params = {"url": str(folder / f"{metres}/cloudy.tif"), "algorithm": "cloud_mask"}
    cloud = np.isin(raster(client.get("/cog/preview.tif", params=params).content)[0], (1, 2))[FILLED]
    assert 0.005 < cloud.mean() < 0.95
    return metres, cloud


def test_what_the_model_sees_there_is_not_pasted_in(
    client: TestClient, folder: Path, detected: tuple[int, np.ndarray]
) -> None:
    metres, cloud = detected
    found = source(client, asked(folder, "cloudy", metres=metres))
    assert (found[~cloud] == 1).all()
    assert (found[cloud] == 255).mean() > 0.1  # what is in doubt fills where nothing else does


def test_the_next_replacement_fills_it(client: TestClient, folder: Path, detected: tuple[int, np.ndarray]) -> None:
    metres, cloud = detected
    found = source(client, asked(folder, "cloudy", "clear", metres=metres))
    np.testing.assert_array_equal(found, np.where(cloud, 2, 1))


@pytest.mark.parametrize(
    ("replacements", "masks", "filled_by"),
    [
        (["cloudy"], ["none"], 1),
        (["cloudy", "clear"], ["none"], 1),
        (["cloudy", "clear"], ["none", "none"], 1),
        (["cloudy", "clear"], ["none", ALL], 1),
        (["cloudy", "clear"], [ALL, "none"], 2),
        (["clear", "cloudy"], [ALL, ALL], 255),
    ],
    ids=str,
)
def test_a_word_or_a_raster_takes_the_models_place(
    client: TestClient, folder: Path, replacements: list[str], masks: list[str], filled_by: int
) -> None:
    named = [mask if mask == "none" else str(folder / "10" / mask) for mask in masks]
    assert (source(client, asked(folder, *replacements, replacement_mask=named)) == filled_by).all()


def test_it_does_so_where_the_model_finds_the_targets_clouds(client: TestClient, folder: Path) -> None:
    names = {"url": "cloudy", "replacement": "target"}
    files = {key: str(folder / f"10/{name}.tif") for key, name in names.items()} | {"algorithm": "fill_source"}
    found = {
        mask: raster(client.get("/cog/preview.tif", params=files | {"replacement_mask": mask}).content)[0]
        for mask in ("none", str(folder / "10" / ALL))
    }
    without, covered = found.values()
    assert (without == 1).mean() > 0.05
    assert not (without == 255).any()
    assert not (covered == 1).any()


@pytest.mark.parametrize("masks", [[ALL], ["none", "none", "none"], ["none", ALL, ALL]], ids=str)
def test_there_is_one_for_each(client: TestClient, folder: Path, masks: list[str]) -> None:
    named = [mask if mask == "none" else str(folder / "10" / mask) for mask in masks]
    answer = client.get("/cog/preview.tif", params=asked(folder, "cloudy", "clear", replacement_mask=named))
    assert answer.status_code == 400
    assert f"{len(masks)} `replacement_mask` are given for 2 replacements" in answer.json()["detail"]
    assert "a single `none`" in answer.json()["detail"]


def test_none_needs_no_replacement(client: TestClient, folder: Path) -> None:
    """So that one set of parameters serves a picture, its mask and its description."""
    params = asked(folder, algorithm="cloud_mask") | CLEAR_REPLACEMENTS
    assert client.get("/cog/preview.tif", params=params).status_code == 200
    told = client.get("/cog/info", params=params).json()["clearsky"]
    assert (told["mask"]["rule"], told["warnings"]) == ("everything but 0 is cloud", [])


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        ([], ["model ukis-6b-l1c"] * 2),
        (["none"], ["none: clear wherever it has data"] * 2),
        (["none", ALL], ["none: clear wherever it has data", ALL]),
    ],
    ids=str,
)
def test_info_says_where_they_come_from(client: TestClient, folder: Path, masks: list[str], told: list[str]) -> None:
    place = folder / "10"
    params = asked(folder, "cloudy", "clear", replacement_mask=[str(place / m) if m == ALL else m for m in masks])
    described = client.get("/cog/info", params=params).json()["clearsky"]
    assert described["mask"]["replacements"] == [str(place / text) if text == ALL else text for text in told]


@pytest.mark.parametrize(
    ("bands", "metres", "reason"), [(3, 10, "nir"), (6, 0.5, "too few to find clouds in")], ids=["RGB", "fine"]
)
def test_where_no_model_fits_the_answer_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bands: int, metres: float, reason: str
) -> None:
    values = np.random.default_rng(1).integers(500, 3000, (2, bands, 64, 64)).astype(np.uint16)
    place = {"transform": from_origin(500_000, 4_600_000, metres, metres), "nodata": None}
    cloud = np.zeros((1, 64, 64), np.uint8)
    cloud[:, 10:30, 10:30] = 1
    params = {
        "url": write_raster(tmp_path / "target.tif", values[0], **place),
        "replacement": write_raster(tmp_path / "other.tif", values[1], **place),
        "mask": write_raster(tmp_path / "mask.tif", cloud, **place),
    } | NO_BUFFER
    with application(tmp_path) as client, caplog.at_level(logging.WARNING, "clearsky"):
        for algorithm in ("fill_source", "cloud_removal"):
            answer = client.get("/cog/preview.tif", params=params | {"algorithm": algorithm})
            assert answer.status_code == 200, answer.text
            for word in ("clouds of the replacements are not looked for", reason, "`replacement_mask=none`"):
                assert word in answer.headers[WARNING]
            if algorithm == "fill_source":
                np.testing.assert_array_equal(raster(answer.content)[0] == 1, cloud[0])
        assert caplog.text.count("clouds of the replacements are not looked for") == 1
        told = client.get("/cog/info", params=params).json()["clearsky"]
        assert told["mask"]["replacements"] == ["none: clear wherever it has data"]
        assert [reason in warning for warning in told["warnings"]] == [True]
        silent = client.get("/cog/preview.tif", params=params | CLEAR_REPLACEMENTS)
        assert (silent.status_code, WARNING in silent.headers) == (200, False)
        if reason == "nir":
            named = client.get("/cog/preview.tif", params=params | {"model": "ukis-4b-l1c"})
            assert (named.status_code, "nir" in named.json()["detail"]) == (400, True)
