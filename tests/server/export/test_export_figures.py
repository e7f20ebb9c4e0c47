"""What an export says that it has done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from server.export import plan
from tests.helpers.exports import CLEAR, filled_from, run
from tests.helpers.scenes import read_raster, write_mask


@pytest.mark.parametrize("unfilled", [False, True], ids=["all filled", "some unfilled"])
def test_figures_are_those_of_the_provenance(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, unfilled: bool
) -> None:
    monkeypatch.setattr(plan, "PIECE_PIXELS", (150, 200))
    out, provenance = tmp_path / "out.tif", tmp_path / "from.tif"
    clouds = np.zeros(read_raster(bad / "other.tif").shape[1:], np.uint8)
    clouds[:60] = 1
    args = [bad / "target.tif", out, *filled_from(bad)]
    if unfilled:
        args[-1] = write_mask(tmp_path / "other-mask.tif", clouds)
    assert run(*args, "--provenance", provenance, "--json") == 0
    done = json.loads(capfd.readouterr().out)
    source, confidence, _ = read_raster(provenance)
    there = read_raster(bad / "target.tif").any(axis=0)
    filled = there & (source != 0) & (source != 255)
    assert done.pop("seconds") > 0
    assert done == {
        "outputs": [str(out), str(provenance)],
        "replacements": [{"id": "other", "url": str(bad / "other.tif"), "datetime": None}],
        "cloud": pytest.approx((there & (source != 0)).sum() / there.sum(), abs=1e-6),
        "filled": pytest.approx(filled.sum() / there.sum(), abs=1e-6),
        "unfilled": pytest.approx((there & (source == 255)).sum() / there.sum(), abs=1e-6),
        "mean_confidence": pytest.approx(confidence[filled].mean(), abs=0.01),
    }
    assert (done["unfilled"] > 0) == unfilled
    assert run(*args, "--overwrite") == 0
    wrote, origin, figures = capfd.readouterr().out.splitlines()
    assert (wrote, origin) == (f"Wrote {out}", "Filled from other (date unknown)")
    assert f"Cloud {done['cloud']:.1%}: filled {done['filled']:.1%}" in figures


def test_without_cloud_there_is_no_confidence(bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    none = write_mask(tmp_path / "none.tif", np.zeros(read_raster(bad / "other.tif").shape[1:], np.uint8))
    args = [bad / "target.tif", tmp_path / "out.tif", "--replacement", bad / "other.tif", "--mask", none, *CLEAR]
    assert run(*args, "--json") == 0
    done = json.loads(capfd.readouterr().out)
    assert (done["cloud"], done["filled"], done["unfilled"], done["mean_confidence"]) == (0, 0, 0, None)
