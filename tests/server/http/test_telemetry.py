"""Traces by OpenTelemetry, turned on by one setting."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.app import create_app
from server.settings import Settings
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, good

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
"""What sends spans, of the extra `telemetry`; the tests keep them instead."""


@pytest.fixture(scope="module")
def kept() -> Iterator[InMemorySpanExporter]:
    with pytest.MonkeyPatch.context() as patch:
        kept = InMemorySpanExporter()
        module: Any = ModuleType(EXPORTER)
        module.OTLPSpanExporter = lambda: kept
        patch.setitem(sys.modules, EXPORTER, module)
        yield kept


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_raster(tmp_path_factory.mktemp("telemetry") / "target.tif", make_pair(size=(64, 64)).target)


@pytest.fixture(scope="module")
def client(kept: InMemorySpanExporter, raster: str) -> Iterator[TestClient]:
    with application(Path(raster).parent, telemetry="true") as client:
        yield client


def spans(kept: InMemorySpanExporter) -> dict[str, Any]:
    provider: Any = trace.get_tracer_provider()
    provider.force_flush()
    found = {span.name: span for span in kept.get_finished_spans()}
    kept.clear()
    return found


def test_a_request_has_a_span_and_titiler_another_below(
    client: TestClient, kept: InMemorySpanExporter, raster: str
) -> None:
    good(client.get("/cog/preview.png", params={"url": raster, "bidx": 1}))
    found = spans(kept)
    assert set(found) == {"GET /cog/preview.{format}", "TilerFactory.preview"}
    request, inner = found["GET /cog/preview.{format}"], found["TilerFactory.preview"]
    assert inner.parent.span_id == request.context.span_id
    assert request.resource.attributes["service.name"] == "clearsky"
    assert request.attributes["http.status_code"] == 200


def test_probes_are_not_traced(client: TestClient, kept: InMemorySpanExporter) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        good(client.get(path))
    assert spans(kept) == {}


def test_no_secret_is_traced(client: TestClient, kept: InMemorySpanExporter) -> None:
    client.get("/cog/info?access_token=SECRETVALUE&url=https%3A//host/a.tif%3Fsv%3D1%26sig%3DSECRETVALUE")
    (span,) = spans(kept).values()
    assert "/cog/info" in str(dict(span.attributes))
    assert "SECRETVALUE" not in span.to_json()


def test_without_the_extra_the_server_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)  # as Python marks what cannot be imported
    with pytest.raises(ParameterError, match=r"clearsky\[telemetry\]"):
        create_app(Settings(allowed_sources=(str(tmp_path),), prefetch=False, telemetry=True))
