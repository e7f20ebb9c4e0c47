"""A scene too large to be fitted whole: the server samples it, whichever part is asked for first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms import fill_clouds
from algorithms.mask import window_probabilities
from algorithms.masks import CLOUD, NODATA
from algorithms.options import CloudOptions
from algorithms.sample import mosaic, sample_squares
from server.analysis.engine import Analysis
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.sampled import patch_views, plots, sample_views
from server.analysis.tasking import make_task
from server.raster.grid import fine_grid
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, make_pair, write_raster
from tests.helpers.service import application, raster, sources_by


@pytest.mark.parametrize("in_pixels", [True, False])
def test_a_sampled_scene_is_the_same_whichever_part_is_asked_first(tmp_path: Path, in_pixels: bool) -> None:
    """A scene too large to be fitted whole, half of it under one cloud; three bands, so that no network runs.

    On cells that are averaged from pixels it is what `fill_clouds` gives, which knows no overviews.
    """
    size = 1536
    assert sample_squares((size // 2, size // 2)) is not None
    part = make_pair(size=(384, 384), bands=3)
    ground, other = (np.tile(image, (1, 4, 4)) for image in (part.truth, part.replacement))
    ground[:, :, 600:] += 200  # so that the scene's squares differ
    mask = np.zeros((size, size), bool)
    mask[200:1200, 300:1100] = True
    target = np.where(mask, np.uint16(9000), ground)
    params = {
        "url": write_raster(tmp_path / "target.tif", target),
        "replacement": write_raster(tmp_path / "replacement.tif", other),
        "mask": write_raster(tmp_path / "mask.tif", mask[None].astype(np.uint8), nodata=None),
        **CLEAR_REPLACEMENTS,
        "algorithm_params": json.dumps({"window": 20, "buffer": 0}),
        "coord_crs": UTM,
        "dst_crs": UTM,
    }
    if in_pixels:
        params["nodata"] = "1"  # there is none, but the overviews were made with another value
    corners = [(100, 100), (700, 500)]  # a corner of the cloud, and deep in it
    boxes = [ORIGIN @ (x, y + 300) + ORIGIN @ (x + 300, y) for x, y in corners]
    paths = ["/cog/bbox/" + ",".join(map(str, box)) + ".tif" for box in boxes]
    seen: dict[str, set[bytes]] = {path: set() for path in paths}
    for order in (paths,) if in_pixels else (paths, paths[::-1]):
        with application(tmp_path) as client:
            for path in order:
                answer = client.get(path, params=params)
                assert answer.status_code == 200, answer.text
                seen[path].add(raster(answer.content).tobytes())
    assert [len(contents) for contents in seen.values()] == [1, 1]
    if not in_pixels:
        return
    whole = fill_clouds(target, other, mask, window=20, analysis_factor=2)
    for (x, y), path in zip(corners, paths, strict=True):
        found = np.frombuffer(next(iter(seen[path])), np.uint16).reshape(-1, 300, 300)[:3]
        expected = whole[:, y : y + 300, x : x + 300]
        assert (found != target[:, y : y + 300, x : x + 300]).any()
        # GDAL rounds cells of 60 m, so that one in many is comparable here and not there.
        off = np.abs(found - expected.astype(float))
        assert off.max() <= 2
        assert (off > 1).mean() < 0.002


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """A scene of 768 by 800 cells whose clouds are found by rules, which see each cell by itself."""
    folder, part = tmp_path_factory.mktemp("plots"), make_pair(size=(384, 400), bands=3)
    files = [
        write_raster(folder / f"{k}.tif", np.tile(image, (1, 4, 4)), descriptions=("blue", "green", "red"))
        for k, image in enumerate((part.target, part.replacement))
    ]
    task = make_task(Request(files[0], (files[1],), model="rgb-rules"), sources_by(""), CloudOptions())
    return Plane(task, fine_grid(task.target.dataset))


def test_a_plot_shows_the_clouds_of_its_own_ground(plane: Plane, analysis: Analysis) -> None:
    """Wherever in which mosaic a network sees it; beyond it nothing is known."""
    views = [*sample_views(plane), *patch_views(plane)]
    assert {view.plot for view, _ in views} == set(plots(plane.grid))
    for view, square in views:
        assert view.plot is not None
        assert view.plot.intersection(square) == square
        box = view.plot.pad(9).clip(plane.shape)
        seen, expected = (analysis.masks.tile(one.target_clouds, box).classes for one in (view, plane))
        assert (expected == CLOUD).any()
        inside = view.plot.within(box)
        np.testing.assert_array_equal(seen[inside], expected[inside])
        seen[inside] = NODATA
        assert (seen == NODATA).all()


def test_the_sample_takes_one_inference_for_four_plots(
    plane: Plane, analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    def counting(*args: Any) -> np.ndarray:
        made.append(args)
        return window_probabilities(*args)

    monkeypatch.setattr("server.analysis.inference.window_probabilities", counting)
    assert analysis.pairs.scene(plane, 1).count > 1000
    count = -(-len(plots(plane.grid)) // len(mosaic(1)))
    assert len(made) == 2 * count < len(plots(plane.grid))
    for view, _ in sample_views(plane):  # the same whoever asks
        assert analysis.pairs.scene(view, 1) is analysis.pairs.scene(plane, 1)
    assert len(made) == 2 * count
