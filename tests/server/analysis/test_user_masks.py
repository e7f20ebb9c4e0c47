"""A user's mask: every number is a class unless the file says otherwise, and an odd mask is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import from_origin
from starlette.testclient import TestClient

from algorithms.cells import cell_any
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, Pair, make_pair, write_raster
from tests.helpers.service import application, raster

NO_BUFFER = {"algorithm_params": json.dumps({"buffer": 0})}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(200, 220), seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks")


@pytest.fixture(scope="module")
def files(folder: Path, pair: Pair) -> dict[str, str]:
    return {
        "url": write_raster(folder / "target.tif", pair.target),
        "replacement": write_raster(folder / "replacement.tif", pair.replacement),
        **CLEAR_REPLACEMENTS,
    }


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def classes(client: TestClient, params: dict[str, Any]) -> tuple[np.ndarray, str | None]:
    """The mask as the server understands it, and its warning."""
    answer = client.get("/cog/preview.tif", params=params | {"algorithm": "cloud_mask"})
    assert answer.status_code == 200, answer.text
    return raster(answer.content)[0], answer.headers.get("x-clearsky-warning")


MARKS: list[tuple[str, float, float, float | None, str | None]] = [
    # data type, clear, cloud, nodata, remap
    ("uint8", 0, 1, None, None),
    ("uint8", 0, 255, None, None),
    ("uint8", 0, 255, 7, None),
    ("uint8", 255, 1, 255, None),
    ("uint8", 0, 254, None, None),
    ("uint16", 0, 1024, None, None),
    ("uint16", 0, 255, None, None),
    ("uint16", 0, 65535, None, None),
    ("int16", 0, -1, None, None),
    ("int8", 0, -1, None, None),
    ("int32", 0, 2**30 + 1, None, None),
    ("uint32", 0, 2**32 - 1, None, None),
    ("float32", 0.0, 1.0, None, None),
    ("float32", 0.49, 0.5, None, None),
    ("float64", 0.1, 0.93, None, None),
    ("float32", np.nan, 0.8, None, None),
    ("float32", -9999.0, 0.8, None, None),
    ("float32", 0.0, 255.0, None, None),
    ("uint8", 0, 255, None, "255 1"),
    ("uint8", 0, 255, None, "1 255 1"),
    ("uint8", 0, 2, None, "1 0;2 1"),
    ("uint8", 1, 3, 3, "NODATA 1"),
    ("uint16", 1, 1024, None, "1000 2000 1"),
    ("float32", 0.3, 0.4, None, "0.35 1 1"),
    ("uint32", 2**24, 2**24 + 1, None, f"{2**24 + 1} 1"),
    ("uint8", 0, 4, None, "4 255;1 1"),
]


@pytest.mark.parametrize("mark", MARKS, ids=str)
def test_what_a_mask_marks(
    client: TestClient, folder: Path, files: dict[str, str], pair: Pair, mark: tuple[Any, ...]
) -> None:
    dtype, clear, cloud, nodata, remap = mark
    values = np.where(pair.mask, cloud, clear).astype(dtype)
    mask = write_raster(folder / "mask.tif", values[None], nodata=nodata, descriptions=("m",))
    params = files | {"mask": mask} | NO_BUFFER | ({"mask_remap": remap} if remap else {})
    found, warning = classes(client, params)
    expected = np.repeat(np.repeat(cell_any(pair.mask, 2), 2, 0), 2, 1)
    if remap == "4 255;1 1":  # cloud remapped to nodata: nothing is marked
        assert not (found == 1).any()
        assert warning is not None
        return
    np.testing.assert_array_equal(found == 1, expected)
    assert warning is None
    answer = client.get("/cog/preview.png", params=params | {"rescale": "0,5000", "bidx": 1})
    assert float(answer.headers["x-clearsky-filled-fraction"]) == pytest.approx(expected.mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("value", "nodata", "remap", "word"),
    [
        (0, None, None, "none"),
        (1, None, None, "all"),
        (255, None, None, "all"),
        (3, None, "1 1", "none"),
        (255, 255, None, "no data"),
    ],
)
def test_a_mask_that_marks_nothing_or_all_is_told(
    client: TestClient,
    folder: Path,
    files: dict[str, str],
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
    value: int,
    nodata: int | None,
    remap: str | None,
    word: str,
) -> None:
    values = np.full((1, *pair.mask.shape), value, np.uint8)
    mask = write_raster(folder / f"flat-{value}-{nodata}-{remap}.tif", values, nodata=nodata, descriptions=("m",))
    params = files | {"mask": mask} | ({"mask_remap": remap} if remap else {})
    with caplog.at_level(logging.WARNING, "clearsky"):
        _, warning = classes(client, params)
        classes(client, params)
    assert warning is not None
    assert word in warning
    assert mask in warning
    assert caplog.text.count(f"mask '{mask}'") == 1
    told = client.get("/cog/info", params=params).json()["clearsky"]
    assert warning in told["warnings"]
    assert told["mask"]["fraction"] == (1.0 if word == "all" else 0.0)
    assert told["mask"]["nodata"] == nodata


def test_valid_pixels_alone_count(client: TestClient, folder: Path, files: dict[str, str], pair: Pair) -> None:
    target = pair.target.copy()
    target[:, :, :100] = 0
    url = write_raster(folder / "half.tif", target)
    left = np.zeros((1, *pair.mask.shape), np.uint8)
    left[:, :, :100] = 1
    mask = write_raster(folder / "left.tif", left, nodata=None, descriptions=("m",))
    _, warning = classes(client, files | {"url": url, "mask": mask})
    assert warning is not None
    assert "none of the" in warning
    mask = write_raster(folder / "right.tif", 1 - left, nodata=None, descriptions=("m",))
    _, warning = classes(client, files | {"url": url, "mask": mask})
    assert warning is not None
    assert "all of the" in warning


def test_a_mask_elsewhere_is_refused(client: TestClient, folder: Path, files: dict[str, str], pair: Pair) -> None:
    elsewhere = from_origin(ORIGIN.c + 50_000, ORIGIN.f, 10, 10)
    mask = write_raster(folder / "elsewhere.tif", pair.mask[None].astype(np.uint8), nodata=None, transform=elsewhere)
    answer = client.get("/cog/preview.npy", params=files | {"mask": mask, "algorithm": "cloud_mask"})
    assert (answer.status_code, "does not overlap the target" in answer.json()["detail"]) == (400, True)


def test_info_tells_how_a_mask_is_understood(
    client: TestClient, folder: Path, pair: Pair, files: dict[str, str]
) -> None:
    mask = write_raster(folder / "m.tif", (pair.mask * 255).astype(np.uint8)[None], nodata=None, descriptions=("m",))
    told = client.get("/cog/info", params={"url": files["url"], "mask": mask}).json()["clearsky"]
    assert not any(text.startswith("mask") for text in told["warnings"])
    assert told["mask"]["values"] == [0, 255]
    assert told["mask"]["fraction"] == pytest.approx(pair.mask.mean(), abs=1e-4)
    assert "everything but 0" in told["mask"]["rule"]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "marks none of the"), (1, "marks all of the"), (21824, "name the bits that mean cloud"), (None, None)],
)
def test_odd_masks_of_replacements_are_named_too(
    client: TestClient, folder: Path, files: dict[str, str], pair: Pair, value: int | None, said: str | None
) -> None:
    """In the header, in `/info` and in the log; a mask that marks a part is not."""
    values = np.full(pair.mask.shape, value or 0, np.uint16)
    if value not in (0, 1):
        values[:50] = 22280 if value else 1
    mask = write_raster(folder / f"other_{value}.tif", values[None], nodata=None)
    target = write_raster(folder / "own.tif", pair.mask.astype(np.uint8)[None])
    asked = {**files, "mask": target, "replacement_mask": mask}
    heard = client.get("/cog/preview.tif", params=asked).headers.get("x-clearsky-warning", "")
    told = " ".join(client.get("/cog/info", params=asked).json()["clearsky"]["warnings"])
    for text in (heard, told):
        assert ("other_" in text) == (said is not None), text
        assert said is None or said in text


def test_a_mask_of_another_place_than_its_replacement_is_refused(
    client: TestClient, folder: Path, files: dict[str, str], pair: Pair
) -> None:
    away = from_origin(ORIGIN.c + 2e5, ORIGIN.f, 10, 10)
    mask = write_raster(folder / "away.tif", pair.mask.astype(np.uint8)[None], transform=away)
    target = write_raster(folder / "own.tif", pair.mask.astype(np.uint8)[None])
    answer = client.get("/cog/preview.tif", params={**files, "mask": target, "replacement_mask": mask})
    assert answer.status_code == 400
    assert "away.tif" in answer.json()["detail"]
    assert "does not overlap its replacement" in answer.json()["detail"]
