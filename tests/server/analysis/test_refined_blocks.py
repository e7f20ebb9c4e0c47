"""Refined masks: of a box by itself and of whole blocks, the same bits."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.options import CloudOptions
from server.analysis.engine import Analysis
from server.analysis.plane import LayerClouds, Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.raster.grid import Box, fine_grid
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import sources_by


def test_a_box_is_refined_as_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little the model sees in it: at 95 a probability of 0.05 masks a cell, which may be given back."""

    def hardly_any(values: np.ndarray, *_: Any) -> np.ndarray:
        return np.where(values[0] > 0.7, np.uint8(250), np.uint8(15)) * np.array([1, 0], np.uint8)[:, None, None]

    monkeypatch.setattr("server.analysis.inference.window_probabilities", hardly_any)
    pair = make_pair(size=(160, 600))
    dates = [image // 3 for image in (pair.truth, pair.replacement)]  # darker than any deck
    dates[0][:, 60:92, 180:212] = 8000
    files = [write_raster(tmp_path / f"{k}.tif", image) for k, image in enumerate(dates)]
    options = CloudOptions(sensitivity=95, buffer=0)
    request = Request(files[0], (files[1],), replacement_masks=("none",))
    found = []
    for boxes in ([Box(0, 40, 0, 40)], [Box(0, 80, 0, 300), Box(0, 40, 0, 40)]):
        task = make_task(request, sources_by(""), options)
        analysis = Analysis(sources_by(""), cache_bytes=64 << 20, threads=1)
        found.append([analysis.pairs.masked(Plane(task, fine_grid(task.target.dataset)), box) for box in boxes])
        analysis.close()
    (alone,), (whole, after) = found
    assert whole[32:44, 92:104].any()
    np.testing.assert_array_equal(alone, whole[:40, :40])
    np.testing.assert_array_equal(alone, after)


def test_the_other_date_is_looked_at_before_the_last_window_is_done(
    tmp_path: Path, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, target_looks, other_looks, seen = threading.Event(), count(), count(), []

    def probabilities(values: np.ndarray, *_: Any) -> np.ndarray:
        bright = values[0].max() > 0.5
        if bright:
            next(other_looks)
            other.set()
        elif next(target_looks):
            assert other.wait(10)
        return np.full((2, 256, 256), 127 if bright else 0, np.uint8)

    monkeypatch.setattr("server.analysis.inference.window_probabilities", probabilities)
    values = (1000, 8000)
    files = [write_raster(tmp_path / f"{v}.tif", np.full((6, 512, 992), v, np.uint16)) for v in values]
    task = make_task(Request(files[0], (files[1],)), sources_by(""), CloudOptions())
    plane = Plane(task, fine_grid(task.target.dataset))
    box = Box(0, 250, 0, 496)

    def more(cells: Box, *, known: bool) -> list[tuple[LayerClouds, Box]]:
        seen.append((known, cells.left, cells.right))
        return [(plane.replacement_clouds(1), box)] if known else []

    analysis.masks.prefetch([(plane.target_clouds, box)], seen=(plane.target_clouds, more))
    assert sorted(seen) == [(False, 0, 256), (False, 240, 496), (True, 16, 240), (True, 256, 480)]
    assert (next(target_looks), next(other_looks)) == (2, 3)  # with a glance at the coarse level
