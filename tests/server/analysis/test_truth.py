"""The demo scene, end to end: the model finds the clouds, and the fill comes close to the hidden truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from rio_cogeo.cogeo import cog_validate
from starlette.testclient import TestClient

from server.demo import DemoScene
from tests.helpers.landscapes import rmse
from tests.helpers.scenes import Demo, read_raster
from tests.helpers.service import application, raster


@pytest.fixture(scope="module")
def scene(demo_scene: Demo) -> DemoScene:
    return demo_scene(1024)


@pytest.fixture(scope="module")
def client(scene: DemoScene) -> Iterator[TestClient]:
    with application(scene.cloudy.parent, max_pixels=str(1 << 22)) as client:
        yield client


def preview(client: TestClient, **params: Any) -> np.ndarray:
    answer = client.get("/cog/preview.tif", params={"max_size": 1024, **params})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)[:-1]


def test_files_are_valid_cogs(scene: DemoScene) -> None:
    for path in (scene.cloudy, scene.clear, scene.truth, scene.truth_mask):
        assert cog_validate(str(path), quiet=True)[0]


def test_the_model_finds_the_clouds(client: TestClient, scene: DemoScene) -> None:
    truth = read_raster(scene.truth_mask)[0]
    found = preview(client, url=str(scene.cloudy), algorithm="cloud_mask")[0]
    cloud = (found == 1, truth == 1)
    assert (cloud[0] & cloud[1]).sum() / (cloud[0] | cloud[1]).sum() >= 0.8


def test_the_model_finds_none_on_the_clear_date(client: TestClient, scene: DemoScene) -> None:
    found = preview(client, url=str(scene.clear), algorithm="cloud_mask")[0]
    assert (found != 0).mean() < 0.005


def test_fill_beats_the_simple_ways(client: TestClient, scene: DemoScene) -> None:
    """RMSE inside the mask below pasting, global moment matching and one regression per band."""
    cloudy, clear, truth = (read_raster(p).astype(float) for p in (scene.cloudy, scene.clear, scene.truth))
    pair = {"url": str(scene.cloudy), "replacement": str(scene.clear)}
    mask = preview(client, **pair, algorithm="fill_source")[0] == 1
    assert 0.3 < mask.mean() < 0.9
    moment, regression = clear.copy(), clear.copy()
    for b in range(len(truth)):
        t, r = cloudy[b][~mask], clear[b][~mask]
        moment[b] = (clear[b] - r.mean()) * t.std() / r.std() + t.mean()
        regression[b] = np.polyval(np.polyfit(r, t, 1), clear[b])
    ours = rmse(preview(client, **pair), truth, mask)
    assert ours < 0.95 * min(rmse(image, truth, mask) for image in (clear, moment, regression))


def test_ndvi_of_the_filled_scene(client: TestClient, scene: DemoScene) -> None:
    """Vegetation under cloud is told from the filled image, not from the cloud."""
    truth = read_raster(scene.truth).astype(float)
    index = (truth[3] - truth[2]) / (truth[3] + truth[2])
    pair = {"url": str(scene.cloudy), "replacement": str(scene.clear)}
    mask = preview(client, **pair, algorithm="fill_source")[0] == 1
    filled = preview(client, **pair, expression="(b4-b3)/(b4+b3)")[0]
    clouded = preview(client, url=str(scene.cloudy), expression="(b4-b3)/(b4+b3)")[0]
    error, before = (np.abs(image - index)[mask].mean() for image in (filled, clouded))
    assert error < 0.45 * before
