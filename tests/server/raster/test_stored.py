"""Pieces of pixels: none is kept of a raster that shows a fault when it is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from server.errors import SourceFaultError
from server.raster.grid import Box
from server.raster.sources import Sources
from server.raster.stack import Level
from server.raster.stored import StoredPixels
from server.work.cache import TileCache
from tests.helpers.scenes import write_bare
from tests.helpers.service import sources_by


class Faulty:
    """Sources of which each raster is found faulty at its end, as long as they are."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.faulty, self.opened = True, 0

    @contextmanager
    def open(self, *args: Any, **options: Any) -> Iterator[Any]:
        self.opened += 1
        with self._sources.open(*args, **options) as src:
            yield src
        if self.faulty:
            raise SourceFaultError("bytes were missing")


def test_no_piece_is_kept_of_a_raster_with_a_hidden_fault(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 9, (1, 600, 700)).astype(np.uint8)
    path = tmp_path / "raster.tif"
    write_bare(path, values)
    honest = sources_by(tmp_path)
    sources = Faulty(honest)
    stored = StoredPixels(cast(Sources, sources), TileCache(1 << 24))
    version = honest.dataset(str(path)).version

    def read() -> Any:
        return stored.of_file(str(path), version, None, Level(1, 700, 600), (1,), Box(500, 600, 10, 700), 512)

    with pytest.raises(SourceFaultError):
        read()
    sources.faulty = False
    for _ in range(2):
        np.testing.assert_array_equal(read(), values[:, 500:600, 10:700])
    assert sources.opened == 2
