"""`clearsky mask` and `clearsky picture`: what they write is what the server shows, complete or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rio_cogeo.cogeo import cog_validate
from starlette.testclient import TestClient

from algorithms.palettes import colour_table
from tests.helpers.exports import filled_from, run
from tests.helpers.scenes import Demo, read_raster
from tests.helpers.service import application, raster


@pytest.fixture(scope="module")
def folder(demo_scene: Demo) -> Path:
    return demo_scene(256).cloudy.parent


def served(client: TestClient, path: str, **params: object) -> bytes:
    answer = client.get(f"/cog/{path}", params=params)  # type: ignore[arg-type]  # text and numbers
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_mask_is_the_servers(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Classes and probabilities on the scene's own pixels, and the same as a picture in colour."""
    scene, other = folder / "cloudy.tif", ["--replacement", str(folder / "clear.tif")]
    asked = {"url": str(scene), "replacement": other[1], "max_size": 4096}
    with application(folder) as client:
        for algorithm, flags in (("cloud_mask", []), ("cloud_probability", ["--probability"])):
            out, shown = tmp_path / f"{algorithm}.tif", tmp_path / f"{algorithm}.png"
            assert run(scene, out, *flags, *other, command="mask") == 0
            assert "%" in capfd.readouterr().out
            expected = raster(served(client, "preview.tif", algorithm=algorithm, **asked))[0]
            np.testing.assert_array_equal(read_raster(out)[0], expected)
            assert run(scene, shown, *flags, *other, command="mask") == 0
            assert shown.read_bytes() == served(client, "preview.png", algorithm=algorithm, **asked)
            assert cog_validate(out, strict=True)[0]
    with rasterio.open(scene) as a, rasterio.open(tmp_path / "cloud_mask.tif") as b:
        assert (a.crs, a.transform, a.shape) == (b.crs, b.transform, b.shape)
        assert (b.dtypes, b.nodata, b.descriptions) == (("uint8",), 255, ("cloud_mask",))


def test_a_mask_has_no_data_where_the_scene_has_none(folder: Path, tmp_path: Path) -> None:
    """In strips of any height: nodata is 255, and nothing else is."""
    with rasterio.open(folder / "cloudy.tif") as src:
        values, profile = src.read(), src.profile
    values[:, 100:140, 20:200] = 0
    with rasterio.open(tmp_path / "holes.tif", "w", **profile | {"driver": "GTiff"}) as dst:
        dst.write(values)
        dst.descriptions = ("blue", "green", "red", "nir", "swir16", "swir22")
    assert run(tmp_path / "holes.tif", tmp_path / "mask.tif", command="mask") == 0
    np.testing.assert_array_equal(read_raster(tmp_path / "mask.tif")[0] == 255, (values == 0).all(axis=0))


def test_a_picture_shows_before_mask_and_after(folder: Path, tmp_path: Path) -> None:
    """Three panels of the server's own pictures, under a line of labels."""
    scene, other, out = str(folder / "cloudy.tif"), str(folder / "clear.tif"), tmp_path / "look.png"
    assert run(scene, out, "--replacement", other, "--size", 200, command="picture") == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (230, 3 * 200 + 4 * 8, 3)
    before, between, after = (sheet[22:222, 8 + k * 208 : 208 + k * 208] for k in range(3))
    with application(folder) as client:
        asked = {"url": scene, "max_size": 200}
        for panel, more in ((before, {}), (after, {"replacement": other})):
            shown = np.asarray(Image.open(io.BytesIO(served(client, "preview.png", **asked, **more))))
            np.testing.assert_array_equal(panel, shown[..., :3])
        mask = raster(served(client, "preview.png", algorithm="cloud_mask", replacement=other, **asked))[0]
    for value in (1, 2):
        assert (between[mask == value] == colour_table("cloud_mask")[value, :3]).all()
    clear = between[mask == 0].astype(int)
    assert (clear.max(axis=-1) == clear.min(axis=-1)).all()
    assert len(np.unique(sheet[:22, 208:416].reshape(-1, 3), axis=0)) > 5  # a label and the legend's colours


BAD = [
    ("mask target.tif out.jpg", ["out.jpg", ".tif"]),
    ("mask missing.tif out.tif", ["missing.tif", "does not exist"]),
    ("mask text.tif out.tif", ["text.tif", "cannot be read"]),
    ("mask target.tif target.tif --overwrite", ["target.tif", "to read"]),
    ("mask {target.tif,other.tif} target.tif --overwrite", ["target.tif", "to read"]),
    ("mask target.tif .", ["'.'", "is a folder"]),
    ("mask target.tif other.tif", ["other.tif", "--overwrite"]),
    ("mask target.tif no/where/out.tif", ["no/where", "does not exist"]),
    ("mask target.tif out.tif --model best", ["best", "ukis-6b-l1c"]),
    ("mask target.tif out.png --mask nothing.tif", ["nothing.tif"]),
    ("mask target.tif", ["OUT"]),
    ("picture target.tif out.png", ["--replacement"]),
    ("picture target.tif out.tif --replacement other.tif", ["out.tif", ".png"]),
    ("picture target.tif out.png --replacement far.tif", ["far.tif", "overlap"]),
    ("picture target.tif out.png --replacement damaged.tif --mask mask.tif", ["damaged.tif"]),
    ("picture target.tif out.png --replacement other.tif --style pretty", ["pretty", "natural"]),
    ("picture target.tif out.png --replacement other.tif --size 5", ["--size", "5"]),
    ("picture target.tif out.png --replacement other.tif --window 7", ["--window 7", "20"]),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_ends_in_one_line(bad: Path, line: str, says: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Status 2 and one line that names the value and the remedy; nothing is written."""
    before = {path: path.read_bytes() for path in bad.iterdir() if path.is_file()}
    command, *words = line.split()
    assert run(*words, command=command) == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1, said
    for word in says:
        assert word in said
    assert {path: path.read_bytes() for path in bad.iterdir() if path.is_file()} == before


def test_overwriting_is_asked_for(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    out.write_text("old")
    arguments = ["target.tif", out, *filled_from(".")]
    assert run(*arguments, command="picture") == 2
    assert out.read_text() == "old"
    assert run(*arguments, "--overwrite", command="picture") == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [out]
