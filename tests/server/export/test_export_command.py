"""The export command's words: bad input, recipes, addresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from tests.helpers.exports import CLEAR, filled_from, run, start
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import Pair, read_raster, write_mask, write_raster

BAD = [
    ("target.tif", ["TARGET OUT"]),
    ("target.tif out.tif", ["replacement"]),
    ("missing.tif out.tif --replacement other.tif", ["missing.tif", "does not exist"]),
    (". out.tif --replacement other.tif", ["'.'", "is a folder", "nor a Landsat bundle"]),
    ("target.tif out.tif --replacement .", ["'.'", "is a folder", "nor a Landsat bundle"]),
    ("target.tif out.tif --replacement other.tif --mask .", ["'.'", "is a folder", "nor a Landsat bundle"]),
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
    ("target.tif --replacement other.tif", ["TARGET OUT", "--per-asset"]),
    ("--per-asset new --replacement other.tif", ["TARGET --per-asset"]),
    ("target.tif out.tif --per-asset new --replacement other.tif", ["out.tif", "--per-asset", "new"]),
    ("target.tif --per-asset new --provenance from.tif --replacement other.tif", ["from.tif", "--per-asset"]),
    ("target.tif out.tif --assets red --replacement other.tif", ["red", "--per-asset"]),
    ("target.tif --per-asset new --assets pink --replacement other.tif", ["pink", "blue"]),
    ("target.tif --per-asset . --replacement other.tif", ["'.'", "to read"]),
    ("target.tif --per-asset text.tif --replacement other.tif", ["text.tif", "folder"]),
    ("target.tif --per-asset no/where --replacement other.tif", ["no/where", "does not exist"]),
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
    args = ["target.tif", out, *filled_from(".")]
    assert run(*args) == 2
    assert out.read_text() == "old"
    assert run(*args, "--overwrite") == 0
    assert cog_validate(out, strict=True)[0]


def test_recipe_gives_what_the_command_line_leaves_open(bad: Path, tmp_path: Path) -> None:
    """A recipe alone, a recipe for another target, and an option over the recipe's."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: test\ntarget: {bad}/target.tif\nreplacements: [{bad}/other.tif]\n"
        f"mask: {{source: {bad}/mask.tif, remap: '1 1'}}\nreplacement_masks: [none]\n"
        "adjustment: moment\nresidual: false\nbuffer: 0\n"
    )
    by_hand = [*filled_from(bad), "--mask-remap", "1 1", "--buffer", 0, "--adjustment", "moment"]
    outs = [tmp_path / f"{name}.tif" for name in "abcd"]
    assert run(outs[0], "--recipe", recipe) == 0
    assert run(bad / "target.tif", outs[1], *by_hand, "--no-residual") == 0
    assert run(bad / "target.tif", outs[2], "--recipe", recipe, "--residual") == 0
    assert run(bad / "target.tif", outs[3], *by_hand) == 0
    images = [read_raster(out) for out in outs]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[2], images[3])
    assert (images[0] != images[2]).any()


def test_rasters_behind_an_address_of_the_users_own(bad: Path, tmp_path: Path) -> None:
    """Private hosts are none of a server's business, but their own user's; a fault half-way ends in one line.

    Nothing that is written or said has the signatures that open the files.
    """
    outs = [tmp_path / "far.tif", tmp_path / "near.tif"]
    with range_server(bad) as far:
        far.doorman = lambda path, _: None if "sig=SECRET" in path else 403
        names = [f"{far.base}{name}.tif?sv=1&sig=SECRET" for name in ("target", "other", "mask")]
        asked = ["--replacement", names[1], "--mask", names[2], "--replacement-mask", "none"]
        assert run(names[0], outs[0], *asked) == 0
        far.trouble = lambda path, start: 500 if "other" in path and start > 0 else None
        process = start(names[0], tmp_path / "no.tif", *asked)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, len(said.splitlines())) == (2, 1), said
        assert "other.tif" in said
        assert "SECRET" not in said
    assert run(bad / "target.tif", outs[1], *filled_from(bad)) == 0
    np.testing.assert_array_equal(read_raster(outs[0]), read_raster(outs[1]))
    with rasterio.open(outs[0]) as src:
        assert src.tags()["CLEARSKY_TARGET"] == names[0].split("?")[0]
        assert "SECRET" not in str(src.tags())


def test_an_odd_mask_is_named_on_the_terminal(bad: Path, pair: Pair, tmp_path: Path) -> None:
    """Before hours of work: an archive's bits taken for a mask, and a mask that marks nothing."""
    bits = write_raster(tmp_path / "QA_PIXEL.tif", np.where(pair.mask, 22280, 21824)[None].astype(np.uint16))
    empty = write_mask(tmp_path / "empty.tif", np.zeros_like(pair.mask))
    for mask, words in ((bits, ("marks all", "--mask-bits 1,2,3,4")), (empty, ("marks none", "--mask-remap"))):
        process = start(
            bad / "target.tif",
            tmp_path / f"{Path(mask).stem}-out.tif",
            *("--replacement", bad / "other.tif", "--mask", mask, *CLEAR),
        )
        _, said = process.communicate(timeout=60)
        assert (process.returncode, len(said.splitlines())) == (0, 1), said
        assert mask in said
        assert [word for word in words if word not in said] == []
