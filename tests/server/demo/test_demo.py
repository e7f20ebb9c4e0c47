"""The demo scene: its files, its determinism, and the agreement of the cloudy picture with its truth."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from algorithms.errors import ParameterError
from server.demo import DemoScene, write_demo
from server.demo import write as writer
from server.demo.clouds import COVER, make_clouds
from server.demo.lines import distance
from server.demo.noise import fractal, stream
from server.demo.spectra import BANDS, CLEAR_DATE, CLOUDY_DATE, CROPS, SPECTRA
from tests.helpers.scenes import read_raster

SIZE = 384
IMAGES = ("cloudy", "clear", "truth")
FILES = (*IMAGES, "truth_mask")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return write_demo(tmp_path_factory.mktemp("demo"), size=SIZE, seed=3)


def test_four_files_and_nothing_else(scene: DemoScene) -> None:
    assert sorted(path.name for path in scene.cloudy.parent.iterdir()) == sorted(f"{name}.tif" for name in FILES)
    assert [getattr(scene, name).name for name in FILES] == [f"{name}.tif" for name in FILES]


@pytest.mark.parametrize("name", FILES)
def test_valid_cog(scene: DemoScene, name: str) -> None:
    valid, errors, notes = cog_validate(getattr(scene, name), quiet=True)
    assert valid
    assert not errors
    assert not notes


def test_overviews_from_twice_the_block_size(tmp_path: Path) -> None:
    scene = write_demo(tmp_path, size=600)
    for path in (scene.cloudy, scene.truth_mask):
        assert cog_validate(path, quiet=True)[0]
        with rasterio.open(path) as file:
            assert file.overviews(1) == [2]
            assert file.block_shapes[0] == (512, 512)
            whole = file.read(1)
        with rasterio.open(path, overview_level=0) as file:
            half = file.read(1)
        if path == scene.cloudy:  # averaged
            mean = whole.reshape(300, 2, 300, 2).mean(axis=(1, 3))
            assert np.abs(half - mean).max() <= 1
        else:  # classes are never mixed
            assert set(np.unique(half)) == {0, 1, 2}
            uniform = (whole.reshape(300, 2, 300, 2) == whole[::2, ::2].reshape(300, 1, 300, 1)).all(axis=(1, 3))
            assert np.array_equal(half[uniform], whole[::2, ::2][uniform])


@pytest.mark.parametrize("name", IMAGES)
def test_image_contract(scene: DemoScene, name: str) -> None:
    with rasterio.open(getattr(scene, name)) as file:
        assert (file.count, file.width, file.height) == (6, SIZE, SIZE)
        assert set(file.dtypes) == {"uint16"}
        assert file.descriptions == BANDS == ("blue", "green", "red", "nir", "swir16", "swir22")
        assert file.crs.to_epsg() == 32633
        assert (file.res, file.nodata) == ((10.0, 10.0), 0)
        assert set(file.scales) == {0.0001}
        assert set(file.offsets) == {0.0}
        assert file.tags()["LEVEL"] == "L1C TOA reflectance x10000"
        assert file.tags()["DATE"] == (CLEAR_DATE if name == "clear" else CLOUDY_DATE).day
        structure = file.tags(ns="IMAGE_STRUCTURE")
        assert (structure["COMPRESSION"], structure["PREDICTOR"]) == ("DEFLATE", "2")
        longitude, latitude = file.lnglat()
        assert 11 < longitude < 14
        assert 42 < latitude < 44
        assert file.read().min() > 0


def test_mask_contract(scene: DemoScene) -> None:
    with rasterio.open(scene.truth_mask) as file, rasterio.open(scene.cloudy) as cloudy:
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), None)
        assert (file.shape, file.transform, file.crs) == (cloudy.shape, cloudy.transform, cloudy.crs)
        assert set(np.unique(file.read())) == {0, 1, 2}


def test_same_seed_same_bytes(scene: DemoScene, tmp_path: Path) -> None:
    again = write_demo(tmp_path, size=SIZE, seed=3)
    for name in FILES:
        assert getattr(again, name).read_bytes() == getattr(scene, name).read_bytes()


def test_another_seed_is_another_place(scene: DemoScene, tmp_path: Path) -> None:
    other = write_demo(tmp_path, size=SIZE, seed=4)
    for name in FILES:
        assert (read_raster(getattr(other, name)) != read_raster(getattr(scene, name))).mean() > 0.2


def test_cloudy_equals_truth_off_clouds_and_shadows(scene: DemoScene) -> None:
    clouds = make_clouds(SIZE, CLOUDY_DATE, 3)
    cloudy, truth, mask = (read_raster(path) for path in (scene.cloudy, scene.truth, scene.truth_mask))
    untouched = ~clouds.touched
    assert untouched.mean() > 0.2
    assert np.array_equal(cloudy[:, untouched], truth[:, untouched])
    assert (mask[0][untouched] == 0).all()
    assert np.array_equal(mask[0], clouds.classes())


def test_clouds_brighten_and_shadows_darken(scene: DemoScene) -> None:
    cloudy, truth = (read_raster(path).astype(float) for path in (scene.cloudy, scene.truth))
    mask = read_raster(scene.truth_mask)[0]
    assert COVER[0] - 0.02 < (mask == 1).mean() < COVER[1] + 0.02
    assert (cloudy[0] > truth[0])[mask == 1].mean() > 0.99
    kept = cloudy[:, mask == 2].mean(axis=1) / truth[:, mask == 2].mean(axis=1)
    assert (kept < 0.85).all()
    assert kept[0] > kept[3] > kept[5]  # the blue sky goes on shining into the shadow


def test_truth_has_no_clouds(scene: DemoScene) -> None:
    # Thick cloud is brighter than 0.25 in blue; of the land only few roofs and gravel banks come near.
    for path in (scene.truth, scene.clear):
        assert (read_raster(path)[0] > 2500).mean() < 0.001
    assert (read_raster(scene.cloudy)[0] > 2500).mean() > 0.15


def test_dates_are_alike_but_not_the_same(scene: DemoScene) -> None:
    truth, clear = (read_raster(path).reshape(6, -1).astype(float) for path in (scene.truth, scene.clear))
    for one, other in zip(truth, clear, strict=True):
        assert 0.65 < np.corrcoef(one, other)[0, 1] < 0.95


def test_shadows_fall_away_from_the_sun() -> None:
    clouds = make_clouds(512, CLOUDY_DATE, 0)
    shifts = [(dy, dx) for dy in (-70, 0, 70) for dx in (-60, 0, 60)]
    inner = slice(100, 412)
    overlap = {
        (dy, dx): (clouds.shade[inner, inner] * clouds.alpha[100 - dy : 412 - dy, 100 - dx : 412 - dx]).sum()
        for dy, dx in shifts
    }
    # The sun stands in the south-east, so that shadows lie north-west of their clouds.
    assert max(overlap, key=lambda shift: float(overlap[shift])) == (-70, -60)


@pytest.mark.parametrize("size", [0, -1, 255, 8193])
def test_bad_size(tmp_path: Path, size: int) -> None:
    with pytest.raises(ParameterError, match=f"size {size} .*256 to 8192"):
        write_demo(tmp_path / "new", size=size)
    assert not list(tmp_path.iterdir())


def test_bad_seed(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed -1"):
        write_demo(tmp_path / "new", size=256, seed=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(writer, "make_clouds", fail)  # two of the four files are there by then
    with pytest.raises(type(error)):
        write_demo(tmp_path / "new" / "deep", size=256)
    assert not list(tmp_path.iterdir())


def test_failure_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cloudy.tif").write_text("mine")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(writer, "make_clouds", full)
    with pytest.raises(ParameterError, match="no space left"):
        write_demo(tmp_path, size=256)
    assert [path.name for path in tmp_path.iterdir()] == ["cloudy.tif"]
    assert (tmp_path / "cloudy.tif").read_text() == "mine"


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ParameterError, match="file"):
        write_demo(file, size=256)
    assert file.read_text() == "mine"


def test_no_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_demo(tmp_path, size=257, seed=5)


def test_tables_are_complete() -> None:
    assert all(len(values) == len(BANDS) for values in SPECTRA.values())
    for crop in CROPS:
        for state in (crop.cloudy, crop.clear):
            assert sum(state.values()) == pytest.approx(1)
    assert sum(crop.share for crop in CROPS) == pytest.approx(1)


def test_land_without_roads() -> None:
    assert (distance(256, [], reach=6) == 6).all()


def test_distance_is_sub_pixel() -> None:
    field = distance(64, [np.array([[10.25, -5.0], [10.25, 70.0]])], reach=8)
    assert field[:, 30][[10, 11, 14, 40]] == pytest.approx([0.25, 0.75, 3.75, 8], abs=0.02)


def test_noise_is_normalised_and_named() -> None:
    field = fractal(300, stream(1, "a"), outer=50, slope=3.0)
    assert field.shape == (300, 300)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert not np.array_equal(field, fractal(300, stream(1, "b"), outer=50, slope=3.0))
