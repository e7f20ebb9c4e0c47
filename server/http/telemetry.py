"""Traces by OpenTelemetry: a span for every request and every route of TiTiler, sent where `OTEL_*` says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI

from algorithms.errors import ParameterError
from server import __version__
from server.http.asgi import PROBED, Scope
from server.remote.redaction import redacted

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_ADDRESSES: Final = ("http.url", "http.target", "url.full", "url.path", "url.query")
"""Attributes of a span that hold what was asked for."""


def _exporting() -> TracerProvider:
    """What sends spans by OTLP, as the variables `OTEL_*` say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    attributes = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = "clearsky"
    provider = Provider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def without_secrets(span: Any, _: Scope) -> None:
    """Take the values of signatures and tokens out of a request's span."""
    for name in _ADDRESSES:
        if isinstance(value := (span.attributes or {}).get(name), str):
            mark = "" if "?" in value else "?"  # a query alone begins without
            span.set_attribute(name, redacted(mark + value)[len(mark) :])


def add_telemetry(app: FastAPI) -> None:
    """Trace an application's requests, those of probes excepted.

    Raises:
        ParameterError: the extra `telemetry` is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

        provider = _exporting()
    except ImportError as error:
        raise ParameterError(
            f"CLEARSKY_TELEMETRY needs the extra `telemetry` ({error.name} is missing): install clearsky[telemetry], "
            "or turn it off"
        ) from error
    trace.set_tracer_provider(provider)  # for TiTiler's own spans
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        server_request_hook=without_secrets,
        exclude_spans=["receive", "send"],
        excluded_urls=",".join(f"{path}$" for path in PROBED),
    )
