"""Units: the same ground in any encoding, on either side, gives the same filled reflectance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage
from starlette.testclient import TestClient

from tests.helpers.landscapes import smooth
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, Demo, read_raster, write_mask, write_raster
from tests.helpers.service import application, raster

SIDE = 96
BANDS = 4
STEP = 1e-4
"""Reflectance per number of the coarsest encoding."""


@dataclass(frozen=True)
class Encoding:
    """How reflectance is written."""

    dtype: str
    scale: float
    offset: float
    tagged: bool = True
    """Whether the file has its scale and offset; a type's default otherwise."""

    def numbers(self, reflectance: np.ndarray) -> np.ndarray:
        numbers = (reflectance - self.offset) / self.scale
        return (np.rint(numbers) if self.dtype == "uint16" else numbers).astype(self.dtype)

    def reflectance(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.astype(np.float64) * self.scale + self.offset

    def write(self, path: Path, reflectance: np.ndarray, **options: Any) -> str:
        nodata = 0 if self.dtype == "uint16" else None
        written = write_raster(path, self.numbers(reflectance), nodata=nodata, **options)
        if self.tagged:
            with rasterio.open(path, "r+") as dst:
                dst.scales, dst.offsets = [self.scale] * dst.count, [self.offset] * dst.count
        return written


ENCODINGS = {
    "plain": Encoding("uint16", 1e-4, 0.0, tagged=False),
    "baseline 04.00": Encoding("uint16", 1e-4, -0.1),
    "float": Encoding("float32", 1.0, 0.0, tagged=False),
    "landsat": Encoding("uint16", 2.75e-5, -0.2),
}
PLACES = {
    "native": ORIGIN,
    "other grid": from_origin(499_995, 4_600_005, 10, 10),
}
CLEAR = ("much", "none", "10 cells")


def ground(shape: tuple[int, int], seed: int) -> np.ndarray:
    """(B, H, W) reflectance about 0.1 to 0.3."""
    layers = np.stack([smooth(shape, scale, seed + n) for n, scale in enumerate((2.0, 5.0, 14.0))])
    mix = np.random.default_rng(3).uniform(0.3, 1.0, (BANDS, 3))
    noise = np.random.default_rng(seed).standard_normal((BANDS, *shape))
    return np.asarray(0.2 + 0.02 * np.einsum("bk,kij->bij", mix, layers) + 0.005 * noise)


def masks() -> dict[str, np.ndarray]:
    """What is to be filled, with so much clear ground."""
    round_one = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2)) < SIDE / 4
    few = np.ones((SIDE, SIDE), bool)
    few[40:44, 40:50] = False  # 2 x 5 cells of 20 m
    return {"much": round_one, "none": np.ones((SIDE, SIDE), bool), "10 cells": few}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units")
    replacement = ground((SIDE, SIDE), 0)
    target = 0.05 + 0.8 * replacement + 0.002 * smooth((SIDE, SIDE), 20, 9)
    target += 0.005 * np.random.default_rng(7).standard_normal(target.shape)
    wide = np.pad(replacement, ((0, 0), (0, 1), (0, 1)), mode="edge")
    between = ndimage.shift(wide, (0, 0.5, 0.5), order=1, mode="nearest")
    for name, encoding in ENCODINGS.items():
        encoding.write(folder / f"target {name}.tif", target)
        encoding.write(folder / f"native {name}.tif", replacement)
        encoding.write(folder / f"other grid {name}.tif", between, transform=PLACES["other grid"])
    for clear, mask in masks().items():
        write_mask(folder / f"mask {clear}.tif", mask)
    return folder


@pytest.fixture(scope="module")
def client(files: Path) -> Iterator[TestClient]:
    with application(files) as client:
        yield client


def asked(folder: Path, target: str, replacement: str, clear: str, **options: Any) -> dict[str, Any]:
    names = {"url": f"target {target}", "replacement": replacement, "mask": f"mask {clear}"}
    params = {"buffer": 0, **options}
    files = {key: str(folder / f"{name}.tif") for key, name in names.items()}
    return files | CLEAR_REPLACEMENTS | {"algorithm_params": json.dumps(params)}


def filled(client: TestClient, params: dict[str, Any], **options: Any) -> np.ndarray:
    answer = client.get("/cog/preview.tif", params=params | {"algorithm": "cloud_removal", **options})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)[:-1]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("clear", CLEAR)
def test_every_pair_of_encodings_gives_the_same_reflectance(
    client: TestClient, files: Path, place: str, clear: str
) -> None:
    found = {
        (t, r): ENCODINGS[t].reflectance(filled(client, asked(files, t, f"{place} {r}", clear)))
        for t, r in product(ENCODINGS, ENCODINGS)
    }
    reference = found["float", "float"]
    for pair, reflectance in found.items():
        error = np.abs(reflectance - reference)
        # The centres of the scene stage's bend, on much clear ground, jump with the rounding of the numbers.
        assert error.max() < (10 if clear == "much" else 2) * STEP, pair
        assert error.mean() < STEP, pair


@pytest.mark.parametrize("target", ENCODINGS)
@pytest.mark.parametrize("replacement", ENCODINGS)
@pytest.mark.parametrize("adjustment", ["regression", "moment"])
def test_with_nothing_clear_the_fill_is_the_replacements_reflectance(
    client: TestClient, files: Path, target: str, replacement: str, adjustment: str
) -> None:
    params = asked(files, target, f"native {replacement}", "none", adjustment=adjustment)
    truth = ground((SIDE, SIDE), 0)
    assert np.abs(ENCODINGS[target].reflectance(filled(client, params)) - truth).max() < STEP


@pytest.mark.parametrize("place", PLACES)
def test_a_coarse_view_and_one_band_are_converted_too(client: TestClient, files: Path, place: str) -> None:
    for options in ({"max_size": 12}, {"bidx": 3}, {"max_size": 12, "bidx": 2}, {"dst_crs": "EPSG:3857"}):
        views = [
            ENCODINGS[t].reflectance(filled(client, asked(files, t, f"{place} {r}", "none"), **options))
            for t, r in (("plain", "plain"), ("plain", "float"), ("landsat", "baseline 04.00"))
        ]
        shown = views[0] > 0  # beyond the raster's edge numbers are 0
        for view in views[1:]:
            assert np.abs(view - views[0])[shown].max() < 4 * STEP, options


def test_what_a_request_says_of_reflectance_holds_for_both(client: TestClient, files: Path) -> None:
    """As the same scale and offset on both sides: the replacement's numbers are taken as they are."""
    params = asked(files, "plain", "native baseline 04.00", "none")
    said = filled(client, params, reflectance_scale=1e-4, reflectance_offset=0)
    np.testing.assert_array_equal(said, read_raster(files / "native baseline 04.00.tif"))


@pytest.mark.parametrize("single", [False, True])
def test_what_a_request_says_of_each_replacement(client: TestClient, files: Path, single: bool) -> None:
    """Files that state nothing are read as those that do, each by its own numbers; the target keeps its own."""
    reflectance, untagged = ground((SIDE, SIDE), 0), {}
    for name in ("landsat", "baseline 04.00"):
        untagged[name] = replace(ENCODINGS[name], tagged=False).write(files / f"untagged {name}.tif", reflectance)
    order = ["landsat"] if single else ["baseline 04.00", "landsat"]
    params = asked(files, "plain", f"native {order[0]}", "none")
    stated = [str(files / f"native {name}.tif") for name in order]
    given = {
        "replacement": [untagged[name] for name in order],
        "replacement_reflectance_scale": [ENCODINGS[name].scale for name in order],
        "replacement_reflectance_offset": [ENCODINGS[name].offset for name in order],
    }
    expected = filled(client, params | {"replacement": stated})
    np.testing.assert_array_equal(filled(client, params | given), expected)
    assert (filled(client, params | {"replacement": given["replacement"]}) != expected).any()
    scene = client.get("/cog/scene", params=params | given).json()
    assert [one["bands"][0]["scale"] for one in scene["replacements"]] == given["replacement_reflectance_scale"]
    assert scene["bands"][0]["source"] != "the request"


def test_a_single_value_stands_for_all_replacements_and_others_are_counted(client: TestClient, files: Path) -> None:
    params = asked(files, "plain", "native landsat", "none")
    params |= {"replacement": [params["replacement"]] * 3}
    numbers = {"replacement_reflectance_offset": -0.2}
    scene = client.get("/cog/scene", params=params | numbers).json()
    assert [one["bands"][0]["offset"] for one in scene["replacements"]] == [-0.2] * 3
    answer = client.get("/cog/preview.tif", params=params | {"replacement_reflectance_scale": [1, 2]})
    assert answer.status_code == 400
    assert "2 `replacement_reflectance_scale` are given for 3 replacements" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["baseline 04.00"])
def test_the_model_sees_the_replacements_reflectance(demo_scene: Demo, tmp_path: Path, name: str) -> None:
    """A second date as cloudy as the first fills nothing, in any units."""
    scene = demo_scene(512)
    reflectance = read_raster(scene.cloudy) * 1e-4
    with rasterio.open(scene.cloudy) as src:
        options = {"crs": src.crs, "transform": src.transform, "descriptions": src.descriptions}
    cloudy = ENCODINGS[name].write(tmp_path / "again.tif", reflectance, **options)
    with application(f"{tmp_path},{scene.cloudy.parent}") as own:
        sources = []
        for replacement in (str(scene.cloudy), cloudy):
            params = {"url": str(scene.cloudy), "replacement": replacement, "algorithm": "fill_source"}
            answer = own.get("/cog/preview.tif", params=params)
            assert answer.status_code == 200, answer.text
            sources.append(raster(answer.content)[0])
    assert (sources[0] == 255).mean() > 0.1
    assert (sources[0] != sources[1]).mean() < 0.002
