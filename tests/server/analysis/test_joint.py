"""`adjustment=joint`: several replacements explain the target together, alike in every tile, and better than one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import morecantile
import numpy as np
import pytest
from rasterio.warp import transform
from scipy import ndimage
from starlette.testclient import TestClient

from algorithms import buffer_mask, fill_clouds
from algorithms.cells import cell_any
from tests.helpers.scenes import UTM, Pair, make_pair, smooth_noise, write_pair, write_raster
from tests.helpers.service import application, raster

TMS = morecantile.tms.get("WebMercatorQuad")
SIZE: Final = (300, 360)
MISSING: Final = np.s_[:, 60:140, 100:220]
"""Where the second replacement has no data."""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=SIZE, seed=3)


@pytest.fixture(scope="module")
def others(pair: Pair) -> list[np.ndarray]:
    """Two dates, each off the ground between them by changes of its own."""
    rng = np.random.default_rng(5)
    changed = [pair.replacement + 150 * smooth_noise(rng, pair.replacement.shape, 3) for _ in range(2)]
    first, second = (np.clip(np.rint(values), 1, 65535).astype(np.uint16) for values in changed)
    second[MISSING] = 0
    return [first, second]


@pytest.fixture(scope="module")
def files(pair: Pair, others: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("joint")
    paths = [write_raster(folder / f"other{k}.tif", other) for k, other in enumerate(others)]
    masks = {"replacement_mask": ["none", "none"]}
    return write_pair(folder, pair) | {"replacement": paths} | masks | chosen("joint")


@pytest.fixture(scope="module")
def client(files: dict[str, Any]) -> Iterator[TestClient]:
    with application(str(Path(files["url"]).parent)) as client:
        yield client


def chosen(adjustment: str) -> dict[str, str]:
    return {"algorithm_params": json.dumps({"adjustment": adjustment})}


def whole(client: TestClient, params: dict[str, Any]) -> np.ndarray:
    path = "/cog/bbox/500000,4597000,503600,4600000.tif"
    answer = client.get(path, params={**params, "coord_crs": UTM, "dst_crs": UTM})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)


def test_the_server_equals_fill_clouds(
    client: TestClient, files: dict[str, Any], pair: Pair, others: list[np.ndarray]
) -> None:
    sent = whole(client, files)[:6].astype(float)
    mask = cell_any(buffer_mask(pair.mask, 2), 2).repeat(2, 0).repeat(2, 1)
    valid = np.stack([(other != 0).all(axis=0) for other in others])
    fill = fill_clouds(pair.target, np.stack(others), mask, adjustment="joint", valid=valid, analysis_factor=2)
    np.testing.assert_array_equal(sent[:, ~mask], pair.target[:, ~mask])
    off = np.abs(sent - np.rint(fill)).max(axis=0)
    alone = np.zeros(SIZE, bool)
    alone[MISSING[1:]] = True
    # What one fills alone counts as its own layer in `fill_clouds` and as the joint one's here: cells between differ.
    assert off[~ndimage.binary_dilation(alone, iterations=4)].max() <= 1
    assert off[alone & mask].mean() < 10


def test_it_is_closer_than_either_alone(client: TestClient, files: dict[str, Any], pair: Pair) -> None:
    judged = pair.mask.copy()
    judged[MISSING[1:]] = False

    def error(params: dict[str, Any]) -> float:
        return float(np.sqrt(((whole(client, params)[:6].astype(float) - pair.truth)[:, judged] ** 2).mean()))

    single = [
        error(files | {"replacement": path, "replacement_mask": "none"} | chosen("regression"))
        for path in files["replacement"]
    ]
    assert error(files) < 0.9 * min(single)


def test_what_both_fill_counts_as_the_first(client: TestClient, files: dict[str, Any], pair: Pair) -> None:
    source = whole(client, files | {"algorithm": "fill_source"})[0]
    assert (source[pair.mask] == 1).all()
    confidence = whole(client, files | {"algorithm": "fill_confidence"})[0]
    assert ((confidence > 0) & (confidence < 100))[pair.mask].all()


def test_one_replacement_is_the_regression(client: TestClient, files: dict[str, Any]) -> None:
    one = files | {"replacement": files["replacement"][0], "replacement_mask": "none"}
    np.testing.assert_array_equal(whole(client, one), whole(client, one | chosen("regression")))


@pytest.mark.parametrize("algorithm", ["cloud_removal", "fill_source"])
def test_quarters_are_the_whole(client: TestClient, files: dict[str, Any], algorithm: str) -> None:
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [501_800], [4_598_500])
    t = TMS.tile(lon, lat, 13)
    plain = [{"url": files["url"]}, {"url": files["replacement"][0]}]

    def tile(at: morecantile.Tile, size: int, query: dict[str, Any]) -> np.ndarray:
        path = f"/cog/tiles/WebMercatorQuad/{at.z}/{at.x}/{at.y}.tif"
        answer = client.get(path, params={**query, "tilesize": size})
        assert answer.status_code == 200, answer.text
        return raster(answer.content)

    queries = [files | {"algorithm": algorithm}, *plain]
    large, compared = [tile(t, 512, query) for query in queries], 0
    for child in TMS.children(t):
        top, left = 256 * (child.y - 2 * t.y), 256 * (child.x - 2 * t.x)
        same = [
            (tile(child, 256, query) == whole[:, top : top + 256, left : left + 256]).all(axis=0)
            for query, whole in zip(queries, large, strict=True)
        ]
        agree = same[1] & same[2]  # elsewhere the pixels themselves differ, without any fill
        compared += int(agree.sum())
        assert same[0][agree].all()
    assert compared > 10_000


def test_info_names_all_dates(client: TestClient, files: dict[str, Any]) -> None:
    answer = client.get("/cog/info", params=files)
    assert answer.status_code == 200, answer.text
    described = answer.json()["clearsky"]
    assert described["replacements"] == [str(path) for path in files["replacement"]]
    assert len(described["replacement_clouds"]) == len(files["replacement"])
