"""The analysis according to the settings, and models loaded ahead of the first tile."""

from __future__ import annotations

from algorithms.errors import ModelError
from algorithms.models import MODELS
from algorithms.sessions import SESSIONS, Runtime
from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.sharing import shared_cache
from server.raster.sources import Sources
from server.settings import Settings


def make_analysis(settings: Settings, sources: Sources) -> Analysis:
    """An analysis with its caches and threads; the models' runtime is set up for the whole process.

    Raises:
        ParameterError: a shared cache that cannot be used.
    """
    SESSIONS.configure(
        Runtime(
            providers=settings.model_providers,
            threads=settings.model_threads,
            concurrency=settings.model_concurrency,
        )
    )
    return Analysis(
        sources,
        cache_bytes=settings.cache_bytes,
        threads=settings.model_concurrency,
        ahead=settings.prefetch,
        shared=shared_cache(settings.cache_url),
    )


def make_chooser(settings: Settings, sources: Sources, analysis: Analysis) -> Chooser:
    """What chooses replacements, by the API of the settings."""
    return Chooser(
        sources, analysis, api=settings.stac_api, retry=settings.source_check, threads=settings.request_threads
    )


def preload(models: tuple[str, ...]) -> None:
    """Load cloud models now rather than at the first tile that needs them.

    Raises:
        ModelError: there is no such model, or its file is missing.
    """
    if unknown := [name for name in models if name not in MODELS]:
        raise ModelError(f"CLEARSKY_MODEL_PRELOAD names {unknown[0]!r}; choose from {', '.join(MODELS)}")
    for name in models:
        SESSIONS.load(MODELS[name])
