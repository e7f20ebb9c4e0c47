"""The analysis according to the settings, and models loaded ahead of the first tile."""

from __future__ import annotations

from algorithms.errors import ModelError
from algorithms.models import MODELS, known_models
from algorithms.providers import Runtime
from algorithms.sessions import SESSIONS
from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.sharing import shared_cache
from server.models.folder import use_models
from server.raster.sources import Sources
from server.settings import Settings
from server.work.activity import Activity
from server.work.readiness import Dependency


def make_analysis(settings: Settings, sources: Sources, *, activity: Activity | None = None) -> Analysis:
    """An analysis with its caches and threads; the models' runtime is set up for the whole process.

    Args:
        settings: what the operator has set.
        sources: what reads rasters.
        activity: requests, between which work ahead is done if the settings want it; None for no such work.

    Raises:
        ParameterError: a shared cache that cannot be used. ModelError: a card of `settings.models` is wrong.
    """
    use_models(settings.models)
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
        activity=activity if settings.prefetch else None,
        shared=shared_cache(settings.cache_url),
    )


def make_chooser(settings: Settings, sources: Sources, analysis: Analysis) -> Chooser:
    """What chooses replacements, by the API of the settings."""
    return Chooser(
        sources, analysis, api=settings.stac_api, retry=settings.source_check, threads=settings.request_threads
    )


def models_state(preloaded: tuple[str, ...]) -> Dependency:
    """For whoever asks whether the service can work: whether the models' files are there.

    Whether a file is intact shows when it is loaded, which takes a second; `preloaded` ones have been.
    """
    models = known_models().values()
    missing = [model for model in models if not model.present]
    if missing:
        lost = all(model in missing for model in MODELS.values()) or any(model.id in preloaded for model in missing)
        names = ", ".join(model.id for model in missing)
        remedy = "; ".join(sorted({model.remedy for model in missing}))
        return Dependency("failed" if lost else "degraded", f"no file of {names}; {remedy}")
    return Dependency("ok", f"{len(models)} models")


def provider_state() -> Dependency:
    """For whoever asks whether the service can work: where the models run."""
    if (why := SESSIONS.fallback) is not None:
        return Dependency("degraded", f"{SESSIONS.provider}: {why}")
    return Dependency("ok", SESSIONS.provider)


def preload(models: tuple[str, ...]) -> None:
    """Load cloud models now rather than at the first tile that needs them.

    Raises:
        ModelError: there is no such model, or its file is missing.
    """
    networks = {name: model for name, model in known_models().items() if model.network is not None}
    if unknown := [name for name in models if name not in networks]:
        raise ModelError(f"CLEARSKY_MODEL_PRELOAD names {unknown[0]!r}; choose from {', '.join(networks)}")
    if not models and SESSIONS.provider != "cpu":  # whether it starts must be known before results are kept
        models = (next(iter(MODELS)),)
    for name in models:
        SESSIONS.load(networks[name])
