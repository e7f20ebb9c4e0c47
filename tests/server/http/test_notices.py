"""What `/info` and `/scene` say of wrong flags and of bands that are missing."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from starlette.testclient import TestClient

from server.raster.thumbnail import WINDOW_PIXELS, WINDOWS_ACROSS, thumbnail
from tests.helpers.archives import digital, write_band
from tests.helpers.remote import write_cog
from tests.helpers.scenes import BANDS, write_raster
from tests.helpers.service import application, sources_by

SIDE: Final = 96
KEYS: Final = ("B02", "B03", "B04", "B08", "B11", "B12")


def landscape(seed: int = 0) -> np.ndarray:
    """Reflectance (6, SIDE, SIDE) of woods and fields with a lake."""
    rng = np.random.default_rng(seed)
    woods, fields = np.array([0.03, 0.05, 0.04, 0.3, 0.15, 0.08]), np.array([0.06, 0.09, 0.1, 0.25, 0.25, 0.18])
    share = np.kron(rng.random((8, 8)), np.ones((SIDE // 8, SIDE // 8)))
    ground = woods[:, None, None] * share + fields[:, None, None] * (1 - share)
    ground[:, :12] = np.array([0.04, 0.03, 0.02, 0.01, 0.005, 0.005])[:, None, None]
    return np.asarray(ground * rng.normal(1, 0.03, ground.shape))


def write_file(path: Path, *, raised: bool = False) -> str:
    """A file of digital numbers 10000 times the reflectance, raised by 1000 or not, that states no offset."""
    values = digital(landscape(), 1e-4, -0.1 if raised else 0.0)
    return str(write_raster(path, values, descriptions=BANDS))


def write_scene(folder: Path, *, applied: bool = False, without: tuple[str, ...] = ()) -> str:
    """An Item of raised numbers; `applied`: it says wrongly that they are not."""
    folder.mkdir(exist_ok=True)
    assets: dict[str, Any] = {}
    for key, name, values in zip(KEYS, BANDS, landscape(), strict=True):
        if key not in without:
            write_band(folder / f"{key}.tif", digital(values, 1e-4, -0.1), 10)
            bands = {
                "eo:bands": [{"name": key, "common_name": name}],
                "raster:bands": [{"scale": 1e-4, "offset": -0.1}],
            }
            assets[key] = {"href": f"{key}.tif", "type": "image/tiff", **bands}
    properties = {"datetime": "2025-07-31T13:19:22Z", "earthsearch:boa_offset_applied": applied}
    document = {"type": "Feature", "id": "S2B_33TUN_0_L2A", "properties": properties, "assets": assets}
    path = folder / "item.json"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notices")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def warned(client: TestClient, kind: str = "/cog", **asked: Any) -> list[str]:
    """Warnings of a target: the same in `/info` and `/scene`."""
    described, scene = (client.get(f"{kind}/{route}", params=asked) for route in ("info", "scene"))
    assert (described.status_code, scene.status_code) == (200, 200), described.text + scene.text
    found = described.json()["clearsky"].get("warnings", [])
    assert scene.json()["warnings"] == found
    return list(found)


def test_a_forgotten_offset_is_said_once_in_the_log(
    client: TestClient, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert warned(client, url=write_file(folder / "right.tif")) == []
    raised = write_file(folder / "raised.tif", raised=True)
    with caplog.at_level(logging.WARNING, "clearsky"):
        [text] = warned(client, url=raised)
    assert ("raised.tif" in text, "reflectance_offset=-0.1" in text) == (True, True)
    assert caplog.text.count("raised.tif") == 1
    assert warned(client, url=raised, reflectance_offset=-0.1) == []
    write_file(folder / "raised.tif")
    assert warned(client, url=raised) == []


def test_a_wrong_flag_of_either_date_is_named(client: TestClient, folder: Path) -> None:
    right, wrong = write_scene(folder / "right"), write_scene(folder / "wrong", applied=True)
    assert warned(client, "/stac", url=right, replacement=right) == []
    for asked in ({"url": wrong}, {"url": wrong, "replacement": right}, {"url": right, "replacement": wrong}):
        [text] = warned(client, "/stac", **asked)
        assert ("wrong" in text, "boa_offset_applied" in text) == (True, True)


def test_bands_that_drop_out_are_named(client: TestClient, folder: Path) -> None:
    target = write_scene(folder / "whole")
    partly = write_scene(folder / "partly", without=("B11", "B12"))
    other = write_scene(folder / "other", without=("B12",))
    assert warned(client, "/stac", url=target, replacement=target) == []
    first, second = warned(client, "/stac", url=target, replacement=[partly, other])
    assert (partly in first, "lacks swir16, swir22:" in first) == (True, True)
    assert (other in second, "lacks swir22:" in second) == (True, True)
    asked = {"url": target, "replacement": partly, "rescale": "0,1"}
    assert client.get("/stac/preview.png", params=asked).status_code == 200


def test_pixels_that_cannot_be_read_do_not_keep_info_from_answering(client: TestClient, folder: Path) -> None:
    path = folder / "cut.tif"
    write_cog(path, digital(landscape(), 1e-4, -0.1), descriptions=BANDS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # its header is first
    assert warned(client, url=str(path)) == []
    gone = folder / "gone"
    replacement = write_scene(gone)
    (gone / "B11.tif").unlink()
    assert warned(client, "/stac", url=write_scene(folder / "there"), replacement=replacement) == []
    shutil.rmtree(gone)


def test_little_is_read_of_a_raster_without_overviews(folder: Path) -> None:
    side = 2100
    path = str(folder / "large.tif")
    profile = {"crs": "EPSG:32633", "transform": from_origin(500_000, 4_600_000, 10, 10), "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", count=1, width=side, height=side, tiled=True, **profile) as dst:
        dst.write(np.ones((1, side, side), np.uint8))
    sources = sources_by(str(folder))
    values = thumbnail(sources, sources.dataset(path))
    assert values.shape == (1, (WINDOWS_ACROSS * WINDOW_PIXELS) ** 2)
    assert (values == 1).all()


def test_a_replacement_of_another_place_is_named(tmp_path: Path) -> None:
    """`/info` and `/scene` say what every image of it answers with."""
    target = write_file(tmp_path / "target.tif")
    far = str(write_raster(tmp_path / "far.tif", digital(landscape(), 1e-4, 0.0), crs="EPSG:32735", descriptions=BANDS))
    with application(tmp_path) as client:
        for route in ("info", "scene"):
            found = client.get(f"/cog/{route}", params={"url": target, "replacement": far}).json()
            warnings = found.get("clearsky", found)["warnings"]
            assert [far in text and "does not overlap" in text for text in warnings] == [True], warnings
