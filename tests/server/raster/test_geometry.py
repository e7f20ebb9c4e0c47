"""Rasters of any orientation and place: the lattice is the raster's own, so its pixels do not depend on how it lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine, array_bounds, from_origin
from rasterio.warp import Resampling, reproject, transform
from starlette.testclient import TestClient

from server.raster.sampling import OutputGrid, native_pixels, positions
from tests.helpers.scenes import BANDS, CLEAR_REPLACEMENTS, ORIGIN, UTM, Pair, make_pair, write_raster
from tests.helpers.service import application, raster, sources_by

ROWS, COLS = 160, 190
OPTIONS = {"algorithm_params": json.dumps({"buffer": 1})} | CLEAR_REPLACEMENTS
FLIPS = {
    "south up": (ORIGIN @ Affine.translation(0, ROWS) @ Affine.scale(1, -1), np.s_[:, ::-1]),
    "mirrored": (ORIGIN @ Affine.translation(COLS, 0) @ Affine.scale(-1, 1), np.s_[:, :, ::-1]),
    "upside down": (ORIGIN @ Affine.translation(COLS, ROWS) @ Affine.scale(-1, -1), np.s_[:, ::-1, ::-1]),
}
"""Other ways to write the same ground: transform and order of the pixels."""
TURNS = {f"turned by {angle}": ORIGIN @ Affine.rotation(angle) for angle in (20, 45, 90, 135, 200, -70)}
TURNS["turned and mirrored"] = ORIGIN @ Affine.rotation(30) @ Affine.scale(1, -1)
LATTICES = {name: lattice for name, (lattice, _) in FLIPS.items()} | TURNS

SOURCES = sources_by("")
"""For local files, which nobody has to admit."""


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(ROWS, COLS), seed=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("geometry")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def write_all(folder: Path, pair: Pair, name: str, lattice: Affine, order: Any = np.s_[:]) -> dict[str, str]:
    """Target, replacement and mask on a lattice."""
    arrays = {"url": pair.target, "replacement": pair.replacement, "mask": pair.mask[None].astype(np.uint8)}
    return {
        key: write_raster(
            folder / f"{name}-{key}.tif",
            np.ascontiguousarray(array[order]),
            transform=lattice,
            nodata=None if key == "mask" else 0,
        )
        for key, array in arrays.items()
    }


@pytest.fixture(scope="module")
def north(folder: Path, pair: Pair) -> dict[str, str]:
    return write_all(folder, pair, "north", ORIGIN)


def read(client: TestClient, path: str, params: dict[str, Any]) -> np.ndarray:
    answer = client.get(f"/cog/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return raster(answer.content)


@pytest.mark.parametrize("size", [{}, {"max_size": 70}, {"width": 77, "height": 50}], ids=str)
@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES)
def test_a_preview_shows_the_raster_as_it_is_stored(
    client: TestClient, folder: Path, pair: Pair, north: dict[str, str], lattice: Affine, size: dict[str, int]
) -> None:
    files = write_all(folder, pair, "lies", lattice)
    for algorithm in ("cloud_removal", "fill_source", "cloud_mask"):
        asked = OPTIONS | size | {"algorithm": algorithm}
        ours, expected = (read(client, "preview.tif", each | asked) for each in (files, north))
        np.testing.assert_array_equal(ours, expected)
    assert (expected == 1).mean() > 0.1


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES)
def test_a_point_is_the_pixel_under_it(client: TestClient, folder: Path, pair: Pair, lattice: Affine) -> None:
    files = write_all(folder, pair, "lies", lattice)
    shown = {"plain": {"url": files["url"]}, "filled": files | OPTIONS}
    for params in shown.values():
        whole = read(client, "preview.tif", params)
        for row, col in ((3, 5), (80, 100), (ROWS - 1, COLS - 1), *np.argwhere(pair.mask)[::1500]):
            x, y = lattice @ (col + 0.3, row + 0.6)
            answer = client.get(f"/cog/point/{x},{y}", params=params | {"coord_crs": UTM})
            assert answer.status_code == 200, answer.text
            assert answer.json()["values"] == whole[:6, row, col].tolist()
        x, y = lattice @ (COLS + 2, 5)
        assert client.get(f"/cog/point/{x},{y}", params=params | {"coord_crs": UTM}).status_code in (400, 404, 500)


@pytest.mark.parametrize(("lattice", "order"), FLIPS.values(), ids=FLIPS)
def test_a_raster_written_in_another_order_makes_the_same_map(
    client: TestClient, folder: Path, pair: Pair, north: dict[str, str], lattice: Affine, order: Any
) -> None:
    files = write_all(folder, pair, "flipped", lattice, order)
    area = "500210,4598650,501410,4599750"
    for params in ({}, {"replacement": True, "mask": True}):
        ours, expected = (_map(client, each, area, params) for each in (files, north))
        # Windows of the analysis are counted from the first pixel, so fills agree but for what narrow ones
        # make of that.
        apart = np.abs(ours.astype(int) - expected)
        assert apart.max() <= (16 if "mask" in params else 0)
        assert apart.mean() < 0.5
    told = client.get("/cog/info", params={"url": files["url"]}).json()
    assert told["bounds"] == list(array_bounds(ROWS, COLS, ORIGIN))


def _map(client: TestClient, files: dict[str, str], area: str, params: dict[str, Any]) -> np.ndarray:
    named = {key: files[key] if value is True else value for key, value in params.items()}
    options = OPTIONS if params else {}
    return read(client, f"bbox/{area}.tif", {"url": files["url"], "coord_crs": UTM, "dst_crs": UTM} | options | named)


@pytest.mark.parametrize(("lattice", "order"), FLIPS.values(), ids=FLIPS)
def test_a_replacement_and_a_mask_in_another_order_are_the_same(
    client: TestClient, folder: Path, pair: Pair, north: dict[str, str], lattice: Affine, order: Any
) -> None:
    files = write_all(folder, pair, "flipped", lattice, order)
    expected = read(client, "preview.tif", north | OPTIONS)
    only_mask = read(client, "preview.tif", north | {"mask": files["mask"]} | OPTIONS)
    np.testing.assert_array_equal(only_mask, expected)
    both = read(client, "preview.tif", files | {"url": north["url"]} | OPTIONS)
    assert np.abs(both.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("angle", [0, 35, 90])
def test_rasters_that_are_turned_differently_fit_together(
    client: TestClient, folder: Path, pair: Pair, angle: float
) -> None:
    ground = np.mgrid[:ROWS, :COLS].sum(axis=0)[None].repeat(6, 0) + 1000  # a slope, the same at any resolution
    target = np.where(pair.mask, 9000, ground).astype(np.uint16)
    here = ORIGIN @ Affine.rotation(angle)
    url = write_raster(folder / "slope.tif", target, transform=here)
    mask = written(folder, "slope", pair, "mask", here, UTM)
    # Twice as coarse, north up and a little smaller than the target: the corners of a turned one reach beyond.
    there = ORIGIN @ Affine.translation(-300, -300) @ Affine.scale(2)
    rows, cols = np.mgrid[:300, :300] + 0.5
    at_col, at_row = (~here @ there) @ (cols.ravel(), rows.ravel())
    slope = np.reshape(np.asarray(at_col) + np.asarray(at_row) - 1 + 1000, (300, 300)).clip(1, None)
    replacement = write_raster(folder / "other.tif", slope[None].repeat(6, 0).astype(np.uint16), transform=there)
    params = {"url": url, "mask": mask, "replacement": replacement} | OPTIONS
    for size in ({}, {"max_size": 60}):
        source = read(client, "preview.tif", params | size | {"algorithm": "fill_source"})[0]
        filled = read(client, "preview.tif", params | size)[:6].astype(int)
        truth = read(client, "preview.tif", size | {"url": write_raster(folder / "t.tif", ground.astype(np.uint16))})
        assert (source == 1).mean() > 0.2
        assert np.abs(filled - truth[:6].astype(int))[:, source == 1].max() <= (4 if not size else 14)


@pytest.mark.parametrize("lattice", LATTICES.values(), ids=LATTICES)
def test_maps_show_the_ground(client: TestClient, folder: Path, pair: Pair, lattice: Affine) -> None:
    files = write_all(folder, pair, "lies", lattice)
    middle = lattice @ (COLS / 2, ROWS / 2)
    left, bottom, right, top = middle[0] - 600, middle[1] - 600, middle[0] + 600, middle[1] + 600
    shape = {"width": 240, "height": 240, "coord_crs": UTM}
    stored = {
        "filled": read(client, "preview.tif", files | OPTIONS)[:6],
        "source": read(client, "preview.tif", files | OPTIONS | {"algorithm": "fill_source"})[:1],
    }
    for crs in (UTM, "EPSG:3857"):
        corners = transform(UTM, crs, [left, right, left, right], [bottom, top, top, bottom])
        west, south, east, north = min(corners[0]), min(corners[1]), max(corners[0]), max(corners[1])
        asked = files | OPTIONS | shape | {"coord_crs": crs, "dst_crs": crs}
        for name, algorithm in (("filled", "cloud_removal"), ("source", "fill_source")):
            shown = read(client, f"bbox/{west},{south},{east},{north}.tif", asked | {"algorithm": algorithm})[:-1]
            expected = np.zeros_like(shown)
            reproject(
                stored[name],
                expected,
                src_transform=lattice,
                src_crs=UTM,
                dst_transform=from_origin(west, north, (east - west) / 240, (north - south) / 240),
                dst_crs=crs,
                resampling=Resampling.nearest,
            )
            inside = (shown != 0).any(axis=0) if name == "filled" else np.ones(shown.shape[1:], bool)
            differs = (np.abs(shown.astype(int) - expected) > 60).any(axis=0) & inside
            assert differs.mean() < (0.03 if name == "filled" else 0.02)


def test_a_map_turned_by_45_degrees_keeps_clear_ground(client: TestClient, folder: Path) -> None:
    pair = make_pair(size=(300, 300), seed=2, cloud=0.1)
    at = from_origin(1_500_000, 1_500_000, 10, 10)
    arrays = {"url": pair.target, "replacement": pair.replacement, "mask": pair.mask[None].astype(np.uint8)}
    files = {
        key: write_raster(
            folder / f"polar-{key}.tif", array, crs="EPSG:3031", transform=at, nodata=None if key == "mask" else 0
        )
        for key, array in arrays.items()
    }
    corners = transform(
        "EPSG:3031", "EPSG:3857", [1_500_000, 1_503_000] * 2, [1_497_000, 1_497_000, 1_500_000, 1_500_000]
    )
    box = f"{min(corners[0])},{min(corners[1])},{max(corners[0])},{max(corners[1])}"
    for side in (400, 200, 90):
        asked = {"coord_crs": "EPSG:3857", "dst_crs": "EPSG:3857", "width": side, "height": side}
        plain = read(client, f"bbox/{box}.tif", asked | {"url": files["url"]})
        filled = read(client, f"bbox/{box}.tif", asked | files | OPTIONS)
        there = plain[-1] > 0
        changed = (filled != plain).any(axis=0) & there
        assert pair.mask.mean() * 0.6 < changed[there].mean() < pair.mask.mean() * 2.5


@pytest.mark.parametrize("angle", [0, 20, 45, 90, 161, 270])
@pytest.mark.parametrize(("east", "north"), [(3, 3), (3, 5)])
def test_pixels_are_measured_by_their_area(folder: Path, angle: float, east: float, north: float) -> None:
    lattice = ORIGIN @ Affine.rotation(angle)
    url = write_raster(folder / "area.tif", np.ones((6, 40, 50), np.uint16), transform=lattice)
    target = SOURCES.dataset(url)
    grid = OutputGrid(target.crs, (10 * east, 0, 5e5, 0, -10 * north, 4.6e6), 64, 64)
    assert native_pixels(target, grid) == pytest.approx(np.sqrt(east * north), rel=1e-6)


def written(folder: Path, name: str, pair: Pair, key: str, lattice: Affine, crs: str = "EPSG:4326") -> str:
    array = pair.mask[None].astype(np.uint8) if key == "mask" else getattr(pair, key)
    return write_raster(
        folder / f"{name}-{key}.tif", array, crs=crs, transform=lattice, nodata=None if key == "mask" else 0
    )


@pytest.mark.parametrize("longitude", [-167.5, 192.5, -180.008, 179.992])
@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_longitudes_that_are_turns_apart_are_one_place(
    client: TestClient, folder: Path, pair: Pair, longitude: float, turns: int
) -> None:
    here, there = (from_origin(longitude + 360 * k, 10, 1e-4, 1e-4) for k in (0, turns))
    url = written(folder, "here", pair, "target", here)
    near = {
        "replacement": written(folder, "here", pair, "replacement", here),
        "mask": written(folder, "h", pair, "mask", here),
    }
    far = {
        "replacement": written(folder, "there", pair, "replacement", there),
        "mask": written(folder, "t", pair, "mask", there),
    }
    expected = read(client, "preview.tif", {"url": url} | near | OPTIONS)
    np.testing.assert_array_equal(read(client, "preview.tif", {"url": url} | far | OPTIONS), expected)
    off = there @ Affine.translation(0.25, 0)  # another lattice, so that it has to be warped
    warped = {"replacement": written(folder, "off", pair, "replacement", off), "mask": far["mask"]}
    source = read(client, "preview.tif", {"url": url, "algorithm": "fill_source"} | warped | OPTIONS)
    assert (source == 1).mean() > 0.1
    shown = read(client, "preview.tif", {"url": url} | warped | OPTIONS)
    assert np.median(np.abs(shown.astype(int) - expected)[:, source[0] == 1]) < 60


def test_a_projected_target_beyond_the_date_line_is_filled(client: TestClient, folder: Path, pair: Pair) -> None:
    (x,), (y,) = transform("EPSG:4326", "EPSG:32602", [-172.01], [10.0])
    url = written(folder, "utm", pair, "target", from_origin(x, y, 10, 10), "EPSG:32602")
    mask = written(folder, "utm", pair, "mask", from_origin(x, y, 10, 10), "EPSG:32602")
    for longitude in (-172.02, 187.98):
        replacement = written(folder, "lonlat", pair, "replacement", from_origin(longitude, 10.01, 2e-4, 2e-4))
        params = {"url": url, "mask": mask, "replacement": replacement, "algorithm": "fill_source"} | OPTIONS
        assert (read(client, "preview.tif", params) == 1).mean() > 0.1


@pytest.mark.parametrize("start", [-180, 0])
@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326", "EPSG:3031", "EPSG:3413"])
def test_a_replacement_over_the_whole_globe_reaches_every_target(
    client: TestClient, folder: Path, pair: Pair, crs: str, start: int
) -> None:
    (x,), (y,) = transform("EPSG:4326", crs, [-15.0], [-70.0 if crs == "EPSG:3031" else 41.0])
    step = 1e-4 if CRS.from_string(crs).is_geographic else 10
    lattice = from_origin(x, y, step, step)
    url, mask = (written(folder, "spot", pair, key, lattice, crs) for key in ("target", "mask"))
    rng = np.random.default_rng(0)
    world = rng.integers(1000, 3000, (len(BANDS), 180, 360), np.uint16)
    replacement = write_raster(folder / "world.tif", world, crs="EPSG:4326", transform=from_origin(start, 90, 1, 1))
    params = {"url": url, "mask": mask, "replacement": replacement, "algorithm": "fill_source"} | OPTIONS
    source = read(client, "preview.tif", params)[0]
    assert (source == 1).mean() > 0.1
    assert not (source == 255).any()


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:32733"])
def test_a_replacement_of_another_place_is_refused(
    client: TestClient, folder: Path, pair: Pair, north: dict[str, str], crs: str
) -> None:
    (x,), (y,) = transform(UTM, crs, [ORIGIN.c + 10 * COLS], [ORIGIN.f])
    step = 1e-4 if crs == "EPSG:4326" else 10
    for lattice in (from_origin(x + 20 * step, y, step, step), from_origin(x + 20 * step, y, step, -step)):
        far = written(folder, "far", pair, "replacement", lattice, crs)
        answer = client.get("/cog/preview.tif", params={"url": north["url"], "replacement": far})
        assert answer.status_code == 400
        assert "does not overlap" in answer.json()["detail"]
        assert far in answer.json()["detail"]


def test_positions_beside_a_seam_or_a_hole_of_the_projection_are_exact(folder: Path) -> None:
    world = np.ones((1, 90, 180), np.uint8)
    url = write_raster(folder / "all.tif", world, crs="EPSG:4326", transform=from_origin(-180, 90, 2, 2), nodata=None)
    target = SOURCES.dataset(url)
    grid = OutputGrid.from_bounds(CRS.from_epsg(3413).to_wkt(), (-4e6, -4e6, 4e6, 4e6), 300, 300)
    rows, cols = positions(target, grid).in_cells(1)
    y, x = np.mgrid[:300, :300]
    xs, ys = grid.affine @ (x.ravel() + 0.5, y.ravel() + 0.5)
    lon, lat = (np.reshape(v, (300, 300)) for v in transform(CRS.from_wkt(grid.crs), "EPSG:4326", xs, ys))
    np.testing.assert_allclose(rows, (90 - lat) / 2, atol=0.01)
    away = np.hypot(y - 149.5, x - 149.5) > 5
    wrapped = (cols - (lon + 180) / 2 + 90) % 180 - 90
    assert np.abs(wrapped[away]).max() < 0.05


def test_positions_in_a_view_of_the_world_are_exact(folder: Path) -> None:
    world = np.ones((1, 90, 180), np.uint8)
    url = write_raster(folder / "all.tif", world, crs="EPSG:4326", transform=from_origin(-180, 90, 2, 2), nodata=None)
    edge = 20037508.342789244
    grid = OutputGrid.from_bounds(CRS.from_epsg(3857).to_wkt(), (-edge, -edge, edge, edge), 256, 256)
    rows, _ = positions(SOURCES.dataset(url), grid).in_cells(1)
    y = edge - (np.arange(256) + 0.5) * 2 * edge / 256
    lat = np.asarray(transform(CRS.from_epsg(3857), "EPSG:4326", np.zeros(256), y)[1])
    np.testing.assert_allclose(rows, np.broadcast_to(((90 - lat) / 2)[:, None], (256, 256)), atol=0.05)
