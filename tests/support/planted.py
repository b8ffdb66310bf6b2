"""Misconfigurations, planted one at a time into a community that is well, and who finds them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.http import server
from shared.store.space import Space
from xdsi.checks import storage
from xdsi.cli import main
from xdsi.community import PORTS, Addresses, environment
from xdsi.stage import free_ports

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass(slots=True)
class World:
    """A community at ports that nobody uses; `env` are its settings, which a plant changes."""

    folder: Path
    call: Callable[..., Ended]
    env: dict[str, str] = field(default_factory=dict)
    config: str = ""

    def file(self, name: str, content: str | bytes) -> str:
        """A file with that content; its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def port(self, name: str) -> str:
        """The port behind a setting."""
        return self.env[f"XDSI_{name}"]

    def secure(self, **certificate: Any) -> None:
        """Mutual TLS everywhere, with a node certificate that is as `certificate` says."""
        authority = authority_of("North")
        key, node = issued("node", authority, **certificate)
        self.env |= {
            "XDSI_TLS__CERTIFICATE": self.file("node.pem", node),
            "XDSI_TLS__KEY": self.file("node.key", pem_of(key)),
            "XDSI_TLS__TRUST": self.file("trust.pem", authority.certificate),
            "XDSI_ASSERTION__ISSUERS": json.dumps({"urn:oid:2.999.5": self.file("idp.pem", node)}),
        }
        (self.folder / "node.key").chmod(0o600)
        for name, value in self.env.items():
            self.env[name] = value.replace("http://", "https://").replace("tcp://", "tls://")

    def doctor(self, service: str) -> list[dict[str, str]]:
        """What the doctor finds wrong or doubtful."""
        words = [*self._options(), "--json", *(("--service", service) if service else ())]
        ended = self.call(self.env, "doctor", *words)
        assert "Traceback" not in ended.err
        findings: list[dict[str, str]] = json.loads(ended.out)
        wrong = [one for one in findings if one["severity"] != "ok"]
        assert ended.status == int(any(one["severity"] == "error" for one in wrong))
        assert all(one["remedy"] for one in wrong)
        return wrong

    def serve(self, service: str) -> Ended:
        """How a service ends: by its refusal, or with status 0 as soon as it is ready."""
        ended = self.call(self.env, "serve", service, *self._options())
        assert "Traceback" not in ended.err
        assert "mistake of xdsi itself" not in ended.err
        return ended

    def _options(self) -> list[str]:
        return ["--config", self.config] if self.config else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A community that is well and does not run."""
    for name in [name for name in os.environ if name.upper().startswith("XDSI_")]:
        monkeypatch.delenv(name)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    monkeypatch.setattr("xdsi.community.PORTS", ports)
    monkeypatch.setattr("shared.store.objects._RETRIES", 0)
    monkeypatch.setattr(server, "_until", _at_once)
    monkeypatch.setattr(server, "collect_seldom", lambda: None)
    # However full the disk of this machine is.
    monkeypatch.setattr(storage, "space_of", lambda _: Space(free_bytes=2 * 1024**3, total_bytes=1024**4))
    monkeypatch.chdir(tmp_path)
    before, hook = os.umask(0o077), sys.excepthook

    def call(env: Mapping[str, str], *words: str) -> Ended:
        with monkeypatch.context() as patched:
            for name, value in env.items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["xdsi", *words])
            try:
                main()
                status = 0
            except SystemExit as ended:
                status = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    made = World(tmp_path, call)
    made.env = environment(Addresses(), tmp_path / "var")
    yield made
    os.umask(before)
    sys.excepthook = hook


async def _at_once(signalled: Any, running: server.RunningServer, *_: object) -> None:
    """As if the signal to stop came as soon as the service is ready."""
    await running.stop(0)


# --- certificates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs; its certificate as PEM."""

    name: x509.Name
    key: Key
    certificate: bytes


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(name: x509.Name, issuer: x509.Name, key: Key, begins: int, ends: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
    )


@cache
def authority_of(name: str, signed_by: str = "", *, ends: int = 400) -> Authority:
    """An authority, signed by itself or by another one."""
    key = ec.generate_private_key(ec.SECP256R1())
    by = authority_of(signed_by) if signed_by else Authority(_name(name), key, b"")
    builder = _builder(_name(name), by.name, key, -10, ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(_name(name), key, builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.PEM))


def issued(
    name: str,
    by: Authority | None,
    *,
    begins: int = -5,
    ends: int = 300,
    usages: tuple[str, ...] = ("SERVER_AUTH", "CLIENT_AUTH"),
    hosts: tuple[str, ...] = ("127.0.0.1",),
    key: Key | None = None,
) -> tuple[Key, bytes]:
    """A key and its certificate as PEM, signed by an authority or, without one, by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = by or Authority(_name(name), key, b"")
    addresses = [x509.IPAddress(ip_address(host)) for host in hosts if host[0].isdigit()]
    names = [x509.DNSName(host) for host in hosts if not host[0].isdigit()]
    builder = (
        _builder(_name(name), signer.name, key, begins, ends)
        .add_extension(x509.SubjectAlternativeName([*addresses, *names]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, usage) for usage in usages]), critical=False
        )
    )
    return key, builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def pem_of(key: Key, passphrase: bytes = b"") -> bytes:
    """A private key as PEM."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
