"""Looking around once for several blocks: the same bits as each for itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rasterio

import server.analysis.survey
from algorithms.options import CloudOptions
from server.analysis.blocks import BlockFill
from server.analysis.engine import Analysis
from server.analysis.neighbourhood import DirectPairs
from server.analysis.pairs import Pairs
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.survey import SurveyedPairs, Surveyor
from server.analysis.tasking import make_task
from server.raster.grid import Box, fine_grid
from server.work.pool import FairPool
from tests.helpers.scenes import Demo, write_raster
from tests.helpers.service import sources_by


@pytest.fixture(scope="module")
def plane(demo_scene: Demo, tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """Six blocks by six: a small scene, repeated in mirror image."""
    scene, folder = demo_scene(512), tmp_path_factory.mktemp("survey")
    files = []
    for source in (scene.cloudy, scene.clear):
        with rasterio.open(source) as src:
            wide = np.pad(src.read(), [(0, 0), (0, 1024), (0, 1024)], mode="symmetric")
            files.append(write_raster(folder / source.name, wide, crs=src.crs, transform=src.transform))
    task = make_task(Request(files[0], (files[1],)), sources_by(""), CloudOptions())
    return Plane(task, fine_grid(task.target.dataset))


@pytest.fixture
def analyses() -> Iterator[tuple[Analysis, Analysis]]:
    pair = (
        Analysis(sources_by(""), cache_bytes=256 << 20, threads=2),
        Analysis(sources_by(""), cache_bytes=256 << 20, threads=3),
    )
    yield pair
    for analysis in pair:
        analysis.close()


def same(a: BlockFill, b: BlockFill) -> None:
    np.testing.assert_array_equal(a.source, b.source)
    np.testing.assert_array_equal(a.confidence, b.confidence)
    assert a.layers.keys() == b.layers.keys()
    for k, layer in a.layers.items():
        other = b.layers[k]
        assert layer.box == other.box
        np.testing.assert_array_equal(layer.fields, other.fields)
        assert (layer.border is None) == (other.border is None)
        if layer.border is not None and other.border is not None:
            for name in ("rows", "cols", "values"):
                np.testing.assert_array_equal(getattr(layer.border, name), getattr(other.border, name))


def test_together_or_one_by_one(
    plane: Plane, analyses: tuple[Analysis, Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    together, alone = analyses
    looked: list[Box] = []
    real = Pairs.pair

    def noted(self: Pairs, plane: Plane, k: int, box: Box) -> object:
        looked.append(box)
        return real(self, plane, k, box)

    monkeypatch.setattr(Pairs, "pair", noted)
    numbers = [(i, j) for i in range(2, 5) for j in range(1, 4)]
    alone.pairs.scene(plane, 1)
    together.pairs.scene(plane, 1)
    looked.clear()
    first = together.blocks(plane, numbers)
    shared = sum(box.area for box in looked)
    looked.clear()
    second = {n: alone.blocks(plane, [n])[n] for n in numbers}
    assert any(fill.layers for fill in first.values())
    for number in numbers:
        same(first[number], second[number])
    assert shared < 0.5 * sum(box.area for box in looked)


def test_no_survey_for_a_single_block_or_for_more_than_it_may_hold(
    plane: Plane, analyses: tuple[Analysis, Analysis], pool: FairPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis, _ = analyses
    cores = [plane.block(n) for n in ((2, 2), (2, 3), (3, 2), (3, 3))]
    surveyor = Surveyor(analysis.rasters, analysis.pairs, pool, threads=2)
    assert isinstance(surveyor.source(plane, cores[:1]), DirectPairs)
    made = surveyor.source(plane, cores)
    assert isinstance(made, SurveyedPairs)
    extent = made.survey.extent
    assert made.survey.within(1, extent) is not None
    assert made.survey.within(2, extent) is None
    assert made.survey.within(1, extent.pad(1)) is None
    monkeypatch.setattr(server.analysis.survey, "SURVEY_CELLS", extent.area // 8)
    assert isinstance(surveyor.source(plane, cores), DirectPairs)
