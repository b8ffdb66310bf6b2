"""The registry as it is served: SOAP, health and the feed on sockets, and what a restart keeps."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
from typer.testing import CliRunner

from registry import app
from registry.domain import stored_queries as queries
from registry.settings import RegistrySettings
from shared.errors import Actor
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.http.server import start_server
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.iti92 import ITI92
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from tests.support.certificates import communities, stranger
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, is_success
from tests.support.updates import a_version, an_update, new_version
from xdsi import consent, patient
from xdsi.failures import Failed

FIND = StoredQueryRequest(
    query_id=queries.FIND_DOCUMENTS.query_id,
    return_type=ReturnType.LEAF_CLASS,
    parameters=encode_parameters(
        {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}
    ),
)


class Served:
    def __init__(self, registry, server, scheme):
        self.registry = registry
        self.base = f"{scheme}://127.0.0.1:{server.port}"
        self.url = f"{self.base}/xds/registry"
        self.feed = f"127.0.0.1:{registry.feed_port}"


@asynccontextmanager
async def served(data, **changes):
    # Nobody listens there: the trail of a test stays in its spool.
    audit = {"url": f"{'tls' if 'tls' in changes else 'tcp'}://127.0.0.1:9"}
    settings = RegistrySettings.model_validate(
        {"data": data, "port": 0, "mllp_port": 0, "audit": audit} | changes
    )
    registry = await app.build(settings)
    await registry.start()
    server = await start_server(registry.asgi, settings)
    try:
        yield Served(registry, server, "https" if settings.tls.enabled else "http")
    finally:
        await server.stop(grace_seconds=1)
        await registry.stop()


async def run(command, *words, env):
    """Run a command of `xdsi` in a thread, as its users do in a process."""
    result = await asyncio.to_thread(CliRunner().invoke, command, [*words], env=env)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def test_a_patient_is_fed_a_document_registered_found_and_withheld(tmp_path):
    async with served(tmp_path) as service, http_client(TlsSettings(), peers=(service.base,)) as http:
        env = {"XDSI_REGISTRY_URL": service.url}
        await run(patient.app, "add", "P-1001", "--name", "Roe^Rick", "--to", service.feed, env=env)
        soap = SoapClient(http)
        entry = a_document_entry()
        registered = RegisterRequest.of(a_submission(entry))
        assert is_success(await soap.call(ITI42, service.url, registered, message_id="urn:uuid:1"))
        # The answer that was lost on the way is asked for again.
        assert is_success(await soap.call(ITI42, service.url, registered, message_id="urn:uuid:1"))
        found = await soap.call(ITI18, service.url, FIND)
        assert [item.entry_uuid for item in found.objects.document_entries] == [entry.entry_uuid]

        await run(consent.app, "set", "P-1001", "deny", env=env)
        shown = await run(consent.app, "show", "P-1001", "--json", env=env)
        assert json.loads(shown.output)["policies"][0]["effect"] == "deny"
        why = await run(consent.app, "why", "P-1001", "--role", "RAD^^1.2", env=env)
        assert why.output.startswith("refused: policy urn:uuid:")
        assert not (await soap.call(ITI18, service.url, FIND)).objects

        assert (await http.get(f"{service.base}/health/live")).status_code == 200
        assert (await http.get(f"{service.base}/health/ready")).status_code == 200


async def test_a_restart_keeps_everything(tmp_path):
    entry = a_document_entry()
    for first in (True, False):
        async with served(tmp_path) as service, http_client(TlsSettings(), peers=(service.base,)) as http:
            soap = SoapClient(http)
            if first:
                await run(patient.app, "add", "P-1001", "--to", service.feed, env={})
                await soap.call(ITI42, service.url, RegisterRequest.of(a_submission(entry)))
            found = await soap.call(ITI18, service.url, FIND)
            assert [item.entry_uuid for item in found.objects.document_entries] == [entry.entry_uuid]


async def test_what_the_registry_refuses_is_said_by_the_command(tmp_path):
    async with served(tmp_path) as service:
        with pytest.raises(Failed, match=r"refused the message \(AE\).*not known"):
            await run(patient.app, "merge", "P-1", "P-2", "--to", service.feed, env={})
        await run(patient.app, "add", "P-1", "--to", service.feed, env={})
        with pytest.raises(Failed, match="effect: must be permit or deny"):
            await run(consent.app, "set", "P-1", "maybe", env={"XDSI_REGISTRY_URL": service.url})
    with pytest.raises(Failed, match="does not answer"):
        await run(patient.app, "add", "P-1", "--to", service.feed, env={})
    with pytest.raises(Failed, match="cannot be asked"):
        await run(consent.app, "show", "P-1", env={"XDSI_REGISTRY_URL": service.url})


async def test_the_feed_speaks_tls_with_nodes_of_the_community_alone(tmp_path):
    north, _ = communities()
    tls = TlsSettings.model_validate(north.settings()["tls"])
    async with served(tmp_path, **north.settings()) as service:
        env = {
            "XDSI_TLS__CERTIFICATE": str(tls.certificate),
            "XDSI_TLS__KEY": str(tls.key),
            "XDSI_TLS__TRUST": str(tls.trust),
        }
        await run(patient.app, "add", "P-1001", "--to", service.feed, env=env)

        nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        nameless.load_verify_locations(tls.trust)
        foreign = client_context(TlsSettings.model_validate(stranger().settings()["tls"]))
        foreign.load_verify_locations(tls.trust)
        for context in (nameless, foreign, None):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await exchange(service.feed, context)
        async with http_client(tls, peers=(service.base,)) as http:
            policies = await http.post(f"{service.base}/consent/policies", json={"patient_id": PATIENT})
        assert policies.status_code == 200
        # Those that follow within the minute are counted.
        refusals = 0
        async with asyncio.timeout(10):
            while not refusals:
                for _, event in await service.registry._parts.recorder.spool.reader("test").next(20):
                    refusals += b'csd-code="110126"' in event
                await asyncio.sleep(0.01)


async def exchange(address, context):
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=host if context else None
    )
    try:
        writer.write(b"\x0b" + patient.message("A04", patient=PATIENT) + b"\x1c\r")
        await writer.drain()
        if await asyncio.wait_for(reader.read(100), 5) == b"":
            raise ConnectionError("closed")
    finally:
        writer.close()
        with suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()


async def test_a_client_is_told_when_the_service_is_gone(tmp_path):
    async with served(tmp_path) as service:
        url = service.base
    async with http_client(TlsSettings(), peers=(url,)) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"{url}/health/live")


async def test_metadata_update_is_served_unless_it_is_switched_off(tmp_path):
    entry = a_document_entry()
    message = UpdateRequest.of(an_update(a_version(new_version(entry, title="corrected"))))
    lineage = StoredQueryRequest(
        query_id=queries.GET_DOCUMENTS.query_id,
        return_type=ReturnType.LEAF_CLASS,
        parameters=encode_parameters({"$XDSDocumentEntryLogicalID": [entry.entry_uuid], "$MetadataLevel": 2}),
    )
    on, off = tmp_path / "on", tmp_path / "off"
    async with (
        served(on, patients="any") as service,
        http_client(TlsSettings(), peers=(service.base,)) as http,
    ):
        soap = SoapClient(http)
        await soap.call(ITI42, service.url, RegisterRequest.of(a_submission(entry)))
        assert is_success(await soap.call(ITI57, service.url, message))
        restricted = UpdateRequest.of(an_update(a_version(new_version(entry, title="again"), "2")))
        assert is_success(await soap.call(ITI92, service.url, restricted))
        assert not is_success(await soap.call(ITI92, service.url, restricted))
        found = (await soap.call(ITI18, service.url, lineage)).objects.document_entries
        assert sorted((item.version, item.title) for item in found) == [
            (1, "CT chest"),
            (2, "corrected"),
            (3, "again"),
        ]
    async with (
        served(off, patients="any", metadata_update=False) as service,
        http_client(TlsSettings(), peers=(service.base,)) as http,
    ):
        soap = SoapClient(http)
        await soap.call(ITI42, service.url, RegisterRequest.of(a_submission(entry)))
        for transaction in (ITI57, ITI92):
            with pytest.raises(SoapFault, match="is not served here"):
                await soap.call(transaction, service.url, message)
        answer = await soap.call(ITI18, service.url, lineage)
        assert [error.code_for(Actor.REGISTRY) for error in answer.errors] == ["XDSStoredQueryMissingParam"]
