"""What the tests share: the demo scene, the folder of real rasters, and reproducible property tests."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import HealthCheck, settings

from server.demo import DemoScene, write_demo
from tests.helpers.scenes import Demo
from tests.helpers.stacapi import StacApi, four_dates

# A run tries the same examples each time and leaves no files behind.
settings.register_profile(
    "clearsky",
    deadline=None,
    derandomize=True,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("clearsky")

DATA = Path(os.environ.get("CLEARSKY_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

Raster = Callable[..., npt.NDArray[np.float32]]


@pytest.fixture(scope="session")
def demo_scene(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo scene of so many pixels, made once for all tests, in a folder in which nobody writes."""

    @cache
    def scene(size: int) -> DemoScene:
        return write_demo(tmp_path_factory.mktemp(f"demo_{size}_"), size=size)

    return scene


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real rasters; tests that need it are skipped where it is missing."""
    if not DATA.is_dir():
        pytest.skip(f"no real rasters in {DATA}: set CLEARSKY_TEST_DATA to the folder that has them")
    return DATA


@pytest.fixture(scope="session")
def documents(real_data: Path) -> Path:
    """The folder of the archives' STAC Items."""
    return real_data / "stac"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Iterator[StacApi]:
    """A STAC API with four dates of one place."""
    with four_dates(tmp_path_factory.mktemp("api"), documents) as api:
        yield api


@pytest.fixture(scope="session")
def real_raster(real_data: Path) -> Raster:
    """Reads the first bands of a real raster as float32 in its own units, NaN where it has no data."""

    def read(name: str, bands: int = 6) -> npt.NDArray[np.float32]:
        path = real_data / f"{name}.tif"
        if not path.is_file():
            pytest.skip(f"no {path.name} in {real_data}")
        with rasterio.open(path) as file:
            values = file.read(list(range(1, bands + 1))).astype(np.float32)
            if file.nodata is not None:
                values[values == file.nodata] = np.nan
        return values

    return read
