"""Rasters that cannot be filled can be looked at as in TiTiler; those placed by control points are filled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine, from_gcps
from rasterio.vrt import WarpedVRT
from starlette.testclient import TestClient

from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, Pair, make_pair, write_raster
from tests.helpers.service import application, raster
from tests.helpers.stock import check_same_picture, stock_titiler

SIZE = (160, 180)
PLACED = ORIGIN @ Affine.rotation(8)
OPTIONS = {"algorithm_params": json.dumps({"buffer": 1})} | CLEAR_REPLACEMENTS


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=SIZE, seed=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.fixture(scope="module")
def stock() -> Iterator[TestClient]:
    with stock_titiler() as client:
        yield client


def write(path: Path, values: np.ndarray, **profile: Any) -> str:
    """A raster with just the given properties; `gcps` are points and their CRS."""
    gcps = profile.pop("gcps", None)
    names = profile.pop("descriptions", ())
    count, height, width = values.shape
    shape = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **shape, **profile) as dst:
        dst.write(values)
        if gcps is not None:
            dst.gcps = gcps
        for index, name in enumerate(names, start=1):
            dst.set_band_description(index, name)
    return str(path)


def control_points(lattice: Affine = PLACED) -> tuple[list[GroundControlPoint], CRS]:
    points = []
    for row in np.linspace(0, SIZE[0], 4):
        for col in np.linspace(0, SIZE[1], 4):
            x, y = lattice @ (col, row)
            points.append(GroundControlPoint(row=row, col=col, x=x, y=y))
    return points, CRS.from_string(UTM)


def odd(folder: Path, pair: Pair, kind: str) -> str:
    values = pair.target
    placed: dict[str, Any] = {"crs": UTM, "transform": ORIGIN}
    made: dict[str, Any] = {
        "control points": lambda path: write(path, values, gcps=control_points(), nodata=0),
        "control points without nodata": lambda path: write(path, values, gcps=control_points()),
        "37 bands": lambda path: write(path, np.repeat(values[:1], 37, axis=0), **placed),
        "no CRS": lambda path: write(path, values, transform=ORIGIN),
        "nowhere": lambda path: write(path, values),
        "complex64": lambda path: write(path, (values[:2] + 1j).astype(np.complex64), **placed),
        "complex128": lambda path: write(path, (values[:1] + 1j).astype(np.complex128), **placed),
        "local CRS": lambda path: write(
            path, values, crs='LOCAL_CS["site",UNIT["metre",1]]', transform=ORIGIN, nodata=0
        ),
        "heights": lambda path: write(path, values, crs="EPSG:32633+5773", transform=ORIGIN),
        "NaN is nodata": lambda path: write(path, values.astype(np.float64), nodata=float("nan"), **placed),
        "colours": lambda path: write(path, values[:1].astype(np.uint8), photometric="palette", **placed),
        "signed bytes": lambda path: write(path, (values // 100).astype(np.int8), **placed),
    }
    return str(made[kind](folder / f"{kind}.tif"))


KINDS = (
    "control points", "control points without nodata", "37 bands", "no CRS", "nowhere", "complex64", "complex128",
    "local CRS", "heights", "NaN is nodata", "colours", "signed bytes",
)  # fmt: skip
ROUTES: dict[str, dict[str, Any]] = {
    "info": {},
    "info.geojson": {},
    "WebMercatorQuad/tilejson.json": {},
    "tiles/WebMercatorQuad/13/4437/3054.tif": {},
    "tiles/WebMercatorQuad/13/4437/3054.png": {"bidx": 1},
    "tiles/WebMercatorQuad/12/2218/1527.npy": {},
    "preview.npy": {},
    "preview.png": {"bidx": 1, "rescale": "0,3000"},
    "bbox/15.001,41.54,15.02,41.55.npy": {},
    "bbox/500200,4598700,501200,4599500.npy": {"coord_crs": UTM, "dst_crs": UTM},
    "statistics": {},
    "point/15.005,41.545": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_titiler_shows_is_shown(
    client: TestClient, stock: TestClient, folder: Path, pair: Pair, kind: str
) -> None:
    url = odd(folder, pair, kind)
    for route, query in ROUTES.items():
        ours, theirs = (app.get(f"/cog/{route}", params={"url": url, **query}) for app in (client, stock))
        if theirs.status_code < 500:
            assert ours.status_code == theirs.status_code, (route, ours.text[:300], theirs.text[:300])
            if theirs.status_code == 200 and theirs.headers["content-type"].startswith(("image", "application/x-")):
                check_same_picture(ours, theirs)
            if route == "info" and theirs.status_code == 200:
                assert ours.json() | theirs.json() == ours.json()
        else:
            assert ours.status_code in (400, 404), (route, ours.text[:300])
            assert "cannot be used together" not in ours.text


@pytest.mark.parametrize(
    ("kind", "word"),
    [("complex64", "complex"), ("local CRS", "local CRS"), ("37 bands", "37"), ("no CRS", "gdal_edit")],
)
def test_why_a_raster_cannot_be_filled_is_told(
    client: TestClient, folder: Path, pair: Pair, kind: str, word: str
) -> None:
    url, good = odd(folder, pair, kind), write_raster(folder / "good.tif", pair.replacement)
    for target, replacement in ((url, good), (good, url)):
        if kind == "37 bands" and replacement == url:
            word = "bands"
        answer = client.get("/cog/preview.tif", params={"url": target, "replacement": replacement, "mask": good})
        assert answer.status_code == 400
        assert word in answer.json()["detail"]
        assert url in answer.json()["detail"]
    if kind != "no CRS":
        told = client.get("/cog/info", params={"url": url})
        assert told.status_code == 200
        assert word in told.json()["clearsky"].get("unusable", "bands 37")


def test_a_raster_of_many_bands_can_be_a_replacement_by_name(client: TestClient, folder: Path, pair: Pair) -> None:
    good = write_raster(folder / "target.tif", pair.target)
    mask = write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    names = ("blue", "green", "red", "nir", "swir16", "swir22")
    many = np.concatenate([np.ones((34, *SIZE), np.uint16), pair.replacement])
    url = write(folder / "40.tif", many, crs=UTM, transform=ORIGIN, nodata=0, descriptions=(*["other 1"] * 34, *names))
    plain = write_raster(folder / "plain.tif", pair.replacement)
    by_name, alone = (
        client.get("/cog/preview.tif", params={"url": good, "mask": mask, "replacement": other}).content
        for other in (url, plain)
    )
    np.testing.assert_array_equal(raster(by_name), raster(alone))


@pytest.mark.parametrize("nodata", [0, None])
def test_control_points_are_warped_for_the_fill_as_for_the_picture(
    client: TestClient, folder: Path, pair: Pair, nodata: float | None
) -> None:
    arrays = {"url": pair.target, "replacement": pair.replacement, "mask": pair.mask[None].astype(np.uint8)}
    files, warped = {}, {}
    for key, values in arrays.items():
        none = None if key == "mask" else nodata
        files[key] = write(folder / f"points-{key}.tif", values, gcps=control_points(), nodata=none)
        options: dict[str, Any] = {"add_alpha": True} if none is None else {"src_nodata": none, "nodata": none}
        points, crs = control_points()
        with (
            rasterio.open(files[key]) as src,
            WarpedVRT(src, src_crs=crs, src_transform=from_gcps(points), **options) as vrt,
        ):
            profile = {"crs": vrt.crs, "transform": vrt.transform, "nodata": none}
            warped[key] = write(folder / f"warped-{key}.tif", vrt.read(), **profile)
            if none is None:
                with rasterio.open(warped[key], "r+") as dst:
                    dst.colorinterp = vrt.colorinterp
    for algorithm in ("cloud_removal", "fill_source", "cloud_mask"):
        ours, expected = (
            client.get("/cog/preview.tif", params=each | OPTIONS | {"algorithm": algorithm}) for each in (files, warped)
        )
        assert ours.status_code == expected.status_code == 200, ours.text
        count = len(pair.target) if algorithm == "cloud_removal" else 1
        np.testing.assert_array_equal(raster(ours.content)[:count], raster(expected.content)[:count])
    assert (raster(ours.content)[0] == 1).mean() > 0.1


def test_a_mixture_of_control_points_and_lattices_is_filled(client: TestClient, folder: Path, pair: Pair) -> None:
    url = write(folder / "mixed.tif", pair.target, gcps=control_points(), nodata=0)
    mask = write_raster(folder / "mixed-mask.tif", pair.mask[None].astype(np.uint8), transform=PLACED, nodata=None)
    replacement = write_raster(folder / "mixed-replacement.tif", pair.replacement, transform=PLACED)
    backwards = {"url": write_raster(folder / "lattice.tif", pair.target, transform=PLACED), "mask": mask}
    backwards["replacement"] = write(folder / "points.tif", pair.replacement, gcps=control_points(), nodata=0)
    for files in ({"url": url, "mask": mask, "replacement": replacement}, backwards):
        source = client.get("/cog/preview.tif", params=files | OPTIONS | {"algorithm": "fill_source"})
        assert source.status_code == 200, source.text
        shown = raster(source.content)
        assert (shown[0][shown[-1] > 0] == 1).mean() > 0.25
        filled = raster(client.get("/cog/preview.tif", params=files | OPTIONS).content)
        assert (filled[0][filled[-1] > 0] < 6000).mean() > 0.995


@pytest.mark.parametrize("value", ["none", "1,5", "0x10", "1 m"])
def test_statistics_that_are_no_numbers_are_named(client: TestClient, folder: Path, pair: Pair, value: str) -> None:
    """rio-tiler reads them as numbers, also for what is said of a raster."""
    placed: dict[str, Any] = {"crs": UTM, "transform": ORIGIN, "nodata": 0}
    url = write(folder / "statistics.tif", pair.target, **placed)
    with rasterio.open(url, "r+") as dst:
        dst.update_tags(2, STATISTICS_MINIMUM=value, STATISTICS_MAXIMUM="9")
    other = write(folder / "plain.tif", pair.replacement, **placed)
    filled = {"url": other, "replacement": url, "resampling": "bilinear"} | OPTIONS
    for route in ("preview.tif", "tiles/WebMercatorQuad/13/4437/3054.tif", "statistics", "point/15.005,41.545", "info"):
        for query in ({"url": url}, {"url": url, "resampling": "bilinear"}):
            answer = client.get(f"/cog/{route}", params=query)
            assert answer.status_code == 400
            assert f"STATISTICS_MINIMUM={value!r} in band 2" in answer.json()["detail"]
    assert client.get("/cog/tiles/WebMercatorQuad/13/4437/3054.tif", params=filled).status_code == 400
    assert client.get("/cog/scene", params={"url": url}).status_code == 200
