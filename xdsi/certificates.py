"""Certificates for trying out: a community's authority, its node certificate and its assertion provider.

For demonstrations, tests and first deployments; a production community brings its own. Keys are EC P-256,
readable by their owner alone. What exists and is still good is kept, so that a folder can be prepared at
every start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    load_pkcs12,
    serialize_key_and_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.store.folders import make_folder, sync

HOSTS = ("localhost", "127.0.0.1", "::1")
AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=730)
RENEWAL = timedelta(days=30)
#: For how long a revocation list holds; to be made anew before.
LIST_LIFETIME = timedelta(days=90)
# Browsers import nothing without one. It keeps no secret: the same key lies beside without.
PASSWORD = "xdsi"  # noqa: S105
# Clocks of machines that try things out together differ by more than those of a hospital.
_BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The PEM files of a certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """The PEM files of one community, all in `folder`.

    `trust` holds the authorities that its nodes believe: its own, and those added by `trust_each_other`.
    `issuer` is the URI of its assertion provider, whose certificate signs for itself and is believed by
    configuration alone. `bundle` has the node's certificate and key as PKCS #12, for browsers, under
    `PASSWORD`.
    """

    name: str
    folder: Path
    authority: Pair
    node: Pair
    provider: Pair
    trust: Path
    issuer: str
    bundle: Path

    def settings(self, *believed: Community) -> dict[str, Any]:
        """Settings `tls` and `assertion` of our services, which believe the providers of `believed` too."""
        issuers = {each.issuer: str(each.provider.certificate) for each in (self, *believed)}
        return {
            "tls": {
                "certificate": str(self.node.certificate),
                "key": str(self.node.key),
                "trust": str(self.trust),
            },
            "assertion": {
                "issuers": issuers,
                "issuer": self.issuer,
                "key": str(self.provider.key),
                "certificate": str(self.provider.certificate),
            },
        }


def create_community(folder: Path, name: str, hosts: Sequence[str] = HOSTS) -> Community:
    """Make what is absent of the certificates of the community `name` in `folder`.

    A node or provider certificate is made anew when it expires within a month, was not issued by the
    authority here, or does not name all `hosts` (DNS names and IP addresses). Existing keys of the authority
    are never replaced. A folder keeps the name under which it was made first: others believe its provider
    under that.

    Raises
    ------
    ValueError
        A PEM file in the folder cannot be read.
    """
    authority = create_authority(folder, name)
    name = _organization(_certificate(authority.certificate))
    node = create_node(folder, f"{name} node", hosts=hosts, authority=authority)
    provider = _create_provider(folder, name)
    trust = folder / "trust.pem"
    if not trust.exists():
        _write(trust, authority.certificate.read_bytes(), mode=0o644)
    bundle = folder / "node.p12"
    if not _is_bundle_of(bundle, node, authority):
        _write(bundle, _bundled(node, authority), mode=0o600)
    return Community(
        name=name,
        folder=folder,
        authority=authority,
        node=node,
        provider=provider,
        trust=trust,
        issuer=f"urn:xdsi:assertion-provider:{_label(name)}",
        bundle=bundle,
    )


def trust_each_other(*communities: Community) -> None:
    """Let each community's nodes believe the authorities of all `communities`: a bundle in its trust file."""
    bundle = b"".join(community.authority.certificate.read_bytes() for community in communities)
    for community in communities:
        _write(community.trust, bundle, mode=0o644)


def create_authority(folder: Path, name: str) -> Pair:
    """The authority of the community `name`, in `ca.pem` and `ca.key`; it signs nodes and no authority."""
    pair = Pair(certificate=folder / "ca.pem", key=folder / "ca.key")
    if not pair.certificate.exists():
        key = _key(pair.key)
        subject = _name(name, "authority")
        builder = _builder(subject, subject, key, AUTHORITY_LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        _write(pair.certificate, builder.sign(key, SHA256()).public_bytes(Encoding.PEM), mode=0o644)
    return pair


def create_node(
    folder: Path, common_name: str, *, authority: Pair, hosts: Sequence[str] = HOSTS, file_name: str = "node"
) -> Pair:
    """A certificate of `authority` for both ends of a connection, in `<file_name>.pem` and `.key`."""
    pair = Pair(certificate=folder / f"{file_name}.pem", key=folder / f"{file_name}.key")
    issuer = _certificate(authority.certificate)
    if not _good(pair, issuer, hosts):
        _write_node(pair, common_name, _key(pair.key), authority=authority, hosts=hosts)
    return pair


def _write_node(
    pair: Pair, common_name: str, key: ec.EllipticCurvePrivateKey, *, authority: Pair, hosts: Sequence[str]
) -> None:
    issuer = _certificate(authority.certificate)
    builder = _builder(_name(_organization(issuer), common_name), issuer.subject, key, CERTIFICATE_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)),
        critical=False,
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(issuer)), critical=False
    )
    certificate = builder.sign(_private(authority.key), SHA256())
    _write(pair.certificate, certificate.public_bytes(Encoding.PEM), mode=0o644)


def renew(folder: Path, *, new_key: bool = False) -> tuple[Path, ...]:
    """Make the certificates of the node and the assertion provider in `folder` anew, before their time; what
    was made. With `new_key` their keys too. Hosts stay as they were.

    Raises
    ------
    OSError, ValueError
        There is no authority with its key, or a PEM file cannot be read.
    """
    authority = Pair(certificate=folder / "ca.pem", key=folder / "ca.key")
    issuer = _certificate(authority.certificate)
    _private(authority.key)
    name = _organization(issuer)
    renewed = []
    for file_name in ("node", "idp"):
        certificate, key = folder / f"{file_name}.pem", folder / f"{file_name}.key"
        if not certificate.exists():
            continue
        pair = Pair(certificate=certificate, key=key)
        private = _new_key(key) if new_key else _key(key)
        if file_name == "node":
            hosts = [str(host.value) for host in sorted(_named(_certificate(certificate)), key=repr)]
            _write_node(pair, f"{name} node", private, authority=authority, hosts=hosts)
        else:
            _write_provider(pair, name, private)
        renewed.append(certificate)
    create_community(folder, name, ())
    return tuple(renewed)


def revoke(folder: Path, *certificates: Path, now: datetime | None = None) -> Path:
    """Take certificates back: add them to the revocation list of the authority in `folder`, `crl.pem`, which
    is signed anew for `LIST_LIFETIME` in any case; its path.

    Raises
    ------
    OSError, ValueError
        There is no authority with its key, a PEM file cannot be read, or a certificate is of another one.
    """
    now = now or datetime.now(UTC)
    issuer, key = _certificate(folder / "ca.pem"), _private(folder / "ca.key")
    path = folder / "crl.pem"
    before = x509.load_pem_x509_crl(path.read_bytes()) if path.exists() else None
    revoked = {one.serial_number: one for one in before or ()}
    for each in map(_certificate, certificates):
        if not _issued_by(each, issuer):
            raise ValueError(f"{each.subject.rfc4514_string()} was not issued by the authority in {folder}")
        revoked.setdefault(
            each.serial_number,
            x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(now).build(),
        )
    number = (
        1
        if before is None
        else before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    )
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now)
        .next_update(now + LIST_LIFETIME)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(issuer)), critical=False)
    )
    for one in revoked.values():
        builder = builder.add_revoked_certificate(one)
    _write(path, builder.sign(key, SHA256()).public_bytes(Encoding.PEM), mode=0o644)
    return path


def revoked_serials(folder: Path) -> frozenset[int]:
    """The serial numbers that the authority in `folder` took back; raises OSError, ValueError."""
    path = folder / "crl.pem"
    if not path.exists():
        return frozenset()
    return frozenset(one.serial_number for one in x509.load_pem_x509_crl(path.read_bytes()))


def _create_provider(folder: Path, name: str) -> Pair:
    pair = Pair(certificate=folder / "idp.pem", key=folder / "idp.key")
    if not _current(pair):
        _write_provider(pair, name, _key(pair.key))
    return pair


def _write_provider(pair: Pair, name: str, key: ec.EllipticCurvePrivateKey) -> None:
    subject = _name(name, "assertion provider")
    builder = _builder(subject, subject, key, CERTIFICATE_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(), critical=True)
    _write(pair.certificate, builder.sign(key, SHA256()).public_bytes(Encoding.PEM), mode=0o644)


def _bundled(node: Pair, authority: Pair) -> bytes:
    certificate = _certificate(node.certificate)
    return serialize_key_and_certificates(
        b"xdsi node",
        _private(node.key),
        certificate,
        [_certificate(authority.certificate)],
        BestAvailableEncryption(PASSWORD.encode()),
    )


def _is_bundle_of(bundle: Path, node: Pair, authority: Pair) -> bool:
    if not bundle.exists():
        return False
    try:
        contents = load_pkcs12(bundle.read_bytes(), PASSWORD.encode())
    except ValueError:
        return False
    certificates = [one.certificate for one in (contents.cert, *contents.additional_certs) if one is not None]
    return certificates == [_certificate(node.certificate), _certificate(authority.certificate)]


# --- what is still good -------------------------------------------------------------------------------


def _good(pair: Pair, issuer: x509.Certificate, hosts: Sequence[str]) -> bool:
    if not _current(pair):
        return False
    certificate = _certificate(pair.certificate)
    return _issued_by(certificate, issuer) and set(map(_host, hosts)) <= _named(certificate)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _named(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _current(pair: Pair) -> bool:
    if not (pair.certificate.exists() and pair.key.exists()):
        return False
    certificate = _certificate(pair.certificate)
    belongs = certificate.public_key() == _private(pair.key).public_key()
    return belongs and certificate.not_valid_after_utc > datetime.now(UTC) + RENEWAL


# --- pieces -------------------------------------------------------------------------------------------


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        (
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        )
    )


def _organization(issuer: x509.Certificate) -> str:
    return str(issuer.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _label(name: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def _public(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the authority's key is not an EC key; remove it to have a new one made")
    return key


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an EC private key; remove it to have a new one made")
    return key


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in `path`, made when absent: a renewed certificate keeps its key."""
    return _private(path) if path.exists() else _new_key(path)


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    return key


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Whole or not at all: written beside and moved into place; a key is never readable by others."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)
