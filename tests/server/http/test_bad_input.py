"""Bad input: one clear answer that names the value and the remedy, and no harm to the next request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine
from rio_tiler.io import Reader
from starlette.testclient import TestClient

from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_pair, write_raster
from tests.helpers.service import application, raster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    pair = make_pair(size=(256, 256))
    write_pair(folder, pair)
    write_raster(
        folder / "rgb.tif", (pair.target[[2, 1, 0]] // 40).astype(np.uint8), descriptions=("red", "green", "blue")
    )
    write_raster(folder / "rgb_other.tif", np.clip(pair.replacement[[2, 1, 0]] // 20, 1, 255).astype(np.uint8))
    write_raster(folder / "four.tif", pair.replacement[:4])
    write_raster(folder / "unnamed.tif", pair.target, descriptions=("",) * 6)
    far = Affine(10, 0, 700_000, 0, -10, 4_600_000)
    write_raster(folder / "far.tif", pair.replacement, transform=far)
    write_raster(folder / "nowhere.tif", pair.replacement, crs=None)
    (folder / "text.tif").write_text("this is not a raster")
    (folder / "secret.vrt").write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{folder}/target.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (folder / "hidden.tif").write_text((folder / "secret.vrt").read_text())
    (folder / "scenes").mkdir()
    (folder / "folder.tif").mkdir()
    (folder / "link.tif").symlink_to("/etc/hostname")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(f"{folder},https:*") as client:
        yield client


@pytest.fixture(autouse=True)
def unharmed(client: TestClient, folder: Path) -> Iterator[None]:
    """After every bad request a good one works."""
    yield
    params = {
        n: str(folder / f"{f}.tif") for n, f in (("url", "target"), ("replacement", "replacement"), ("mask", "mask"))
    }
    assert client.get("/cog/preview.tif", params=params).status_code == 200


GOOD = {"url": "target.tif", "replacement": "replacement.tif"}

CASES = [
    # parameters, status, what the answer must say
    ({"url": "missing.tif"}, 404, ["missing.tif", "does not exist"]),
    ({"url": "text.tif"}, 400, ["text.tif", "cannot be read"]),
    ({"url": "secret.vrt"}, 400, ["secret.vrt", "cannot be read"]),
    ({"url": "hidden.tif"}, 400, ["hidden.tif", "cannot be read"]),
    ({"url": "link.tif"}, 403, ["link.tif", "not allowed", "CLEARSKY_ALLOWED_SOURCES"]),
    ({"url": "/etc/passwd"}, 403, ["/etc/passwd", "not allowed"]),
    ({"url": "/vsicurl/http://127.0.0.1/a.tif"}, 403, ["virtual"]),
    ({"url": "http://127.0.0.1:9/a.tif"}, 403, ["not allowed"]),
    ({"url": "https://127.0.0.1/a.tif"}, 403, ["private"]),
    ({"url": "https://169.254.169.254/latest/meta-data"}, 403, ["private"]),
    ({"url": "https://[::1]/a.tif"}, 403, ["private"]),
    ({"url": "https://user:secret@example.com/a.tif"}, 403, ["credentials"]),
    ({"url": "ftp://example.com/a.tif"}, 403, ["ftp"]),
    ({"url": "GTIFF_DIR:1:/etc/passwd"}, 403, ["connection strings"]),
    ({"url": "<VRTDataset></VRTDataset>"}, 403, ["not allowed"]),
    (GOOD | {"replacement": "missing.tif"}, 404, ["missing.tif"]),
    (GOOD | {"replacement": "/etc/passwd"}, 403, ["/etc/passwd"]),
    (GOOD | {"mask": "/etc/passwd"}, 403, ["/etc/passwd"]),
    (GOOD | {"mask": "text.tif"}, 400, ["text.tif"]),
    (GOOD | {"replacement": "far.tif"}, 400, ["far.tif", "does not overlap"]),
    (GOOD | {"replacement": "nowhere.tif"}, 400, ["nowhere.tif", "coordinate reference system"]),
    (GOOD | {"replacement": "four.tif"}, 400, ["four.tif", "lacks swir16", "show other bands"]),
    ({"url": "target.tif", "algorithm": "cloud_removal"}, 400, ["replacement"]),
    ({"url": "target.tif", "algorithm": "fill_source"}, 400, ["replacement"]),
    ({"url": "rgb.tif", "replacement": "rgb_other.tif"}, 400, ["nir", "mask="]),
    ({"url": "unnamed.tif", "algorithm": "cloud_mask"}, 400, ["blue", "bands="]),
    ({"url": "target.tif", "algorithm": "cloud_mask", "bands": "blue,green"}, 400, ["names 2 bands", "6"]),
    ({"url": "target.tif", "algorithm": "cloud_mask", "model": "best"}, 400, ["best", "ukis-6b-l1c"]),
    ({"url": "target.tif", "algorithm": "cloud_mask", "level": "l9"}, 400, ["l9"]),
    ({"url": "target.tif", "algorithm": "clouds"}, 400, ["clouds"]),
    (GOOD | {"mask": "mask.tif", "mask_remap": "1 1;x 1"}, 400, ["'x'", "position 4"]),
    (GOOD | {"algorithm_params": "{"}, 400, ["not JSON", "position"]),
    (GOOD | {"algorithm_params": "[1]"}, 400, ["JSON object"]),
    (GOOD | {"algorithm_params": '{"window": 81}'}, 400, ["window", "81", "multiple of 20"]),
    (GOOD | {"algorithm_params": '{"window": 0}'}, 400, ["window", "20"]),
    (GOOD | {"algorithm_params": '{"buffer": 16}'}, 400, ["buffer", "16", "15"]),
    (GOOD | {"algorithm_params": '{"windw": 80}'}, 400, ["windw", "window"]),
    (GOOD | {"algorithm_params": '{"adjustment": "magic"}'}, 400, ["magic", "regression"]),
    ({"url": "target.tif", "algorithm_params": '{"window": 80}'}, 400, ["algorithm_params"]),
    (GOOD | {"bidx": "9"}, 400, ["9"]),
    (GOOD | {"expression": "b1/b9"}, 400, ["9"]),
    (GOOD | {"height": "99999", "width": "99999"}, 400, ["99999", "smaller"]),
]


@pytest.mark.parametrize(("params", "status", "words"), CASES, ids=[json.dumps(c[0])[:70] for c in CASES])
def test_one_clear_answer(
    client: TestClient, folder: Path, params: dict[str, str], status: int, words: list[str]
) -> None:
    named = {
        key: str(folder / value)
        if key in {"url", "replacement", "mask"} and value[-4:] in {".tif", ".vrt"} and "/" not in value
        else value
        for key, value in params.items()
    }
    answer = client.get("/cog/preview.tif", params=named)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    for word in words:
        assert word in answer.json()["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("form", ["png", "pngraw", "jpg", "jpeg", "webp"])
def test_a_picture_of_all_bands_is_refused_before_it_is_computed(
    client: TestClient, folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read for it: the analysis of a large scene takes minutes."""
    params = {"url": str(folder / "target.tif"), "replacement": str(folder / "replacement.tif")}
    every = {"expression": ";".join(f"b{k}" for k in range(1, 7))}
    with monkeypatch.context() as patch:
        for name in ("part", "read"):
            patch.setattr(Reader, name, lambda *_, **__: pytest.fail("read"))
        for path in ("preview", "preview/8x8", "bbox/15.0,41.5,15.01,41.51", "tiles/WebMercatorQuad/14/8874/6109"):
            for more in ({"style": "raw"}, every, {"algorithm": "cloud_removal", "style": "raw"}):
                answer = client.get(f"/cog/{path}.{form}", params=params | more)
                assert answer.status_code == 400, answer.text
                for word in ("6 bands", "`assets=red,green,blue`", "`bidx`"):
                    assert word in answer.json()["detail"]
    for more in ({"bidx": "1"}, {"expression": "b1+b6"}, {"assets": "red,green,blue"}, {"algorithm": "cloud_mask"}):
        answer = client.get(f"/cog/preview.{form}", params=params | more | {"rescale": "0,3000"})
        assert answer.status_code == 200, answer.text


def test_a_picture_of_more_bands_than_its_format_has_says_so(client: TestClient, folder: Path) -> None:
    """Four fit into a PNG only without a mask; where the address leaves the format open, this shows at the end."""
    for path, name, count in (("preview.png", "four.tif", 4), ("preview", "target.tif", 6)):
        answer = client.get(f"/cog/{path}", params={"url": str(folder / name), "style": "raw"})
        assert answer.status_code == 400, answer.text
        for word in (f"{count} bands", "`assets=red,green,blue`", "`bidx`"):
            assert word in answer.json()["detail"]
    answer = client.get(
        "/cog/preview.png", params={"url": str(folder / "four.tif"), "return_mask": "false", "style": "raw"}
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("parameter", ["url", "replacement", "mask"])
@pytest.mark.parametrize(
    ("name", "status", "says"), [("scenes", 400, "nor a Landsat bundle"), ("folder.tif", 404, "give a raster")]
)
def test_a_folder_that_is_no_product(
    client: TestClient, folder: Path, parameter: str, name: str, status: int, says: str
) -> None:
    params = {"url": "target.tif", "replacement": "replacement.tif"} | {parameter: name}
    for prefix in ("/cog", "/stac"):
        answer = client.get(f"{prefix}/preview.tif", params={key: str(folder / text) for key, text in params.items()})
        assert answer.status_code == status, answer.text
        for word in (str(folder / name), "is a folder", says):
            assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/cog/preview.png", "url"), ("/stac/info", "url"), ("/cog/validate", "url"), ("/stac/replacements", "url")],
)
def test_a_missing_parameter_is_named(client: TestClient, path: str, name: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (400, {"detail": f"`{name}` is missing"})


def test_tile_outside(client: TestClient, folder: Path) -> None:
    params = {"url": str(folder / "target.tif"), "replacement": str(folder / "replacement.tif")}
    assert client.get("/cog/tiles/WebMercatorQuad/14/0/0.png", params=params).status_code == 404
    with application(folder, empty_outside="true") as quiet:
        answer = quiet.get("/cog/tiles/WebMercatorQuad/14/0/0.png", params=params)
        assert (answer.status_code, answer.content) == (204, b"")


def test_tile_size_is_bounded(client: TestClient, folder: Path) -> None:
    path = "/cog/tiles/WebMercatorQuad/12/2218/1527.png"
    answer = client.get(path, params={"url": str(folder / "target.tif"), "tilesize": 5000})
    assert answer.status_code == 400
    assert "5000" in answer.json()["detail"]
    assert (
        client.get(path, params={"url": str(folder / "target.tif"), "tilesize": 256, "buffer": 9999}).status_code == 400
    )


def test_rgb_works_with_a_mask(client: TestClient, folder: Path) -> None:
    """What the model cannot do without near infrared, a user's mask can."""
    params = {
        "url": str(folder / "rgb.tif"),
        "replacement": str(folder / "rgb_other.tif"),
        "mask": str(folder / "mask.tif"),
        **CLEAR_REPLACEMENTS,
    }
    answer = client.get("/cog/preview.tif", params=params)
    assert answer.status_code == 200, answer.text
    assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.2
    assert raster(answer.content)[:3].max() < 200


@pytest.mark.parametrize("hole", [0, np.nan])
def test_holes_stay_holes(client: TestClient, folder: Path, hole: float) -> None:
    """Nodata and NaN in either date: nothing is made up, nothing spreads."""
    pair = make_pair(size=(256, 256))
    dtype = np.float32 if np.isnan(hole) else np.uint16
    target, other = pair.target.astype(dtype), pair.replacement.astype(dtype)
    target[:, 100:140, 30:220] = hole
    other[:, 60:80, 60:200] = hole
    params = {
        "url": write_raster(folder / f"holes_{hole}.tif", target, nodata=hole),
        "replacement": write_raster(folder / f"holes_other_{hole}.tif", other, nodata=hole),
    }
    for more in ({"mask": str(folder / "mask.tif"), **CLEAR_REPLACEMENTS}, {"reflectance_scale": "0.0001"}):
        source = raster(client.get("/cog/preview.tif", params=params | more | {"algorithm": "fill_source"}).content)[0]
        image = raster(client.get("/cog/preview.tif", params=params | more).content)
        assert (source[100:140, 30:220] == 255).all()
        assert (image[-1, 100:140, 30:220] <= 0).all()
        outside = np.ones((256, 256), bool)
        outside[100:140, 30:220] = False
        assert np.isfinite(image[:6, outside].astype(float)).all()
        assert (image[-1, outside] > 0).all()
        assert not (source[60:80, 60:200] == 1).any()
    classes = raster(
        client.get(
            "/cog/preview.tif", params={"url": params["url"], "algorithm": "cloud_mask", "reflectance_scale": 1e-4}
        ).content
    )[0]
    np.testing.assert_array_equal(classes == 255, ~outside)


@given(text=st.text(max_size=60))
def test_any_text_in_any_parameter_is_a_client_error(client: TestClient, folder: Path, text: str) -> None:
    base = {
        "url": str(folder / "target.tif"),
        "replacement": str(folder / "replacement.tif"),
        "mask": str(folder / "mask.tif"),
    }
    for name in ("url", "replacement", "mask", "mask_remap", "model", "bands", "algorithm", "algorithm_params"):
        try:
            answer = client.get("/cog/preview.tif", params=base | {name: text, "max_size": 16})
        except UnicodeEncodeError:
            continue
        assert answer.status_code < 500, f"{name}={text!r}: {answer.text}"
