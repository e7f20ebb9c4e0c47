"""An analysis, and workers, of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.analysis.engine import Analysis
from server.work.pool import FairPool
from tests.helpers.service import sources_by


@pytest.fixture
def pool() -> Iterator[FairPool]:
    pool = FairPool(2)
    yield pool
    pool.close()


@pytest.fixture
def analysis() -> Iterator[Analysis]:
    analysis = Analysis(sources_by(""), cache_bytes=256 << 20, threads=2)
    yield analysis
    analysis.close()
