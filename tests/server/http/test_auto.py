"""`replacement=auto`: the dates are looked up, ranked by what is clear under the clouds, and the same for all tiles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from httpx2 import Response
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from tests.helpers.archives import ARCHIVES, write_item
from tests.helpers.scenes import BANDS, make_pair
from tests.helpers.service import application
from tests.helpers.stacapi import StacApi, stac_api

SIDE: Final = 160
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.0)
HERE: Final = (slice(16, 60), slice(20, 56))
"""The target's cloud, at 20 m."""
BOX: Final = [15.0, 41.53, 15.02, 41.56]
FILL: Final = '{"residual": false, "buffer": 0}'


def scl(*clouds: tuple[slice, slice]) -> np.ndarray:
    classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    for cloud in clouds:
        classes[cloud] = 9
    return classes


def ground(brightness: float, cloud: tuple[slice, slice] | None = None) -> dict[str, np.ndarray]:
    values = PAIR.replacement * 1e-4 * brightness
    if cloud is not None:
        values[:, 2 * cloud[0].start : 2 * cloud[0].stop, 2 * cloud[1].start : 2 * cloud[1].stop] = 0.8
    named = dict(zip(BANDS, values, strict=True))
    return named | {"nir08": named["nir"]}


def put(
    api: StacApi,
    name: str,
    date: str,
    documents: Path,
    *clouds: tuple[slice, slice],
    brightness: float = 1.0,
    baseline: str = "05.11",
    cover: float | None = 20.0,
) -> dict[str, Any]:
    """Add a date to an API."""
    document = write_item(
        api.folder,
        name,
        ARCHIVES["earthsearch-l2a"],
        ground(brightness, clouds[0] if clouds else None),
        documents,
        masks={"scl": scl(*clouds)},
        datetime=f"{date}T10:00:00Z",
        **{
            "eo:cloud_cover": cover,
            "s2:processing_baseline": baseline,
            "grid:code": "MGRS-33TVG",
            "s2:product_uri": name,
        },
    )
    return api.add(document, id=name, bbox=BOX)


@pytest.fixture(scope="module")
def documents(real_data: Path) -> Path:
    return real_data / "stac"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Iterator[StacApi]:
    """A cloudy target, and four dates: cloudy where it matters, far away in time, the right one, and its older self."""
    with stac_api(tmp_path_factory.mktemp("api")) as api:
        put(api, "target", "2025-06-15", documents, HERE)
        put(api, "cloudy-here", "2025-06-17", documents, HERE, brightness=0.9, cover=1.0)
        put(api, "far", "2025-08-10", documents, brightness=0.8, cover=0.0)
        put(api, "right_1", "2025-06-20", documents, (slice(62, 80), slice(0, 80)), brightness=1.1, cover=60.0)
        put(api, "right_0", "2025-06-20", documents, brightness=0.7, cover=60.0, baseline="04.00")
        yield api


@pytest.fixture(scope="module")
def client(api: StacApi) -> Iterator[TestClient]:
    with application(f"{api.folder},{api.base}/") as client:
        yield client


def good(response: Response) -> Response:
    assert response.status_code == 200, response.text
    return response


def pixels(response: Response) -> Any:
    return np.load(io.BytesIO(good(response).content))


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
    assert api.searched == []  # the first test's choice


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
