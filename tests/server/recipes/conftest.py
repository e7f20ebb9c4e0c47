"""A folder of recipes and the rasters they name; an application that serves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.helpers.scenes import make_pair, write_mask, write_raster
from tests.helpers.service import application

SHOWN = "render: {bands: [red, B03, 1], rescale: [[0, 3000]], color_formula: gamma RGB 1.2}\n"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters, and next to them a folder of recipes, some of them bad."""
    folder = tmp_path_factory.mktemp("scene")
    pair = make_pair(size=(300, 300), seed=3)
    write_raster(folder / "t.tif", pair.target)
    write_raster(folder / "r.tif", pair.replacement)
    write_raster(folder / "four.tif", pair.replacement[:4])
    write_mask(folder / "m.tif", pair.mask)
    recipes = folder / "recipes"
    recipes.mkdir()
    rasters = "target: ../t.tif\nreplacements: [../r.tif]\n"
    for name, rest in {
        "masked": rasters
        + 'mask: {source: ../m.tif, remap: "1 1"}\nreplacement_masks: [none]\nwindow: 40\nbuffer: 1\nunfilled: nodata\n'
        + SHOWN,
        "model": rasters + "refine: false\nreflectance_scale: 0.0002\nnodata: 0\n" + SHOWN,
        "index": rasters + "mask: {source: ../m.tif}\nreplacement_masks: [none]\n"
        "render: {expression: (b4-b3)/(b4+b3), rescale: [[-1, 1]],"
        " colormap_name: viridis, resampling: bilinear, reproject: cubic}\n",
        "plain": "target: ../t.tif\n" + SHOWN,
        "forbidden": "target: ../t.tif\nreplacements:\n- ../r.tif\n- /etc/hostname\n",
        "missing": "replacements: [../r.tif]\ntarget: ../none.tif\n",
        "bandless": "target: ../t.tif\nrender:\n  bands:\n  - red\n  - infrared\n",
        "bad": rasters + "window: 70\n",
    }.items():
        (recipes / f"{name}.yaml").write_text(f"name: {name}\n{rest}")
    (recipes / "tags.json").write_text('{"name": "tags", "title": "<script>alert(1)</script>", "target": "../t.tif"}')
    (recipes / "worse.yaml").write_text("<img src=x>: [")
    (recipes / "zweite.yml").write_text("name: model\ntarget: ../t.tif\n")
    (recipes / ".hidden.yaml").write_text("no recipe")
    (recipes / "notes.txt").write_text("no recipe")
    return folder


@pytest.fixture(scope="module")
def client(scene: Path) -> Iterator[TestClient]:
    with application(scene, recipes=str(scene / "recipes")) as client:
        yield client
