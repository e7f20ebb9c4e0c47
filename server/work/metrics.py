"""Metrics of an application for Prometheus: what happened, counted as it happens, and figures looked up when asked."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from server.work.figures import Figures
from server.work.trace import Trace
from server.work.workers import WorkerProcesses, counting_folder

disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, of which nothing is made

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Upper ends: from a tile whose parts are all cached to `CLEARSKY_REQUEST_TIMEOUT`."""
FRACTION_BUCKETS: Final = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Upper ends; the first are images without any cloud."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
"""Methods that are told apart: a client can write anything there, and each label value is kept for good."""
OTHER: Final = "other"
"""Label of everything else."""


class Metrics:
    """The metrics of one application, on a registry of its own.

    Where several processes serve one port, they count in files of one folder (`PROMETHEUS_MULTIPROC_DIR`), and any
    of them answers for all.
    """

    def __init__(self, version: str, look_up: Callable[[], Figures]) -> None:
        """Register the metrics.

        Args:
            version: of the software.
            look_up: gives the figures of the moment.
        """
        self._look_up = look_up
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "clearsky_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "clearsky_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "clearsky_stage_seconds",
            "Time that a request spends in a stage: read, mask, adjust, encode.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._inferences = Counter(
            "clearsky_inferences", "Windows that a cloud model has looked at.", ["model"], registry=registry
        )
        self._inference_seconds = Histogram(
            "clearsky_inference_seconds",
            "Time of one inference.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._cloud = self._fractions("cloud", "Share of an image's valid pixels that is cloud or its buffer.")
        self._filled = self._fractions("filled", "Share of an image's valid pixels that is filled.")
        self._queue = self._gauge("inference_queue", "Inferences and fills that wait for a worker.", mode="livesum")
        self._cache_bytes = self._gauge("cache_bytes", "Bytes that a cache holds.", ["cache"], mode="livesum")
        self._hits = Counter("clearsky_cache_hits", "Values found in a cache.", ["cache", "tier"], registry=registry)
        self._misses = Counter(
            "clearsky_cache_misses", "Values not found in a cache.", ["cache", "tier"], registry=registry
        )
        self._warm_views = Counter(
            "clearsky_warm_views", "Views that were loaded at start, or could not be.", ["result"], registry=registry
        )
        self._shared_up = self._gauge(
            "shared_cache_up", "1 while what workers share can be had, 0 while not.", ["cache"], mode="livemin"
        )
        self._shared_bytes = self._gauge(
            "shared_cache_bytes", "Bytes that the store of what workers share holds.", ["cache"], mode="livemax"
        )
        self._provider = self._gauge(
            "provider_info", "1 for the execution provider in use.", ["provider"], mode="livemax"
        )
        self._gauge("workers", "Processes that serve one port.", mode="livesum").set(1)
        self._gauge("build_info", "1 for the running version.", ["version"], mode="livemax").labels(version).set(1)
        self._providers: frozenset[str] = frozenset()
        self._folder = counting_folder()
        if self._folder is None:
            ProcessCollector(registry=registry)

    @property
    def shared(self) -> bool:
        """Whether several processes count together."""
        return self._folder is not None

    def _fractions(self, name: str, text: str) -> Histogram:
        return Histogram(f"clearsky_{name}_fraction", text, buckets=FRACTION_BUCKETS, registry=self._registry)

    def _gauge(
        self, name: str, text: str, labels: list[str] | None = None, *, mode: Literal["livesum", "livemax", "livemin"]
    ) -> Gauge:
        return Gauge(f"clearsky_{name}", text, labels or [], registry=self._registry, multiprocess_mode=mode)

    def request(self, method: str, status: int, seconds: float, trace: Trace) -> None:
        """Count a request that is over.

        Args:
            method: as the client wrote it.
            status: of the answer.
            seconds: from its arrival to the end of its answer.
            trace: what it did.
        """
        route = trace.route or OTHER
        self._requests.labels(method if method in METHODS else OTHER, route, f"{status // 100}xx").inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage, spent in trace.seconds.items():
            self._stage_seconds.labels(stage).observe(spent)
        if trace.cloud_fraction is not None:
            self._cloud.observe(trace.cloud_fraction)
        if trace.filled_fraction is not None:
            self._filled.observe(trace.filled_fraction)

    def inferred(self, model: str, seconds: float) -> None:
        """Count an inference: of a watcher of `algorithms.sessions.Sessions`."""
        self._inferences.labels(model).inc()
        self._inference_seconds.observe(seconds)

    def warmed(self, *, loaded: bool) -> None:
        """Count a view that was to be loaded at start."""
        self._warm_views.labels("loaded" if loaded else "failed").inc()

    def sample(self) -> None:
        """Bring what is looked up to the present."""
        figures = self._look_up()
        with self._lock:
            self._queue.set(figures.waiting)
            if figures.shared_works is not None:
                self._shared_up.labels("shared").set(figures.shared_works)
            for provider in self._providers | {figures.provider}:
                self._provider.labels(provider).set(provider == figures.provider)
            self._providers |= {figures.provider}
            held: Tally[str] = Tally()
            for cache in figures.caches:
                if cache.tier == "shared":
                    self._shared_bytes.labels(cache.cache).set(cache.nbytes)
                else:
                    held[cache.cache] += cache.nbytes
                key = (cache.cache, cache.tier)
                hits, misses = self._counted.get(key, (0, 0))
                self._counted[key] = cache.hits, cache.misses
                self._hits.labels(*key).inc(max(cache.hits - hits, 0))
                self._misses.labels(*key).inc(max(cache.misses - misses, 0))
            for name, nbytes in held.items():
                self._cache_bytes.labels(name).set(nbytes)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics as text, of all processes that serve, and its content type; `accept` chooses OpenMetrics."""
        self.sample()
        encode, content_type = choose_encoder(accept)
        registry = self._registry
        if self._folder is not None:
            workers = WorkerProcesses(self._folder)
            workers.forget_dead()
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
            registry.register(workers)
        return encode(registry), content_type
