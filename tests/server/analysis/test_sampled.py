"""A scene too large to be fitted whole: the server samples it, whichever part is asked for first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from algorithms import fill_clouds
from algorithms.sample import sample_squares
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, make_pair, write_raster
from tests.helpers.service import application, raster


def test_a_sampled_scene_is_the_same_whichever_part_is_asked_first(tmp_path: Path) -> None:
    """A scene too large to be fitted whole, half of it under one cloud; three bands, so that no network runs."""
    size = 1440
    assert sample_squares((size // 2, size // 2)) is not None
    part = make_pair(size=(360, 360), bands=3)
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
    corners = [(100, 100), (700, 500)]  # a corner of the cloud, and deep in it
    boxes = [ORIGIN @ (x, y + 300) + ORIGIN @ (x + 300, y) for x, y in corners]
    paths = ["/cog/bbox/" + ",".join(map(str, box)) + ".tif" for box in boxes]
    seen: dict[str, set[bytes]] = {path: set() for path in paths}
    for order in (paths, paths[::-1]):
        with application(tmp_path) as client:
            for path in order:
                answer = client.get(path, params=params)
                assert answer.status_code == 200, answer.text
                seen[path].add(raster(answer.content).tobytes())
    assert [len(contents) for contents in seen.values()] == [1, 1]
    whole = fill_clouds(target, other, mask, window=20, analysis_factor=2)
    for (x, y), path in zip(corners, paths, strict=True):
        found = np.frombuffer(next(iter(seen[path])), np.uint16).reshape(-1, 300, 300)[:3]
        expected = whole[:, y : y + 300, x : x + 300]
        assert (found != target[:, y : y + 300, x : x + 300]).any()
        assert np.abs(found - expected.astype(float)).max() <= 1
