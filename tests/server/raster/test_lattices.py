"""What is remembered for a lattice: the same for every raster on it, nothing for another, and little in all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from server.raster.dataset import Dataset
from server.raster.lattices import KEY_BYTES, LATTICE_BYTES, by_lattice
from server.raster.sampling import OutputGrid, positions
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import sources_by

SOURCES = sources_by("")
PAIR = make_pair(size=(64, 64))
GRID = OutputGrid.from_bounds(CRS.from_epsg(3857).to_wkt(), (1_669_800, 5_096_000, 1_670_800, 5_097_000), 100, 90)


@pytest.fixture
def dates(tmp_path: Path) -> list[Dataset]:
    return [
        SOURCES.dataset(write_raster(tmp_path / f"{name}.tif", values))
        for name, values in (("cloudy", PAIR.target), ("clear", PAIR.replacement))
    ]


def test_dates_on_one_lattice_share_positions_and_others_do_not(dates: list[Dataset]) -> None:
    one, two = (positions(date, GRID) for date in dates)
    assert two is one
    a, b, c, d, e, f = dates[0].transform
    moved = positions(replace(dates[0], transform=(a, b, c + 10 * a, d, e, f)), GRID)
    np.testing.assert_allclose(moved.node_cols, one.node_cols - 10, atol=1e-6)
    np.testing.assert_allclose(moved.node_rows, one.node_rows, atol=1e-6)
    for array in (one.node_rows, one.node_cols, *one.places, *one.exact):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_large_results_and_old_ones_are_made_again(dates: list[Dataset]) -> None:
    made = []

    @by_lattice
    def rows(_: Dataset, number: int, size: int) -> np.ndarray:
        made.append(number)
        return np.full(size, number, np.uint8)

    for number, size in ((1, 1 << 20), (1, 1 << 20), (2, 2 * LATTICE_BYTES), (2, 2 * LATTICE_BYTES)):
        assert (rows(dates[number - 1], number, size) == number).all()
    assert made == [1, 2, 2]
    for number in range(3, 8):
        rows(dates[0], number, 1 << 20)
    rows(dates[0], 1, 1 << 20)
    assert made[-1] == 1


def test_small_results_count_with_what_they_are_found_by(dates: list[Dataset]) -> None:
    made = []

    @by_lattice
    def name(_: Dataset, crs: str) -> None:
        made.append(crs)

    for number in [*range(LATTICE_BYTES // KEY_BYTES + 1), 0]:
        name(dates[0], f"{number}")
    assert made[-1] == "0"
