"""The same rasters as local files and on a server that misbehaves on demand."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.remote import (
    CHECK,
    SIZE,
    TIMEOUT,
    at,
    good,
    write_cog,
)
from tests.helpers.scenes import make_pair
from tests.helpers.service import application


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    pair = make_pair(size=SIZE, seed=5)
    write_cog(folder / "target.tif", pair.target)
    write_cog(folder / "replacement.tif", pair.replacement)
    write_cog(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(folder: Path, served: RangeServer) -> Iterator[TestClient]:
    with application(f"{folder},{served.base}", source_check=str(CHECK)) as client:
        yield client


@pytest.fixture(scope="module")
def local_image(client: TestClient, folder: Path) -> bytes:
    """The image from local files."""
    return good(client, at(f"{folder}/"))


@pytest.fixture(scope="module")
def impatient(folder: Path, served: RangeServer) -> Iterator[TestClient]:
    """An application with little time for servers."""
    with application(f"{folder},{served.base}", source_check=str(CHECK), source_timeout=str(TIMEOUT)) as client:
        yield client


@pytest.fixture
def fresh(folder: Path, served: RangeServer, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the rasters under names that no cache knows, and a server that behaves again afterwards."""
    path = folder / f"{abs(hash(request.node.name)):x}"
    shutil.copytree(folder, path, ignore=lambda at, names: [n for n in names if not n.endswith(".tif")])
    served.reset()
    yield path
    served.trouble, served.validators = None, ("etag", "last-modified")
    served.released.set()
    served.released = threading.Event()
