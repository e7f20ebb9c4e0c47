"""Bands of several files as one dataset: the same pixels as one file that holds them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window
from rio_tiler.constants import WGS84_CRS
from rio_tiler.io import Reader

from algorithms.errors import BandError
from server.raster.stack import Level, StackBand, finest, place
from server.raster.stackxml import stack_xml

SIDE = 240
TMS = morecantile.tms.get("WebMercatorQuad")


def write(path: Path, values: np.ndarray, metres: int, *, left: float = 5e5, nodata: float | None = 0) -> Path:
    """A tiled file with overviews."""
    bands, height, width = values.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": values.dtype}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(left, 4.6e6, metres, metres), "nodata": nodata}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=64, blockysize=64) as dst:
        dst.write(values)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2, 4], Resampling.average)
    return path


def band_of(path: Path, name: str, index: int = 1) -> StackBand:
    """A band as it is described."""
    with rasterio.open(path) as src:
        levels = [Level(1, src.width, src.height)]
        for k, factor in enumerate(src.overviews(index)):
            with rasterio.open(path, overview_level=k) as overview:
                levels.append(Level(factor, overview.width, overview.height))
        return StackBand(
            url=str(path),
            version="",
            index=index,
            name=name,
            crs=src.crs.to_wkt(),
            transform=tuple(src.transform)[:6],
            dtype=src.dtypes[0],
            nodata=src.nodata,
            scale=1e-4,
            offset=-0.1,
            levels=tuple(levels),
        )


@pytest.fixture
def stack(tmp_path: Path) -> Callable[..., Any]:
    """Opens a stack."""
    numbers = itertools.count()

    def mount(text: str) -> str:
        path = tmp_path / f"level{next(numbers)}.vrt"
        path.write_text(text)
        return str(path)

    @contextmanager
    def opened(*bands: StackBand) -> Iterator[Any]:
        with rasterio.open(stack_xml(bands, lambda band: band.url, mount)) as src:
            yield src

    return opened


def numbers(bands: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, 5000, (bands, side, side)).astype(np.uint16)
    values[:, : side // 8, : side // 8] = 0
    return values


def test_bands_of_one_grid_are_the_stacked_file(tmp_path: Path, stack: Callable[..., Any]) -> None:
    values = numbers(3)
    whole = write(tmp_path / "whole.tif", values, 10)
    singles = [write(tmp_path / f"{k}.tif", values[k : k + 1], 10) for k in range(3)]
    with (
        stack(*(band_of(path, "b") for path in singles)) as src,
        Reader(str(whole)) as one,
        Reader(None, dataset=src) as other,
    ):
        west, south, east, north = one.get_geographic_bounds(WGS84_CRS)
        for zoom, method in itertools.product(range(9, 16), ("nearest", "bilinear")):
            tile = next(iter(TMS.tiles(west, south, east, north, [zoom])))
            images = [reader.tile(*tile, resampling_method=method) for reader in (one, other)]
            assert_array_equal(images[0].array.filled(7), images[1].array.filled(7))
        for size in (50, 120, SIDE):
            images = [reader.preview(max_size=size) for reader in (one, other)]
            assert_array_equal(images[0].array.filled(7), images[1].array.filled(7))


def test_a_coarser_band_is_interpolated_the_same_in_every_window(tmp_path: Path, stack: Callable[..., Any]) -> None:
    fine = write(tmp_path / "fine.tif", numbers(1), 10)
    coarse = write(tmp_path / "coarse.tif", numbers(1, SIDE // 2, 1), 20)
    coarsest = write(tmp_path / "coarsest.tif", numbers(1, SIDE // 6, 2), 60)
    rng = np.random.default_rng(3)
    with stack(*(band_of(path, "b") for path in (coarse, fine, coarsest))) as src:
        assert (src.width, src.height, src.res) == (SIDE, SIDE, (10, 10))
        whole = src.read(masked=True).filled(0)
        for _ in range(25):
            row, col = rng.integers(0, SIDE - 10, 2)
            rows, cols = rng.integers(1, 60, 2).clip(0, (SIDE - row, SIDE - col))
            part = src.read(window=Window(col, row, cols, rows), masked=True).filled(0)
            assert_array_equal(part, whole[:, row : row + rows, col : col + cols])
    with rasterio.open(coarse) as src:
        own = src.read(1).astype(float)
    # Between four pixels with data: the weights are 9/16, 3/16, 3/16 and 1/16.
    between = (9 * own[60, 60] + 3 * own[60, 61] + 3 * own[61, 60] + own[61, 61]) / 16
    assert abs(float(whole[0, 121, 121]) - between) <= 0.5


def test_overviews_are_each_bands_own_pixels(tmp_path: Path, stack: Callable[..., Any]) -> None:
    fine = write(tmp_path / "fine.tif", numbers(1), 10)
    coarse = write(tmp_path / "coarse.tif", numbers(1, SIDE // 2, 1), 20)
    with stack(band_of(fine, "b"), band_of(coarse, "c")) as src, rasterio.open(coarse) as alone:
        for size in (SIDE // 2, SIDE // 4):
            shape = (size, size)
            assert_array_equal(src.read(2, out_shape=shape), alone.read(1, out_shape=shape))


def test_files_of_other_bands_are_not_opened(tmp_path: Path, stack: Callable[..., Any]) -> None:
    values = numbers(1)
    here = band_of(write(tmp_path / "here.tif", values, 10), "b")
    gone = replace(here, url=str(tmp_path / "gone.tif"))
    with stack(here, gone) as src:
        assert src.overviews(1) == src.overviews(2) == [2, 4]
        assert_array_equal(src.read(1), values[0])
        assert_array_equal(src.read(1, out_shape=(60, 60)).shape, (60, 60))
        with pytest.raises(rasterio.errors.RasterioIOError):
            src.read(2)


def test_what_has_no_data_keeps_none(tmp_path: Path, stack: Callable[..., Any]) -> None:
    """Values without data that differ from file to file become the first one's."""
    one = write(tmp_path / "one.tif", numbers(1).astype(np.int16), 10, nodata=0)
    values = numbers(1, seed=1).astype(np.int16)
    values[values == 0] = -9999
    other = write(tmp_path / "other.tif", values, 10, nodata=-9999)
    with stack(band_of(one, "b"), band_of(other, "c")) as src:
        read = src.read()
    assert src.nodata == 0
    assert_array_equal(read[0] == 0, read[1] == 0)
    assert_array_equal(read[1], np.where(values[0] == -9999, 0, values[0]))


def test_a_band_may_cover_less(tmp_path: Path, stack: Callable[..., Any]) -> None:
    fine = write(tmp_path / "fine.tif", numbers(1), 10)
    part = np.full((1, 50, 50), 9, np.uint16)
    small = write(tmp_path / "small.tif", part, 20, left=5e5 + 200)
    with stack(band_of(fine, "b"), band_of(small, "c")) as src:
        read = src.read(2)
    assert (read[:100, 20:120] == 9).all()
    assert (read.sum(), (read > 0).sum()) == (9 * 100 * 100, 100 * 100)


def test_the_finest_grid_is_the_stacks(tmp_path: Path) -> None:
    fine = band_of(write(tmp_path / "fine.tif", numbers(1), 10), "b")
    coarse = band_of(write(tmp_path / "coarse.tif", numbers(1, SIDE // 2), 20), "c")
    assert finest([coarse, fine, fine]) is fine
    assert (place(coarse, fine).across, place(coarse, fine).same, place(fine, fine).same) == (2, False, True)
    with pytest.raises(BandError, match="coordinate reference system"):
        place(replace(coarse, crs="other"), fine)
    with pytest.raises(BandError, match="turned"):
        place(replace(coarse, transform=(0, 20, 5e5, -20, 0, 4.6e6)), fine)
    with (
        pytest.raises(BandError, match="complex64"),
        rasterio.open(stack_xml([replace(fine, dtype="complex64")], str, str)),
    ):
        pass
