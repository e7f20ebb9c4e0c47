"""The process-wide analysis: one set of caches and inference threads, built at first use."""

from __future__ import annotations

from threading import Condition

from cachetools import LRUCache, cached

from algorithms.errors import ModelError
from algorithms.models import MODELS, Runtime, configure
from server.analysis.engine import Analysis
from server.settings import get_settings


@cached(LRUCache(1), condition=Condition(), info=True)  # lru_cache would let the first requests build one each
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
    return Analysis(cache_bytes=settings.cache_bytes, threads=settings.model_concurrency, ahead=settings.prefetch)


def preload(models: tuple[str, ...]) -> None:
    """Load cloud models now rather than at the first tile that needs them.

    Raises:
        ModelError: there is no such model, or its file is missing.
    """
    if unknown := [name for name in models if name not in MODELS]:
        raise ModelError(f"CLEARSKY_MODEL_PRELOAD names {unknown[0]!r}; choose from {', '.join(MODELS)}")
    get_analysis()
    for name in models:
        MODELS[name].load()
