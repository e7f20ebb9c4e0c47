"""What a fill must leave alone, and what must not change it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms import fill_clouds
from tests.helpers.landscapes import (
    another_date,
    both_adjustments,
    both_residuals,
    clouds,
    covered,
    landscape,
    related,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("factor", [1, 2])
def test_outside_the_mask_the_target_is_untouched(dtype: Any, factor: int) -> None:
    r, mask = landscape(), clouds()
    scale = 0.05 if dtype == np.uint8 else 1
    t = (related(r) * scale).astype(dtype)
    before = t.copy(), mask.copy()
    found = fill_clouds(t, (r * scale).astype(dtype), mask, analysis_factor=factor)
    assert found.dtype == np.float32
    assert found.shape == t.shape
    assert found[:, ~mask].tobytes() == t.astype(np.float32)[:, ~mask].tobytes()
    assert (found[:, mask] != t[:, mask]).mean() > 0.5
    np.testing.assert_array_equal(t, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_what_the_cloud_hides_does_not_matter() -> None:
    r, mask = landscape(), clouds()
    t = another_date(r)
    one = fill_clouds(covered(t, mask), r, mask)
    other = t.copy()
    other[:, mask] = -1e6
    np.testing.assert_array_equal(fill_clouds(other, r, mask), one)


@pytest.mark.parametrize("empty", [0, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_nothing_to_fill_returns_the_target(empty: int, dtype: Any) -> None:
    r = landscape((30, 40))
    t = related(r)
    found = fill_clouds(t, r, np.full((30, 40), empty, dtype))
    np.testing.assert_array_equal(found, t)
    assert not np.shares_memory(found, t)


@both_adjustments
@both_residuals
@pytest.mark.parametrize("factor", [1, 3])
def test_nothing_clear_returns_the_plain_replacement(adjustment: str, residual: bool, factor: int) -> None:
    r = landscape((50, 64))
    options: dict[str, Any] = {"adjustment": adjustment, "residual": residual, "analysis_factor": factor}
    found = fill_clouds(covered(related(r), np.ones((50, 64), bool)), r, np.ones((50, 64), bool), **options)
    np.testing.assert_allclose(found, r, rtol=1e-6)


def test_any_class_but_nodata_is_filled() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    classes = np.where(mask, np.random.default_rng(0).integers(1, 255, mask.shape), 0).astype(np.uint8)
    np.testing.assert_array_equal(fill_clouds(t, r, classes), fill_clouds(t, r, mask))
    classes[:, :5] = 255
    found = fill_clouds(t, r, classes)
    np.testing.assert_array_equal(found[:, :, :5], t[:, :, :5])


def test_memory_layout_does_not_matter() -> None:
    r, mask = landscape(), clouds()
    t = covered(another_date(r), mask)
    plain = fill_clouds(t, r, mask)
    wide = np.zeros((3, 160, 360), np.float32)
    wide[:, :, ::2] = t
    np.testing.assert_array_equal(fill_clouds(wide[:, :, ::2], np.asfortranarray(r), np.asfortranarray(mask)), plain)
    np.testing.assert_array_equal(fill_clouds(t.astype(">f4"), r.astype(">f8"), mask.tolist()), plain)
    t.flags.writeable = r.flags.writeable = mask.flags.writeable = False
    np.testing.assert_array_equal(fill_clouds(t, r, mask), plain)


SCRIPT = """
import hashlib
from tests.helpers.landscapes import another_date, clouds, covered, landscape
from algorithms import fill_clouds, stepwise_adjustment
from algorithms.scene import fit_scene
r, mask = landscape(bands=6), clouds()
t = covered(another_date(r), mask)
for adjustment in ("regression", "moment"):
    print(hashlib.sha256(fill_clouds(t, r, mask, adjustment=adjustment, analysis_factor=2).tobytes()).hexdigest())
for statistics in ("colocated", "esri"):
    found = stepwise_adjustment(t, r, mask, window=20, buffer=0, statistics=statistics)
    print(hashlib.sha256(found.tobytes()).hexdigest())
r = landscape((240, 250), bands=6)
fit = fit_scene(another_date(r), r, r[0] > 0)  # so many cells that libraries take more than one thread
print(hashlib.sha256(fit.bend.weights.tobytes() + fit.slope.tobytes()).hexdigest())
"""


def test_number_of_threads_does_not_matter() -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | dict.fromkeys(names, threads),
        )
        for threads in ("1", "4")
    ]
    results = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert len(results) == 1
    r, mask = landscape(bands=6), clouds()
    found = fill_clouds(covered(another_date(r), mask), r, mask, analysis_factor=2)
    assert hashlib.sha256(found.tobytes()).hexdigest() == results.pop().split()[0]
