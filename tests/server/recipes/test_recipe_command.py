"""`clearsky recipe check`, and the examples."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import rasterio

from server.demo import write_demo
from tests.helpers.recipes import clearsky
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import ROOT, application, raster


def test_check_tells_what_good_recipes_do(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", str(scene))
    files = [scene / "recipes" / f"{name}.yaml" for name in ("masked", "model", "index", "plain")]
    assert clearsky(monkeypatch, "check", *files) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["masked", "model", "index", "plain"]
    said = f"masked: {scene}/t.tif filled from {scene}/r.tif; clouds of {scene}/m.tif (1 1); window=40 "
    assert lines[0].startswith(said)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("{source: m.tif}", "(everything but 0)"),
        ("{source: m.tif, bits: [3, 4]}", "(bits 3, 4)"),
        ("scl", "clouds of scl (its own classes)"),
        ("{model: ukis-4b-l2a}", "model ukis-4b-l2a"),
    ],
)
def test_check_says_what_is_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mask: str, said: str
) -> None:
    (tmp_path / "r.yaml").write_text(f"name: a\ntarget: t.tif\nmask: {mask}\n")
    assert clearsky(monkeypatch, "check", "--offline", tmp_path / "r.yaml") == 0
    assert said in capsys.readouterr().out


def test_check_names_what_is_wrong(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", str(scene))
    head = f"name: a\ntarget: {scene}/t.tif\n"
    rgb = f"name: b\ntarget: {scene}/four.tif\nbands: [red, green, blue, alpha]\nreplacements: [{scene}/four.tif]\n"
    far = make_pair(size=(64, 64)).replacement
    write_raster(scene / "far.tif", far, transform=rasterio.Affine(10, 0, 700_000, 0, -10, 4_600_000))
    cases = {
        head + f"replacements:\n- {scene}/r.tif\n- {scene}/four.tif\n": ":5: replacement '.*four.tif' .* lacks swir16",
        head + f"replacements: [{scene}/far.tif]\n": ":3: replacement '.*far.tif' covers .* does not overlap",
        head + "replacements: [/etc/hostname]\n": ":3: '/etc/hostname' is not allowed.*CLEARSKY_ALLOWED_SOURCES",
        head + f"mask: {{source: {scene}/none.tif}}\n": ":3: '.*none.tif' does not exist",
        head + f"replacements: [{scene}/r.tif]\nmask: {scene}/m.tif\nreplacement_masks:\n- {scene}/no.tif\n": (
            ":6: '.*no.tif' does not exist"
        ),
        head + "render: {bands: [1, 9]}\n": ":3: .*band 9 is not in the target, which has 1 blue",
        head + "render: {expression: b9/b1}\n": ":3: .*band 9 is not in the target",
        head + f"mask: {{model: ukis-6b-l1c}}\nbands: [blue, green, red, x, y, z]\nreplacements: [{scene}/r.tif]\n": (
            ":3: band .*nir.*not found"
        ),
        rgb: ":2: .*nir.*mask=",
        "name: a\ntarget: t.tif\nwindow: 70\n": ":3: window=70: .*multiple of 20",
    }
    for text, pattern in cases.items():
        file = tmp_path / "r.yaml"
        file.write_text(text)
        assert clearsky(monkeypatch, "check", file) == 2, text
        told = capsys.readouterr()
        assert told.out == ""
        assert len(told.err.splitlines()) == 1, told.err
        assert re.match(re.escape(str(file)) + pattern, told.err), told.err
        assert clearsky(monkeypatch, "check", "--offline", file) == (2 if "window: 70" in text else 0)
        capsys.readouterr()
    good = scene / "recipes" / "plain.yaml"
    copy = tmp_path / "copy.yaml"
    copy.write_text("name: plain\ntarget: t.tif\nwindow: 0\nbuffer: 99\n")
    assert clearsky(monkeypatch, "check", "none.yaml", good, copy) == 2
    told = capsys.readouterr()
    assert told.out.startswith("plain: ")
    assert ["cannot be read" in told.err, "copy.yaml:3:" in told.err, "copy.yaml:4:" in told.err] == [True] * 3
    copy.write_text("name: plain\ntarget: t.tif\n")
    assert clearsky(monkeypatch, "check", "--offline", good, copy) == 2
    assert "already has this name" in capsys.readouterr().err
    assert clearsky(monkeypatch, "check") == 2


def test_the_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo(tmp_path / "demo-scene", size=256)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    files = sorted((tmp_path / "examples" / "recipes").iterdir())
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", str(tmp_path))
    assert clearsky(monkeypatch, "check", *files) == 0, capsys.readouterr().err
    with application(tmp_path, recipes=str(tmp_path / "examples" / "recipes")) as client:
        entries = client.get("/recipes").json()["recipes"]
        assert len(entries) == len(files) >= 2
        for entry in entries:
            answer = client.get(f"/recipes/{entry['name']}/preview.png")
            assert float(answer.headers["x-clearsky-filled-fraction"]) > 0.05
            assert raster(answer.content)[:3].std() > 10
        params: dict[str, Any] = {"url": f"{tmp_path}/demo-scene/cloudy.tif"}
        params |= {"replacement": f"{tmp_path}/demo-scene/clear.tif"}
        assert client.get("/recipes/demo/preview.png").content == client.get("/cog/preview.png", params=params).content
