"""The analysis of an export: set up for whole scenes, and stopped early where the export ends early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from algorithms.loops import compiled_loops
from algorithms.providers import Runtime
from algorithms.sessions import SESSIONS
from server.analysis.engine import Analysis
from server.export.plan import EXPORT_RASTER_SHARE
from server.raster.sources import Sources
from server.settings import Settings
from server.work.ticket import Ticket, current_ticket


def export_analysis(sources: Sources, settings: Settings, *, threads: int) -> Analysis:
    """An analysis with a cache for strips of a whole scene, and so many threads."""
    compiled_loops()  # loaded while the network and the first pixels are
    SESSIONS.configure(Runtime(settings.model_providers, settings.model_threads, threads))
    return Analysis(sources, cache_bytes=settings.cache_bytes, threads=threads, raster_share=EXPORT_RASTER_SHARE)


@contextmanager
def exporting_analysis(sources: Sources, settings: Settings, *, threads: int) -> Iterator[Analysis]:
    """The same meanwhile; its threads share one ticket, taken back at the end: work still running then stops."""
    analysis = export_analysis(sources, settings, threads=threads)
    ticket = Ticket()
    token = current_ticket.set(ticket)
    try:
        yield analysis
    finally:
        ticket.abandon()
        current_ticket.reset(token)
        analysis.close()
