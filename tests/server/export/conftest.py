"""Rasters to export, and exports of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio

from server.export import plan
from tests.helpers.exports import filled_from, finished, run, start
from tests.helpers.scenes import ORIGIN, Demo, Pair, make_pair, write_mask, write_raster


@pytest.fixture(scope="module")
def demo(demo_scene: Demo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A demo scene, and its export with provenance."""
    scene = demo_scene(600)
    folder = tmp_path_factory.mktemp("out")
    out, provenance = folder / "out.tif", folder / "provenance.tif"
    assert run(scene.cloudy, out, "--replacement", scene.clear, "--provenance", provenance, measured=True) == 0
    return {"target": scene.cloudy, "replacement": scene.clear, "out": out, "provenance": provenance}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(300, 340))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Path]:
    """A folder of good and bad rasters, as working directory."""
    folder = tmp_path_factory.mktemp("bad")
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "other.tif", pair.replacement)
    write_mask(folder / "mask.tif", pair.mask)
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
    return [bad / "target.tif", tmp_path / "out.tif", *filled_from(bad)]


@pytest.fixture(scope="module")
def whole(bad: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small export in one go, and its provenance."""
    folder = tmp_path_factory.mktemp("whole")
    out, provenance = folder / "whole.tif", folder / "provenance.tif"
    assert run(bad / "target.tif", out, *filled_from(bad), "--provenance", provenance) == 0
    return out, provenance


@pytest.fixture(scope="module")
def left(bad: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of the small export, killed half-way."""
    out = tmp_path_factory.mktemp("left") / "out.tif"
    process = start(bad / "target.tif", out, *filled_from(bad))
    while len(finished(out)) < 6:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not out.exists()
    assert len(finished(out)) < 60
    return out.with_name("out.tif.partial")


@pytest.fixture
def killed(left: Path, tmp_path: Path) -> Path:
    """The output's name of an export killed half-way."""
    shutil.copytree(left, tmp_path / "out.tif.partial")
    return tmp_path / "out.tif"


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports in this process cut the scene as those that `start` begins."""
    monkeypatch.setattr(plan, "PIECE_PIXELS", (32, 64))
