"""Products as they are downloaded, served: folders and archives show what their files hold."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from httpx2 import Response
from numpy.testing import assert_allclose
from starlette.testclient import TestClient

from server.export.command import export
from tests.helpers.archives import coarsened, digital, write_band
from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair
from tests.helpers.service import application

SIDE: Final = 120
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.2)
NAME: Final = "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE"
BUNDLE: Final = "LC08_L2SP_017036_20130419_20200913_02_T2"
SIZES: Final = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "B12": 20}


def write_safe(folder: Path, values: np.ndarray) -> Path:
    """A product of Sentinel-2 in JPEG 2000, its metadata cut to what is read of them."""
    product = folder / NAME
    added = "".join(f'<BOA_ADD_OFFSET band_id="{k}">-1000</BOA_ADD_OFFSET>' for k in range(13))
    for (band, metres), reflectance in zip(SIZES.items(), values * 1e-4, strict=True):
        path = product / f"GRANULE/L2A_T33XWJ/IMG_DATA/R{metres}m/T33XWJ_20220413T150759_{band}_{metres}m.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_band(path, digital(coarsened(reflectance, metres // 10), 1e-4, -0.1), metres)
    (product / "MTD_MSIL2A.xml").write_text(
        f"<a><PRODUCT_URI>{NAME}</PRODUCT_URI><PROCESSING_BASELINE>04.00</PROCESSING_BASELINE>"
        f'<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>{added}</a>'
    )
    return product


def write_bundle(folder: Path, values: np.ndarray) -> Path:
    """A bundle of Landsat."""
    product = folder / BUNDLE
    product.mkdir(parents=True)
    files = {f"FILE_NAME_BAND_{k}": f"{BUNDLE}_SR_B{k}.TIF" for k in range(2, 8)}
    for file, reflectance in zip(files.values(), values * 1e-4, strict=True):
        write_band(product / file, digital(reflectance, 2.75e-5, -0.2), 30)
    numbers = {f"REFLECTANCE_MULT_BAND_{k}": "2.75e-05" for k in range(2, 8)}
    numbers |= {f"REFLECTANCE_ADD_BAND_{k}": "-0.2" for k in range(2, 8)}
    parts = {
        "PRODUCT_CONTENTS": {"LANDSAT_PRODUCT_ID": BUNDLE, "PROCESSING_LEVEL": "L2SP"} | files,
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_8", "WRS_PATH": "17", "WRS_ROW": "36"},
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": numbers,
    }
    (product / f"{BUNDLE}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": parts}))
    return product


def zipped(product: Path, compression: int) -> Path:
    path = product.parent / f"{product.stem}-{compression}.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(product.rglob("*")):
            archive.write(file, file.relative_to(product.parent))
    return path


def tarred(product: Path) -> Path:
    path = product.parent / f"{product.name}.tar"
    with tarfile.open(path, "w") as archive:
        for file in sorted(product.iterdir()):
            archive.add(file, file.name)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products")
    for date, values in (("cloudy", PAIR.target), ("clear", PAIR.replacement)):
        zipped(write_safe(folder / date, values), zipfile.ZIP_STORED)
        tarred(write_bundle(folder / date, values))
    (folder / "empty").mkdir()
    zipped(folder / "cloudy" / NAME, zipfile.ZIP_DEFLATED)
    for metres in (10, 30):
        write_band(folder / f"mask{metres}.tif", PAIR.mask.astype(np.uint8), metres, nodata=None)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def good(response: Response) -> Response:
    assert response.status_code == 200, response.text
    return response


def preview(client: TestClient, **asked: Any) -> np.ndarray:
    asked = {"unscale": "true", "assets": "red,swir16"} | asked
    return np.asarray(np.load(io.BytesIO(good(client.get("/stac/preview.npy", params=asked)).content)))


@pytest.mark.parametrize(
    ("target", "replacement"),
    [
        (NAME, NAME),
        (f"{Path(NAME).stem}-0.zip", NAME),
        (BUNDLE, BUNDLE),
        (f"{BUNDLE}.tar", f"{BUNDLE}.tar"),
        (NAME, f"{Path(NAME).stem}-0.zip"),
    ],
)
def test_a_product_is_filled_from_a_product(client: TestClient, folder: Path, target: str, replacement: str) -> None:
    url = str(folder / "cloudy" / target)
    plain = preview(client, url=url)
    expected = PAIR.target[[2, 4]] * 1e-4
    assert np.abs(plain[0] - expected[0]).max() < 2e-4
    assert np.abs(coarsened(plain[1], 2) - coarsened(expected[1], 2)).mean() < 0.05
    asked = {"url": url, "replacement": str(folder / "clear" / replacement), **CLEAR_REPLACEMENTS}
    asked["mask"] = str(folder / f"mask{30 if target.startswith('LC08') else 10}.tif")
    filled = preview(client, **asked)
    source = preview(client, **asked, algorithm="fill_source")[0]
    assert_allclose(filled[:, source == 0], plain[:, source == 0], atol=1e-6)  # float32
    assert (source == 1).mean() > 0.2
    truth = PAIR.truth[2] * 1e-4
    assert np.abs(filled[0] - truth)[source == 1].mean() < 0.2 * np.abs(plain[0] - truth)[source == 1].mean()


def test_archives_are_described_as_their_folders_are(client: TestClient, folder: Path) -> None:
    def bands(name: str) -> list[dict[str, Any]]:
        scene = good(client.get("/stac/scene", params={"url": str(folder / "cloudy" / name)})).json()
        assert (scene["level"], scene["warnings"]) == ("l2a", [])
        return [{**band, "file": Path(band["file"].split("!")[-1]).name} for band in scene["bands"]]

    assert bands(NAME) == bands(f"{Path(NAME).stem}-0.zip")
    assert bands(BUNDLE) == bands(f"{BUNDLE}.tar")
    first = bands(NAME)[0]
    assert (first["name"], first["offset"]) == ("blue", -0.1)


def test_compressed_pictures_say_what_to_do(client: TestClient, folder: Path) -> None:
    name = f"{Path(NAME).stem}-{zipfile.ZIP_DEFLATED}.zip"
    response = client.get("/stac/scene", params={"url": str(folder / "cloudy" / name)})
    assert response.status_code == 400
    assert "unpack it" in response.json()["detail"]


def test_only_admitted_folders_are_products(client: TestClient, folder: Path, tmp_path: Path) -> None:
    outside = shutil.copytree(folder / "cloudy" / NAME, tmp_path / NAME)
    assert client.get("/stac/info", params={"url": str(outside)}).status_code == 403
    empty = client.get("/stac/info", params={"url": str(folder / "empty")})
    assert (empty.status_code, "empty" in empty.json()["detail"]) == (400, True)
    led = folder / "led" / NAME
    shutil.copytree(folder / "cloudy" / NAME, led)
    picture = next(led.rglob("*B04_10m.jp2"))
    picture.unlink()
    picture.symlink_to(next(outside.rglob("*B04_10m.jp2")))
    assert client.get("/stac/preview.png", params={"url": str(led)}).status_code == 403


@pytest.mark.parametrize("product", [BUNDLE, f"{BUNDLE}.tar"])
def test_a_product_is_exported(folder: Path, tmp_path: Path, product: str) -> None:
    names = [str(folder / date / product) for date in ("cloudy", "clear")]
    asked = ["--replacement", names[1], "--mask", str(folder / "mask30.tif")]
    result = CliRunner().invoke(export, [names[0], str(tmp_path / "out.tif"), *asked])
    assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.descriptions == ("blue", "green", "red", "nir", "swir16", "swir22")
        assert (src.scales[0], src.offsets[0]) == (2.75e-5, -0.2)


@pytest.mark.parametrize(("name", "mask"), [(f"{Path(NAME).stem}-0.zip", "mask10.tif"), (BUNDLE, "mask30.tif")])
def test_a_product_is_exported_band_by_band(
    client: TestClient, folder: Path, tmp_path: Path, name: str, mask: str
) -> None:
    """Named as in the product, with an Item that is served as the product is."""
    before, other = (str(folder / date / name) for date in ("cloudy", "clear"))
    out = folder / f"{name}-made"
    asked = ["--replacement", other, "--mask", str(folder / mask)]
    result = CliRunner().invoke(export, [before, "--per-asset", str(out), *asked])
    assert result.exit_code == 0, result.output
    red = "T33XWJ_20220413T150759_B04_10m.tif" if name.endswith(".zip") else f"{BUNDLE}_SR_B4.tif"
    assert (out / red).exists()
    item = json.loads((out / "item.json").read_text())
    platform, level = ("sentinel-2b", "L2A") if name.endswith(".zip") else ("landsat-8", "L2")
    assert item["id"] == f"{Path(NAME).stem if name.endswith('.zip') else BUNDLE}-cloud-free"
    assert (item["properties"]["platform"], item["properties"]["processing:level"]) == (platform, level)
    keys = ("name", "asset", "scale", "offset", "resolution")
    scenes = [good(client.get("/stac/scene", params={"url": url})).json() for url in (before, str(out / "item.json"))]
    first, second = ([tuple(band[key] for key in keys) for band in scene["bands"]] for scene in scenes)
    assert second == first
    assert scenes[0]["level"] == scenes[1]["level"]
