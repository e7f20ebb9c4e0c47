"""A deck that the network calls clear: filled where there is a second date, whatever lies around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio
from starlette.testclient import TestClient

from tests.helpers.scenes import Demo, read_raster
from tests.helpers.service import application, good, raster

DECK = np.s_[:, 100:420, 60:400]
LIGHT = np.array([6200, 6100, 6000, 6200, 4500, 3800])[:, None, None]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with application(tmp_path_factory.getbasetemp()) as client:
        yield client


@pytest.fixture(scope="module", params=[DECK, np.s_[:, :, :]], ids=["deck", "overcast"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, demo_scene: Demo) -> dict[str, Any]:
    """The truth of the demo scene under a bright deck with noise, and a clear date."""
    demo, folder = demo_scene(512), tmp_path_factory.mktemp("deck")
    with rasterio.open(demo.truth) as src:
        profile, truth, names = src.profile, src.read(), src.descriptions
        left, bottom, right, top = src.bounds
    cloudy = truth.copy()
    noise = np.random.default_rng(0).normal(0, 80, truth.shape)
    cloudy[request.param] = (LIGHT + noise)[request.param]
    for name, values in (("cloudy", cloudy), ("clear", read_raster(demo.clear))):
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as out:
            out.write(values)
            out.descriptions = names
    crs = profile["crs"].to_string()
    params = {"url": str(folder / "cloudy.tif"), "replacement": str(folder / "clear.tif")}
    params |= {"coord_crs": crs, "dst_crs": crs}
    deck = np.zeros(truth.shape[1:], bool)
    deck[request.param[1:]] = True
    path = f"/cog/bbox/{left},{bottom},{right},{top}.tif"
    return {"params": params, "path": path, "deck": deck, "truth": truth, "clear": read_raster(demo.clear)}


def ask(client: TestClient, scene: dict[str, Any], algorithm: str, **options: object) -> np.ndarray:
    params = scene["params"] | {"algorithm": algorithm, "algorithm_params": json.dumps(options)}
    return raster(good(client.get(scene["path"], params=params)).content)


def test_no_deck_stands_in_the_result(client: TestClient, scene: dict[str, Any]) -> None:
    """The network sees next to nothing of it; the second date shows all."""
    deck = scene["deck"]
    assert (ask(client, scene, "cloud_mask", refine=False)[0][deck] == 0).mean() > 0.9
    assert (ask(client, scene, "cloud_mask")[0][deck] > 0).mean() > 0.999
    assert (ask(client, scene, "fill_source")[0][deck] == 1).all()
    filled = ask(client, scene, "cloud_removal")[:6].astype(float)

    def error(values: np.ndarray) -> float:
        return float(np.sqrt(((values - scene["truth"])[:, deck] ** 2).mean()))

    pasted = error(scene["clear"].astype(float))
    assert error(filled) < (0.85 * pasted if not deck.all() else 1.1 * pasted)


def test_little_else_is_taken(client: TestClient, scene: dict[str, Any]) -> None:
    around = ~scene["deck"]
    if around.any():
        assert (ask(client, scene, "cloud_mask")[0][around] > 0).mean() < 0.01
