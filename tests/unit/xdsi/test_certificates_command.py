"""`xdsi certificates`: made, listed, renewed and revoked; the folder alone makes what is absent, as ever."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from shared.security.peer_certificate import fingerprint_of
from xdsi.cli import build


def certificates(*words: str | Path):
    return CliRunner().invoke(build("certificates"), ["certificates", *map(str, words)])


def states(folder: Path) -> dict[str, str]:
    listed = json.loads(certificates("list", folder, "--json").output)
    return {one["file"]: one["state"] for one in listed}


def test_certificates_are_made_listed_renewed_and_revoked(tmp_path: Path):
    made = certificates(tmp_path, "Hospital North", "--host", "xds.north.example")
    assert made.exit_code == 0, made.output
    assert "export XDSI_TLS__CERTIFICATE=" in made.output
    assert states(tmp_path) == {"ca.pem": "good", "idp.pem": "good", "node.pem": "good"}
    before = fingerprint_of(tmp_path / "node.pem")
    (tmp_path / "stolen.pem").write_bytes((tmp_path / "node.pem").read_bytes())

    renewed = certificates("renew", tmp_path)
    assert renewed.exit_code == 0, renewed.output
    assert fingerprint_of(tmp_path / "node.pem") != before

    revoked = certificates("revoke", tmp_path, tmp_path / "stolen.pem")
    assert "XDSI_TLS__REVOCATION_LISTS" in revoked.output
    assert states(tmp_path) == {
        "ca.pem": "good",
        "idp.pem": "good",
        "node.pem": "good",
        "stolen.pem": "revoked",
    }


def test_what_is_no_authority_or_no_certificate_is_told(tmp_path: Path):
    (tmp_path / "rubbish.pem").write_text("rubbish")
    for words in (("renew", tmp_path), ("revoke", tmp_path), ("list", tmp_path)):
        ended = certificates(*words)
        assert ended.exit_code == 1
