"""`import clearsky`: the same pixels as the server's, as arrays, pictures, files and map tiles."""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

import clearsky
from algorithms.errors import BandError, ParameterError
from server.errors import SourceMissingError, TooLargeError
from tests.helpers.scenes import make_pair, write_mask, write_raster
from tests.helpers.service import application

PAIR = make_pair(size=(90, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facade")
    write_raster(folder / "target.tif", PAIR.target)
    write_raster(folder / "other.tif", PAIR.replacement)
    write_mask(folder / "mask.tif", PAIR.mask)
    return folder


@pytest.fixture(scope="module")
def scene(folder: Path) -> Iterator[clearsky.Scene]:
    with clearsky.open(
        folder / "target.tif",
        replacement=folder / "other.tif",
        mask=str(folder / "mask.tif"),
        replacement_mask="none",
        buffer=0,
    ) as scene:
        yield scene


def filled_by_server(folder: Path, path: str, **more: object) -> np.ndarray:
    params: dict[str, Any] = {
        "url": str(folder / "target.tif"),
        "replacement": str(folder / "other.tif"),
        "mask": str(folder / "mask.tif"),
        "replacement_mask": "none",
        "algorithm_params": '{"buffer": 0}',
        **more,
    }
    with application(folder) as client:
        return np.load(BytesIO(client.get(path, params=params).content))


def test_pixels_are_the_servers(scene: clearsky.Scene, folder: Path) -> None:
    image = scene.read()
    served = filled_by_server(folder, "/cog/preview.npy", max_size=90)
    np.testing.assert_array_equal(image.array.data, served[:-1])
    clear = scene.mask() == 0
    np.testing.assert_array_equal(image.array.data[:, clear], PAIR.target[:, clear])
    assert (image.array.data[:, PAIR.mask == 1] != PAIR.target[:, PAIR.mask == 1]).any()
    np.testing.assert_array_equal(scene.read(filled=False).array.data, PAIR.target)


def test_a_part_is_the_whole_cut(scene: clearsky.Scene) -> None:
    left, bottom, right, _ = scene.bounds
    size = (right - left) / 80
    box = (left + 10 * size, bottom + 20 * size, left + 50 * size, bottom + 70 * size)
    part, whole = scene.read(box, crs=scene.crs), scene.read()
    np.testing.assert_array_equal(part.array.data, whole.array.data[:, 20:70, 10:50])
    np.testing.assert_array_equal(scene.mask(box, crs=scene.crs), scene.mask()[20:70, 10:50])


def test_the_mask_is_the_one_given_on_analysis_cells(scene: clearsky.Scene) -> None:
    cells = PAIR.mask.reshape(45, 2, 40, 2).max(axis=(1, 3))
    np.testing.assert_array_equal(scene.mask(), cells.repeat(2, 0).repeat(2, 1))


def test_a_preview_is_a_picture(scene: clearsky.Scene, tmp_path: Path) -> None:
    picture = scene.preview(64)
    picture.save(tmp_path / "look.png")
    with Image.open(tmp_path / "look.png") as file:
        assert max(file.size) == 64
    assert scene.preview(64, filled=False).png != picture.png
    assert scene.preview(64, style="false-color").png != picture.png


def test_a_labelled_array_knows_its_place(scene: clearsky.Scene, folder: Path) -> None:
    array = scene.to_xarray()
    with rasterio.open(folder / "target.tif") as src:
        transform, crs, names = src.transform, src.crs, list(src.descriptions)
    assert array.dims == ("band", "y", "x")
    assert list(array.band.values) == names
    assert (array.x.values[0], array.y.values[0]) == pytest.approx(transform @ (0.5, 0.5))
    assert rasterio.crs.CRS.from_wkt(array.spatial_ref.attrs["crs_wkt"]) == crs
    assert [*map(float, array.spatial_ref.attrs["GeoTransform"].split())] == list(transform.to_gdal())
    np.testing.assert_array_equal(array.values, scene.read().array.data)


@pytest.mark.parametrize("scales", [(1e-4,) * 3, (1e-4, 2e-4, 1e-4)])
def test_a_labelled_array_has_the_scale_of_each_band(tmp_path: Path, scales: tuple[float, ...]) -> None:
    path, offsets = write_raster(tmp_path / "scaled.tif", PAIR.target[:3]), (-0.1,) * 3
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = scales, offsets
    with clearsky.open(path) as scene:
        array = scene.to_xarray()
    per_band = len(set(scales)) > 1
    packing: Any = array.coords if per_band else array.attrs
    assert ("scale_factor" in array.attrs, "scale_factor" in array.coords) == (not per_band, per_band)
    found = array * packing["scale_factor"] + packing["add_offset"]
    expected = PAIR.target[:3] * np.reshape(scales, (3, 1, 1)) + np.reshape(offsets, (3, 1, 1))
    np.testing.assert_allclose(found.values, expected)


def test_too_many_pixels_are_refused_in_the_words_of_the_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARSKY_MAX_PIXELS", str(1 << 16))
    path = write_raster(tmp_path / "large.tif", np.ones((1, 260, 260), np.uint8))
    with clearsky.open(path) as scene:
        with pytest.raises(
            TooLargeError, match=r"more than 65536; give a smaller `size` or `bbox`.*`export`"
        ) as caught:
            scene.read()
        assert "CLEARSKY" not in str(caught.value)
        assert scene.read(size=100).array.shape == (1, 100, 100)


def test_an_export_is_the_commands(scene: clearsky.Scene, tmp_path: Path) -> None:
    done = scene.export(tmp_path / "out.tif", provenance=str(tmp_path / "where.tif"))
    assert done["filled"] > 0
    with rasterio.open(tmp_path / "out.tif") as out:
        np.testing.assert_allclose(out.read(), scene.read().array.data, atol=1)
    with pytest.raises(ParameterError, match="exists"):
        scene.export(tmp_path / "out.tif")
    with pytest.raises(ParameterError, match="colour"):
        scene.export(tmp_path / "other.tif", colour="red")


def test_map_tiles_of_this_scene_alone(scene: clearsky.Scene, folder: Path) -> None:
    layer = scene.tile_layer()
    try:
        west, south, east, north = layer.bounds
        z = layer.zooms[1]
        x = int(((west + east) / 2 + 180) / 360 * 2**z)
        y = int((1 - np.arcsinh(np.tan(np.radians((south + north) / 2))) / np.pi) / 2 * 2**z)
        with urllib.request.urlopen(layer.url.format(z=z, x=x, y=y)) as answer:
            data = answer.read()
        with Image.open(BytesIO(data)) as tile:
            assert tile.format == "WEBP"
            assert np.asarray(tile.convert("L")).std() > 0
        other = re.sub(r"url=[^&]*", "url=%2Fetc%2Fhostname", layer.url).format(z=z, x=x, y=y)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(other)
        assert refused.value.code == 403
        refused.value.close()
    finally:
        layer.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(layer.url.format(z=z, x=x, y=y))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"windw": 80}, ParameterError, "windw"),
        ({"window": 33}, ParameterError, "33"),
        ({"level": "l3"}, ParameterError, "l3"),
        ({"replacement": "/nowhere/at/all.tif"}, SourceMissingError, "/nowhere/at/all.tif"),
    ],
)
def test_what_cannot_be_used_is_named_at_once(
    folder: Path, options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        clearsky.open(folder / "target.tif", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["preview", "tile_layer"])
def test_styles_that_there_are_none_of(scene: clearsky.Scene, what: str) -> None:
    with pytest.raises(ParameterError, match="natural"):
        getattr(scene, what)(style="loud")


@pytest.mark.parametrize("crs", ["nothing", "EPSG:nope", "EPSG:0", object()])
def test_boxes_in_no_known_crs(scene: clearsky.Scene, crs: object) -> None:
    with pytest.raises(ParameterError, match="EPSG:4326"):
        scene.read((0, 0, 1, 1), crs=crs)


@pytest.mark.parametrize("size", [0, -1, 1.5, "big"])
def test_sizes_that_are_none(scene: clearsky.Scene, size: Any) -> None:
    for use in (partial(scene.read, size=size), partial(scene.mask, size=size), partial(scene.preview, size)):
        with pytest.raises(ParameterError, match=r"size .* is no whole number of pixels"):
            use()


def test_cards_are_read_by_a_folders_name(tmp_path: Path) -> None:
    clearsky.use_models(str(tmp_path))
    with pytest.raises(clearsky.ClearSkyError, match="cannot be read as a folder"):
        clearsky.use_models(str(tmp_path / "nowhere"))
    clearsky.use_models(None)


def test_digital_numbers_are_no_reflectance() -> None:
    with pytest.raises(ParameterError, match=r"multiply by the product's scale"):
        clearsky.cloud_mask(PAIR.target, ["blue", "green", "red", "nir", "swir16", "swir22"])
    with pytest.raises(BandError):
        clearsky.cloud_mask(PAIR.target / 10_000, ["b1", "b2", "b3", "b4", "b5", "b6"])


def test_the_ring_form_is_read_and_exported_whole(folder: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"mask": str(folder / "mask.tif"), "replacement_mask": "none", "buffer": 1, "window": 20}
    target, other = folder / "target.tif", folder / "other.tif"
    with clearsky.open(target, replacement=other, **given, adjustment="stepwise") as scene:
        image = scene.read()
        scene.export(tmp_path / "out.tif")
        with rasterio.open(tmp_path / "out.tif") as file:
            np.testing.assert_array_equal(image.array.data, file.read())
            assert image.crs == file.crs
        assert (image.array.data != PAIR.target).any()
        np.testing.assert_array_equal(scene.to_xarray().values, image.array.data)
        part = partial(scene.read, scene.bounds, crs=scene.crs)
        for use in (scene.preview, scene.tile_layer, partial(scene.read, size=50), part):
            with pytest.raises(ParameterError, match=r"adjustment=stepwise.*clearsky export"):
                use()
        assert scene.preview(50, filled=False).png
        assert set(np.unique(scene.mask())) <= {0, 1}
    bands = [str(tmp_path / f"{name}.tif") for name in ("blue", "green", "red")]
    for k, band in enumerate(bands):
        write_raster(Path(band), PAIR.target[k : k + 1], descriptions=(Path(band).stem,))
    with clearsky.open(bands, replacement=other, **given, adjustment="stepwise") as scene:
        np.testing.assert_array_equal(scene.read().array.data, image.array.data[[2, 1, 0]])


def test_what_a_program_prints_is_short(scene: clearsky.Scene) -> None:
    assert re.fullmatch(r"<Picture: PNG, 57 x 64 pixels, [\d.]+ kB>", repr(scene.preview(64)))
    said = repr(scene)
    assert len(said) < 600
    for part in ("target.tif", "other.tif", "'nir'", "(90, 80)"):
        assert part in said


@pytest.mark.parametrize(
    ("box", "crs", "says"),
    [
        ((500_000, 4_600_000, 500_100, 4_600_100), "EPSG:4326", r"not in degrees.*crs="),
        ((0, 0, 1, 1), "EPSG:4326", r"off the scene, which covers .* in crs=EPSG:4326.*`crs`"),
        ((0, 0, 1, 1), "EPSG:3857", r"off the scene.* in crs=EPSG:3857"),
        ((1, 2), "EPSG:4326", "west, south, east, north"),
        ("here", "EPSG:4326", "west, south, east, north"),
        ((1, 1, 0, 0), "EPSG:4326", "no area"),
    ],
)
def test_boxes_that_are_no_part_of_the_scene(scene: clearsky.Scene, box: Any, crs: str, says: str) -> None:
    for use in (scene.read, scene.mask, scene.to_xarray):
        with pytest.raises(ParameterError, match=says):
            use(box, crs=crs)


def test_packages_of_the_extra_are_named(scene: clearsky.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("folium", "ipyleaflet", "xarray"):
        monkeypatch.setitem(sys.modules, name, None)
    layer = clearsky.LocalTiles("http://127.0.0.1/{z}/{x}/{y}", (0, 0, 1, 1), (3, 9), None)
    for use, name in ((layer.to_folium, "folium"), (layer.to_ipyleaflet, "ipyleaflet"), (scene.to_xarray, "xarray")):
        with pytest.raises(clearsky.ClearSkyError, match=rf"{name} is not installed: pip install {name}"):
            use()
