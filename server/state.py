"""The process-wide analysis: one set of caches and inference threads, built at first use."""

from __future__ import annotations

from functools import lru_cache

from algorithms.models import Runtime, configure
from server.analysis import Analysis
from server.settings import get_settings


@lru_cache(maxsize=1)
def get_analysis() -> Analysis:
    """The process's analysis, configured from the settings."""
    settings = get_settings()
    configure(
        Runtime(
            providers=settings.model_providers,
            threads=settings.model_threads,
            concurrency=settings.model_concurrency,
        )
    )
    return Analysis(cache_bytes=settings.cache_bytes, threads=settings.model_concurrency)
