"""What an export says that it has done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, write_to_textfile

from server.export import plan, textfile
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


def metrics_in(file: Path) -> dict[str, float]:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert len({line.partition("{")[2].rpartition("}")[0] for line in lines}) == 1  # the label of all
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_file_of_metrics_tells_how_far_an_export_is(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PIECE_PIXELS", (150, 200))
    monkeypatch.setattr(textfile, "WRITE_SECONDS", 0.0)
    seen: list[dict[str, float]] = []
    write = write_to_textfile

    def watched(path: str, registry: CollectorRegistry) -> None:
        write(path, registry)
        seen.append(metrics_in(Path(path)))

    monkeypatch.setattr(textfile, "write_to_textfile", watched)
    file = tmp_path / "scene.prom"
    assert run(bad / "target.tif", tmp_path / "out.tif", *filled_from(bad), "--metrics", file, "--json") == 0
    done = json.loads(capfd.readouterr().out)
    counts = [state.get("clearsky_export_pieces_done", 0) for state in seen]
    assert counts == sorted(counts)
    assert [state["clearsky_export_finished"] for state in seen] == [*[0] * (len(seen) - 1), 1]
    assert counts[-1] == seen[-1]["clearsky_export_pieces"] > 1
    for share in ("cloud", "filled", "unfilled"):
        assert seen[-1][f"clearsky_export_{share}_fraction"] == pytest.approx(done[share])
    assert list(tmp_path.glob("scene.prom*")) == [file]


def test_an_export_does_not_fail_for_its_metrics(
    bad: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = [bad / "target.tif", tmp_path / "out.tif", *filled_from(bad)]
    assert run(*args, "--metrics", tmp_path / "no-such-folder" / "scene.prom") == 2  # known before the work begins
    assert "no-such-folder" in capfd.readouterr().err
    write = write_to_textfile
    writes: list[str] = []

    def once(path: str, registry: CollectorRegistry) -> None:
        writes.append(path)
        if len(writes) > 1:
            raise OSError(28, "No space left on device")
        write(path, registry)

    monkeypatch.setattr(textfile, "write_to_textfile", once)
    assert run(*args, "--metrics", tmp_path / "scene.prom") == 0
    assert len(writes) > 1
