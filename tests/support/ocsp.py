"""`openssl ocsp` as the responder of a community, and the answers that a responder could give."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.security import ocsp as questions
from shared.security import responders as memory
from tests.support.certificates import communities
from xdsi.certificates import Community

NORTH, SOUTH = communities()


def certificate_of(path: Path) -> x509.Certificate:
    """The first certificate of a file."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def key_of(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a file."""
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


CERTIFICATE, AUTHORITY = certificate_of(NORTH.node.certificate), certificate_of(NORTH.authority.certificate)
NONCE = b"n" * 16


@dataclass(frozen=True)
class Signer:
    """Who signs answers."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority(community: Community) -> Signer:
    """The authority of a community."""
    return Signer(certificate_of(community.authority.certificate), key_of(community.authority.key))


def delegate(
    community: Community, *, may_respond: bool = True, ends: timedelta = timedelta(days=1)
) -> Signer:
    """A responder that the authority certified, for OCSP unless told otherwise."""
    key, above, now = ec.generate_private_key(ec.SECP256R1()), authority(community), datetime.now(UTC)
    usage = ExtendedKeyUsageOID.OCSP_SIGNING if may_respond else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")]))
        .issuer_name(above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    return Signer(builder.sign(above.key, SHA256()), key)


def answer(
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    about: x509.Certificate = CERTIFICATE,
    of: x509.Certificate = AUTHORITY,
    signer: Signer | None = None,
    nonce: bytes | None = NONCE,
    since: timedelta = timedelta(minutes=1),
    lasts: timedelta | None = timedelta(hours=1),
) -> bytes:
    """What a responder says of a certificate."""
    signer, begins = signer or authority(NORTH), datetime.now(UTC) - since
    revoked = begins if status is ocsp.OCSPCertStatus.REVOKED else None
    ends = begins + lasts if lasts is not None else None
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(about, of, SHA1(), status, begins, ends, revoked, None)
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        .certificates([signer.certificate])
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.sign(signer.key, SHA256()).public_bytes(Encoding.DER)


@contextmanager
def _patience() -> Iterator[None]:
    """Who asks a responder waits for it, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (questions, memory):
            patch.setattr(module, "ANSWER_SECONDS", 60.0)
        yield


@contextmanager
def responder(
    folder: Path,
    *revoked: x509.Certificate,
    of: Community = NORTH,
    good: Sequence[x509.Certificate] = (CERTIFICATE,),
    delegated: bool = False,
) -> Iterator[str]:
    """`openssl ocsp` for the authority of a community, which knows `good` and took `revoked` back; its
    address."""
    lines = []
    for one in (*good, *revoked):
        ends, taken = f"{one.not_valid_after_utc:%y%m%d%H%M%SZ}", ""
        if one in revoked:
            taken = f"{datetime.now(UTC):%y%m%d%H%M%SZ}"
        serial = f"{one.serial_number:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)
        lines.append(f"{'R' if taken else 'V'}\t{ends}\t{taken}\t{serial}\tunknown\t/CN={serial}\n")
    index = folder / "index.txt"
    index.write_text("".join(lines))
    signer = delegate(of) if delegated else authority(of)
    (folder / "responder.pem").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    (folder / "responder.key").write_bytes(
        signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    command = [
        *("openssl", "ocsp", "-port", "0", "-index", str(index), "-nmin", "5"),
        *("-CA", str(of.authority.certificate)),
        *("-rsigner", str(folder / "responder.pem"), "-rkey", str(folder / "responder.key")),
    ]
    with (
        _patience(),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            # ACCEPT [::]:18751 PID=32756
            told = process.stdout.readline().split()
            yield f"http://127.0.0.1:{told[1].rpartition(':')[2]}"
        finally:
            process.kill()


class Responder:
    """Answers with what it is told, and counts who asks; None is silence."""

    def __init__(self) -> None:
        self.said: Any = ocsp.OCSPCertStatus.GOOD
        self.lasts = timedelta(hours=1)
        self.questions = 0
        self.url = ""
        self.lets_go = threading.Event()
        self.lets_go.set()

    def octets(self, question: bytes) -> bytes | None:
        self.questions += 1
        self.lets_go.wait()
        asked = ocsp.load_der_ocsp_request(question)
        if self.said is None:
            return None
        nonces = (one.value for one in asked.extensions if isinstance(one.value, x509.OCSPNonce))
        nonce = next((one.nonce for one in nonces), None)
        return answer(self.said, nonce=nonce, since=timedelta(), lasts=self.lasts)


@contextmanager
def in_process() -> Iterator[Responder]:
    """A responder in a thread of this process."""
    responder = Responder()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            octets = responder.octets(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200 if octets else 500)
            self.send_header("content-length", str(len(octets or b"")))
            self.end_headers()
            self.wfile.write(octets or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with _patience(), http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        responder.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield responder
        finally:
            responder.lets_go.set()
            server.shutdown()
