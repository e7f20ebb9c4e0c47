"""Workers of their own for parts of the analysis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.work.pool import FairPool


@pytest.fixture
def pool() -> Iterator[FairPool]:
    pool = FairPool(2)
    yield pool
    pool.close()
