"""Certificates and assertions for tests: two communities made once per run, and clinicians to speak for."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from shared.ebrim.model import Code
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.security.peer_certificate import node_from_der
from tests.support.own_folders import own_folder
from xdsi.certificates import Community, create_community, trust_each_other

AUDIENCE = "urn:oid:1.3.6.1.4.1.21367.2005.13.20.1000"
#: The homeCommunityId of services that are told nothing else.
HOME = "urn:oid:1.3.6.1.4.1.21367.2026.10"

LOCAL_ROLES = "2.999.40.1"
RADIOLOGIST = Code("RAD-PHYS", LOCAL_ROLES, "Radiologist")
NURSE = Code("NURSE", LOCAL_ROLES, "Nurse")
TREATMENT = Code("TREAT", "2.16.840.1.113883.5.8", "treatment")


@cache
def communities() -> tuple[Community, Community]:
    """North and South, which trust each other's authorities; made once per process."""
    folder = own_folder("xdsi-certificates-")
    north, south = (create_community(folder / name, name.title()) for name in ("north", "south"))
    trust_each_other(north, south)
    return north, south


@cache
def stranger() -> Community:
    """A community that nobody trusts."""
    return create_community(own_folder("xdsi-certificates-"), "Stranger")


@cache
def provider(community: Community) -> AssertionIssuer:
    """The assertion provider of a community, its key loaded."""
    return AssertionIssuer.load(community.issuer, community.provider.key, community.provider.certificate)


def assertion_for(name_id: str, community: Community | None = None, **content: Any) -> bytes:
    """A signed assertion about a clinician: a radiologist of North unless `content` says otherwise."""
    said: dict[str, Any] = {
        "roles": (RADIOLOGIST,),
        "purposes": (TREATMENT,),
        "organization": "North Hospital",
        "organization_ids": ("urn:oid:2.999.7",),
        "audience": AUDIENCE,
    }
    return provider(community or communities()[0]).sign(AssertionContent(name_id=name_id, **said | content))


def bearer(assertion: bytes) -> str:
    """The assertion as a bearer token."""
    return urlsafe_b64encode(assertion).rstrip(b"=").decode()


def node_of(path: Path, address: str = "192.0.2.7"):
    """The node that shows the certificate in a PEM file."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return node_from_der(certificate.public_bytes(Encoding.DER), address)


def now() -> datetime:
    return datetime.now(UTC)


def certificate_of(key: Any, *, pem: bool = False) -> Any:
    """A self-signed certificate of any private key, as object or PEM."""
    name = x509.Name.from_rfc4514_string("CN=test")
    moment = now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=30))
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) if pem else certificate
