"""Single pixels without data in cells from overviews, which do not tell: no other pixel changes for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from algorithms.sample import sample_squares
from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, UTM, make_pair, write_bare, write_mask
from tests.helpers.service import application, raster

SIZE = 1536
CLOUD = slice(600, 900), slice(500, 850)
SEEN = slice(560, 760), slice(460, 660)
"""Pixels looked at: a corner of the cloud."""


@pytest.mark.parametrize("lacking", ["target", "replacement"])
def test_single_pixels_without_data(tmp_path: Path, lacking: str) -> None:
    assert sample_squares((SIZE // 2, SIZE // 2)) is not None
    part = make_pair(size=(384, 384), bands=3)
    truth, other = (np.tile(image, (1, 4, 4)) for image in (part.truth, part.replacement))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[CLOUD] = True
    target = np.where(mask, np.uint16(9000), truth)
    gaps = np.zeros_like(mask)
    gaps[::2, ::2] = np.random.default_rng(2).random((SIZE // 2, SIZE // 2)) < 0.02
    (target if lacking == "target" else other)[:, gaps] = 0
    box = ",".join(map(str, ORIGIN @ (SEEN[1].start, SEEN[0].stop) + ORIGIN @ (SEEN[1].stop, SEEN[0].start)))
    params = {
        "mask": write_mask(tmp_path / "mask.tif", mask),
        **CLEAR_REPLACEMENTS,
        "algorithm_params": json.dumps({"window": 20, "buffer": 0}),
        "coord_crs": UTM,
        "dst_crs": UTM,
    }
    images: dict[str, list[np.ndarray]] = {}
    with application(tmp_path) as client:
        for kind in ("overviews", "pixels"):
            for name, values in (("url", target), ("replacement", other)):
                params[name] = str(path := tmp_path / f"{name}-{kind}.tif")
                write_bare(path, values, crs=UTM, transform=ORIGIN, nodata=0, tiled=True)
                if kind == "overviews":
                    with rasterio.open(path, "r+") as dst:
                        dst.build_overviews([2, 4], Resampling.average)
            for algorithm in ("cloud_removal", "fill_source", "fill_confidence"):
                answer = client.get(f"/cog/bbox/{box}.tif", params={**params, "algorithm": algorithm})
                assert answer.status_code == 200, answer.text
                images.setdefault(algorithm, []).append(raster(answer.content))
    for found, expected in (images["fill_source"], images["fill_confidence"]):
        np.testing.assert_array_equal(found == 0, expected == 0)
        np.testing.assert_array_equal(found == 255, expected == 255)
    found, exact = (image.astype(float) for image in images["cloud_removal"])
    source = images["fill_source"][0][0]
    cloudy, lost = mask[SEEN], gaps[SEEN]
    if lacking == "replacement":
        assert (source[cloudy & lost] == 255).all()
        np.testing.assert_array_equal(found[:3, cloudy & lost], 9000)
    filled = cloudy & ~lost
    assert (source[filled] == 1).all()
    errors = [np.abs(image[:3] - truth[(slice(None), *SEEN)])[:, filled] for image in (found, exact)]
    assert np.abs(found - exact)[:3, filled].max() < 100
    assert errors[0].mean() < 1.02 * errors[1].mean()
