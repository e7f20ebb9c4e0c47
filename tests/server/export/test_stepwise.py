"""`adjustment=stepwise`: an export is `stepwise_adjustment` of the whole raster, and tiles refuse it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from scipy import ndimage

from algorithms import stepwise_adjustment
from algorithms.errors import ParameterError
from server.export.stepwise import STEPWISE_VALUES, check_stepwise
from server.export.terminal import FlagFormatter, in_flags
from server.raster.dataset import Dataset
from tests.helpers.exports import run
from tests.helpers.scenes import make_pair, read_raster, write_mask, write_raster
from tests.helpers.service import application, sources_by

PAIR = make_pair(size=(120, 110), bands=4)
STEPWISE = ["--adjustment", "stepwise", "--window", 20, "--buffer", 1, "--replacement-mask", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stepwise")
    write_raster(folder / "target.tif", PAIR.target)
    write_raster(folder / "other.tif", PAIR.replacement)
    write_mask(folder / "mask.tif", PAIR.mask)
    return folder


def named(folder: Path) -> list[Any]:
    return ["--replacement", folder / "other.tif", "--mask", folder / "mask.tif", *STEPWISE]


def test_an_export_is_the_whole_arrays_own_fill(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, where = tmp_path / "out.tif", tmp_path / "where.tif"
    assert run(folder / "target.tif", out, *named(folder), "--provenance", where) == 0
    assert "mean confidence" not in capsys.readouterr().out  # nobody knows
    oracle = stepwise_adjustment(PAIR.target, PAIR.replacement, PAIR.mask, window=20, buffer=1, statistics="esri")
    made, under = read_raster(out), ndimage.maximum_filter(PAIR.mask != 0, 5)
    assert 0.1 < under.mean() < 0.9
    np.testing.assert_array_equal(made[:, ~under], PAIR.target[:, ~under])
    expected = np.clip(np.rint(oracle), 1, 65535)  # 0 is the raster's nodata
    np.testing.assert_array_equal(made, expected)
    source, confidence, classes = read_raster(where)
    np.testing.assert_array_equal(source, under)
    assert (confidence == 255).all()
    assert set(np.unique(classes)) <= {0, 1}


def test_what_is_missing_stays(tmp_path: Path) -> None:
    """Pixels without data on one date or the other, and clouds of the replacement."""
    target, other = PAIR.target.copy(), PAIR.replacement.copy()
    target[:, :, :7], other[:, :9] = 0, 0
    lost = np.zeros_like(PAIR.mask)
    lost[60:80, 30:60] = 1
    write_raster(tmp_path / "target.tif", target)
    write_raster(tmp_path / "other.tif", other)
    write_mask(tmp_path / "mask.tif", PAIR.mask)
    write_mask(tmp_path / "lost.tif", lost)
    out, where = tmp_path / "out.tif", tmp_path / "where.tif"
    options = [*named(tmp_path)[:-1], tmp_path / "lost.tif", "--unfilled", "nodata", "--provenance", where]
    assert run(tmp_path / "target.tif", out, *options) == 0
    made, source = read_raster(out), read_raster(where)[0]
    under = ndimage.maximum_filter(PAIR.mask != 0, 5)
    open_ = ndimage.maximum_filter(lost != 0, 5) | (other[0] == 0)
    assert (under & open_).any()
    assert (made[:, under & open_] == 0).all()
    assert (made[:, :, :7] == 0).all()
    np.testing.assert_array_equal((source == 255)[:, 7:], (under & open_)[:, 7:])
    np.testing.assert_array_equal(made[:, ~under], target[:, ~under])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--replacement", "other.tif"], ["one replacement", "2 are given", "keep one"]),
        (["--scheduler", "tcp://127.0.0.1:9"], ["--scheduler", "leave"]),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(folder)
    options = named(folder) if "--scheduler" in more else [option for option in named(folder) if option != "none"][:-1]
    assert run(folder / "target.tif", tmp_path / "out.tif", *options, *more) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in ["stepwise", *words])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("mask=scl: 'a.tif' comes with no mask", "--mask scl: 'a.tif' comes with no mask"),
        ("give a `replacement_mask`", "give a --replacement-mask"),
        ("`replacement_mask=none` says so", "`--replacement-mask none` says so"),
        ("choose adjustment=moment", "choose --adjustment moment"),
        ("'https://h/a.tif?mask=1&level=l2a' is not there", "'https://h/a.tif?mask=1&level=l2a' is not there"),
        (
            "CLEARSKY_MODELS='/a' and unmask=1 and `nothing` stay",
            "CLEARSKY_MODELS='/a' and unmask=1 and `nothing` stay",
        ),
        ("r.yaml:5: window=70: a multiple of 20", "r.yaml:5: window=70: a multiple of 20"),
    ],
)
def test_messages_name_flags(said: str, shown: str) -> None:
    assert in_flags(said) == shown
    logged = logging.LogRecord("clearsky", logging.WARNING, "", 0, "%s", (said,), None)
    assert FlagFormatter().format(logged) == shown


def test_bands_as_files_of_their_own_are_refused(folder: Path, tmp_path: Path) -> None:
    assert run(folder / "target.tif", "--per-asset", tmp_path / "made", *named(folder)) == 2


def test_a_raster_that_does_not_fit_memory_is_refused(folder: Path) -> None:
    """Before anything is read: by its size alone."""
    described = sources_by(folder).dataset(str(folder / "target.tif"))
    side = int((STEPWISE_VALUES / len(described.indexes)) ** 0.5)
    changes = {name: getattr(described, name) for name in Dataset.__dataclass_fields__}
    check_stepwise(Dataset(**{**changes, "width": side, "height": side}), 1)
    with pytest.raises(ParameterError, match=rf"{STEPWISE_VALUES} \(6 GB\).*adjustment=moment"):
        check_stepwise(Dataset(**{**changes, "width": side + 1, "height": side + 1}), 1)


def test_tiles_name_the_remedy_and_masks_stay(folder: Path) -> None:
    params = {
        "url": str(folder / "target.tif"),
        "replacement": str(folder / "other.tif"),
        "mask": str(folder / "mask.tif"),
        "algorithm_params": '{"adjustment": "stepwise"}',
    }
    with application(folder) as client:
        for algorithm in ("cloud_removal", "fill_source", "fill_confidence"):
            answer = client.get("/cog/preview.npy", params={**params, "algorithm": algorithm})
            assert answer.status_code == 400
            assert all(word in answer.json()["detail"] for word in ("adjustment=stepwise", "clearsky export", "moment"))
        assert client.get("/cog/preview.npy", params={**params, "algorithm": "cloud_mask"}).status_code == 200
        assert client.get("/cog/info", params=params).status_code == 200


@pytest.mark.parametrize("window", [20, 80])
def test_a_converted_template_gives_the_output_of_esris_program(window: int, real_data: Path, tmp_path: Path) -> None:
    """`recipe from-rft --exact` and `export --recipe`; whole numbers, since the rasters hold such."""
    oracle = np.load(real_data / "esri_parity" / f"s2_lazio_20180705_cloudy__w{window}.npz")
    for name in ("20180705_cloudy", "20180720_clear"):
        with rasterio.open(real_data / f"s2_lazio_{name}.tif") as src:
            profile = {**src.profile, "driver": "GTiff", "count": 4}
            values, names = src.read([1, 2, 3, 4]), src.descriptions[:4]
        with rasterio.open(tmp_path / f"{name[9:]}.tif", "w", **profile) as file:
            file.write(values)
            file.descriptions = names
    profile |= {"count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(tmp_path / "mask.tif", "w", **profile) as file:
        file.write((oracle["mask"] != 0).astype(np.uint8), 1)
    template = tmp_path / "slra.rft.xml"
    template.write_text(
        "<RasterFunctionTemplate><Name>july</Name><Function><Name>StepwiseLocalRadiometricAdjustment</Name></Function>"
        f"<Arguments><Names><String>size_of_window</String></Names><Values><Value>{window}</Value></Values></Arguments>"
        "</RasterFunctionTemplate>"
    )
    places = ["--target", tmp_path / "cloudy.tif", "--replacement", tmp_path / "clear.tif"]
    recipe = tmp_path / "july.yaml"
    arguments = ["from-rft", template, *places, "--mask", tmp_path / "mask.tif", "--exact", "-o", recipe]
    assert run(*arguments, command="recipe") == 0
    assert yaml.safe_load(recipe.read_text())["adjustment"] == "stepwise"
    assert run("--recipe", recipe, tmp_path / "out.tif") == 0
    made, expected = read_raster(tmp_path / "out.tif"), np.clip(oracle["output"], 1, None)
    difference = np.abs(made - expected)
    assert difference.max() < 0.53  # half a unit, and what single precision leaves in the oracle
    assert (made == np.rint(expected)).mean() > 0.999
