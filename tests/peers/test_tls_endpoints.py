"""What listens with TLS is judged by trying: versions, suites, its certificate, whether it asks for ours."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from conformance.rules.tls import certificate
from conformance.validation import validate_endpoint
from tests.support.certificates import communities, now
from xdsi.cli import build


@contextmanager
def listening(context: ssl.SSLContext | None) -> Iterator[str]:
    """A listener that shakes hands, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    plain, _ = server.accept()
                    threading.Thread(target=answer, args=(plain,)).start()

        def answer(plain: socket.socket) -> None:
            plain.settimeout(5)
            with plain, suppress(OSError):
                if context is None:
                    return
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tls://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def of_a_node(*, mutual: bool = True) -> ssl.SSLContext:
    north, _ = communities()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(north.node.certificate, north.node.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(north.authority.certificate)
    return context


def ids(url: str) -> set[str]:
    return {finding.id for finding in validate_endpoint(url).findings}


def test_a_node_of_ours_has_no_finding():
    with listening(of_a_node()) as url:
        assert validate_endpoint(url).findings == ()


def test_who_lets_in_everybody_is_found():
    with listening(of_a_node(mutual=False)) as url:
        assert "TLS-005" in ids(url)


def test_nobody_and_no_tls_are_found():
    with listening(None) as url:
        assert ids(url) == {"TLS-002"}
    assert ids(url) == {"TLS-001"}


def test_old_versions_are_found():
    context = of_a_node(mutual=False)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with listening(context) as url:
        assert "TLS-003" in ids(url)


def test_suites_without_authentication_are_found():
    context = of_a_node(mutual=False)
    context.set_ciphers("ALL:eNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with listening(context) as url:
        assert "TLS-004" in ids(url)


def test_of_tls_1_2_that_demands_a_certificate_this_is_said():
    context = of_a_node()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with listening(context) as url:
        assert ids(url) == {"TLS-013"}


def made(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
    days: int = 365,
) -> x509.Certificate:
    name = x509.Name.from_rfc4514_string("CN=node")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=400))
        .not_valid_after(now() + timedelta(days=days))
    )
    return change(builder).sign(key, SHA256())


def named(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("node.example.org")]), False)


def for_clients(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    return named(builder).add_extension(usage, False)


EC = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("shown", "host", "id"),
    [
        (made(EC, named, -1), "node.example.org", "TLS-006"),
        (made(EC, named, 10), "node.example.org", "TLS-007"),
        (made(rsa.generate_private_key(65537, 1024), named), "node.example.org", "TLS-008"),
        (made(EC, lambda builder: builder), "node.example.org", "TLS-010"),
        (made(EC, named), "other.example.org", "TLS-011"),
        (made(EC, for_clients), "node.example.org", "TLS-012"),
    ],
)
def test_a_certificate_that_is_wrong_is_found(shown: x509.Certificate, host: str, id: str):
    assert id in {finding.id for finding in certificate(shown, host, host)}


def test_a_good_certificate_has_no_finding():
    assert list(certificate(made(EC, named), "node.example.org", "node")) == []


def test_a_signature_with_sha1_is_found(tmp_path: Path):
    key = tmp_path / "key.pem"
    key.write_bytes(EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    openssl = subprocess.run(
        ["openssl", "req", "-x509", "-key", key, "-sha1", "-subj", "/CN=node", "-days", "90"],
        capture_output=True,
        check=False,
    )
    if openssl.returncode:
        pytest.skip("openssl makes no certificate with SHA-1 here")
    shown = x509.load_pem_x509_certificate(openssl.stdout)
    assert "TLS-009" in {finding.id for finding in certificate(shown, "node", "node")}


def test_the_command_takes_an_endpoint_and_refuses_another_url():
    with listening(of_a_node()) as url:
        ran = CliRunner().invoke(build("validate"), ["validate", url])
        assert ran.exit_code == 0
        assert "TLS endpoint" in ran.output
    wrong = CliRunner().invoke(build("validate"), ["validate", "https://127.0.0.1/"])
    assert getattr(wrong.exception, "status", None) == 2
    assert "tls://host:port" in str(wrong.exception)
