"""Handshakes in memory: who gets through, and which mistakes in the settings are told how."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from shared.security.peer_certificate import node_from_der
from shared.security.tls import client_context, server_context
from shared.settings import SettingsError, TlsSettings
from tests.support.certificates import communities, stranger
from xdsi.certificates import create_node

NORTH, SOUTH = communities()


def settings_of(community) -> TlsSettings:
    return TlsSettings(**community.settings()["tls"])


def shake(client: ssl.SSLContext, server: ssl.SSLContext, host: str = "localhost"):
    """Both ends of a handshake, over memory; raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = client.wrap_bio(to_client, to_server, server_hostname=host)
    listening = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [calling, listening]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return calling, listening


def test_two_nodes_know_each_other_by_their_certificates():
    calling, listening = shake(client_context(settings_of(NORTH)), server_context(settings_of(SOUTH)))

    assert node_from_der(listening.getpeercert(True), "x").subject == "CN=North node,O=North"
    assert node_from_der(calling.getpeercert(True), "x").subject == "CN=South node,O=South"
    assert calling.version() == "TLSv1.3"
    assert calling.compression() is None


def test_tls_12_uses_ephemeral_keys_and_gcm():
    client = client_context(settings_of(NORTH))
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    calling, _ = shake(client, server_context(settings_of(SOUTH)))

    name, version, _ = calling.cipher()
    assert version == "TLSv1.2"
    assert name.startswith("ECDHE-")
    assert "GCM" in name or "CHACHA20" in name


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_11_is_refused():
    client = client_context(settings_of(NORTH))
    client.minimum_version = ssl.TLSVersion.TLSv1_1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError):
        shake(client, server_context(settings_of(SOUTH)))


def test_a_suite_without_forward_secrecy_is_refused():
    client = client_context(settings_of(NORTH))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("kRSA:ECDHE+SHA256")

    with pytest.raises(ssl.SSLError):
        shake(client, server_context(settings_of(SOUTH)))


def test_a_client_without_certificate_does_not_get_through():
    client = ssl.create_default_context(cafile=SOUTH.trust)

    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake(client, server_context(settings_of(SOUTH)))


def test_a_client_of_a_stranger_does_not_get_through():
    other = settings_of(stranger())
    client = client_context(TlsSettings(certificate=other.certificate, key=other.key, trust=SOUTH.trust))

    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, server_context(settings_of(SOUTH)))


def test_a_server_of_a_stranger_is_not_believed():
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(settings_of(NORTH)), server_context(settings_of(stranger())))


def naming(community) -> ssl.SSLContext:
    return client_context(settings_of(community).model_copy(update={"check_host_names": True}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_server_is_believed_for_the_hosts_of_its_certificate(host):
    shake(naming(NORTH), server_context(settings_of(SOUTH)), host)


@pytest.mark.parametrize("host", ["registry.example", "South node", "127.0.0.2"])
def test_with_host_names_checked_a_server_is_not_believed_for_another_host(host):
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(naming(NORTH), server_context(settings_of(SOUTH)), host)


def test_without_that_option_a_node_of_the_community_is_believed_under_any_name():
    shake(client_context(settings_of(NORTH)), server_context(settings_of(SOUTH)), "registry.example")


def test_an_installed_certificate_is_believed_without_its_authority(tmp_path: Path):
    node = create_node(tmp_path, "Installed", authority=stranger().authority)
    trust = tmp_path / "trust.pem"
    trust.write_bytes(node.certificate.read_bytes() + SOUTH.authority.certificate.read_bytes())
    server = server_context(TlsSettings(certificate=SOUTH.node.certificate, key=SOUTH.node.key, trust=trust))

    client = client_context(TlsSettings(certificate=node.certificate, key=node.key, trust=SOUTH.trust))
    _, listening = shake(client, server)

    assert node_from_der(listening.getpeercert(True), "x").subject == "CN=Installed,O=Stranger"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(
            client_context(
                TlsSettings(
                    certificate=stranger().node.certificate, key=stranger().node.key, trust=SOUTH.trust
                )
            ),
            server,
        )


def test_sessions_are_not_resumed():
    client, server = client_context(settings_of(NORTH)), server_context(settings_of(SOUTH))
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    calling, _ = shake(client, server)

    assert server.num_tickets == 0
    assert calling.session is None or not calling.session.has_ticket


# --- settings -----------------------------------------------------------------------------------------


def mistaken(**changes) -> str:
    given = settings_of(NORTH).model_dump() | changes
    with pytest.raises(SettingsError) as refused:
        server_context(TlsSettings(**given))
    return str(refused.value)


def test_a_key_of_another_certificate_is_told():
    assert mistaken(key=SOUTH.node.key).startswith("XDSI_TLS__KEY")


def test_an_encrypted_key_is_told_and_nobody_is_asked(tmp_path: Path):
    key = load_pem_private_key(NORTH.node.key.read_bytes(), None)
    encrypted = tmp_path / "node.key"
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    assert "encrypted" in mistaken(key=encrypted)


@pytest.mark.parametrize("name", ["certificate", "key", "trust"])
def test_an_absent_or_empty_file_is_told(tmp_path: Path, name: str):
    empty = tmp_path / "empty.pem"
    empty.write_text("")

    assert mistaken(**{name: tmp_path / "absent.pem"}).startswith(f"XDSI_TLS__{name.upper()}")
    assert mistaken(**{name: empty}).startswith(f"XDSI_TLS__{name.upper()}")


@pytest.mark.parametrize("name", ["certificate", "key", "trust"])
def test_all_three_files_are_needed(name: str):
    assert "all three" in mistaken(**{name: None})
