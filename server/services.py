"""What all requests of one application share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from algorithms.sessions import SESSIONS
from server import __version__
from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.state import make_analysis, make_chooser, models_state, provider_state
from server.http.answers import Answers
from server.http.recent import RecentViews
from server.http.stuck import StuckThreads
from server.http.warmstart import WarmStart
from server.raster.sources import Sources
from server.recipes.store import RecipeFolder
from server.settings import Settings
from server.work.activity import Activity
from server.work.figures import Figures
from server.work.metrics import Metrics
from server.work.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Services:
    """Settings, caches and threads of one application, kept on its `state.services`."""

    settings: Settings
    """What the operator has set."""
    sources: Sources
    """The rasters that may be read, opened and described."""
    analysis: Analysis
    """Masks and fills, each computed once."""
    recipes: RecipeFolder
    """Layers under a name."""
    chooser: Chooser
    """The dates that scenes are filled from where a request leaves them open."""
    answers: Answers
    """Finished answers."""
    metrics: Metrics
    """What is counted, for Prometheus."""
    readiness: Readiness
    """Whether everything that the service depends on works."""
    activity: Activity
    """The requests under way."""
    stuck: StuckThreads
    """Threads whose requests were given up."""
    recent: RecentViews
    """Tiles lately asked for."""
    warm_start: WarmStart
    """What is loaded at start."""

    @classmethod
    def of(cls, settings: Settings, own: Iterable[str] = ()) -> Services:
        """Services according to the settings; the analysis starts its threads here.

        Args:
            settings: what the operator has set.
            own: datasets that the process's own user names, see `Sources.of`.

        Raises:
            ParameterError: an entry of the allow-list that cannot be understood.
        """
        sources = Sources.of(settings, own)
        activity = Activity()
        analysis = make_analysis(settings, sources, activity=activity)
        chooser = make_chooser(settings, sources, analysis)
        answers = Answers(settings.answer_cache_bytes, shared=analysis.shared)
        recipes, stuck = RecipeFolder(settings.recipes), StuckThreads(settings.request_threads)

        def look_up() -> Figures:
            caches = (*analysis.cache_figures, sources.remotes.pieces.figures, answers.figures)
            works = None if analysis.shared is None else analysis.shared.state.working
            return Figures(caches, analysis.waiting, SESSIONS.provider, works)

        metrics = Metrics(__version__, look_up)
        SESSIONS.watch(metrics)
        warm = settings.warm_start_seconds
        recent = RecentViews(analysis.shared if warm else None, settings.allowed_sources)
        warm_start = WarmStart(
            recent, seconds=warm, busy=lambda: activity.busy, filled=lambda: analysis.cache_share, metrics=metrics
        )
        readiness = Readiness()
        readiness.add("models", partial(models_state, settings.model_preload))
        readiness.add("provider", provider_state)
        readiness.add("sources", sources.allowed.state)
        readiness.add("recipes", recipes.state)
        readiness.add("threads", stuck.state)
        if (shared := analysis.shared) is not None:
            readiness.add("shared cache", shared.dependency)
            readiness.add("warm start", warm_start.state)
        return cls(
            settings,
            sources,
            analysis,
            recipes,
            chooser,
            answers,
            metrics,
            readiness,
            activity,
            stuck,
            recent,
            warm_start,
        )

    def close(self) -> None:
        """Stop the threads."""
        self.analysis.close()
