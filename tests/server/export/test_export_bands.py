"""Export per band: files on their own grids, filled by what the replacement has there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.testing import assert_allclose, assert_array_equal
from rio_cogeo.cogeo import cog_validate

from server.export import plan
from tests.helpers.archives import coarsened, write_band
from tests.helpers.exports import CLEAR, run
from tests.helpers.items import BANDS, CLOUD, OFFSET, SCALE, SHAPE, TwoDates, write_bands, write_dates
from tests.helpers.scenes import read_raster, write_mask


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> TwoDates:
    return write_dates(tmp_path_factory.mktemp("dates"))


@pytest.fixture(scope="module")
def made(dates: TwoDates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export per band."""
    folder = tmp_path_factory.mktemp("out") / "made"
    assert run(dates.target, "--per-asset", folder, *dates.others) == 0
    return folder


def filled(folder: Path, key: str) -> np.ndarray:
    """Which of a band's pixels hold one of the finest grid that is filled."""
    source = read_raster(folder / "fill_source.tif")[0]
    return np.asarray(coarsened((source > 0).astype(float), BANDS[key][1] // 10) > 0)


def test_each_band_has_a_file_that_describes_itself_as_its_source_does(made: Path, dates: TwoDates) -> None:
    assert {path.name for path in made.iterdir()} == {
        "item.json", "fill_source.tif", "fill_confidence.tif", *(f"{key}.tif" for key in BANDS)
    }  # fmt: skip
    assert not list(made.parent.glob("*.partial"))
    for key, (name, _) in BANDS.items():
        valid, errors, warnings = cog_validate(made / f"{key}.tif", strict=True, quiet=True)
        assert (valid, errors, warnings) == (True, [], []), key
        with rasterio.open(made / f"{key}.tif") as out, rasterio.open(dates.target.with_name(f"{key}.tif")) as src:
            for what in ("crs", "transform", "shape", "count", "dtypes", "nodatavals"):
                assert getattr(out, what) == getattr(src, what), (key, what)
            assert (out.scales, out.offsets, out.descriptions) == ((SCALE,), (OFFSET,), (name,))
            assert out.tags()["CLEARSKY_VERSION"]


def test_names_that_are_too_long_for_a_file_are_cut(dates: TwoDates, tmp_path: Path) -> None:
    item = json.loads(dates.target.read_text())
    assets = {key: item["assets"][key] for key in ("blue", "green")}
    for key, asset in assets.items():  # of one name, so that the keys tell them apart
        (tmp_path / key).mkdir()
        shutil.copy(dates.target.parent / asset["href"], tmp_path / key / "B.tif")
        asset["href"] = f"./{key}/B.tif"
    long = "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 200  # three bytes each
    document = tmp_path / "item.json"
    document.write_text(json.dumps(item | {"assets": {"blue": assets["blue"], long: assets["green"]}}))
    assert run(document, "--per-asset", tmp_path / "made", *dates.others) == 0
    names = [path.name for path in (tmp_path / "made").glob("*.tif")]
    assert len(names) == 4
    assert sorted(len(name) for name in names if name.startswith(long[0])) == [66 + len(".tif")]


@pytest.mark.parametrize("key", BANDS)
def test_outside_the_mask_a_band_is_its_source_bit_for_bit(made: Path, dates: TwoDates, key: str) -> None:
    clear = ~filled(made, key)
    assert 0.3 < clear.mean() < 0.9
    out, source = read_raster(made / f"{key}.tif")[0], read_raster(dates.target.with_name(f"{key}.tif"))[0]
    assert_array_equal(out[clear], source[clear])
    assert (out[~clear] != CLOUD).all()


@pytest.mark.parametrize("key", BANDS)
def test_a_band_is_filled_from_the_replacements_own_pixels(made: Path, dates: TwoDates, key: str) -> None:
    """The noise of single pixels of every resolution comes back: interpolated ones would have lost most of it."""
    where = filled(made, key)
    out = read_raster(made / f"{key}.tif")[0].astype(float)
    assert_allclose(out[where], dates.truth[key][where], atol=12)


def test_bands_of_the_finest_grid_are_those_of_one_file(made: Path, dates: TwoDates, tmp_path: Path) -> None:
    """And where each pixel comes from is the same."""
    out, provenance = tmp_path / "out.tif", tmp_path / "from.tif"
    args = [dates.target, out, *dates.others, "--provenance", provenance]
    assert run(*args) == 0
    with rasterio.open(out) as src:
        for key, (name, metres) in BANDS.items():
            if metres == 10:
                whole = src.read(src.descriptions.index(name) + 1)
                assert_array_equal(read_raster(made / f"{key}.tif")[0], whole, key)
    source, confidence, _ = read_raster(provenance)
    assert_array_equal(read_raster(made / "fill_source.tif")[0], source)
    assert_array_equal(read_raster(made / "fill_confidence.tif")[0], confidence)


def test_pieces_join_without_a_seam(
    made: Path, dates: TwoDates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their size is no multiple of the pixels of 60 m, and the last column of them is less than one wide."""
    monkeypatch.setattr(plan, "PIECE_PIXELS", (100, 125))
    folder = tmp_path / "pieces"
    assert run(dates.target, "--per-asset", folder, *dates.others) == 0
    for key in BANDS:
        assert_array_equal(read_raster(folder / f"{key}.tif"), read_raster(made / f"{key}.tif"), key)


def test_assets_restrict_what_is_written_and_what_the_replacement_must_have(dates: TwoDates, tmp_path: Path) -> None:
    """A replacement without the bands left out will do."""
    kept = {key: read_raster(dates.replacement.with_name(f"{key}.tif"))[0] for key in ("B02", "B03", "B04", "B08")}
    few = write_bands(tmp_path / "few", kept, day="2025-08-10")
    folder = tmp_path / "made"
    args = [dates.target, "--per-asset", folder, "--replacement", few, "--mask", dates.mask, *CLEAR]
    assert run(*args) == 2
    assert run(*args, "--assets", "red,GREEN") == 0
    assert {path.name for path in folder.glob("B*.tif")} == {"B04.tif", "B03.tif"}
    assert list(json.loads((folder / "item.json").read_text())["assets"])[:2] == ["red", "green"]


def test_assets_choose_the_bands_of_one_file(made: Path, dates: TwoDates, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    args = [dates.target, out, *dates.others, "--assets", "green,blue"]
    assert run(*args) == 0
    with rasterio.open(out) as src:
        assert (src.descriptions, src.res) == (("green", "blue"), (10, 10))
        # A fit on fewer bands: clear pixels are the same, filled ones nearly.
        assert_allclose(src.read(1).astype(float), read_raster(made / "B03.tif")[0], atol=12)


@pytest.mark.parametrize("nodata", [True, False], ids=["nodata", "mask"])
def test_cloud_left_open_has_no_data_in_any_band(dates: TwoDates, tmp_path: Path, nodata: bool) -> None:
    target = dates.target
    if not nodata:
        bands = {key: read_raster(dates.target.with_name(f"{key}.tif"))[0] for key in BANDS}
        target = write_bands(tmp_path / "plain", bands, day="2025-07-31")
        for key, (_, metres) in BANDS.items():
            write_band(target.with_name(f"{key}.tif"), bands[key], metres, nodata=None)
        item = json.loads(target.read_text())
        for asset in item["assets"].values():
            asset.pop("raster:bands", None)
        target.write_text(json.dumps(item))
    clouds = np.zeros(SHAPE, np.uint8)
    clouds[:, : SHAPE[1] // 2] = 1
    lost = write_mask(tmp_path / "lost.tif", clouds)
    args = ["--replacement", dates.replacement, "--mask", dates.mask, "--replacement-mask", lost]
    args += ["--assets", "red,swir16,watervapor"]
    folder = tmp_path / "made"
    assert run(target, "--per-asset", folder, *args, "--unfilled", "nodata") == 0
    source = read_raster(folder / "fill_source.tif")[0]
    for key, metres in {"B04": 10, "B11": 20, "B09": 60}.items():
        open_, done = (coarsened(at.astype(float), metres // 10) > 0 for at in (source == 255, source == 1))
        assert (open_ & ~done).any()
        with rasterio.open(folder / f"{key}.tif") as src:
            assert_array_equal(src.read_masks(1) == 0, open_ & ~done, key)


def test_grids_that_do_not_nest(dates: TwoDates, tmp_path: Path) -> None:
    """A band of 15 m, half a pixel off, over others of 10 m."""
    folder = tmp_path / "scene"
    folder.mkdir()
    for date in ("cloudy", "clear"):
        for key in ("B02", "B03", "B04", "B08"):
            values = read_raster(
                getattr(dates, "target" if date == "cloudy" else "replacement").with_name(f"{key}.tif")
            )
            write_band(folder / f"{date}_{key}.tif", values[0], 10)
        rows, cols = (np.arange(side) * 15 // 10 for side in (155, 165))
        values = np.pad(values[0], ((0, 10), (0, 10)), mode="edge")[rows][:, cols]
        with rasterio.open(write_band(folder / f"{date}_B05.tif", values, 15), "r+") as dst:
            dst.transform = rasterio.Affine(15, 0, dst.transform.c - 7.5, 0, -15, dst.transform.f + 7.5)
    scenes = [f"{folder}/{date}_{{B02,B03,B04,B08,B05}}.tif" for date in ("cloudy", "clear")]
    out = tmp_path / "made"
    assert run(scenes[0], "--per-asset", out, "--replacement", scenes[1], "--mask", dates.mask, *CLEAR) == 0
    made, before = (read_raster(path / "cloudy_B05.tif")[0] for path in (out, folder))
    source = np.pad(read_raster(out / "fill_source.tif")[0], 20)
    near = np.array([
        [source[row - 1 + 20 : row + 3 + 20, col - 1 + 20 : col + 3 + 20].any() for col in np.arange(165) * 15 // 10]
        for row in np.arange(155) * 15 // 10
    ])  # fmt: skip
    changed = made != before
    assert changed.sum() > 500
    assert not (changed & ~near).any()
