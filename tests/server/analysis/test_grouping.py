"""Blocks filled together: the same bits as each for itself, in groups of any shape."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from algorithms.masks import dilate
from algorithms.options import CloudOptions
from server.analysis.blocks import BlockFill
from server.analysis.engine import Analysis
from server.analysis.grouping import SPARSE, chunked, grouped
from server.analysis.pairs import Pairs
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.raster.grid import Box, fine_grid
from tests.helpers.scenes import Demo, write_raster
from tests.helpers.service import sources_by


@pytest.fixture(scope="module")
def plane(demo_scene: Demo, tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """Twelve blocks by twelve: a small scene, repeated in mirror image."""
    scene, folder = demo_scene(512), tmp_path_factory.mktemp("grouping")
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


def same(a: BlockFill, b: BlockFill, core: Box) -> None:
    """Whether all that is shown of a block is the same: fields matter where a cell is filled, and right next to it."""
    for name in ("source", "confidence", "data", "lacking"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.layers.keys() == b.layers.keys()
    for k, layer in a.layers.items():
        other, near = b.layers[k], dilate(a.source == k, 1)
        assert layer.box == other.box
        at = core.within(layer.box)
        np.testing.assert_array_equal(layer.fields[at][near], other.fields[at][near])
        assert (layer.border is None) == (other.border is None)
        if layer.border is not None and other.border is not None:
            for name in ("rows", "cols", "values"):
                np.testing.assert_array_equal(getattr(layer.border, name), getattr(other.border, name))


def test_together_in_any_groups_or_one_by_one(
    plane: Plane, analyses: tuple[Analysis, Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    together, alone = analyses
    looked: list[Box] = []
    real = Pairs.pair

    def noted(self: Pairs, plane: Plane, k: int, box: Box) -> object:
        looked.append(box)
        return real(self, plane, k, box)

    monkeypatch.setattr(Pairs, "pair", noted)
    numbers = [(i, j) for i in range(4, 8) for j in range(3, 7)]
    alone.pairs.scene(plane, 1)
    together.pairs.scene(plane, 1)
    looked.clear()
    first = together.blocks(plane, numbers)
    shared = sum(box.area for box in looked)
    looked.clear()
    second = {n: alone.blocks(plane, [n])[n] for n in numbers[::2]} | alone.blocks(plane, numbers)
    assert any(fill.layers for fill in first.values())
    for number in numbers:
        same(first[number], second[number], plane.block(number, in_pixels=True))
    assert shared < 0.3 * sum(box.area for box in looked)


@given(st.sets(st.tuples(st.integers(-9, 9), st.integers(0, 30)), max_size=60), st.integers(1, 40))
def test_every_block_is_in_one_small_group(numbers: set[tuple[int, int]], most: int) -> None:
    groups = grouped(sorted(numbers, key=hash), most)
    assert sorted(n for group in groups for n in group) == sorted(numbers)
    for group in groups:
        rows, cols = zip(*group, strict=True)
        area = (max(rows) + 1 - min(rows)) * (max(cols) + 1 - min(cols))
        assert area <= min(most, SPARSE * len(group))
    chunks = list(chunked(groups, 12))
    assert [group for chunk in chunks for group in chunk] == groups
    assert all(len(chunk) == 1 or sum(map(len, chunk)) <= 12 for chunk in chunks)
    assert all(sum(map(len, (*chunk, *after[:1]))) > 12 for chunk, after in pairwise(chunks))


def test_blocks_of_a_tile_are_one_group() -> None:
    tile = [(i, j) for i in range(7, 10) for j in range(2, 5)]
    assert grouped(tile, 32) == [tile]
    assert grouped(tile[3:], 32) == [tile[3:]]  # what a neighbour has left
    assert grouped([(0, 0), (5, 5)], 99) == [[(0, 0)], [(5, 5)]]
    assert grouped([], 4) == []
