"""Many scenes by one command: no scene is stopped by another that fails, and only what is missing is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.helpers.exports import filled_from, run
from tests.helpers.scenes import make_pair, write_mask, write_raster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("batch"), make_pair(size=(70, 60))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "other.tif", pair.replacement)
    write_mask(folder / "mask.tif", pair.mask)
    write_mask(folder / "empty.tif", 0 * pair.mask)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str) -> Path:
        path = tmp_path / "scenes.csv"
        path.write_text("\n".join(lines))
        return path

    return write


def figures(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_row_is_what_the_command_would_write(
    folder: Path, tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(
        "target,out,buffer,residual,mask",
        f"{folder}/target.tif,{tmp_path}/a.tif,8,false,",
        "",
        f"{folder}/target.tif,{tmp_path}/b.tif,,,{folder}/empty.tif",
    )
    assert run("--batch", rows, *filled_from(folder), "--json") == 0
    done = figures(capsys)
    assert [scene["state"] for scene in done["scenes"]] == ["done", "done"]
    assert done["scenes"][0]["filled"] > 0
    assert done["scenes"][1]["filled"] == 0
    assert run(folder / "target.tif", tmp_path / "c.tif", *filled_from(folder), "--buffer", 8, "--no-residual") == 0
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()


def test_failures_are_told_at_the_end_and_stop_no_other(
    folder: Path, tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(
        "target,out,window",
        f"{tmp_path}/nothing.tif,{tmp_path}/a.tif,",
        f"{folder}/target.tif,{tmp_path}/b.tif,",
        f"{folder}/target.tif,{tmp_path}/c.tif,33",
        f"{folder}/target.tif,{tmp_path}/no/folder.tif,",
    )
    assert run("--batch", rows, *filled_from(folder)) == 2
    words = capsys.readouterr()
    lines = words.out.splitlines()
    assert lines[0] == "1 done, 0 there already, 3 failed"
    assert [line.split(":")[0] for line in lines[1:]] == [f"scenes.csv line {n}" for n in (2, 4, 5)]
    assert "nothing.tif" in lines[1]
    assert "33" in lines[2]
    assert "Traceback" not in words.err
    made = (tmp_path / "b.tif").stat().st_mtime_ns
    (tmp_path / "no").mkdir()
    assert run("--batch", rows, *filled_from(folder), "--json") == 2
    assert [scene["state"] for scene in figures(capsys)["scenes"]] == ["failed", "skipped", "failed", "done"]
    assert (tmp_path / "b.tif").stat().st_mtime_ns == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tif", "no", "scenes.csv"]


def test_a_result_that_an_earlier_run_left_unfinished_is_made(
    folder: Path, tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table("target,out", f"{folder}/target.tif,{tmp_path}/a.tif")
    (tmp_path / "a.tif.partial").mkdir()
    assert run("--batch", rows, *filled_from(folder), "--json") == 0
    assert figures(capsys)["done"] == 1
    assert run("--batch", rows, *filled_from(folder), "--overwrite", "--json") == 0
    assert figures(capsys)["done"] == 1


def test_repeated_columns_are_repeated_options(folder: Path, tmp_path: Path, table: Callable[..., Path]) -> None:
    rows = table(
        "target,replacement,replacement,mask,replacement_mask,provenance",
        f"{folder}/target.tif,{folder}/target.tif,{folder}/other.tif,{folder}/mask.tif,none,{tmp_path}/where.tif",
    )
    assert run("--batch", rows, tmp_path / "results") == 0
    with rasterio.open(tmp_path / "results" / "target.tif") as out:
        tags = out.tags()
    assert {"CLEARSKY_REPLACEMENT_1", "CLEARSKY_REPLACEMENT_2"} <= tags.keys()
    with rasterio.open(tmp_path / "where.tif") as where:
        assert set(np.unique(where.read(1))) <= {0, 1, 2, 255}


def test_an_item_collection_names_scenes_by_their_own_links(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        {"id": name, "type": "Feature", "links": [{"rel": "self", "href": href}]}
        for name, href in (("first", "target.tif"), ("second", str(folder / "target.tif")))
    ]
    collection = folder / "items.json"
    collection.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    assert run("--batch", collection, tmp_path / "out", *filled_from(folder), "--json") == 0
    assert figures(capsys)["done"] == 2
    assert (tmp_path / "out" / "first.tif").read_bytes() == (tmp_path / "out" / "second.tif").read_bytes()
    assert run("--batch", collection, "--per-asset", tmp_path / "bands", *filled_from(folder), "--json") == 0
    assert (tmp_path / "bands" / "first" / "item.json").is_file()


ITEM = '{"type": "FeatureCollection", "features": [{"id": %s, "links": [%s]}]}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column `target`"),
        ("target,out\n", "names no scene"),
        ("url,out\na,b", "no column `target`"),
        ("target,out,windw\na,b.tif,1", "column 'windw' is unknown"),
        ("target,out,per_asset\na,b.tif,1", "column 'per_asset' is unknown"),
        ("target,out,out\na,b.tif,c.tif", "two columns 'out'"),
        ("target,out\na.tif", "line 2 has 1 cells"),
        ("target,out\n,b.tif", "line 2 names no target"),
        ("target\na.tif", "line 2 names no output"),
        ("target,out\na,x.tif\nb,x.tif", "both write 'x.tif'"),
        ("target,out,residual\na,x.tif,maybe", "residual 'maybe' is neither true nor false"),
        ('target,out\n"a,b', "cannot be read as CSV"),
        ('{"type": "Feature"}', "not a STAC ItemCollection"),
        ("{", "neither a table nor JSON"),
        (ITEM % ('"a"', ""), "give the folder OUT"),
    ],
)
def test_a_file_that_says_what_no_command_could_is_refused_at_once(
    text: str, says: str, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--batch", table(text)) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "link", "says"),
    [
        ('"../a"', "", "cannot be the name of a file"),
        (r'"a\u001b[2Jb"', "", "cannot be the name of a file"),
        (r'"a\nb"', "", "cannot be the name of a file"),
        ("7", "", "cannot be the name of a file"),
        ('"a"', "", "no link `self`"),
        ('"a"', '{"rel": "self", "href": 7}', "no link `self`"),
    ],
)
def test_an_item_that_cannot_be_read_is_named(
    name: str, link: str, says: str, tmp_path: Path, table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--batch", table(ITEM % (name, link)), tmp_path / "out") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("args", [["a", "b"], ["--provenance", "p.tif"]])
def test_what_goes_with_one_scene_alone_is_refused(
    args: list[str], table: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--batch", table("target,out", "a,b.tif"), *args) == 2
    assert "batch" in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--batch", tmp_path / "nothing.csv") == 2
    assert "nothing.csv" in capsys.readouterr().err
