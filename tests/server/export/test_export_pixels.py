"""An export is the server's own image of the whole scene."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from algorithms import fill_clouds
from algorithms.sessions import SESSIONS
from server.export import plan
from tests.helpers.exports import filled_from, run, same_description
from tests.helpers.scenes import Pair, read_raster, write_mask, write_raster
from tests.helpers.service import application, needs, raster, without_gdal_settings


def test_both_files_are_valid_cogs(demo: dict[str, Path]) -> None:
    for name in ("out", "provenance"):
        valid, errors, warnings = cog_validate(demo[name], strict=True)
        assert (valid, errors, warnings) == (True, [], [])
    gdalinfo = [needs("gdalinfo"), "-json", str(demo["out"])]
    told = json.loads(subprocess.run(gdalinfo, env=without_gdal_settings(), check=True, capture_output=True).stdout)
    assert told["size"] == [600, 600]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert list(demo["out"].parent.iterdir()) == [demo["out"], demo["provenance"]]


def test_the_target_and_the_export_describe_themselves_alike(demo: dict[str, Path]) -> None:
    same_description(demo["target"], demo["out"])


def test_clear_pixels_are_the_targets(demo: dict[str, Path]) -> None:
    before, after, source = read_raster(demo["target"]), read_raster(demo["out"]), read_raster(demo["provenance"])[0]
    np.testing.assert_array_equal(after[:, source != 1], before[:, source != 1])
    assert (source == 1).mean() > 0.1
    assert (after[:, source == 1] != before[:, source == 1]).any(axis=0).mean() > 0.99


def test_export_equals_the_server(demo: dict[str, Path]) -> None:
    """The same pixels as a GeoTIFF of the server at native resolution, and the same provenance."""
    with rasterio.open(demo["target"]) as src:
        left, bottom, right, top = src.bounds
        crs = src.crs.to_string()
    path = f"/cog/bbox/{left},{bottom},{right},{top}.tif"
    with application(f"{demo['target'].parent}") as client:

        def sent(algorithm: str) -> np.ndarray:
            params = {"url": str(demo["target"]), "replacement": str(demo["replacement"]), "algorithm": algorithm}
            answer = client.get(path, params=params | {"coord_crs": crs, "dst_crs": crs})
            assert answer.status_code == 200, answer.text
            return raster(answer.content)

        off = np.abs(read_raster(demo["out"]).astype(int) - sent("cloud_removal")[:6])
        assert off.max() <= 1
        assert (off > 0).mean() < 1e-3
        for band, algorithm in zip(
            read_raster(demo["provenance"]), ("fill_source", "fill_confidence", "cloud_mask"), strict=True
        ):
            np.testing.assert_array_equal(band, sent(algorithm)[0], err_msg=algorithm)


def test_cut_and_workers_change_nothing(demo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels however the scene is cut and however many threads work."""
    monkeypatch.setattr(plan, "PIECE_PIXELS", (200, 384))
    args = [demo["target"], tmp_path / "out.tif", "--replacement", demo["replacement"], "--workers", 3]
    assert run(*args, "--provenance", tmp_path / "provenance.tif") == 0
    for name in ("out", "provenance"):
        np.testing.assert_array_equal(read_raster(tmp_path / f"{name}.tif"), read_raster(demo[name]))


def test_native_analysis_equals_fill_clouds(bad: Path, tmp_path: Path, pair: Pair) -> None:
    """Statistics and residual pixel by pixel, the mask still made of the fine level's cells."""
    out, provenance = tmp_path / "out.tif", tmp_path / "provenance.tif"
    args = [bad / "target.tif", out, *filled_from(bad)]
    args += ["--provenance", provenance, "--analysis-resolution", "native"]
    assert run(*args) == 0
    source, sent = read_raster(provenance)[0], read_raster(out).astype(float)
    np.testing.assert_array_equal(source[::2, ::2], source[1::2, 1::2])
    reference = fill_clouds(pair.target, pair.replacement, source == 1, analysis_factor=1)
    assert (source == 1).mean() > 0.3
    assert np.abs(sent - reference).max() <= 1
    coarser = fill_clouds(pair.target, pair.replacement, source == 1, analysis_factor=2)
    assert np.abs(sent - coarser).max() > 1


def test_second_choice_and_own_mask(tmp_path: Path, pair: Pair) -> None:
    """The second replacement fills what the first one lacks; with a mask of the user's no model runs."""
    first = pair.replacement.copy()
    first[:, :, 170:] = 0
    names = ("target", "first", "second")
    paths = [
        write_raster(tmp_path / f"{name}.tif", data)
        for name, data in zip(names, (pair.target, first, pair.replacement), strict=True)
    ]
    mask = write_mask(tmp_path / "mask.tif", 3 * pair.mask)
    args = [*paths[:1], tmp_path / "out.tif", "--mask", mask, "--mask-remap", "3 1", "--buffer", 0]
    args += ["--replacement-mask", "none"]
    args += ["--provenance", tmp_path / "p.tif", "--replacement", paths[1], "--replacement", paths[2]]
    runs = SESSIONS.inferences()
    assert run(*args) == 0
    assert SESSIONS.inferences() == runs
    source = read_raster(tmp_path / "p.tif")[0]
    assert set(np.unique(source[:, :169])) == {0, 1}
    assert set(np.unique(source[:, 171:])) == {0, 2}
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.tags()["CLEARSKY_REPLACEMENT_2"] == "second.tif"
        assert out.tags()["CLEARSKY_MASK_REMAP"] == "3 1"
        assert "CLEARSKY_MODEL" not in out.tags()
