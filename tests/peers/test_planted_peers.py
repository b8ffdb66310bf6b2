"""Misconfigurations that take a real peer: PostgreSQL, an object store, servers with certificates, and
services of this product that run."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.security.peer_certificate import fingerprint_of
from shared.settings import S3Settings
from tests.support.object_stores import moto
from tests.support.planted import World, authority_of, issued, pem_of, world
from tests.support.postgres import fresh_database, postgres_url
from xdsi.community import Process, stop_all
from xdsi.services import Service

__all__ = ["postgres_url", "world"]

pytestmark = pytest.mark.peer


def found(world: World, service: str, check: str, setting: str, remedy: str) -> bool:
    wrong = world.doctor(service)
    assert [
        one
        for one in wrong
        if one["id"] == check
        and one["subject"].startswith(setting)
        and remedy in f"{one['found']}; {one['remedy']}"
    ], wrong
    return True


def refused(world: World, service: str, setting: str, remedy: str) -> bool:
    ended = world.serve(service)
    assert ended.status == 1, ended
    assert f"xdsi: {setting}" in ended.err
    assert remedy in ended.err
    return True


# --- databases ---------------------------------------------------------------------------------------

DATABASE = "XDSI_REPOSITORY__DATABASE_URL"


VISITOR = "DO $$ BEGIN CREATE ROLE visitor LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def as_user(url: str, name: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}").geturl()


@pytest.fixture
async def database(world: World, postgres_url: str) -> str:
    url = await fresh_database(postgres_url)
    await run(url, VISITOR)
    return url


def as_run_outside(work):
    """What drives an event loop of its own, beside that of the test."""
    return asyncio.to_thread(work)


async def test_a_database_that_is_well_is_logged_in_to_and_left_as_it_is(world: World, database: str):
    world.env["XDSI_DATABASE_URL"] = database
    assert await as_run_outside(lambda: world.doctor("")) == []
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT to_regnamespace('repository')::text") is None
    finally:
        await connection.close()


async def test_a_database_that_is_not_there_is_found(world: World, database: str):
    world.env["XDSI_DATABASE_URL"] = urlsplit(database)._replace(path="/absent").geturl()
    remedy = "make it (createdb), or name another"
    assert await as_run_outside(lambda: found(world, "repository", "database", DATABASE, remedy))


@pytest.mark.parametrize(
    ("statements", "remedy"),
    [
        ((), "grant CREATE on the database to this user"),
        (("CREATE SCHEMA repository",), "grant USAGE and CREATE on it to this user"),
        (
            (
                "CREATE SCHEMA repository",
                "GRANT USAGE, CREATE ON SCHEMA repository TO visitor",
                "CREATE TABLE repository.store_probe (id INTEGER PRIMARY KEY, writes BIGINT)",
            ),
            "name the user who made them",
        ),
    ],
    ids=["no schema may be made", "the schema is another's", "the tables are another's"],
)
async def test_a_user_without_rights_is_found(
    world: World, database: str, statements: tuple[str, ...], remedy: str
):
    await run(database, *statements)
    world.env["XDSI_DATABASE_URL"] = as_user(database, "visitor")
    assert await as_run_outside(lambda: found(world, "repository", "database", DATABASE, remedy))


async def test_a_user_who_may_not_log_in_is_found(world: World, database: str):
    world.env["XDSI_DATABASE_URL"] = as_user(database, "nobody_known")
    assert await as_run_outside(
        lambda: found(world, "repository", "database", DATABASE, "correct user and password")
    )


async def test_a_schema_of_a_newer_release_is_found(world: World, database: str):
    await run(
        database,
        "CREATE SCHEMA repository",
        "CREATE TABLE repository.alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO repository.alembic_version VALUES ('9999')",
    )
    world.env["XDSI_DATABASE_URL"] = database
    remedy = "start the release that wrote it"
    assert await as_run_outside(lambda: found(world, "repository", "database", DATABASE, remedy))


# --- object stores -----------------------------------------------------------------------------------


KEEPERS = ("repository", "imaging-source")


def with_store(world: World, access: S3Settings, bucket: str) -> None:
    """Let contents be kept in a bucket."""
    world.env |= {
        "XDSI_STORAGE_URL": f"s3://{bucket}/prefix",
        "XDSI_S3__ENDPOINT": str(access.endpoint),
        "XDSI_S3__ACCESS_KEY": "AKIAEXAMPLE",
        "XDSI_S3__SECRET_KEY": "geheim",
        "XDSI_S3__ALLOW_HTTP": "true",
    }


@contextmanager
def refusing(status: int, code: str) -> Iterator[S3Settings]:
    """An object store that answers everything so."""

    class Store(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
            self.send_response(status)
            self.send_header("content-type", "application/xml")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield S3Settings(endpoint=f"http://127.0.0.1:{server.server_port}", allow_http=True)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("service", KEEPERS)
def test_object_stores_are_written_to_and_what_is_wrong_with_them_is_found(world: World, service: str):
    with moto() as store:
        with_store(world, store.settings, store.bucket)
        assert not [one for one in world.doctor(service) if one["id"] == "object-store"]
        assert world.serve(service).status == 0
        with_store(world, store.settings, "nowhere")
        assert found(world, service, "object-store", "XDSI_STORAGE_URL", "no such bucket; make it")
        assert refused(world, service, "XDSI_STORAGE_URL", "no such bucket; make it")
    assert found(world, service, "object-store", "XDSI_STORAGE_URL", "XDSI_S3__ENDPOINT names it")
    # It may come: the service begins, and is not ready.
    assert world.serve(service).status == 0


@pytest.mark.parametrize("service", KEEPERS)
@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"])
def test_an_object_store_that_refuses_the_key_is_found(world: World, service: str, code: str):
    remedy = "correct XDSI_S3__ACCESS_KEY and XDSI_S3__SECRET_KEY"
    with refusing(403, code) as access:
        with_store(world, access, "test")
        assert found(world, service, "object-store", "XDSI_S3__ACCESS_KEY", remedy)
        assert refused(world, service, "XDSI_S3__ACCESS_KEY", remedy)
        assert "geheim" not in world.serve(service).err


def test_an_object_store_that_errs_is_found_and_waited_for(world: World):
    with refusing(503, "SlowDown") as access:
        with_store(world, access, "test")
        remedy = "answers with an error (HTTP 503); see its own log"
        assert found(world, "imaging-source", "object-store", "XDSI_STORAGE_URL", remedy)
        assert world.serve("imaging-source").status == 0


# --- servers with certificates -----------------------------------------------------------------------


class Silent(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that does not believe us ends the connection; that is what is tried."""


@contextmanager
def server(folder: Path, authority: str, *, trusts: str = "North", **certificate) -> Iterator[str]:
    """A peer with a certificate of an authority, that lets in whom another one vouches for."""
    key, shown = issued("peer", authority_of(authority), **certificate)
    (folder / "peer.pem").write_bytes(shown + pem_of(key))
    (folder / "believed.pem").write_bytes(authority_of(trusts).certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "peer.pem")
    context.load_verify_locations(folder / "believed.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listening = Quiet(("127.0.0.1", 0), Silent)
    listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize(
    ("about", "authority", "certificate", "told"),
    [
        ("a stranger", "Stranger", {}, "put its authority into XDSI_TLS__TRUST"),
        ("expired", "North", {"ends": -1}, "one that has expired is to be renewed there"),
        ("ends soon", "North", {"ends": 9}, "have it renewed at https://"),
        (
            "does not take us",
            "North",
            {"trusts": "Stranger"},
            "put our authority into the trust of that node",
        ),
        ("another name", "North", {"hosts": ("elsewhere.example",)}, "is not believed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_peer_whose_certificate_does_not_do_is_found(
    world: World, tmp_path: Path, about: str, authority: str, certificate: dict, told: str
):
    world.secure()
    if about == "another name":
        world.env["XDSI_TLS__CHECK_HOST_NAMES"] = "true"
    with server(tmp_path, authority, **certificate) as address:
        world.env["XDSI_REPOSITORY_URL"] = f"https://{address}/xds/repository"
        assert found(world, "imaging-source", "peer-certificate", "XDSI_REPOSITORY_URL", told)


def test_a_registry_that_is_no_node_of_the_community_is_found(world: World, tmp_path: Path):
    world.secure()
    with server(tmp_path, "North") as address:
        world.env["XDSI_REGISTRY_URL"] = f"https://{address}/xds/registry"
        told = "name its node in XDSI_COMMUNITY_NODES"
        assert found(world, "repository", "peer-certificate", "XDSI_REGISTRY_URL", told)


def test_an_audit_repository_that_does_not_take_us_is_found(world: World, tmp_path: Path):
    world.secure()
    with server(tmp_path, "North", trusts="Stranger") as address:
        world.env["XDSI_AUDIT__URL"] = f"tls://{address}"
        assert found(world, "registry", "audit", "XDSI_AUDIT__URL", "XDSI_RIGHTS__RECORD")


def test_a_registry_that_hands_out_no_policies_to_this_node_is_found(world: World):
    world.secure()
    registry = Process(Service.REGISTRY, {**os.environ, **world.env}, world.folder / "registry.log")
    registry.start()
    try:
        registry.wait_ready()
        assert not [one for one in world.doctor("repository") if one["id"] == "policies"]
        theirs = fingerprint_of(world.folder / "node.pem")
        other = world.folder / "other"
        other.mkdir()
        ours = World(other, world.call, {**world.env, "XDSI_COMMUNITY_NODES": f'["{theirs}"]'})
        key, certificate = issued("another node", authority_of("North"))
        ours.env |= {
            "XDSI_TLS__CERTIFICATE": ours.file("node.pem", certificate),
            "XDSI_TLS__KEY": ours.file("node.key", pem_of(key)),
        }
        assert found(ours, "repository", "policies", "XDSI_REGISTRY_URL", "XDSI_RIGHTS__POLICIES")
    finally:
        stop_all([registry])


# --- services that run -------------------------------------------------------------------------------


def test_services_that_run_are_ours_and_ready_and_one_that_ended_is_found(world: World):
    world.secure()
    members = [
        Process(service, world.env, world.folder / f"{service}.log")
        for service in (Service.AUDIT_REPOSITORY, Service.REGISTRY)
    ]
    for member in members:
        member.environment = {**os.environ, **world.env}
        member.start()
    try:
        for member in members:
            member.wait_ready()
        for service in ("registry", "audit-repository"):
            assert world.doctor(service) == []
        ended = world.call(world.env, "doctor", "--service", "registry")
        for port in ("PORT", "MLLP_PORT"):
            at = f"XDSI_REGISTRY__{port}: 127.0.0.1 port {world.port(f'REGISTRY__{port}')}: ours, ready"
            assert at in ended.out
        assert refused(world, "registry", "XDSI_REGISTRY__", "in")
        # Another service at that port is told from whom the port is.
        world.env["XDSI_CONSUMER__PORT"] = world.port("REGISTRY__PORT")
        assert found(world, "consumer", "port", "XDSI_CONSUMER__PORT", "by the registry of an xdsi")
        stop_all(members[1:])
        world.env["XDSI_CONSUMER__PORT"] = "0"
        told = "does not run, though other services do"
        assert found(world, "", "peer", "XDSI_REGISTRY_URL", told)
    finally:
        stop_all(members)


def test_an_object_store_whose_certificate_is_not_trusted_is_found(world: World, tmp_path: Path):
    with server(tmp_path, "Stranger") as address:
        with_store(world, S3Settings(endpoint=f"https://{address}"), "test")
        remedy = "name its authority in XDSI_S3__TRUST"
        assert found(world, "imaging-source", "object-store", "XDSI_S3__TRUST", remedy)
        assert refused(world, "imaging-source", "XDSI_S3__TRUST", remedy)
