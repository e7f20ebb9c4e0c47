"""ETags of scenes follow every file that the answer is made from, and no other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.helpers.archives import digital, write_band
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import BANDS, make_pair, write_mask
from tests.helpers.service import application

SIDE: Final = 64
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.3)
KEYS: Final = ("B02", "B03", "B04", "B08", "B11", "B12", "B05")
NAMES: Final = (*BANDS, "rededge1")


def write_scene(folder: Path, values: np.ndarray) -> Path:
    """An Item with seven bands and a scene classification."""
    folder.mkdir()
    assets: dict[str, Any] = {}
    for key, name, band in zip(KEYS, NAMES, [*values, values[3]], strict=True):
        write_band(folder / f"{key}.tif", digital(band * 1e-4, 1e-4, -0.1), 10)
        numbers = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
        assets[key] = {"href": f"{key}.tif", "type": "image/tiff", "eo:bands": [{"common_name": name}], **numbers}
    write_band(folder / "SCL.tif", np.where(PAIR.mask, 9, 4).astype(np.uint8), 10)
    assets["scl"] = {"href": "SCL.tif", "type": "image/tiff"}
    path = folder / "item.json"
    properties = {"datetime": "2025-07-31T13:19:22Z"}
    path.write_text(json.dumps({"type": "Feature", "id": "S2B_33TUN_L2A", "properties": properties, "assets": assets}))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("states")
    (base / "made").mkdir()
    write_scene(base / "made/cloudy", PAIR.target)
    write_scene(base / "made/clear", PAIR.replacement)
    write_mask(base / "made/mask.tif", PAIR.mask.astype(np.uint8))
    return base


@pytest.fixture(scope="module")
def client(base: Path) -> Iterator[TestClient]:
    with application(base) as client:
        yield client


@pytest.fixture
def folder(base: Path) -> Path:
    """Files of its own for each test."""
    return shutil.copytree(base / "made", base / uuid4().hex)


def rewrite(path: Path) -> None:
    """Other content under the same name, of the same length or not."""
    if path.suffix == ".json":
        document = json.loads(path.read_text())
        document["properties"]["note"] = "another"
        for key, asset in document["assets"].items():
            if key != "scl":
                asset["raster:bands"] = [{"scale": 2e-4, "offset": -0.1}]
        path.write_text(json.dumps(document))
    elif path.name == "mask.tif":
        write_mask(path, PAIR.mask.astype(np.uint8)[::-1])
    elif path.name == "SCL.tif":
        write_band(path, np.where(PAIR.mask, 4, 9).astype(np.uint8), 10)
    else:
        write_band(path, np.random.default_rng(5).integers(1500, 3000, (SIDE, SIDE)).astype(np.uint16), 10)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


FILLED: Final = {"replacement": "clear/item.json", "mask": "scl"}
CASES: Final[list[tuple[dict[str, str], set[str]]]] = [
    ({}, {"cloudy/item.json", "cloudy/B04.tif", "cloudy/B02.tif"}),
    ({"assets": "rededge1"}, {"cloudy/item.json", "cloudy/B05.tif"}),
    ({"expression": "(nir-rededge1)/(nir+rededge1)"}, {"cloudy/B08.tif", "cloudy/B05.tif"}),
    ({"bidx": "7"}, {"cloudy/B05.tif"}),
    (FILLED, {"cloudy/item.json", "cloudy/SCL.tif", "clear/item.json", "clear/SCL.tif", "clear/B04.tif"}),
    (FILLED | {"assets": "rededge1"}, {"cloudy/B05.tif", "clear/B05.tif"}),
    (FILLED | {"mask": "auto"}, {"cloudy/SCL.tif", "clear/SCL.tif"}),
    (FILLED | {"mask": "mask.tif", "replacement_mask": "none"}, {"mask.tif", "clear/B04.tif"}),
    (FILLED | {"mask": "mask.tif", "replacement_mask": "scl"}, {"mask.tif", "clear/SCL.tif"}),
    (FILLED | {"mask": "mask.tif", "replacement_mask": "auto"}, {"clear/SCL.tif"}),
    (FILLED | {"replacement_mask": "none"}, {"cloudy/SCL.tif", "clear/B04.tif"}),
    ({"algorithm": "cloud_mask", "mask": "scl"}, {"cloudy/SCL.tif"}),
]


@pytest.mark.parametrize(("asked", "files"), CASES)
def test_every_file_of_an_answer_changes_its_tag(
    client: TestClient, folder: Path, asked: dict[str, str], files: set[str]
) -> None:
    params = {"url": str(folder / "cloudy/item.json"), "unscale": "true"} | asked
    params |= {name: str(folder / params[name]) for name in ("replacement", "mask") if "." in params.get(name, "")}
    for file in sorted(files):
        before = client.get("/stac/preview.npy", params=params)
        assert before.status_code == 200, before.text
        known = {"If-None-Match": before.headers["etag"]}
        assert client.get("/stac/preview.npy", params=params, headers=known).status_code == 304
        rewrite(folder / file)
        after = client.get("/stac/preview.npy", params=params, headers=known)
        assert after.status_code == 200, file
        assert after.headers["etag"] != before.headers["etag"]
        if not file.startswith("clear/SCL"):  # shows only where the target is cloudy and the replacement was not
            assert after.content != before.content, file


def test_replacements_need_no_masks_of_a_kind_that_is_not_taken_from_them(client: TestClient, folder: Path) -> None:
    """A list of files has none."""
    clear = f"{folder}/clear/{{B02,B03,B04,B08,B11,B12}}.tif"
    params = {"url": str(folder / "cloudy/item.json"), "replacement": clear, "mask": "scl"}
    answer = client.get("/stac/preview.npy", params=params | {"replacement_mask": "none"})
    assert answer.status_code == 200, answer.text
    assert "etag" in answer.headers


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        ({}, "cloudy/B05.tif"),
        ({}, "cloudy/SCL.tif"),
        ({"assets": "nir"}, "cloudy/B11.tif"),
        (FILLED, "cloudy/B05.tif"),
        (FILLED, "clear/B05.tif"),
    ],
)
def test_other_files_leave_the_tag_as_it_is(client: TestClient, folder: Path, asked: dict[str, str], file: str) -> None:
    params = {"url": str(folder / "cloudy/item.json"), "unscale": "true"} | asked
    params |= {name: str(folder / params[name]) for name in ("replacement",) if name in params}
    tag = client.get("/stac/preview.npy", params=params).headers["etag"]
    rewrite(folder / file)
    assert client.get("/stac/preview.npy", params=params, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("route", "file"),
    [("info", "cloudy/B05.tif"), ("info", "clear/B12.tif"), ("info", "cloudy/SCL.tif"), ("scene", "clear/B05.tif")],
)
def test_descriptions_follow_every_band(client: TestClient, folder: Path, route: str, file: str) -> None:
    params = {"url": str(folder / "cloudy/item.json"), "replacement": str(folder / "clear/item.json"), "mask": "scl"}
    tag = client.get(f"/stac/{route}", params=params).headers["etag"]
    rewrite(folder / file)
    answer = client.get(f"/stac/{route}", params=params, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)


def test_a_product_follows_its_metadata_and_its_folders(client: TestClient, base: Path) -> None:
    product = base / "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE"
    pictures = product / "GRANULE/L2A_T33XWJ/IMG_DATA/R10m"
    pictures.mkdir(parents=True)
    for key, values in zip(("B02", "B03", "B04"), PAIR.target, strict=False):
        write_band(pictures / f"T33XWJ_{key}_10m.tif", digital(values * 1e-4, 1e-4, -0.1), 10)
    metadata = product / "MTD_MSIL2A.xml"
    text = (
        "<a><PROCESSING_BASELINE>04.00</PROCESSING_BASELINE><BOA_QUANTIFICATION_VALUE>{}</BOA_QUANTIFICATION_VALUE></a>"
    )
    metadata.write_text(text.format(10000))
    params = {"url": str(product), "unscale": "true"}
    first = client.get("/stac/preview.npy", params=params)
    metadata.write_text(text.format(20000))
    known = {"If-None-Match": first.headers["etag"]}
    second = client.get("/stac/preview.npy", params=params, headers=known)
    assert (second.status_code, second.content != first.content) == (200, True)
    assert len(client.get("/stac/assets", params=params).json()) == 3
    shutil.copyfile(pictures / "T33XWJ_B04_10m.tif", pictures / "T33XWJ_B08_10m.tif")
    assert "nir" in client.get("/stac/assets", params=params).json()


def test_states_are_looked_up_of_the_files_shown_alone(folder: Path) -> None:
    with range_server(folder) as served:
        asked: set[str] = set()
        served.trouble = lambda path, _: asked.add(path.rsplit("/", 1)[-1])
        with application(served.base) as client:
            params = {"url": f"{served.base}cloudy/item.json", "assets": "nir"}
            assert client.get("/stac/preview.npy", params=params).status_code == 200
        assert asked == {"item.json", "B08.tif"}


def test_remote_scenes_are_filled_as_local_ones_are(base: Path) -> None:
    with range_server(base / "made") as served, application(f"{base},{served.base}") as client:
        images = []
        for place in (f"{base}/made/", served.base):
            params = {"url": f"{place}cloudy/item.json", "replacement": f"{place}clear/item.json", "mask": "scl"}
            answer = client.get("/stac/preview.npy", params=params)
            assert answer.status_code == 200, answer.text
            assert float(answer.headers["x-clearsky-filled-fraction"]) > 0
            images.append(answer.content)
    assert images[0] == images[1]
