"""Whether a system is reached at its addresses, and what is told in words when it is not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.plans import reach
from conformance.plans.probe import Outcome, Verdict
from conformance.plans.run import run
from conformance.plans.stand import Target
from conformance.simulators.audit_repository import syslog_simulator
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import HttpAnswer, http_simulator
from conformance.simulators.world import World
from conformance.tls_contexts import client_context, server_context
from tests.support.certificates import communities, stranger
from xdsi.certificates import Community


def verdict(tmp_path: Path, target: Target) -> Verdict:
    (only,) = run(reach.probes_of("registry", target), target, tmp_path).verdicts
    return only


def pem(name: str, of: Community | None = None) -> Path:
    return Path((of or communities()[0]).settings()["tls"][name])


@contextmanager
def registry(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    cast = Cast(World("2.999.1"), {"registry": RIGHT})
    with http_simulator(cast.handle, tls=tls) as simulator:
        yield f"{simulator.url}/xds/registry"


def test_what_answers_in_soap_is_reached(tmp_path: Path):
    with registry() as url:
        assert verdict(tmp_path, Target(endpoints={"registry": url})).outcome is Outcome.PASSED


def test_where_nothing_listens_the_port_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    judged = verdict(tmp_path, Target(endpoints={"registry": f"http://127.0.0.1:{port}/xds"}))
    assert judged.outcome is Outcome.UNDECIDED
    assert f"nothing listens at 127.0.0.1:{port}: start the system" in judged.reason


def test_a_name_that_nobody_knows_is_told(tmp_path: Path):
    judged = verdict(tmp_path, Target(endpoints={"registry": "http://registry.invalid/xds"}))
    assert "the name in registry.invalid:80 is not known" in judged.reason


def test_what_is_no_soap_is_told_with_its_path(tmp_path: Path):
    with http_simulator(lambda _: HttpAnswer(b"<html>Sign in</html>", "text/html", 404)) as simulator:
        judged = verdict(tmp_path, Target(endpoints={"registry": f"{simulator.url}/xds"}))
    assert judged.outcome is Outcome.FAILED
    assert "HTTP 404 with text/html came, and no SOAP" in judged.reason
    assert "/xds" in judged.reason


def test_where_no_tls_is_spoken_it_is_told(tmp_path: Path):
    with registry() as url:
        judged = verdict(tmp_path, Target(endpoints={"registry": url.replace("http:", "https:")}))
    assert "no TLS is spoken" in judged.reason


def test_where_tls_is_spoken_and_http_is_named_it_is_told(tmp_path: Path):
    with registry(server_context(pem("certificate"), pem("key"), None)) as url:
        judged = verdict(tmp_path, Target(endpoints={"registry": url.replace("https:", "http:")}))
    assert "write https://" in judged.reason


def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path):
    with registry(server_context(pem("certificate"), pem("key"), None)) as url:
        judged = verdict(tmp_path, Target(endpoints={"registry": url}))
    assert "is not trusted here" in judged.reason
    assert "as PEM" in judged.reason


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_that_our_certificate_is_refused_is_told(tmp_path: Path, version: ssl.TLSVersion):
    ours = server_context(pem("certificate"), pem("key"), pem("trust"))
    ours.maximum_version = version
    asks = client_context(None, None, pem("trust").read_text())
    foreign = client_context(pem("certificate", stranger()), pem("key", stranger()), pem("trust").read_text())
    with registry(ours) as url:
        told = [
            verdict(tmp_path, Target(endpoints={"registry": url}, tls=one)).reason for one in (asks, foreign)
        ]
    assert all("refused our certificate" in one for one in told), told


def test_a_port_of_syslog_is_reached(tmp_path: Path):
    with syslog_simulator() as simulator:
        address = simulator.url.removeprefix("tcp://")
        assert verdict(tmp_path, Target(endpoints={"audit": address})).outcome is Outcome.PASSED
