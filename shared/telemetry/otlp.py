"""Spans as OpenTelemetry has them: each answered request goes to a collector, by OTLP over HTTP.

A span says what its line in the log says, and nothing of a patient. It is sent beside the requests, in
batches; what a collector does not take in time is lost, and nobody waits for it. The libraries are the extra
`xdsi[opentelemetry]`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.telemetry.result import Result
from shared.telemetry.trace import Span, export_by

if TYPE_CHECKING:  # they are there with the extra alone, and take their time to load
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

PATH: Final = "/v1/traces"
#: For an attempt, and at the end of the process for what waits.
TIMEOUT_SECONDS: Final = 3.0
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_MISTAKES: Final = frozenset({Result.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where spans go; the files are for https, whose collector asks for a certificate."""

    url: str
    trust: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def is_installed() -> bool:
    """Whether the extra is there."""
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:
        return False


@contextmanager
def exporting(service: str, collector: Collector | None) -> Iterator[None]:
    """Send spans to `collector`, meanwhile; None sends none."""
    if collector is None:
        yield
        return
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    session = requests.Session()
    # Whom we trust is said by our settings alone: REQUESTS_CA_BUNDLE and its like would take their place.
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint=f"{collector.url.rstrip('/')}{PATH}",
        certificate_file=_path(collector.trust),
        client_certificate_file=_path(collector.certificate),
        client_key_file=_path(collector.key),
        timeout=TIMEOUT_SECONDS,
        session=session,
    )
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=1_000)
    export_by(partial(_export, processor, Resource({SERVICE_NAME: f"xdsi-{service}"})))
    try:
        yield
    finally:
        export_by(None)
        processor.shutdown()


def _path(file: Path | None) -> str | None:
    return str(file) if file is not None else None


def _export(processor: SpanProcessor, resource: Resource, span: Span) -> None:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, remote: bool) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), int(span_id, 16), remote, TraceFlags(span.flags))

    ended = time.time_ns()
    attributes = {
        "xdsi.door": span.door,
        "xdsi.transaction": span.transaction,
        "xdsi.outcome": str(span.outcome),
        "http.route": span.resource,
        "http.response.status_code": span.status,
    }
    processor.on_end(
        ReadableSpan(
            span.transaction or span.door,
            context=context(span.span_id, remote=False),
            parent=context(span.parent_id, remote=True) if span.parent_id else None,
            resource=resource,
            attributes={name: value for name, value in attributes.items() if value},
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if span.outcome in _MISTAKES else StatusCode.UNSET),
            start_time=ended - int(span.milliseconds * 1_000_000),
            end_time=ended,
        )
    )
