"""Every option: a part, the whole, Python's array and the export of a scene have the same pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from starlette.testclient import TestClient

import clearsky
from algorithms.options import OPTIONS
from tests.helpers.scenes import UTM, make_pair, read_raster, smooth_noise, write_raster
from tests.helpers.service import application, raster

SIZE: Final = (300, 340)
"""Two blocks of the fine level by two."""
DATES: Final = ["first.tif", "second.tif", "third.tif"]
CLOUDS: Final = ["clouds1.tif", "clouds2.tif", "none"]
RASTER: Final[dict[str, Any]] = {
    "url": "target.tif",
    "replacement": DATES,
    "mask": "classes.tif",
    "mask_remap": "3 5 1;8 1",
}
CASES: Final[dict[str, dict[str, Any]]] = {
    "joint, masks of the dates": RASTER | {"replacement_mask": CLOUDS, "adjustment": "joint", "buffer": 0},
    "moment, no residual": RASTER
    | {"replacement_mask": CLOUDS, "adjustment": "moment", "residual": False, "window": 40, "unfilled": "nodata"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, three dates that differ, each with a hole, and masks on a coarser grid."""
    folder, rng = tmp_path_factory.mktemp("same"), np.random.default_rng(4)
    pair = make_pair(size=SIZE, seed=8)
    write_raster(folder / "target.tif", pair.target)
    for k, name in enumerate(DATES):
        values = pair.replacement + 100 * k + 120 * smooth_noise(rng, pair.replacement.shape, 4)
        values = np.clip(np.rint(values), 1, 65535).astype(np.uint16)
        if k < 2:
            values[:, 60 * k : 60 * k + 130, 140:270] = 0
        write_raster(folder / name, values)
    coarse = rasterio.Affine(20, 0, 500_000, 0, -20, 4_600_000)
    classes = np.where(pair.mask, 4, 1).astype(np.uint8)[None, ::2, ::2]
    write_raster(folder / "classes.tif", classes, nodata=None, transform=coarse)
    for k in (1, 2):
        clouds = 8 * (smooth_noise(rng, (1, 150, 170), 12) > 0.9).astype(np.uint8)
        write_raster(folder / f"clouds{k}.tif", clouds, nodata=None, transform=coarse)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def named(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The case with paths in place of names."""

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(one) for one in value]
        return str(folder / value) if str(value).endswith(".tif") else value

    return {name: placed(value) for name, value in case.items()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parts_are_the_whole_and_the_export(
    client: TestClient, folder: Path, tmp_path: Path, case: dict[str, Any]
) -> None:
    given = named(case, folder)
    url, others = given.pop("url"), given.pop("replacement")
    options = {name: value for name, value in given.items() if name in OPTIONS}
    query = {name: value for name, value in given.items() if name not in OPTIONS}
    query |= {"url": url, "replacement": others, "algorithm_params": json.dumps(options), "dst_crs": UTM}
    with clearsky.open(url, replacement=others, **given) as scene:
        left, bottom, _, top = scene.bounds
        whole = scene.read()
        scene.export(tmp_path / "out.tif", provenance=tmp_path / "provenance.tif")
    height, width = whole.array.shape[1:]
    with rasterio.open(tmp_path / "out.tif") as out:
        exported = out.read([1 + out.descriptions.index(name) for name in whole.band_descriptions])

    def sent(algorithm: str, first: int, last: int) -> np.ndarray:
        box = f"{left + 10 * first},{bottom},{left + 10 * last},{top}"
        answer = client.get(f"/cog/bbox/{box}.tif", params=query | {"algorithm": algorithm, "coord_crs": UTM})
        assert answer.status_code == 200, answer.text
        return raster(answer.content)

    cut = 158
    for algorithm, band in {"cloud_removal": None, "fill_source": 0, "fill_confidence": 1, "cloud_mask": 2}.items():
        image = sent(algorithm, 0, width)
        assert image.shape[1:] == (height, width)
        np.testing.assert_array_equal(
            np.concatenate([sent(algorithm, 0, cut), sent(algorithm, cut, width)], axis=2), image, err_msg=algorithm
        )
        if band is not None:
            np.testing.assert_array_equal(read_raster(tmp_path / "provenance.tif")[band], image[0], err_msg=algorithm)
            continue
        np.testing.assert_array_equal(whole.array.data, image[: len(whole.array)])
        np.testing.assert_array_equal(exported, whole.array.data)
    source = read_raster(tmp_path / "provenance.tif")[0]
    assert set(np.unique(source)) >= set(range(len(others) + 1))
