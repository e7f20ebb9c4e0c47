"""Fine pixels: a user's mask is followed in its own pixels at any size of them, and a model's limits are said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from rasterio.transform import from_origin
from scipy import ndimage
from starlette.testclient import TestClient

from server.raster.grid import coarse_grid, fine_grid, grid_for
from tests.helpers.landscapes import rmse
from tests.helpers.scenes import CLEAR_REPLACEMENTS, Pair, make_pair, write_raster
from tests.helpers.service import application, raster, sources_by

SIDE: Final = 201
"""No multiple of any cell."""
METRES: Final = (3.0, 0.5, 0.03)
WARNING: Final = "x-clearsky-warning"


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(SIDE, SIDE), seed=12, cloud=0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    folder = tmp_path_factory.mktemp("fine")
    for metres in (10.0, *METRES):
        place = from_origin(500_000, 4_600_000, metres, metres)
        for name, values in (("target", pair.target), ("replacement", pair.replacement)):
            write_raster(folder / f"{name} {metres}.tif", values, transform=place)
        write_raster(folder / f"mask {metres}.tif", pair.mask[None].astype(np.uint8), transform=place, nodata=None)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def asked(folder: Path, metres: float, *, mask: bool = True, buffer: int = 0) -> dict[str, Any]:
    names = {"url": "target", "replacement": "replacement"} | ({"mask": "mask"} if mask else {})
    params = {key: str(folder / f"{name} {metres}.tif") for key, name in names.items()}
    params |= CLEAR_REPLACEMENTS if mask else {}
    return params | {"algorithm_params": json.dumps({"buffer": buffer})}


def shown(client: TestClient, params: dict[str, Any], algorithm: str, **options: Any) -> np.ndarray:
    answer = client.get("/cog/preview.tif", params=params | {"algorithm": algorithm} | options)
    assert answer.status_code == 200, answer.text
    return raster(answer.content)[:-1]


@pytest.mark.parametrize("metres", METRES)
def test_exactly_the_pixels_of_a_mask_are_filled(client: TestClient, folder: Path, pair: Pair, metres: float) -> None:
    params = asked(folder, metres)
    np.testing.assert_array_equal(shown(client, params, "fill_source")[0] == 1, pair.mask)
    filled = shown(client, params, "cloud_removal")
    np.testing.assert_array_equal(filled[:, ~pair.mask], pair.target[:, ~pair.mask])
    pasted = rmse(pair.replacement.astype(float), pair.truth.astype(float), pair.mask)
    assert rmse(filled.astype(float), pair.truth.astype(float), pair.mask) < 0.2 * pasted


def test_the_fill_does_not_depend_on_the_size_of_a_fine_pixel(client: TestClient, folder: Path) -> None:
    """Windows, buffer and residual are lengths in pixels."""
    first, *others = (shown(client, asked(folder, metres), "cloud_removal") for metres in METRES)
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("size", [100, 40, 9])
def test_no_cloud_is_left_in_coarse_views(client: TestClient, folder: Path, pair: Pair, size: int) -> None:
    """Up to the last row and column, which fill no cell."""
    filled = shown(client, asked(folder, 0.5), "cloud_removal", max_size=size)
    source = shown(client, asked(folder, 0.5), "fill_source", max_size=size)[0]
    assert (source != 255).all()
    assert (source == 1).any()
    assert np.percentile(filled[0], 99.5) < pair.truth[0].max()


def test_levels_grow_step_by_step_and_end_at_the_models_cells(folder: Path) -> None:
    """So that no view takes in many more cells than pixels."""
    sources = sources_by(folder)
    target = sources.dataset(str(folder / "target 0.5.tif"))
    assert fine_grid(target, follows=True).factor == 1
    seen = [(width, grid_for(target, width, follows=True)) for width in np.geomspace(0.1, 40, 60)]
    for width, grid in seen:
        assert grid.factor <= max(1, width / 0.75)
        assert width < 4 * grid.factor or grid.factor == coarse_grid(target, follows=True).factor
    assert {grid.factor for _, grid in seen} == {1, 4}
    plain = sources.dataset(str(folder / "target 10.0.tif"))
    assert fine_grid(plain, follows=True) == fine_grid(plain)
    assert coarse_grid(plain, follows=True) == coarse_grid(plain)


@pytest.mark.parametrize(("metres", "said"), [(10.0, ""), (3.0, ""), (0.5, "too few"), (0.03, "too few")])
def test_what_a_model_cannot_see_is_said(client: TestClient, folder: Path, metres: float, said: str) -> None:
    params = asked(folder, metres, mask=False)
    for algorithm in ("cloud_removal", "cloud_mask", "fill_source"):
        answer = client.get("/cog/preview.tif", params=params | {"algorithm": algorithm, "max_size": 64})
        assert said in answer.headers.get(WARNING, ""), algorithm
        assert (WARNING in answer.headers) == bool(said)
    described = client.get("/cog/info", params=params).json()["clearsky"]
    assert (said in str(described["warnings"])) if said else ("warnings" not in described)


def test_with_a_mask_nothing_is_said_of_the_model(client: TestClient, folder: Path) -> None:
    answer = client.get("/cog/preview.tif", params=asked(folder, 0.03) | {"algorithm": "cloud_removal"})
    assert WARNING not in answer.headers


def test_cells_much_wider_than_a_pixel_are_said(tmp_path: Path) -> None:
    values = np.full((6, 1100, 1100), 1500, np.uint16)
    place = from_origin(500_000, 4_600_000, 0.5, 0.5)
    params = {"url": write_raster(tmp_path / "wide.tif", values, transform=place), "algorithm": "cloud_mask"}
    with application(tmp_path) as client:
        answer = client.get("/cog/preview.tif", params=params | {"max_size": 64})
    assert "64 x 64 pixels" in answer.headers[WARNING]


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> dict[str, str]:
    """Rasters with clouds of one value, far from the middle of their zone, so that maps turn them."""
    folder, place = tmp_path_factory.mktemp("turned"), from_origin(250_000, 6_900_000, 20, 20)
    target = np.where(pair.mask, 20_000, pair.truth).astype(np.uint16)
    return {
        "url": write_raster(folder / "target.tif", target, transform=place),
        "replacement": write_raster(folder / "replacement.tif", pair.replacement, transform=place),
        "mask": write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), transform=place, nodata=None),
        **CLEAR_REPLACEMENTS,
    }


@pytest.fixture(scope="module")
def above(turned: dict[str, str]) -> Iterator[TestClient]:
    with application(Path(turned["url"]).parent) as client:
        yield client


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:3857", "EPSG:3995"])
@pytest.mark.parametrize("width", [201, 420])
def test_without_a_buffer_no_cloud_is_left_at_the_corners_of_a_mask(
    above: TestClient, turned: dict[str, str], crs: str, width: int
) -> None:
    """Warps show pixels an eighth off their place; no more than the pixels next to a cloud are filled for that."""
    side = 20 * SIDE
    box = f"/cog/bbox/250000,{6_900_000 - side},{250_000 + side},6900000.tif"
    asked: dict[str, Any] = {"coord_crs": "EPSG:32633", "dst_crs": crs, "width": width, "height": width}
    no_buffer = {"algorithm_params": json.dumps({"buffer": 0})}
    plain, filled, source = (
        raster(above.get(box, params=asked | more).content)
        for more in (
            {"url": turned["url"]},
            turned | no_buffer | {"algorithm": "cloud_removal"},
            turned | no_buffer | {"algorithm": "fill_source"},
        )
    )
    cloud = plain[0] == 20_000
    assert cloud.sum() > 1000
    assert (source[0][cloud] == 1).all()
    assert filled[0].max() < 15_000
    assert not ((source[0] == 1) & ~ndimage.binary_dilation(cloud, np.ones((3, 3), bool))).any()
