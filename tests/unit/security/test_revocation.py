"""Certificates that were taken back, and TLS files that change while a service runs."""

from __future__ import annotations

import os
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.security import tls as module
from shared.security.peer_certificate import fingerprint_of
from shared.security.rights import Rights
from shared.security.tls import client_context, server_context
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from tests.support.certificates import communities, node_of
from xdsi.certificates import (
    Community,
    create_authority,
    create_community,
    create_node,
    renew,
    revoke,
)

NORTH, SOUTH = communities()


@pytest.fixture
def community(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Community:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return create_community(tmp_path / "own", "Own")


def settings(community: Community, **changes) -> TlsSettings:
    return TlsSettings(**community.settings()["tls"] | changes)


def shaken(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, bytes]:
    """Why the server does not take the client or the other way round; and the certificate of the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(8):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return getattr(error, "verify_message", "") or str(error), b""
            waiting.remove(side)
    return "", sides[0].getpeercert(binary_form=True) or b""


def reason(client: TlsSettings, server: TlsSettings) -> str:
    return shaken(client_context(client), server_context(server))[0]


# --- revocation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_revoked_certificate_is_refused_on_either_side_and_others_are_not(community: Community, mode: str):
    stolen = create_node(community.folder, "stolen", authority=community.authority, file_name="stolen")
    lists = revoke(community.folder, stolen.certificate)
    strict = settings(community, revocation=mode, revocation_lists=lists)
    thief = settings(community, certificate=stolen.certificate, key=stolen.key)

    assert reason(thief, strict) == "certificate revoked"
    assert reason(strict, thief) == "certificate revoked"
    assert reason(strict, strict) == ""
    assert reason(thief, settings(community)) == "", "off by default"


def test_what_is_not_known_is_refused_where_it_has_to_be_known_and_else_let_in(community: Community):
    both = b"".join(one.authority.certificate.read_bytes() for one in (community, NORTH))
    community.trust.write_bytes(both)
    lists = revoke(community.folder)
    other = TlsSettings(**NORTH.settings()["tls"] | {"trust": community.trust})

    soft = settings(community, revocation="soft", revocation_lists=lists)
    hard = settings(community, revocation="hard", revocation_lists=lists)
    assert reason(other, soft) == ""
    assert "no revocation list of its authority" in reason(other, hard)


def test_a_list_that_is_over_says_nothing(community: Community):
    lists = revoke(community.folder, now=datetime.now(UTC) - timedelta(days=400))

    assert reason(settings(community), settings(community, revocation="soft", revocation_lists=lists)) == ""
    hard = settings(community, revocation="hard", revocation_lists=lists)
    assert "has expired" in reason(settings(community), hard)


def test_a_list_that_no_trusted_authority_signed_is_refused(community: Community, tmp_path: Path):
    other = create_community(tmp_path / "other", "Own")  # another key, the same name
    lists = revoke(other.folder)

    with pytest.raises(SettingsError, match="no authority of XDSI_TLS__TRUST signed"):
        server_context(settings(community, revocation="hard", revocation_lists=lists))


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN X509 CRL-----\nxx\n-----END X509 CRL-----\n"]
)
def test_a_file_that_is_no_list_is_told(community: Community, content: bytes):
    path = community.folder / "crl.pem"
    path.write_bytes(content)

    with pytest.raises(SettingsError, match="XDSI_TLS__REVOCATION_LISTS"):
        server_context(settings(community, revocation="soft", revocation_lists=path))


def test_a_list_in_der_is_read_too(community: Community):
    path = revoke(community.folder, community.node.certificate)
    path.write_bytes(x509.load_pem_x509_crl(path.read_bytes()).public_bytes(Encoding.DER))

    hard = settings(community, revocation="hard", revocation_lists=path)
    assert reason(hard, hard) == "certificate revoked"


def test_revoking_again_keeps_what_was_revoked_before(community: Community):
    first, second = (
        create_node(community.folder, name, authority=community.authority, file_name=name) for name in "ab"
    )
    revoke(community.folder, first.certificate)
    path = revoke(community.folder, second.certificate)

    crl = x509.load_pem_x509_crl(path.read_bytes())
    assert len(crl) == 2
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2


def test_only_what_the_authority_issued_is_revoked_by_it(community: Community):
    with pytest.raises(ValueError, match="was not issued"):
        revoke(community.folder, NORTH.node.certificate)


# --- files that change ----------------------------------------------------------------------------------


def test_a_renewed_certificate_is_shown_without_a_restart_by_both_sides(community: Community):
    client, server = client_context(settings(community)), server_context(settings(community))
    assert shaken(client, server)[0] == ""
    before = fingerprint_of(community.node.certificate)

    renew(community.folder, new_key=True)

    failure, shown = shaken(client, server)
    assert failure == ""
    assert fingerprint_of(community.node.certificate) != before
    assert shown == x509.load_pem_x509_certificate(community.node.certificate.read_bytes()).public_bytes(
        Encoding.DER
    )


def test_a_renewed_certificate_is_our_own_and_the_one_before_still_is(
    community: Community, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.security.rights.LOOK_SECONDS", 0.0)
    rights = Rights(ServiceSettings(**community.settings()))
    before = node_of(community.node.certificate)
    renew(community.folder)
    after = node_of(community.node.certificate)

    assert before != after
    assert rights.community(after)
    assert rights.community(before)


def test_an_authority_that_is_taken_out_of_the_trust_file_is_not_believed_any_more(community: Community):
    server = server_context(settings(community))
    theirs = client_context(TlsSettings(**NORTH.settings()["tls"] | {"trust": community.trust}))
    own = community.trust.read_bytes()
    assert shaken(theirs, server)[0] != ""

    community.trust.write_bytes(own + NORTH.authority.certificate.read_bytes())
    assert shaken(theirs, server)[0] == ""

    community.trust.write_bytes(own)
    assert shaken(theirs, server)[0] != ""


@pytest.mark.parametrize("name", ["certificate", "key", "trust", "revocation_lists"])
@pytest.mark.parametrize("content", [b"", b"rubbish", None], ids=["empty", "rubbish", "gone"])
def test_a_changed_file_that_cannot_be_used_leaves_what_was_there_before(
    community: Community, name: str, content: bytes | None, caplog: pytest.LogCaptureFixture
):
    given = settings(community, revocation="hard", revocation_lists=revoke(community.folder))
    client, server = client_context(given), server_context(given)
    path: Path = getattr(given, name)
    good = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    assert shaken(client, server)[0] == ""
    assert "cannot be used" in caplog.text

    path.write_bytes(good)
    os.utime(path, (1, 1))
    assert shaken(client, server)[0] == ""


def test_a_revocation_takes_effect_without_a_restart(community: Community):
    stolen = create_node(community.folder, "stolen", authority=community.authority, file_name="stolen")
    given = settings(community, revocation="hard", revocation_lists=revoke(community.folder))
    server = server_context(given)
    thief = client_context(settings(community, certificate=stolen.certificate, key=stolen.key))
    assert shaken(thief, server)[0] == ""

    revoke(community.folder, stolen.certificate)

    assert shaken(thief, server)[0] == "certificate revoked"


def test_what_is_set_of_a_context_holds_after_its_files_changed(community: Community):
    client, server = client_context(settings(community)), server_context(settings(community))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    renew(community.folder)

    assert shaken(client, server)[0] != ""


def test_the_key_of_an_authority_that_is_elsewhere_is_told(tmp_path: Path):
    create_authority(tmp_path, "Own")
    (tmp_path / "ca.key").unlink()

    with pytest.raises(OSError, match=r"ca\.key"):
        revoke(tmp_path)
    shutil.rmtree(tmp_path)
