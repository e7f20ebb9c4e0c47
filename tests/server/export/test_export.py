"""Export: the server's own image of the whole scene as a file, whatever interrupts it."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from algorithms import fill_clouds
from algorithms.models import MODELS
from server.analysis.request import Request
from server.cli import main
from server.demo import write_demo
from server.export import plan
from server.export.job import ExportJob
from server.export.scene import export_scene
from server.export.tags import acquisition_date, source_id
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import ORIGIN, UTM, Pair, make_pair, write_raster
from tests.helpers.service import ROOT, application, needs, raster, without_gdal_settings

SMALL = "import server.export.plan as p; p.PIECE = (32, 64); from server.cli import main; main()"
"""The real command, cutting the scene into more pieces."""


def run(*args: object) -> int:
    """The command's exit status, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["clearsky", "export", *map(str, args)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def start(*args: object, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-c", SMALL, "export", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)


def finished(out: Path) -> list[Path]:
    """Finished pieces of an export that has not ended."""
    return sorted(out.with_name(out.name + ".partial").glob("*/*.image.tif"))


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A demo scene, and its export with provenance."""
    scene = write_demo(tmp_path_factory.mktemp("demo"), size=600)
    folder = tmp_path_factory.mktemp("out")
    out, provenance = folder / "out.tif", folder / "provenance.tif"
    assert run(scene.cloudy, out, "--replacement", scene.clear, "--provenance", provenance) == 0
    return {"target": scene.cloudy, "replacement": scene.clear, "out": out, "provenance": provenance}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(300, 340))


def test_both_files_are_valid_cogs(demo: dict[str, Path]) -> None:
    for name in ("out", "provenance"):
        valid, errors, warnings = cog_validate(demo[name], strict=True)
        assert (valid, errors, warnings) == (True, [], [])
    gdalinfo = [needs("gdalinfo"), "-json", str(demo["out"])]
    told = json.loads(subprocess.run(gdalinfo, env=without_gdal_settings(), check=True, capture_output=True).stdout)
    assert told["size"] == [600, 600]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert list(demo["out"].parent.iterdir()) == [demo["out"], demo["provenance"]]


def same_description(target: Path, out: Path, *, added_mask: bool = False) -> None:
    """Everything the target says of itself, the output says, too."""
    with rasterio.open(target) as a, rasterio.open(out) as b:
        for name in ("crs", "transform", "shape", "count", "dtypes", "nodatavals", "descriptions", "scales", "offsets"):
            np.testing.assert_equal(getattr(b, name), getattr(a, name), err_msg=name)
        assert b.units == a.units
        assert b.colorinterp == a.colorinterp
        assert added_mask or b.mask_flag_enums == a.mask_flag_enums
        own = {k: v for k, v in a.tags().items() if k != "OVR_RESAMPLING_ALG"}
        assert own.items() <= b.tags().items()
        assert {k: v for k, v in b.tags().items() if not k.startswith("CLEARSKY_")}.keys() <= own.keys() | {
            "OVR_RESAMPLING_ALG"
        }


def test_the_target_and_the_export_describe_themselves_alike(demo: dict[str, Path]) -> None:
    same_description(demo["target"], demo["out"])


def test_clear_pixels_are_the_targets(demo: dict[str, Path]) -> None:
    before, after, source = pixels(demo["target"]), pixels(demo["out"]), pixels(demo["provenance"])[0]
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

        off = np.abs(pixels(demo["out"]).astype(int) - sent("cloud_removal")[:6])
        assert off.max() <= 1
        assert (off > 0).mean() < 1e-3
        for band, algorithm in zip(
            pixels(demo["provenance"]), ("fill_source", "fill_confidence", "cloud_mask"), strict=True
        ):
            np.testing.assert_array_equal(band, sent(algorithm)[0], err_msg=algorithm)


def test_cut_and_workers_change_nothing(demo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels however the scene is cut and however many threads work."""
    monkeypatch.setattr(plan, "PIECE", (200, 384))
    args = [demo["target"], tmp_path / "out.tif", "--replacement", demo["replacement"], "--workers", 3]
    assert run(*args, "--provenance", tmp_path / "provenance.tif") == 0
    for name in ("out", "provenance"):
        np.testing.assert_array_equal(pixels(tmp_path / f"{name}.tif"), pixels(demo[name]))


def test_provenance_tells_sources_model_and_parameters(demo: dict[str, Path]) -> None:
    with rasterio.open(demo["out"]) as out, rasterio.open(demo["provenance"]) as provenance:
        assert provenance.descriptions == ("source", "confidence", "classes")
        assert (provenance.crs, provenance.transform, provenance.shape) == (out.crs, out.transform, out.shape)
        assert provenance.dtypes == ("uint8",) * 3
        for tags in (out.tags(), provenance.tags()):
            assert tags["CLEARSKY_TARGET"] == "cloudy.tif"
            assert tags["CLEARSKY_REPLACEMENT_1"] == "clear.tif"
            assert tags["CLEARSKY_TARGET_DATE"] == "2025-07-05"
            assert tags["CLEARSKY_REPLACEMENT_1_DATE"] == "2025-08-09"
            assert MODELS[tags["CLEARSKY_MODEL"]].sha256 == tags["CLEARSKY_MODEL_SHA256"]
            assert json.loads(tags["CLEARSKY_PARAMETERS"])["window"] == 80


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Path]:
    """A folder of good and bad rasters, as working directory."""
    folder = tmp_path_factory.mktemp("bad")
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "other.tif", pair.replacement)
    write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    write_raster(folder / "four.tif", pair.replacement[:4])
    write_raster(folder / "turned.tif", pair.target, transform=ORIGIN @ rasterio.Affine.rotation(10))
    write_raster(folder / "far.tif", pair.replacement, transform=rasterio.Affine(10, 0, 9e5, 0, -10, 9e5))
    (folder / "text.tif").write_text("no raster")
    (folder / "link.tif").symlink_to("target.tif")
    with rasterio.open(folder / "other.tif") as src:
        place = int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
    content = bytearray((folder / "other.tif").read_bytes())
    content[place : place + 5000] = bytes(5000)
    (folder / "damaged.tif").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture
def arguments(bad: Path, tmp_path: Path) -> list[object]:
    """A small export without a model."""
    out = tmp_path / "out.tif"
    return [bad / "target.tif", out, "--replacement", bad / "other.tif", "--mask", bad / "mask.tif"]


def some_more(process: subprocess.Popen[str], out: Path) -> None:
    """Wait until a process has finished a few more pieces."""
    there = len(finished(out))
    while len(finished(out)) < there + 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


@pytest.fixture
def killed(arguments: list[object], tmp_path: Path) -> Path:
    """The output's name of an export killed half-way."""
    out = tmp_path / "out.tif"
    process = start(*arguments)
    some_more(process, out)
    process.kill()
    process.communicate()
    assert not out.exists()
    assert 0 < len(finished(out)) < 60
    return out


def test_killed_half_way_a_second_run_goes_on(
    arguments: list[object], killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, then asked to stop, then left alone: what was finished is kept, and the pixels are the same."""
    kept = {path: path.stat().st_mtime_ns for path in finished(killed)}
    process = start(*arguments)
    some_more(process, killed)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, len(said.splitlines())) == (130, 1)
    assert "goes on from there" in said
    assert not killed.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    seen: list[int] = []
    there = len(finished(killed))
    target, out, _, other, _, mask = map(str, arguments)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "PIECE", (32, 64))
        job = ExportJob(Request(target, (other,), mask), Path(out))
        export_scene(job, lambda done, _: seen.append(done))
    assert there < 60
    assert min(seen) >= there
    assert max(seen) == 60
    assert list(tmp_path.iterdir()) == [killed]
    whole = tmp_path / "whole.tif"
    assert run(target, whole, *arguments[2:]) == 0
    np.testing.assert_array_equal(pixels(killed), pixels(whole))


def test_other_parameters_start_afresh(arguments: list[object], killed: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.tif"
    more = ["--adjustment", "moment", "--no-residual"]
    assert run(*arguments, *more) == 0
    assert run(arguments[0], clean, *arguments[2:], *more) == 0
    np.testing.assert_array_equal(pixels(killed), pixels(clean))
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "clean.tif"}


@pytest.mark.parametrize("short", [None, 1])
def test_no_room_leaves_nothing_under_the_final_name(
    arguments: list[object], tmp_path: Path, short: int | None
) -> None:
    """Neither a piece that does not fit, nor the last byte of the whole."""
    limit = 10_000
    if short:
        assert run(arguments[0], tmp_path / "whole.tif", *arguments[2:]) == 0
        limit = (tmp_path / "whole.tif").stat().st_size - short
    process = start(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, len(said.splitlines())) == (2, 1), said
    assert "cannot be written" in said
    assert "make room" in said
    assert not (tmp_path / "out.tif").exists()


def test_native_analysis_equals_fill_clouds(bad: Path, tmp_path: Path, pair: Pair) -> None:
    """Statistics and residual pixel by pixel, the mask still made of the fine level's cells."""
    out, provenance = tmp_path / "out.tif", tmp_path / "provenance.tif"
    args = [bad / "target.tif", out, "--replacement", bad / "other.tif", "--mask", bad / "mask.tif"]
    args += ["--provenance", provenance, "--analysis-resolution", "native"]
    assert run(*args) == 0
    source, sent = pixels(provenance)[0], pixels(out).astype(float)
    np.testing.assert_array_equal(source[::2, ::2], source[1::2, 1::2])
    reference = fill_clouds(pair.target, pair.replacement, source == 1, analysis_factor=1)
    assert (source == 1).mean() > 0.3
    assert np.abs(sent - reference).max() <= 1
    coarser = fill_clouds(pair.target, pair.replacement, source == 1, analysis_factor=2)
    assert np.abs(sent - coarser).max() > 1


KINDS = [
    # dtype, bands, nodata, alpha, internal mask, what becomes of cloud that stays
    ("uint8", 3, None, True, False, "nodata"),
    ("uint16", 1, 0, False, False, "keep"),
    ("uint16", 6, None, False, True, "keep"),
    ("uint16", 2, None, False, True, "nodata"),
    ("int16", 4, -32768, False, False, "nodata"),
    ("float32", 2, float("nan"), False, False, "nodata"),
    ("float32", 2, None, False, False, "nodata"),
]


def write_kind(path: Path, data: np.ndarray, nodata: float | None, seen: np.ndarray, alpha: bool, mask: bool) -> Path:
    """A raster of any kind, without data where `seen` is False."""
    data = data.copy()
    if nodata is not None:
        data[:, ~seen] = nodata
    opaque = 255 * seen.astype(data.dtype)
    profile = {"count": len(data) + alpha, "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", crs=UTM, transform=ORIGIN, nodata=nodata, tiled=True, compress="lzw", **profile
        ) as dst,
    ):
        dst.write(np.concatenate([data, opaque[None]]) if alpha else data)
        if alpha:
            dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        if mask:
            dst.write_mask(seen)
        dst.scales, dst.offsets = [0.5] * dst.count, [3.0] * dst.count
        dst.units = ["m"] * dst.count
        dst.set_band_description(1, "first")
        dst.update_tags(AREA_OR_POINT="Point", TIFFTAG_DATETIME="2018:07:05 10:00:00", note="a < b & c")
        dst.update_tags(1, WAVELENGTH="490", STATISTICS_MAXIMUM="7")
    return path


@pytest.mark.parametrize(("dtype", "bands", "nodata", "alpha", "mask", "unfilled"), KINDS)
def test_every_kind_of_raster_survives(
    tmp_path: Path, pair: Pair, dtype: str, bands: int, nodata: float | None, alpha: bool, mask: bool, unfilled: str
) -> None:
    """Data type, missing data in every form, names, scales, units and colours; a hole of the replacement stays open."""
    missing = nodata is not None or alpha or mask
    seen = np.ones(pair.mask.shape, bool)
    seen[:40, :70] = not missing
    there = np.ones(pair.mask.shape, bool)
    there[101:203, 50:301] = not missing
    values = [(p / (257 if dtype == "uint8" else 3)).astype(dtype)[:bands] for p in (pair.target, pair.replacement)]
    target = write_kind(tmp_path / "target.tif", values[0], nodata, seen, alpha, mask)
    other = write_kind(tmp_path / "other.tif", values[1], nodata, there, alpha, mask)
    cloud = write_raster(tmp_path / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    out, provenance = tmp_path / "out.tif", tmp_path / "provenance.tif"
    args = ["--mask", cloud, "--buffer", 0, "--unfilled", unfilled, "--provenance", provenance]
    assert run(target, out, "--replacement", other, *args) == 0
    assert cog_validate(out, strict=True)[0]
    lost = pixels(provenance)[0] == 255
    if not missing and unfilled == "nodata":
        assert not lost.any()
    elif missing:
        assert (lost & seen & pair.mask & ~there).sum() > 1000
        assert not (lost & seen & ~pair.mask & np.roll(~pair.mask, 1, 0)).all()
    same_description(target, out, added_mask=not missing and unfilled == "nodata")
    with rasterio.open(target) as a, rasterio.open(out) as b:
        before, after, source = a.read(), b.read(), pixels(provenance)[0]
        assert b.tags(1)["WAVELENGTH"] == "490"
        assert "STATISTICS_MAXIMUM" not in b.tags(1)
        assert b.tags()["CLEARSKY_TARGET_DATE"] == "2018-07-05"
        data = b.dataset_mask() > 0
        kept = a.dataset_mask() > 0
    expected = kept & ~lost if unfilled == "nodata" else kept
    np.testing.assert_array_equal(data, expected)
    clear = (source == 0) | ~seen | (lost & (unfilled == "keep"))
    np.testing.assert_array_equal(after[:, clear], before[:, clear])
    filled = source == 1
    assert filled.sum() > 5000
    assert (after[:bands, filled] != before[:bands, filled]).any(axis=0).mean() > 0.9
    if alpha:
        np.testing.assert_array_equal(after[-1][filled], before[-1][filled])


def test_second_choice_and_own_mask(tmp_path: Path, pair: Pair) -> None:
    """The second replacement fills what the first one lacks; with a mask of the user's no model runs."""
    first = pair.replacement.copy()
    first[:, :, 170:] = 0
    names = ("target", "first", "second")
    paths = [
        write_raster(tmp_path / f"{name}.tif", data)
        for name, data in zip(names, (pair.target, first, pair.replacement), strict=True)
    ]
    mask = write_raster(tmp_path / "mask.tif", 3 * pair.mask[None].astype(np.uint8), nodata=None)
    args = [*paths[:1], tmp_path / "out.tif", "--mask", mask, "--mask-remap", "3 1", "--buffer", 0]
    args += ["--provenance", tmp_path / "p.tif", "--replacement", paths[1], "--replacement", paths[2]]
    runs = MODELS["ukis-6b-l1c"].runs[0]
    assert run(*args) == 0
    assert MODELS["ukis-6b-l1c"].runs[0] == runs
    source = pixels(tmp_path / "p.tif")[0]
    assert set(np.unique(source[:, :169])) == {0, 1}
    assert set(np.unique(source[:, 171:])) == {0, 2}
    with rasterio.open(tmp_path / "out.tif") as out:
        assert out.tags()["CLEARSKY_REPLACEMENT_2"] == "second.tif"
        assert out.tags()["CLEARSKY_MASK_REMAP"] == "3 1"
        assert "CLEARSKY_MODEL" not in out.tags()


BAD = [
    ("target.tif", ["TARGET OUT"]),
    ("target.tif out.tif", ["replacement"]),
    ("missing.tif out.tif --replacement other.tif", ["missing.tif", "does not exist"]),
    ("text.tif out.tif --replacement other.tif", ["text.tif", "cannot be read"]),
    ("target.tif out.tif --replacement four.tif", ["four.tif", "bands"]),
    ("target.tif out.tif --replacement far.tif", ["far.tif", "overlap"]),
    ("turned.tif out.tif --replacement other.tif --mask mask.tif", ["turned.tif", "gdalwarp"]),
    ("target.tif out.tif --replacement damaged.tif --mask mask.tif", ["damaged.tif"]),
    ("target.tif out.tif --replacement /vsicurl/http://a/b.tif", ["/vsicurl", "virtual"]),
    ("target.tif out.tif --replacement ftp://a/b.tif", ["ftp", "https"]),
    ("target.tif out.tif --replacement GTIFF_DIR:1:other.tif", ["GTIFF_DIR", "does not exist"]),
    ("target.tif out.tif --replacement https://me:secret@host/b.tif", ["credentials"]),
    ("target.tif out.tif --replacement other.tif --mask nothing.tif", ["nothing.tif"]),
    ("target.tif out.tif --replacement other.tif --mask mask.tif --mask-remap x", ["x"]),
    ("target.tif out.tif --replacement other.tif --window 7", ["--window 7", "20"]),
    ("target.tif out.tif --replacement other.tif --window many", ["--window", "many"]),
    ("target.tif out.tif --replacement other.tif --buffer 16", ["--buffer 16", "15"]),
    ("target.tif out.tif --replacement other.tif --adjustment magic", ["magic", "regression"]),
    ("target.tif out.tif --replacement other.tif --unfilled drop", ["drop", "keep"]),
    ("target.tif out.tif --replacement other.tif --model best", ["best", "ukis-6b-l1c"]),
    ("target.tif out.tif --replacement other.tif --level l3", ["l3", "l1c"]),
    ("target.tif out.tif --replacement other.tif --bands red", ["red", "6"]),
    ("target.tif out.tif --replacement other.tif --workers 0", ["--workers", "0"]),
    ("target.tif out.tif --replacement other.tif --analysis-resolution coarse", ["coarse", "fine"]),
    ("target.tif target.tif --replacement other.tif --overwrite", ["target.tif", "to read"]),
    ("target.tif link.tif --replacement other.tif --overwrite", ["link.tif", "to read"]),
    ("target.tif mask.tif --replacement other.tif", ["mask.tif", "--overwrite"]),
    ("target.tif out.tif --replacement other.tif --provenance out.tif", ["out.tif", "provenance"]),
    ("target.tif out.tif --replacement other.tif --provenance other.tif --overwrite", ["other.tif", "to read"]),
    ("target.tif . --replacement other.tif", ["folder"]),
    ("target.tif no/where/out.tif --replacement other.tif", ["no/where", "does not exist"]),
    ("target.tif out.tif --replacement other.tif --colour red", ["--colour"]),
    ("out.tif --recipe nothing.yaml", ["nothing.yaml", "check"]),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_ends_in_one_line(bad: Path, line: str, says: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Status 2 and one line that names the value and the remedy; nothing under the final name."""
    before = {path: path.read_bytes() for path in bad.glob("*.tif")}
    assert run(*line.split()) == 2
    said = capfd.readouterr().err
    assert len(said.splitlines()) == 1, said
    for word in says:
        assert word in said
    assert {path: path.read_bytes() for path in bad.glob("*.tif")} == before


def test_overwrite_replaces_what_is_there(bad: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    out.write_text("old")
    args = ["target.tif", out, "--replacement", "other.tif", "--mask", "mask.tif"]
    assert run(*args) == 2
    assert out.read_text() == "old"
    assert run(*args, "--overwrite") == 0
    assert cog_validate(out, strict=True)[0]


def test_recipe_gives_what_the_command_line_leaves_open(bad: Path, tmp_path: Path) -> None:
    """A recipe alone, a recipe for another target, and an option over the recipe's."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: test\ntarget: {bad}/target.tif\nreplacements: [{bad}/other.tif]\n"
        f"mask: {{source: {bad}/mask.tif, remap: '1 1'}}\nadjustment: moment\nresidual: false\nbuffer: 0\n"
    )
    by_hand = ["--replacement", bad / "other.tif", "--mask", bad / "mask.tif", "--mask-remap", "1 1", "--buffer", 0]
    by_hand += ["--adjustment", "moment"]
    outs = [tmp_path / f"{name}.tif" for name in "abcd"]
    assert run(outs[0], "--recipe", recipe) == 0
    assert run(bad / "target.tif", outs[1], *by_hand, "--no-residual") == 0
    assert run(bad / "target.tif", outs[2], "--recipe", recipe, "--residual") == 0
    assert run(bad / "target.tif", outs[3], *by_hand) == 0
    images = [pixels(out) for out in outs]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[2], images[3])
    assert (images[0] != images[2]).any()


def test_rasters_behind_an_address_of_the_users_own(bad: Path, tmp_path: Path) -> None:
    """Private hosts are none of a server's business, but their own user's; a fault half-way ends in one line."""
    outs = [tmp_path / "far.tif", tmp_path / "near.tif"]
    with range_server(bad) as far:
        names = [f"{far.base}{name}.tif" for name in ("target", "other", "mask")]
        assert run(names[0], outs[0], "--replacement", names[1], "--mask", names[2]) == 0
        far.trouble = lambda path, start: 500 if "other" in path and start > 0 else None
        process = start(names[0], tmp_path / "no.tif", "--replacement", names[1], "--mask", names[2])
        _, said = process.communicate(timeout=60)
        assert (process.returncode, len(said.splitlines())) == (2, 1), said
        assert "other.tif" in said
    assert run(bad / "target.tif", outs[1], "--replacement", bad / "other.tif", "--mask", bad / "mask.tif") == 0
    np.testing.assert_array_equal(pixels(outs[0]), pixels(outs[1]))
    with rasterio.open(outs[0]) as src:
        assert src.tags()["CLEARSKY_TARGET"] == names[0]


@pytest.mark.parametrize(
    ("tags", "name", "date"),
    [
        ({"ACQUISITION_DATE": "2020-01-02", "TIFFTAG_DATETIME": "2021:05:06 00:00:00"}, "a_20180705.tif", "2020-01-02"),
        ({"datetime": "2018-07-05T10:00:31Z"}, "a.tif", "2018-07-05"),
        ({"TIFFTAG_DATETIME": "2018:07:05 10:00:31"}, "a.tif", "2018-07-05"),
        ({}, "S2A_MSIL1C_20180705T100031_N0206_R122_T33TTG.tif", "2018-07-05"),
        ({}, "LC08_L1TP_192030_20150804_20170226_01_T1.tif", "2015-08-04"),
        ({"DATE": "yesterday"}, "scene_201807051.tif", None),
    ],
)
def test_date_of_an_image(tags: dict[str, str], name: str, date: str | None) -> None:
    assert acquisition_date(tags, name) == date


def test_addresses_are_told_without_secrets() -> None:
    assert source_id("https://host/a/b.tif?sig=secret#x") == "https://host/a/b.tif"
    assert source_id("/home/me/b.tif") == "b.tif"
