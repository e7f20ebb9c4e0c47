"""Bands of alpha: of the target, of replacements on any grid, and of masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, Pair, make_pair, write_raster
from tests.helpers.service import application, raster
from tests.helpers.stock import check_same_picture, stock_titiler

SIZE = (150, 160)
GRIDS: dict[str, tuple[str, Affine]] = {
    "same": (UTM, ORIGIN),
    "half a pixel off": (UTM, ORIGIN @ Affine.translation(0.5, 0.5)),
    "coarser": (UTM, ORIGIN @ Affine.scale(1.25)),
    "turned": (UTM, ORIGIN @ Affine.rotation(3)),
    "degrees": ("EPSG:4326", Affine(9.1e-5, 0, 15.0, 0, -9.1e-5, 41.552)),
}
OPTIONS = {"algorithm_params": json.dumps({"buffer": 1})}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=SIZE, seed=12, bands=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alpha")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def with_alpha(path: Path, values: np.ndarray, alpha: np.ndarray, crs: str = UTM, lattice: Affine = ORIGIN) -> str:
    """A raster whose last band is alpha."""
    url = write_raster(
        path,
        np.concatenate([values, alpha[None].astype(values.dtype)]),
        nodata=None,
        crs=crs,
        transform=lattice,
        descriptions=(*("blue", "green", "red")[: len(values)], "alpha"),
    )
    with rasterio.open(url, "r+") as dst:
        dst.colorinterp = [*[ColorInterp.gray] * len(values), ColorInterp.alpha]
    return url


def read(client: TestClient, path: str, **params: Any) -> np.ndarray:
    answer = client.get(f"/cog/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return raster(answer.content)


@pytest.fixture(scope="module")
def plain(folder: Path, pair: Pair) -> dict[str, str]:
    return {
        "url": write_raster(folder / "target.tif", pair.target),
        "mask": write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None),
        **CLEAR_REPLACEMENTS,
    }


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_replacement_may_have_alpha(
    client: TestClient, folder: Path, pair: Pair, plain: dict[str, str], grid: tuple[str, Affine]
) -> None:
    crs, lattice = grid
    values = np.full((3, 400, 400), 1500, np.uint16)
    alpha = np.full((400, 400), 65535)
    alpha[:, 80:] = 0
    replacement = with_alpha(folder / "replacement.tif", values, alpha, crs, lattice)
    params = plain | {"replacement": replacement} | OPTIONS
    source = read(client, "preview.tif", **params, algorithm="fill_source")[0]
    if crs == UTM:  # transparent right of its column 80
        edge = int(80 * lattice.a) // 10
        assert (source[:, : edge - 20] == 1).mean() > 0.1
        assert not (source[:, edge + 20 :] == 1).any()
        assert (source[:, edge + 20 :] == 255).mean() > 0.1
    assert (source == 1).any()
    filled = read(client, "preview.tif", **params)[:3]
    assert (filled[:, source == 1] < 6000).all()
    bounds = transform_bounds(UTM, "EPSG:4326", 500_000, 4_598_600, 501_500, 4_600_000)
    shown = read(client, f"bbox/{','.join(map(str, bounds))}.tif", **params)
    assert shown[-1].any()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_mask_may_have_alpha(
    client: TestClient, folder: Path, pair: Pair, plain: dict[str, str], grid: tuple[str, Affine]
) -> None:
    crs, lattice = grid
    cloud = np.ones((1, 400, 400), np.uint8)
    alpha = np.where(np.arange(400) < 60, 255, 0)[None].repeat(400, 0)
    mask = with_alpha(folder / "with-alpha.tif", cloud, alpha, crs, lattice)
    classes = read(client, "preview.tif", url=plain["url"], mask=mask, algorithm="cloud_mask")[0]
    assert (classes == 1).any()
    assert not (classes[:, 100:] == 1).any()
    assert (classes[20:130, 15:40] == 1).mean() > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_transparent_in_part_is_filled(
    client: TestClient, folder: Path, pair: Pair, plain: dict[str, str], dtype: str
) -> None:
    full = np.iinfo(dtype).max
    scale = 40 if dtype == "uint8" else 1
    alpha = np.full(SIZE, full)
    alpha[:, 50:100] = full // 2
    alpha[:, 100:] = 0
    url = with_alpha(folder / f"{dtype}.tif", (pair.target / scale).clip(1, full).astype(dtype), alpha)
    replacement = with_alpha(
        folder / f"r{dtype}.tif", (pair.replacement / scale).clip(1, full).astype(dtype), np.full(SIZE, full)
    )
    params = plain | {"url": url, "replacement": replacement} | OPTIONS
    filled, before = read(client, "preview.tif", **params), read(client, "preview.tif", url=url)
    source = read(client, "preview.tif", **params, algorithm="fill_source")
    np.testing.assert_array_equal(filled[3], before[3])
    np.testing.assert_array_equal(source[1] > 0, before[3] > 0)
    for part in (np.s_[:, :50], np.s_[:, 50:100]):
        cloud = pair.mask[part]
        assert (source[0][part][cloud] == 1).all()
        assert (filled[:3][(slice(None), *part)][:, cloud] < 6000 / scale).all()
    np.testing.assert_array_equal(filled[:, :, 100:], before[:, :, 100:])


def test_cloud_left_open_becomes_transparent_if_asked(
    client: TestClient, folder: Path, pair: Pair, plain: dict[str, str]
) -> None:
    url = with_alpha(folder / "open.tif", pair.target, np.full(SIZE, 65535))
    half = pair.replacement.copy()
    half[:, :, 80:] = 0
    replacement = write_raster(folder / "half.tif", half)
    asked = {"algorithm_params": json.dumps({"buffer": 0, "unfilled": "nodata"})}
    filled = read(client, "preview.tif", **plain | {"url": url, "replacement": replacement} | asked)
    lost = pair.mask & (np.arange(SIZE[1]) >= 80)
    assert not filled[3][lost].any()
    assert filled[3][~pair.mask & (np.arange(SIZE[1]) < 80)].all()


@pytest.mark.parametrize("bidx", [[1, 2, 3, 4], [4, 1], [4], [3, 4, 4]])
@pytest.mark.parametrize("algorithm", ["cloud_removal", "fill_source", "cloud_mask"])
def test_alpha_can_be_asked_for_as_a_band(
    client: TestClient, folder: Path, pair: Pair, plain: dict[str, str], bidx: list[int], algorithm: str
) -> None:
    alpha = np.full(SIZE, 65535)
    alpha[:20] = 0
    alpha[20:40] = 30000
    url = with_alpha(folder / "bands.tif", pair.target, alpha)
    replacement = write_raster(folder / "replacement-plain.tif", pair.replacement)
    params: dict[str, Any] = plain | {"url": url, "replacement": replacement, "bidx": bidx} | OPTIONS
    shown = read(client, "preview.tif", **params, algorithm=algorithm)
    everything = read(client, "preview.tif", **(params | {"bidx": [1, 2, 3]}), algorithm=algorithm)
    if algorithm != "cloud_removal":
        np.testing.assert_array_equal(shown, everything)
        return
    with stock_titiler() as stock:
        theirs = raster(stock.get("/cog/preview.tif", params={"url": url, "bidx": bidx}).content)
        answers = [app.get("/cog/preview.tif", params={"url": url, "bidx": bidx}) for app in (client, stock)]
    check_same_picture(*answers)
    for at, band in enumerate(bidx):
        np.testing.assert_array_equal(shown[at], theirs[at] if band == 4 else everything[band - 1])
    np.testing.assert_array_equal(shown[-1], theirs[-1])
