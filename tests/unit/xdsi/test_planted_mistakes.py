"""Each misconfiguration is found by its name and with its remedy: by `xdsi doctor`, and by `xdsi serve` as
far as a service that is about to start can know of it.

Those that take a peer of another kind (PostgreSQL, an object store, TLS servers) are planted in
tests/peers/test_planted_peers.py.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from audit_repository.store.signing import PRIVATE
from shared.store.space import Space
from tests.support.planted import World, authority_of, issued, pem_of, world
from xdsi.checks import storage
from xdsi.services import Service

__all__ = ["world"]

WEST = "urn:oid:2.999.2"


@dataclass(frozen=True, slots=True)
class Planted:
    """A misconfiguration: what it changes, which setting is to be named, and words of the remedy."""

    about: str
    plant: Callable[[World], object]
    setting: str
    remedy: str
    check: str = "settings"
    service: str = "repository"
    at_serve: bool = True


def given(name: str, value: str, remedy: str, service: str = "repository", **more: str) -> Planted:
    """A value that a setting does not take."""
    others = {f"XDSI_{other}": text for other, text in more.items()}

    def plant(world: World) -> None:
        world.env |= {f"XDSI_{name}": value, **others}

    return Planted(f"{name}={value[:40]}", plant, f"XDSI_{name}", remedy, service=service)


def configured(about: str, text: str, setting: str, remedy: str) -> Planted:
    """A line of a file that is none."""

    def plant(world: World) -> None:
        world.config = world.file("xdsi.toml", text)

    return Planted(about, plant, setting, remedy)


def of_file(
    name: str, content: str | bytes, remedy: str, check: str, service: str = "repository", **more: str
):
    """A setting that names a file which is not what it should be."""

    def plant(world: World) -> None:
        path = world.file("planted", content)
        form = more.get("form", "{}")
        world.env[f"XDSI_{name}"] = form.replace("{}", path)
        world.env |= {f"XDSI_{other}": text for other, text in more.items() if other != "form"}

    return Planted(f"{name} names a file of another content", plant, f"XDSI_{name}", remedy, check, service)


def secured(about: str, setting: str, remedy: str, check: str, *, at_serve: bool = True, **certificate):
    """A node certificate that does not do."""
    return Planted(
        about, lambda world: world.secure(**certificate), setting, remedy, check, at_serve=at_serve
    )


SETTINGS = (
    given("REPOSITORY__PORT", "many", "write one in digits"),
    given("REPOSITORY__PORT", "80000", "docs/settings.md"),
    given("HOST", "http://127.0.0.1", "write an address"),
    given("HOST", "0.0.0.0", "listen on 127.0.0.1"),
    given("HOST", "192.0.2.300", "write an address"),
    given("XUA", "sometimes", "docs/settings.md"),
    given("LOG_LEVEL", "LOUD", "docs/settings.md"),
    given("AFFINITY_DOMAIN", "hospital", "for example 2.999.1.2"),
    given("HOME_COMMUNITY_ID", "2.999.1", "write urn:oid:"),
    given("REPOSITORY_UNIQUE_ID", "1.2.03", "without leading zeros"),
    given("RETRIEVE_LOCATION_UID", "1." + "2" * 70, "at most 64", "imaging-source"),
    given("AE_TITLE", "A TITLE THAT IS TOO LONG", "1 to 16 characters", "imaging-source"),
    given("CALLING_AE_TITLES", r'["A\\B"]', "1 to 16 characters", "imaging-source"),
    given("REGISTRY_URL", "registry.example:8010", "write http://host:port/path"),
    given("PUBLIC_URL", "ftp://host/", "write http://host:port/path"),
    given("HOST_NAMES", '["https://host"]', "write an address"),
    given("TRUSTED_ORIGINS", '["https://host/path"]', "write scheme://host"),
    given("REGISTRY_URLS", '{"ITI-18": "registry"}', "write http://host:port/path"),
    given("CONSENT__MAX_AGE_SECONDS", "nan", "write one in digits"),
    given("CONSENT__MAX_AGE_SECONDS", "90", "docs/settings.md"),
    given("RETRY_SECONDS", "5 s", "write one in digits"),
    given("GRACE_SECONDS", "-1", "docs/settings.md"),
    given("AUDIT__SPOOL_MAX_BYTES", "5GB", "write one in digits"),
    given("TLS__CHECK_HOST_NAMES", "perhaps", "write one of them"),
    given("COMMUNITY_NODES", "CN=node", 'write ["a", "b"]'),
    given("COMMUNITY_NODES", "[CN=node", "write a list as"),
    given("ASSERTION__ISSUERS", '{" provider": "/nowhere"}', "as saml:Issuer"),
    given("AUDIT__URL", "http://127.0.0.1:6514", "write tls://host:6514"),
    given("AUDIT__URL", "tcp://192.0.2.1:6514", "write tls://host:6514"),
    given("STORAGE_URL", "documents", "write one of these forms"),
    given("S3__ENDPOINT", "http://127.0.0.1:9000", "XDSI_S3__ALLOW_HTTP"),
    given("S3__ACCESS_KEY", "xdsi", "set XDSI_S3__SECRET_KEY too"),
    given("S3__SECRET_KEY", "secret", "set XDSI_S3__ACCESS_KEY too"),
    given("ADMINISTRATOR_ROLES", '["ADMIN"]', "write code^^scheme"),
    given("DATABASE_URL", "mysql://db/xdsi", "write postgresql://"),
    given("DATABASE_URL__FILE", "/nowhere", "name another file"),
    given("CONSENT__POLICIES", "/nowhere", "name the JSON file", CONSENT__SOURCE="policies"),
    given("WIRE_FOLDER", "wire", "remove it", PUBLIC_URL="http://host.example/"),
    given("FEED_CHARSET", "KLINGON", "known:", "registry"),
    given("FIXED_ATTRIBUTES", '["colour"]', "known:", "registry"),
    given("VALUE_SETS", "/nowhere", "XDSI_VALUE_SETS", "registry"),
    given("PUBLISHING__TIMEZONE", "Vienna", "Europe/Vienna", "imaging-source"),
    given("DEFAULT_CHARACTER_SET", "KLINGON", "docs/settings.md", "imaging-source"),
    given("DICOMWEB_PEERS", '["http://host/dicomweb"]', "write scheme://host", "consumer"),
    given("COMMUNITIES", '{"west": "https://west/"}', "write urn:oid:", "gateway"),
    given("COMMUNITIES", json.dumps({WEST: "west"}), "write https://host:port/path", "gateway"),
    given("COMMUNITY_GATEWAYS", json.dumps({WEST: "CN=a"}), "set XDSI_TLS__CERTIFICATE", "gateway"),
    given("RESPONDING_GATEWAYS", json.dumps({WEST: "CN=a"}), "name its URL there", "gateway"),
    given("PATIENT_LINKS", "/nowhere", "name a CSV file", "gateway"),
    given("REPOSITRY_UNIQUE_ID", "2.999.1", "did you mean XDSI_REPOSITORY_UNIQUE_ID?"),
    given("TLS__CERTIFICATE", "/nowhere.pem", "name a PEM file"),
    configured("an unknown key", 'storage_ulr = "file:///srv"', "XDSI_STORAGE_ULR", "XDSI_STORAGE_URL?"),
    configured("an unknown table", "[repo]\nport = 1", "XDSI_REPO__PORT", "did you mean"),
    configured("a table that is none", "repository = 5", "XDSI_REPOSITORY", "table of them"),
    configured("what is no TOML", "host = [", "--config", 'name = "value"'),
)


def _a_file_in_its_place(world: World) -> None:
    world.env["XDSI_DATA"] = world.file("occupied", "")


def _storage_at_a_file(world: World) -> None:
    world.env["XDSI_STORAGE_URL"] = Path(world.file("occupied", "")).as_uri()


def _a_file_in_its_own_place(world: World) -> None:
    Path(world.env["XDSI_DATA"]).mkdir()
    (Path(world.env["XDSI_DATA"]) / "repository").touch()


def _wire_at_a_file(world: World) -> None:
    world.env["XDSI_WIRE_FOLDER"] = world.file("occupied", "")


def _where_nothing_can_be_written(world: World) -> None:
    world.env["XDSI_DATA"] = "/proc/xdsi"


def _signing_key(world: World) -> None:
    folder = Path(world.env["XDSI_DATA"]) / "audit-repository"
    folder.mkdir(parents=True)
    (folder / PRIVATE).write_text("rubbish")


def _provider_by_halves(world: World) -> None:
    world.env["XDSI_ASSERTION__ISSUER"] = "urn:oid:2.999.5"


def _provider_of_another_key(world: World) -> None:
    (_, certificate), (other, _) = issued("provider", None), issued("provider", None)
    world.env |= {
        "XDSI_ASSERTION__ISSUER": "urn:oid:2.999.5",
        "XDSI_ASSERTION__KEY": world.file("idp.key", pem_of(other)),
        "XDSI_ASSERTION__CERTIFICATE": world.file("idp.pem", certificate),
    }


def _weak_issuer(world: World) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    _, certificate = issued("provider", None, key=weak)
    world.env["XDSI_ASSERTION__ISSUERS"] = json.dumps({"urn:oid:2.999.5": world.file("w.pem", certificate)})


FILES = (
    Planted("the data folder is a file", _a_file_in_its_place, "XDSI_DATA", "name a folder", "data-folder"),
    Planted(
        "the service's folder is a file",
        _a_file_in_its_own_place,
        "XDSI_DATA",
        "name a folder",
        "data-folder",
    ),
    Planted(
        "messages are kept in a file", _wire_at_a_file, "XDSI_WIRE_FOLDER", "name a folder", "wire-folder"
    ),
    Planted(
        "nothing can be written in the data folder",
        _where_nothing_can_be_written,
        "XDSI_DATA",
        "name a folder that can be written",
        "data-folder",
    ),
    Planted(
        "documents are to be kept in a file",
        _storage_at_a_file,
        "XDSI_STORAGE_URL",
        "name a folder",
        "documents",
    ),
    of_file("ENCRYPTION_KEYS", b"short", "32 bytes", "encryption-keys", form='["{}"]'),
    of_file("ENCRYPTION_KEY_COMMAND", b"", "gives no key", "encryption-keys", form='["{}"]'),
    of_file("CONSENT__POLICIES", "{", "JSON", "policies", CONSENT__SOURCE="policies"),
    of_file("S3__TRUST", "rubbish", "PEM certificate", "object-store"),
    of_file("VALUE_SETS", "rubbish", "XDSI_VALUE_SETS", "settings", "registry"),
    of_file("PATIENT_LINKS", "a,b\n", "correct it", "patient-links", "gateway"),
    of_file(
        "ASSERTION__ISSUERS", "rubbish", "PEM certificate", "assertions", form='{"urn:oid:2.999.5": "{}"}'
    ),
    of_file("TOKEN__ISSUERS", "rubbish", "JWK Set", "tokens", form='{"https://login.example": "{}"}'),
    Planted("an issuer's weak key", _weak_issuer, "XDSI_ASSERTION__ISSUERS", "key", "assertions"),
    Planted(
        "a provider by halves",
        _provider_by_halves,
        "XDSI_ASSERTION__KEY",
        "give all three",
        "assertion-provider",
        "consumer",
    ),
    Planted(
        "a provider with another's key",
        _provider_of_another_key,
        "XDSI_ASSERTION__KEY",
        "name that",
        "assertion-provider",
        "consumer",
    ),
    Planted(
        "a damaged key of the trail",
        _signing_key,
        "XDSI_DATA",
        "restore it from a copy",
        "signing-key",
        "audit-repository",
    ),
)

NODES = tuple(
    Planted(
        f"{name} names no node",
        lambda world, name=name, value=value: (world.secure(), world.env.update({f"XDSI_{name}": value})),
        f"XDSI_{named or name}",
        "RFC 4514",
        check,
        service,
    )
    for name, value, named, check, service in (
        ("COMMUNITY_NODES", '["our node"]', "", "nodes", "repository"),
        ("RIGHTS__SUBMIT", '["our node"]', "", "nodes", "repository"),
        ("SOURCES", '{"pacs": ["our node"]}', "AUDIT_REPOSITORY__SOURCES", "sources", "audit-repository"),
        ("COMMUNITY_GATEWAYS", json.dumps({WEST: "west"}), "", "nodes", "gateway"),
    )
)


def _change(name: str, content: Callable[[], bytes]) -> Callable[[World], None]:
    def plant(world: World) -> None:
        world.secure()
        world.file(name, content())

    return plant


def _readable_key(world: World) -> None:
    world.secure()
    (world.folder / "node.key").chmod(0o644)


def _without_key(world: World) -> None:
    world.secure()
    del world.env["XDSI_TLS__KEY"]


def _intermediate_missing(world: World) -> None:
    world.secure()
    key, node = issued("node", authority_of("Ward", "North"))
    world.file("node.pem", node)
    world.file("node.key", pem_of(key))


def _old_authority(world: World) -> None:
    world.secure()
    _, old = issued("old authority", None, ends=-1)
    world.file("trust.pem", authority_of("North").certificate + old)


def _intermediate_expired(world: World) -> None:
    """The chain is whole, and a link of it too old."""
    world.secure()
    ward = authority_of("Old ward", "North", ends=-1)
    key, node = issued("node", ward)
    world.file("node.pem", node + ward.certificate)
    world.file("node.key", pem_of(key))


def _without_issuer(world: World) -> None:
    world.secure()
    del world.env["XDSI_ASSERTION__ISSUERS"]


def _open_to_all(world: World) -> None:
    world.secure(hosts=("127.0.0.1", "0.0.0.0"))
    world.env |= {"XDSI_HOST": "0.0.0.0", "XDSI_CONSENT__DEFAULT": "permit"}


CERTIFICATES = (
    secured("expired", "XDSI_TLS__CERTIFICATE", "renew it", "certificates", ends=-1),
    secured("not valid yet", "XDSI_TLS__CERTIFICATE", "set the clock", "certificates", begins=2),
    secured("ends soon", "XDSI_TLS__CERTIFICATE", "renew it", "certificates", ends=9, at_serve=False),
    secured(
        "for clients alone",
        "XDSI_TLS__CERTIFICATE",
        "for server and client authentication",
        "certificate-chain",
        usages=("CLIENT_AUTH",),
        at_serve=False,
    ),
    Planted(
        "an intermediate authority is missing",
        _intermediate_missing,
        "XDSI_TLS__CERTIFICATE",
        "put the certificates between",
        "certificate-chain",
        at_serve=False,
    ),
    Planted(
        "an intermediate authority has expired",
        _intermediate_expired,
        "XDSI_TLS__CERTIFICATE",
        "renew it",
        "certificates",
        at_serve=False,
    ),
    Planted(
        "an old authority is still trusted",
        _old_authority,
        "XDSI_TLS__TRUST",
        "remove it from",
        "certificates",
        at_serve=False,
    ),
    Planted(
        "another's key",
        _change("node.key", lambda: pem_of(issued("other", None)[0])),
        "XDSI_TLS__KEY",
        "name the PEM key that belongs to",
        "certificates",
    ),
    Planted(
        "a key with a passphrase",
        _change("node.key", lambda: pem_of(issued("other", None)[0], b"geheim")),
        "XDSI_TLS__KEY",
        "without a passphrase",
        "certificates",
    ),
    Planted(
        "a certificate that is none",
        _change("node.pem", lambda: b"rubbish"),
        "XDSI_TLS__CERTIFICATE",
        "name a file that begins one",
        "certificates",
    ),
    Planted(
        "a trust without a certificate",
        _change("trust.pem", lambda: b""),
        "XDSI_TLS__TRUST",
        "name a file that begins one",
        "certificates",
    ),
    Planted("no key", _without_key, "XDSI_TLS__KEY", "name all three"),
    Planted(
        "a key that others can read",
        _readable_key,
        "XDSI_TLS__KEY",
        "chmod 600",
        "key-is-private",
        at_serve=False,
    ),
    Planted(
        "no issuer is believed",
        _without_issuer,
        "XDSI_ASSERTION__ISSUERS",
        "issuer URI",
        "assertions",
        at_serve=False,
    ),
    Planted("open to all", _open_to_all, "XDSI_CONSENT__DEFAULT", "deny", "open", at_serve=False),
    Planted(
        "a certificate of another name",
        lambda world: (
            world.secure(),
            world.env.update({"XDSI_PUBLIC_URL": "https://xds.hospital.example/"}),
        ),
        "XDSI_TLS__CERTIFICATE",
        "SubjectAlternativeName xds.hospital.example",
        "certificate-name",
        at_serve=False,
    ),
)


def _database(content: Callable[[Path], object]) -> Callable[[World], None]:
    def plant(world: World) -> None:
        path = world.folder / "planted.sqlite3"
        content(path)
        world.env["XDSI_DATABASE_URL"] = f"sqlite:///{path}"

    return plant


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")


DATABASES = (
    Planted(
        "PostgreSQL is away",
        lambda world: world.env.update({"XDSI_DATABASE_URL": "postgresql://u:geheim@127.0.0.1:9/x"}),
        "XDSI_REPOSITORY__DATABASE_URL",
        "start it, or name another",
        "database",
    ),
    Planted(
        "the host of PostgreSQL is not known",
        lambda world: world.env.update({"XDSI_DATABASE_URL": "postgresql://nowhere.invalid/x"}),
        "XDSI_REPOSITORY__DATABASE_URL",
        "correct its name",
        "database",
    ),
    Planted(
        "a file that is no database",
        _database(lambda path: path.write_bytes(b"rubbish" * 1_000)),
        "XDSI_REPOSITORY__DATABASE_URL",
        "restore it from a copy",
        "database",
    ),
    Planted(
        "a database of a newer release",
        _database(_newer),
        "XDSI_REPOSITORY__DATABASE_URL",
        "start the release that wrote it",
        "database",
    ),
)


def found_by(world: World, planted: Planted) -> list[dict[str, str]]:
    return [
        one
        for one in world.doctor(planted.service)
        if one["id"] == planted.check
        and one["subject"].startswith(planted.setting)
        and planted.remedy in f"{one['found']}; {one['remedy']}"
    ]


def is_refused(world: World, planted: Planted) -> None:
    ended = world.serve(planted.service)
    assert ended.status == 1, ended
    told = [line for line in ended.err.splitlines() if line.startswith(f"xdsi: {planted.setting}")]
    assert told, ended.err
    # Where a sentence has no remedy of its own, the doctor points at the page of settings.
    assert planted.remedy == "docs/settings.md" or any(planted.remedy in line for line in told), ended.err
    assert "geheim" not in ended.err


ALL = (*SETTINGS, *FILES, *NODES, *CERTIFICATES, *DATABASES)


def test_enough_is_planted():
    assert len({(one.about, one.service) for one in ALL}) == len(ALL) > 80


@pytest.mark.parametrize("planted", ALL, ids=lambda one: one.about)
def test_a_planted_mistake_is_found_by_its_name_with_its_remedy(world: World, planted: Planted):
    planted.plant(world)
    assert found_by(world, planted), world.doctor(planted.service)
    if planted.at_serve:
        is_refused(world, planted)


@pytest.mark.parametrize("secure", [False, True], ids=["loopback", "TLS"])
def test_without_a_mistake_the_doctor_is_content(world: World, secure: bool):
    if secure:
        world.secure()
    assert world.doctor("") == []


@pytest.mark.parametrize("service", Service)
def test_without_a_mistake_a_service_starts(world: World, service: Service):
    ended = world.serve(service)
    assert ended.status == 0, ended
    assert ended.out.startswith(f"{service} ready ")


# --- ports -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("consumer", "CONSUMER__PORT"),
        ("registry", "REGISTRY__MLLP_PORT"),
        ("imaging-source", "IMAGING_SOURCE__DIMSE_PORT"),
        ("audit-repository", "AUDIT_REPOSITORY__SYSLOG_PORT"),
    ],
)
def test_a_port_of_somebody_else_is_found(world: World, service: str, setting: str):
    remedy = "stop what listens there, or choose another port"
    planted = Planted("taken", lambda _: None, f"XDSI_{setting}", remedy, "port", service)
    with socket.create_server(("127.0.0.1", int(world.port(setting)))):
        assert found_by(world, planted)
        is_refused(world, planted)


def test_a_port_for_probes_that_is_taken_is_found(world: World):
    remedy = "stop what listens there, or choose another port"
    planted = Planted("taken", lambda _: None, "XDSI_GATEWAY__HEALTH_PORT", remedy, "port", "gateway")
    with socket.create_server(("127.0.0.1", 0)) as other:
        world.env["XDSI_GATEWAY__HEALTH_PORT"] = str(other.getsockname()[1])
        assert found_by(world, planted)
        is_refused(world, planted)


def test_an_address_of_another_machine_is_found(world: World):
    world.secure(hosts=("192.0.2.1",))
    world.env["XDSI_HOST"] = "192.0.2.1"
    planted = Planted("elsewhere", lambda _: None, "XDSI_HOST", "name one, or 127.0.0.1", "port", "consumer")
    assert found_by(world, planted)
    is_refused(world, planted)


# --- peers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [
        ("repository", "REGISTRY_URL", "http://127.0.0.1:9/xds/registry"),
        ("imaging-source", "REPOSITORY_URL", "http://127.0.0.1:9/xds/repository"),
        ("consumer", "GATEWAY_URL", "http://127.0.0.1:9/xca/initiating"),
        ("consumer", "IMAGING_SOURCES", '{"2.999.1": "http://127.0.0.1:9/"}'),
        ("gateway", "COMMUNITIES", json.dumps({WEST: "http://127.0.0.1:9/xca/responding"})),
        ("repository", "CONSENT__URL", "http://127.0.0.1:9/"),
        ("registry", "AUDIT__URL", "tcp://127.0.0.1:9"),
    ],
)
def test_a_peer_that_is_away_is_found(world: World, service: str, name: str, value: str):
    world.env[f"XDSI_{name}"] = value
    planted = Planted("away", lambda _: None, f"XDSI_{name}", "start it, or correct XDSI_", "peer", service)
    assert found_by(world, planted)


@pytest.mark.parametrize(
    ("secure", "url"), [(False, "https://registry.example/"), (True, "http://r.example/")]
)
def test_a_peer_that_cannot_be_spoken_to_so_is_found(world: World, secure: bool, url: str):
    if secure:
        world.secure()
    world.env["XDSI_REGISTRY_URL"] = url
    remedy = "https://" if secure else "XDSI_TLS__CERTIFICATE"
    planted = Planted("in clear", lambda _: None, "XDSI_REGISTRY_URL", remedy, "peer")
    assert found_by(world, planted)


@contextmanager
def answering(hours: float) -> Iterator[str]:
    """A peer whose clock is so far ahead."""

    class Peer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            moment = datetime.now(UTC) + timedelta(hours=hours)
            return super().date_time_string(moment.timestamp())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("hours", "told"), [(2, "ahead of ours"), (-2, "behind ours"), (0, "")])
def test_a_clock_that_differs_is_found(world: World, hours: float, told: str):
    with answering(hours) as url:
        world.env["XDSI_REPOSITORY_URL"] = url
        found = [one for one in world.doctor("imaging-source") if one["id"] == "clock"]
    assert bool(found) == bool(told)
    assert all(told in one["found"] and "NTP" in one["remedy"] for one in found)


def test_a_disk_that_is_nearly_full_is_found(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "space_of", lambda _: Space(free_bytes=1024**3 - 1, total_bytes=1024**4))
    planted = Planted("full", lambda _: None, "XDSI_DATA", "free space", "space")
    assert found_by(world, planted)
