"""Certificates for trying out: complete, private, kept, and renewed only when they must be."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from xdsi import certificates
from xdsi.certificates import create_community, create_node, trust_each_other


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def test_a_community_has_its_files_and_its_keys_are_its_own(tmp_path):
    community = create_community(tmp_path, "North")

    assert sorted(contents(tmp_path)) == [
        "ca.key",
        "ca.pem",
        "idp.key",
        "idp.pem",
        "node.key",
        "node.p12",
        "node.pem",
        "trust.pem",
    ]
    for pair in (community.authority, community.node, community.provider):
        assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600


def test_a_second_start_changes_nothing(tmp_path):
    first = create_community(tmp_path, "North")
    before = contents(tmp_path)

    assert create_community(tmp_path, "North") == first
    assert contents(tmp_path) == before


def test_what_is_lost_is_made_again(tmp_path):
    create_community(tmp_path, "North")
    before = contents(tmp_path)
    (tmp_path / "node.pem").unlink()
    (tmp_path / "idp.key").unlink()

    create_community(tmp_path, "North")

    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"node.pem", "node.p12", "idp.key", "idp.pem"}


def test_a_certificate_near_its_end_is_renewed_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "CERTIFICATE_LIFETIME", timedelta(days=20))
    old = create_community(tmp_path, "North")
    before = certificate(old.node.certificate)
    monkeypatch.undo()

    new = certificate(create_community(tmp_path, "North").node.certificate)

    assert new.not_valid_after_utc > before.not_valid_after_utc
    assert new.public_key() == before.public_key()


def test_new_hosts_are_added(tmp_path):
    create_community(tmp_path, "North")

    node = create_community(tmp_path, "North", hosts=("registry.north.example", "192.0.2.7")).node

    names = certificate(node.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["registry.north.example"]
    assert [str(each) for each in names.value.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_a_node_of_another_authority_is_not_kept(tmp_path):
    north, south = (create_community(tmp_path / name, name) for name in ("North", "South"))
    before = certificate(north.node.certificate)

    create_node(tmp_path / "North", "North node", authority=south.authority)

    after = certificate(north.node.certificate)
    after.verify_directly_issued_by(certificate(south.authority.certificate))
    assert after != before


def test_an_authority_signs_no_other_authority(tmp_path):
    authority = certificate(create_community(tmp_path, "North").authority.certificate)

    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_trust_is_a_bundle_and_survives_the_next_start(tmp_path):
    north, south = (create_community(tmp_path / name, name) for name in ("North", "South"))
    trust_each_other(north, south)
    create_community(tmp_path / "North", "North")

    believed = x509.load_pem_x509_certificates(north.trust.read_bytes())

    assert believed == [certificate(north.authority.certificate), certificate(south.authority.certificate)]
    assert north.trust.read_bytes() == south.trust.read_bytes()


def test_settings_believe_the_named_communities(tmp_path):
    north, south = (create_community(tmp_path / name, name) for name in ("North", "South"))

    assert set(north.settings()["assertion"]["issuers"]) == {north.issuer}
    assert set(north.settings(south)["assertion"]["issuers"]) == {north.issuer, south.issuer}


def test_a_file_that_is_no_certificate_is_told_and_left(tmp_path):
    create_community(tmp_path, "North")
    (tmp_path / "node.pem").write_text("mine")

    with pytest.raises(ValueError, match="PEM"):
        create_community(tmp_path, "North")

    assert (tmp_path / "node.pem").read_text() == "mine"
