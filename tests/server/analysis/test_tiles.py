"""Tiles: no seams, the same bytes in any order, equal to the whole, never computed twice."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import morecantile
import numpy as np
import pytest
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from algorithms import buffer_mask, cloud_mask, fill_clouds
from algorithms.cells import cell_any
from algorithms.sessions import SESSIONS
from tests.helpers.scenes import BANDS, UTM, Demo, Pair, make_pair, write_pair
from tests.helpers.service import application, raster

FILLED: Final = ("replacement", "mask", "replacement_mask")
TMS = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(600, 700))


@pytest.fixture(scope="module")
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pair")
    return {"folder": str(folder), **write_pair(folder, pair)}


@pytest.fixture(scope="module")
def demo(demo_scene: Demo) -> dict[str, str]:
    scene = demo_scene(512)
    return {"folder": str(scene.cloudy.parent), "url": str(scene.cloudy), "replacement": str(scene.clear)}


@pytest.fixture(scope="module")
def client(files: dict[str, str]) -> Iterator[TestClient]:
    with application(files["folder"]) as client:
        yield client


def query(files: dict[str, str], *names: str, **more: object) -> dict[str, Any]:
    return {name: files[name] for name in ("url", *names)} | more


def tiles_of(files: dict[str, str], z: int) -> list[morecantile.Tile]:
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", 500_000, 4_594_000, 507_000, 4_600_000)
    return list(TMS.tiles(west, south, east, north, zooms=[z]))


def tile(client: TestClient, t: morecantile.Tile, params: dict[str, Any], size: int = 256) -> np.ndarray:
    answer = client.get(f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.tif", params=params | {"tilesize": size})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)


@pytest.mark.parametrize("algorithm", ["cloud_removal", "fill_source", "fill_confidence", "cloud_mask"])
@pytest.mark.parametrize("z", [11, 12, 13, 14])
def test_quarters_equal_the_whole(client: TestClient, files: dict[str, str], z: int, algorithm: str) -> None:
    """Four 256 px tiles of z+1 are the 512 px tile of z wherever plain TiTiler's own tiles agree."""
    params = query(files, *FILLED, algorithm=algorithm)
    plain, other = query(files), {"url": files["replacement"]}
    compared = 0
    for t in tiles_of(files, z)[:2]:
        whole, whole_plain, whole_other = (tile(client, t, p, 512) for p in (params, plain, other))
        for child in TMS.children(t):
            if not any(child == c for c in tiles_of(files, z + 1)):
                continue
            quarter = np.s_[:, 256 * (child.y - 2 * t.y) : 256 * (child.y - 2 * t.y + 1), 256 * (child.x - 2 * t.x) :]
            here = tile(client, child, params)
            cut = whole[quarter][..., :256]
            agree = (tile(client, child, plain) == whole_plain[quarter][..., :256]).all(axis=0)
            agree &= (tile(client, child, other) == whole_other[quarter][..., :256]).all(axis=0)
            compared += int(agree.sum())
            differ = (here != cut).any(axis=0) & agree
            assert not differ.any(), f"{differ.sum()} of {agree.sum()} pixels differ"
    assert compared > 10_000


@pytest.mark.parametrize("first", [0, 1])
def test_neighbours_in_either_order(files: dict[str, str], first: int) -> None:
    """Identical bytes whichever tile is asked first, cold or warm."""
    params = query(files, *FILLED, tilesize=256, bidx=[3, 2, 1])
    tiles = tiles_of(files, 14)[5:7]
    paths = [f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.png" for t in tiles]
    seen: dict[str, set[bytes]] = {path: set() for path in paths}
    for order in (paths, paths[::-1])[:: 1 if first else -1]:
        with application(files["folder"]) as client:
            for path in [*order, *order]:
                answer = client.get(path, params=params)
                assert answer.status_code == 200, answer.text
                seen[path].add(answer.content)
    assert [len(contents) for contents in seen.values()] == [1, 1]


@pytest.mark.parametrize("adjustment", ["regression", "moment"])
@pytest.mark.parametrize("buffer", [0, 4])
def test_server_equals_fill_clouds(
    client: TestClient, files: dict[str, str], pair: Pair, adjustment: str, buffer: int
) -> None:
    """At native resolution in the dataset's CRS the server sends what `fill_clouds` gives on the whole array."""
    params = query(files, *FILLED, coord_crs=UTM, dst_crs=UTM)
    params["algorithm_params"] = json.dumps({"adjustment": adjustment, "buffer": buffer})
    answer = client.get("/cog/bbox/500000,4594000,507000,4600000.tif", params=params)
    assert answer.status_code == 200
    sent = raster(answer.content)[:6].astype(float)
    factor = client.get("/cog/info", params=query(files)).json()["clearsky"]["analysis"]["factor"]
    cells = cell_any(buffer_mask(pair.mask, buffer), factor)
    mask = cells.repeat(factor, 0).repeat(factor, 1)
    whole = fill_clouds(pair.target, pair.replacement, mask, adjustment=adjustment, analysis_factor=factor)
    away = np.abs(sent - np.rint(whole))
    assert np.percentile(away, 99) <= 1
    assert away.max() <= 20  # deep in clouds, where wide windows rest on cells that GDAL decimates on the way
    np.testing.assert_array_equal(sent[:, ~mask], pair.target[:, ~mask])
    error = np.sqrt(((sent - pair.truth)[:, mask] ** 2).mean())
    pasted = np.sqrt(((pair.replacement.astype(float) - pair.truth)[:, mask] ** 2).mean())
    assert error < pasted / 5


def test_mask_equals_cloud_mask(client: TestClient, files: dict[str, str], pair: Pair) -> None:
    """The server's mask is `cloud_mask` on the whole array at the grid's resolution."""
    params = query(files, algorithm="cloud_mask", coord_crs=UTM, dst_crs=UTM)
    answer = client.get("/cog/bbox/500000,4594000,507000,4600000.tif", params=params)
    sent = raster(answer.content)[0]
    factor = client.get("/cog/info", params=query(files)).json()["clearsky"]["analysis"]["factor"]
    whole = cloud_mask(pair.target * np.float32(1e-4), BANDS, analysis_factor=factor)
    assert factor == 2
    assert (sent == whole).mean() > 0.9999  # float32 sums in another order can tip a cell's rounding


def test_sensitivity_changes_masks_without_a_new_inference(demo: dict[str, str]) -> None:
    """More sensitive, more is taken, from the probabilities that are there; each answer is as on a fresh server."""
    bbox = "/cog/bbox/276000,4796000,279000,4799000.tif"

    def ask(client: TestClient, sensitivity: int, **more: object) -> np.ndarray:
        options = json.dumps({"sensitivity": sensitivity, "refine": False})
        params = query(demo, "replacement", coord_crs=UTM, dst_crs=UTM, algorithm_params=options, **more)
        answer = client.get(bbox, params=params)
        assert answer.status_code == 200, answer.text
        return raster(answer.content)

    with application(demo["folder"]) as client:
        ask(client, 15)
        before = SESSIONS.inferences()
        masks = {s: ask(client, s, algorithm="cloud_mask")[0] for s in (0, 5, 15, 50, 95, 100)}
        filled = {s: ask(client, s) for s in (5, 50)}
        assert SESSIONS.inferences() == before
    for less, more in itertools.pairwise(masks.values()):
        assert (more > 0)[less > 0].all()
        assert (more > 0).sum() > (less > 0).sum()
    assert (filled[5] != filled[50]).any()
    with application(demo["folder"]) as client:
        np.testing.assert_array_equal(ask(client, 50), filled[50])


def test_single_flight(demo: dict[str, str]) -> None:
    """Sixteen clients asking for the same cold tiles cost no more inferences than one client."""
    west, south, east, north = transform_bounds(UTM, "EPSG:4326", 276_000, 4_794_880, 281_120, 4_800_000)
    tiles = list(TMS.tiles(west, south, east, north, zooms=[14]))[4:6]
    paths = [f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.png" for t in tiles]
    params = query(demo, "replacement", bidx=[3, 2, 1])

    def count(clients: int) -> int:
        before = SESSIONS.inferences()
        with application(demo["folder"]) as client:
            gate = threading.Barrier(clients)

            def work(_: int) -> list[int]:
                gate.wait()
                return [client.get(path, params=params).status_code for path in paths]

            with ThreadPoolExecutor(clients) as pool:
                statuses = list(pool.map(work, range(clients)))
        assert statuses == [[200] * len(paths)] * clients
        return SESSIONS.inferences() - before

    alone = count(1)
    assert alone > 0
    assert count(16) == alone


def test_options_need_no_inference(demo_scene: Demo) -> None:
    """Window, buffer and adjustment change the picture without running the model again."""
    pictures = set()
    scene = demo_scene(256)
    demo = {"url": str(scene.cloudy), "replacement": str(scene.clear)}
    with application(scene.cloudy.parent) as client:

        def picture(**options: object) -> bytes:
            params = query(demo, "replacement", bidx=[3, 2, 1], algorithm_params=json.dumps(options))
            answer = client.get("/cog/preview.png", params=params)
            assert answer.status_code == 200, answer.text
            assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.1
            return answer.content

        picture(buffer=15, window=400)
        before = SESSIONS.inferences()
        for options in ({"window": 40}, {"buffer": 0}, {"adjustment": "moment"}, {"residual": False}):
            pictures.add(picture(**options))
        assert SESSIONS.inferences() == before
    assert len(pictures) == 4
