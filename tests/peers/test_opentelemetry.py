"""Spans of OpenTelemetry, as a collector on a socket receives them: of each answered request, with the ids of
its trace, and nothing of a patient."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from registry.domain.stored_queries import FIND_DOCUMENTS
from shared.http.client import http_client
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from shared.telemetry.otlp import Collector, exporting
from shared.telemetry.trace import Span, one_trace, trace_id, traceparent
from tests.support.certificates import communities, stranger
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry_process import RegistryClient, running_registry
from xdsi.certificates import Community
from xdsi.stage import free_ports

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra opentelemetry is not here")
from tests.support.collector import a_collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
OPEN = {"patients": "any", "consent": {"default": "permit"}}
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"


def test_a_span_goes_under_the_trace_and_the_parent_that_came_and_is_the_parent_of_the_next():
    with a_collector() as collector:
        with exporting("registry", Collector(url=collector.url)):  # noqa: SIM117
            with Span("HTTP", f"00-{TRACE}-{PARENT}-01".encode(), transaction="ITI-41") as outer:
                outer.outcome, outer.status = "success", 200
                with Span("HTTP", traceparent().encode(), transaction="ITI-42") as inner:
                    inner.outcome = "error"
        with Span("HTTP", transaction="ITI-18"):
            pass
        second, first = collector.spans

    assert collector.requests == {("/v1/traces", "application/x-protobuf")}
    assert (first.service, first.name, first.kind, first.is_error) == ("xdsi-registry", "ITI-41", 2, False)
    assert (first.trace_id, first.parent_id, first.span_id) == (TRACE, PARENT, outer.span_id)
    assert first.attributes == {
        "xdsi.door": "HTTP",
        "xdsi.transaction": "ITI-41",
        "xdsi.outcome": "success",
        "http.response.status_code": 200,
    }
    assert first.nanoseconds >= second.nanoseconds > 0
    assert (second.name, second.trace_id, second.parent_id) == ("ITI-42", TRACE, first.span_id)
    assert second.is_error


def test_probes_and_traces_that_are_not_sampled_are_not_sent_and_a_trace_of_our_own_has_no_parent():
    with a_collector() as collector:
        with exporting("registry", Collector(url=collector.url)):
            with Span("HTTP") as probe:
                probe.quiet = True
            with Span("HTTP", f"00-{TRACE}-{PARENT}-00".encode()):
                pass
            with Span("HTTP", transaction="ITI-18"):
                pass
        [span] = collector.spans

    assert (span.name, span.parent_id) == ("ITI-18", "")


def test_a_collector_that_is_away_costs_nobody_more_than_a_moment():
    [port] = free_ports(1)
    began = time.monotonic()
    with exporting("registry", Collector(url=f"http://127.0.0.1:{port}")):
        for _ in range(100):
            with Span("HTTP"):
                pass
        spoken = time.monotonic() - began
    assert spoken < 5
    assert time.monotonic() - began < 30, "the end of the process waits for it"


@pytest.mark.peer
async def test_a_service_sends_a_span_of_each_request_and_nothing_of_a_patient(tmp_path: Path):
    with a_collector() as collector:
        with running_registry(tmp_path, otlp_url=collector.url, **OPEN) as registry, one_trace():
            ours = trace_id()
            async with http_client(TlsSettings(), peers=(registry.base,)) as http:
                client = RegistryClient(SoapClient(http), registry.url)
                assert await client.register(a_submission(a_document_entry())) == frozenset()
                await client.query(
                    FIND_DOCUMENTS,
                    {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]},
                )
                await http.get(f"{registry.base}/health/ready")
            spans = await asyncio.to_thread(collector.until, lambda spans: len(spans) >= 2)
        assert len(collector.spans) == 2, "a probe was sent"

    assert [(span.name, span.service) for span in spans] == [
        ("ITI-42", "xdsi-registry"),
        ("ITI-18", "xdsi-registry"),
    ]
    assert {span.trace_id for span in spans} == {ours}
    assert all(span.parent_id for span in spans)
    assert {span.attributes["xdsi.outcome"] for span in spans} == {"success"}
    assert PATIENT.partition("^")[0] not in repr(spans)


NORTH, _ = communities()


def a_context(community: Community) -> ssl.SSLContext:
    """TLS of a collector in a community, which asks for a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(community.node.certificate, community.node.key)
    context.load_verify_locations(community.settings()["tls"]["trust"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def spoken_to_by(node: Community, collector: Any) -> None:
    files = {name: Path(path) for name, path in node.settings()["tls"].items()}
    with exporting("registry", Collector(url=collector.url, **files)), Span("HTTP", transaction="ITI-18"):
        pass


@pytest.mark.parametrize("of_the_environment", [None, stranger()])
def test_over_https_node_and_collector_show_their_certificates(monkeypatch, of_the_environment):
    """Whatever other programs of this machine trust."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        if of_the_environment is not None:
            monkeypatch.setenv(name, str(of_the_environment.trust))
    with a_collector(a_context(NORTH)) as collector:
        spoken_to_by(NORTH, collector)
        [span] = collector.until(bool)

    assert span.name == "ITI-18"


@pytest.mark.parametrize(("of_the_collector", "of_the_node"), [(stranger(), NORTH), (NORTH, stranger())])
def test_over_https_nothing_is_told_to_a_stranger_nor_taken_from_one(of_the_collector, of_the_node):
    with a_collector(a_context(of_the_collector)) as collector:
        spoken_to_by(of_the_node, collector)

    assert collector.spans == []


@pytest.mark.peer
async def test_a_service_with_certificates_tells_a_collector_over_https(tmp_path: Path):
    with a_collector(a_context(NORTH)) as collector:
        tls = NORTH.settings()
        with running_registry(tmp_path, otlp_url=collector.url, **OPEN, **tls) as registry:
            async with http_client(TlsSettings(**tls["tls"]), peers=(registry.base,)) as http:
                answer = await http.get(f"{registry.base}/xds/registry?wsdl")
            [span] = await asyncio.to_thread(collector.until, bool)

    assert answer.status_code == 200
    assert span.service == "xdsi-registry"


def test_without_the_libraries_a_service_that_is_to_send_spans_says_what_it_needs(tmp_path: Path):
    """As in an installation without the extra: its packages cannot be found."""
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; sys.argv[1:] = ['serve', 'registry']; "
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}

    done = subprocess.run(
        [sys.executable, "-c", f"{hidden} import xdsi.cli; xdsi.cli.main()"],
        env=environment | {"XDSI_DATA": str(tmp_path / "data"), "XDSI_OTLP_URL": "http://127.0.0.1:4318"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "XDSI_OTLP_URL: the libraries of OpenTelemetry are not installed" in done.stderr
    assert "xdsi[opentelemetry]" in done.stderr
