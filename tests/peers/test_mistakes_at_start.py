"""What a service cannot start with is told in one sentence: setting, what is wrong, what would be right."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from repository.store.objects import ObjectBlobs
from shared.settings import S3Settings
from tests.support.forked import run
from tests.support.postgres import fresh_database, postgres_url

__all__ = ["postgres_url"]


def serve(service: str, environment: Mapping[str, str], folder: Path) -> list[str]:
    """The sentences with which it ends."""
    ended = run("serve", service, env={"XDSI_PORT": "0", "XDSI_DATA": str(folder / "var"), **environment})
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    assert "mistake of xdsi itself" not in ended.stderr
    said = [line for line in ended.stderr.splitlines() if line.startswith("xdsi: ")]
    assert said, ended.stderr
    return said


@contextmanager
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("consumer", "CONSUMER__PORT"),
        ("registry", "REGISTRY__MLLP_PORT"),
        ("imaging-source", "IMAGING_SOURCE__DIMSE_PORT"),
        ("audit-repository", "AUDIT_REPOSITORY__SYSLOG_PORT"),
    ],
)
def test_a_port_that_is_in_use_is_told_by_its_setting(tmp_path: Path, service: str, setting: str):
    with taken() as port:
        [said] = serve(service, {f"XDSI_{setting}": port}, tmp_path)
    remedy = "stop what listens there, or choose another port"
    assert said == f"xdsi: XDSI_{setting}: 127.0.0.1 port {port} is in use; {remedy}"


def test_an_address_of_another_machine_is_told_by_its_setting(tmp_path: Path):
    [said] = serve("consumer", {"XDSI_HOST": "127.0.0.1x"}, tmp_path)
    assert said.startswith("xdsi: XDSI_HOST: 127.0.0.1x ")


# --- certificates ------------------------------------------------------------------------------------


def key_file(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> Path:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def certificate_file(path: Path, key: ec.EllipticCurvePrivateKey, *, days: int) -> Path:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    until = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(until - timedelta(days=10)).not_valid_after(until).sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("kind", "setting", "told"),
    [
        ("garbage", "XDSI_TLS__CERTIFICATE", "no readable PEM certificate"),
        ("empty", "XDSI_TLS__CERTIFICATE", "no readable PEM certificate"),
        ("expired", "XDSI_TLS__CERTIFICATE", "expired on"),
        ("early", "XDSI_TLS__CERTIFICATE", "is not valid before"),
        ("another's key", "XDSI_TLS__KEY", "is not the private key of"),
        ("key with a passphrase", "XDSI_TLS__KEY", "is encrypted"),
        ("garbage as key", "XDSI_TLS__KEY", "is not the private key of"),
        ("garbage as trust", "XDSI_TLS__TRUST", "no readable PEM certificate"),
        ("absent", "XDSI_TLS__CERTIFICATE", "is not a file"),
    ],
)
def test_certificates_that_cannot_be_used_are_told_by_their_setting(
    tmp_path: Path, kind: str, setting: str, told: str
):
    own, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    days = {"expired": -1, "early": 15}.get(kind, 5)
    certificate = certificate_file(tmp_path / "certificate.pem", own, days=days)
    trust = certificate_file(tmp_path / "trust.pem", own, days=5)
    key = key_file(
        tmp_path / "key.pem",
        other if kind == "another's key" else own,
        b"geheim" if kind == "key with a passphrase" else b"",
    )
    if kind == "absent":
        certificate.unlink()
    wrong = {"garbage": certificate, "empty": certificate, "garbage as key": key, "garbage as trust": trust}
    if kind in wrong:
        wrong[kind].write_text("" if kind == "empty" else "garbage")
    files = {"CERTIFICATE": certificate, "KEY": key, "TRUST": trust}
    [said] = serve("consumer", {f"XDSI_TLS__{name}": str(path) for name, path in files.items()}, tmp_path)
    assert said.startswith(f"xdsi: {setting}: ")
    assert told in said
    assert ";" in said  # what would be right


# --- databases ---------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_told_by_its_setting(tmp_path: Path):
    url = "postgresql://user:geheim@127.0.0.1:9/xdsi"
    [said] = serve("registry", {"XDSI_DATABASE_URL": url, "XDSI_MLLP_PORT": "0"}, tmp_path)
    assert said.startswith(
        "xdsi: XDSI_REGISTRY__DATABASE_URL: postgresql://127.0.0.1:9/xdsi: PostgreSQL does"
    )
    assert "geheim" not in said


@pytest.mark.peer
async def test_a_database_that_is_absent_or_not_ours_is_told_by_its_setting(
    tmp_path: Path, postgres_url: str
):
    import asyncpg

    url = await fresh_database(postgres_url)
    parts = urlsplit(url)
    absent = parts._replace(path="/absent").geturl()
    [said] = serve("repository", {"XDSI_DATABASE_URL": absent}, tmp_path)
    assert "XDSI_REPOSITORY__DATABASE_URL" in said
    assert "does not exist; make it (createdb), or name another" in said
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP ROLE IF EXISTS guest")
        await connection.execute("CREATE ROLE guest LOGIN")
    finally:
        await connection.close()
    guest = parts._replace(netloc=f"guest@{parts.netloc.rpartition('@')[2]}").geturl()
    [said] = serve("repository", {"XDSI_DATABASE_URL": guest}, tmp_path)
    assert "XDSI_REPOSITORY__DATABASE_URL" in said
    assert "permission denied" in said
    assert "grant CREATE on the database to this user" in said


# --- folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["registry", "repository", "gateway"])
def test_a_data_folder_that_is_a_file_is_told_by_its_setting(tmp_path: Path, service: str):
    (tmp_path / "file").touch()
    [said] = serve(service, {"XDSI_DATA": str(tmp_path / "file")}, tmp_path)
    assert said.startswith("xdsi: XDSI_DATA: ")
    assert said.endswith("name a folder")


def test_up_tells_which_port_is_taken(tmp_path: Path):
    own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    with taken() as port:
        ended = subprocess.run(
            [sys.executable, "-m", "xdsi", "up", "--data", str(tmp_path / "var"), "--offset", "23000"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={**own, "XDSI_AUDIT_REPOSITORY__PORT": port},
        )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith(
        f"xdsi: audit-repository is not ready: XDSI_AUDIT_REPOSITORY__PORT: 127.0.0.1 port {port} is in use"
    )


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.objects._RETRIES", 0)


async def test_an_object_store_that_is_away_is_told_by_the_setting_that_names_it(tmp_path: Path):
    away = S3Settings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="geheim", allow_http=True)
    with pytest.raises(OSError, match=r"does not answer .* is it running\? XDSI_S3__ENDPOINT names it"):
        await ObjectBlobs("s3://bucket/prefix", away, tmp_path).probe()
