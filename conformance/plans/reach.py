"""Whether a system is reached at its addresses at all, and what is wrong in words when it is not: asked before
anything else, so that one wrong address is not hundreds of undecided probes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from pynetdicom import build_context

from conformance.envelopes import Envelope
from conformance.plans import dimse
from conformance.plans.probe import Probe, Unmet, expect_equal
from conformance.plans.stand import Stand, Target, Unreached

_SECONDS: Final = 6.0
_PORTS: Final = {"http": 80, "https": 443}
#: What answers in SOAP; the others of the endpoints that have URLs answer HTTP.
_SOAP: Final = frozenset({"registry", "repository", "source", "initiating", "responding"})
_ADDRESSES: Final = frozenset({"feed", "audit"})
_ENTITY: Final = "dimse"
_SOAP_TYPES: Final = ("application/soap+xml", "multipart/related", "text/xml", "application/xop+xml")


def probes_of(actor: str, target: Target) -> Iterator[Probe]:
    """A probe for each address of the target; of a consumer that is made to act by a person there is none."""
    for name, address in target.endpoints.items():
        if name in _ADDRESSES | {_ENTITY} or address.startswith(("http://", "https://")):
            yield Probe(
                id=f"REACH-{name.upper()}",
                actor=actor,
                clause="ITI TF-2 3.19" if address.startswith("https:") else "",
                purpose=f"{name} is reached at {address}",
                ask=partial(_reached, name),
            )


def _reached(name: str, stand: Stand) -> None:
    if name == _ENTITY:
        _echoes(stand)
        return
    address = stand.endpoint(name)
    parts = urlsplit(address if "://" in address else f"//{address}")
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    over_tls = parts.scheme == "https" or (name in _ADDRESSES and stand.target.tls is not None)
    _connected(host, port, stand.target.tls if over_tls else None, over_tls=over_tls)
    if name in _SOAP:
        _speaks_soap(stand, name)
    elif name not in _ADDRESSES:
        _asked(stand, lambda: stand.http("GET", address))


def _echoes(stand: Stand) -> None:
    """An application entity answers C-ECHO."""
    there, tls = dimse.system(stand), stand.target.tls
    _connected(there.host, there.port, tls, over_tls=tls is not None)
    with dimse.associated(stand, [build_context(dimse.VERIFICATION)]) as association:
        status = dimse.status_of(association.send_c_echo())
    expect_equal(status, dimse.SUCCESS, "the status of C-ECHO")


def _connected(host: str, port: int, tls: ssl.SSLContext | None, *, over_tls: bool) -> None:
    """Connect, and look at the certificate."""
    at = f"{host}:{port}"
    with _told(at):
        connection = socket.create_connection((host, port), timeout=_SECONDS)
        with connection:
            if over_tls:
                context = tls or ssl.create_default_context()
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    _let_in(secured)


def _let_in(secured: ssl.SSLSocket) -> None:
    """With TLS 1.3 a refusal of our certificate comes after the handshake, if at once."""
    secured.settimeout(0.3)
    try:
        secured.recv(1)
    except TimeoutError:
        return


@contextmanager
def _told(at: str) -> Iterator[None]:
    """What goes wrong on a connection is told by what a person can do about it."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Unreached(
            f"the certificate of {at} is not trusted here ({error.verify_message}): give the certificate of its "
            "authority, or its own, as PEM"
        ) from None
    except ssl.SSLError as error:
        raise Unreached(_of_tls(at, error.reason or "")) from None
    except socket.gaierror:
        raise Unreached(
            f"the name in {at} is not known: correct it, or let the name service of this machine know it"
        ) from None
    except ConnectionRefusedError:
        raise Unreached(f"nothing listens at {at}: start the system, or correct the port") from None
    except TimeoutError:
        raise Unreached(
            f"{at} did not answer within {_SECONDS:g} s: look whether a firewall stands between, and whether the "
            "address is right"
        ) from None
    except ConnectionResetError:
        raise Unreached(f"{at} ended the connection: look whether it takes connections from here") from None
    except OSError as error:
        raise Unreached(f"{at} cannot be reached: {error.strerror or error}") from None


def _of_tls(at: str, reason: str) -> str:
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"):
        return f"no TLS is spoken at {at}: switch it on there, or write http:// where https:// stands"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            f"{at} refused our certificate ({reason.lower().replace('_', ' ')}): let it trust the certificate "
            "that is shown here; without one, set XDSI_TLS__CERTIFICATE, or name --certificate and --key"
        )
    return f"TLS with {at} failed ({reason.lower().replace('_', ' ') or 'no reason was given'})"


def _asked(stand: Stand, ask: Callable[[], object]) -> None:
    try:
        ask()
    except Unreached as error:
        raise Unreached(
            f"no HTTP came back ({error}): write https:// where TLS is spoken, and look whether our certificate "
            "is trusted there"
        ) from None


def _speaks_soap(stand: Stand, name: str) -> None:
    """Ask for an action that nobody has: whoever speaks SOAP answers in SOAP, if only with a fault."""
    envelope = Envelope(action="urn:xdsi:conformance:reach", body="<reach xmlns='urn:xdsi:conformance'/>")
    replies = []
    _asked(stand, lambda: replies.append(stand.soap(name, envelope)))
    reply = replies[0]
    if not reply.media_type.startswith(_SOAP_TYPES) and b"Envelope" not in reply.content[:4096]:
        raise Unmet(
            f"HTTP {reply.status} with {reply.media_type or 'no media type'} came, and no SOAP: look whether the "
            f"path {urlsplit(stand.endpoint(name)).path or '/'} is that of {name}"
        )
