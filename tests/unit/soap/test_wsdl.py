"""The WSDLs that we publish: a foreign client loads each, and calls what it finds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
import zeep
from lxml import etree
from zeep.transports import Transport

from shared.ebrim.codec import encode_document_entry
from shared.errors import Actor, UnknownStoredQuery
from shared.messages.iti18 import ITI18, StoredQueryResponse
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti41 import ITI41
from shared.messages.iti42 import ITI42
from shared.messages.iti43 import ITI43
from shared.messages.iti44 import ITI44_ADD, ITI44_MERGE, ITI44_REVISE
from shared.messages.iti51 import ITI51
from shared.messages.iti57 import ITI57
from shared.messages.iti61 import ITI61
from shared.messages.iti62 import ITI62
from shared.messages.iti86 import ITI86
from shared.messages.iti92 import ITI92
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.messages.ws_trust import ISSUE_TOKEN
from shared.settings import ServiceSettings
from shared.soap.pipeline import SoapService
from shared.soap.served import Served
from shared.soap.wsdl import FOLDER, at_address, read_wsdl
from tests.support.metadata import a_document_entry
from tests.support.soap_exchange import Doorkeeper, Recorder, a_unit, describe, post

SERVED = {
    "registry": (
        ITI18,
        ITI42,
        ITI57,
        ITI92,
        ITI51,
        ITI61,
        ITI62,
        ITI44_ADD,
        ITI44_REVISE,
        ITI44_MERGE,
    ),
    "repository": (ITI41, ITI43, ITI86),
    "imaging_source": (RAD69,),
    "initiating_gateway": (ITI18, ITI43, RAD69),
    "responding_gateway": (ITI38, ITI39, RAD75),
    "identity": (ISSUE_TOKEN,),
}
URL = "http://hie.example/xds/test"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
METADATA = "{http://www.w3.org/2007/05/addressing/metadata}"


class InProcess(Transport):
    """Loads a WSDL from memory and carries calls to a service in this process; has no network."""

    def __init__(self, wsdl: bytes, service: SoapService | None = None) -> None:
        super().__init__()
        self.session.close()
        self._wsdl = wsdl
        self._service = service

    def load(self, url: str) -> bytes:
        assert url == f"{URL}?wsdl", f"{url} is outside of the document"
        return self._wsdl

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> Any:
        assert self._service is not None
        assert address == URL
        answer = asyncio.run(post(self._service, message, headers["Content-Type"]))
        response = requests.Response()
        response.status_code, response._content = answer.status, answer.body
        response.headers.update(answer.headers)
        return response


def client_of(service: str, endpoint: SoapService | None = None) -> zeep.Client:
    wsdl = read_wsdl(service)
    assert wsdl is not None
    transport = InProcess(at_address(wsdl, URL), endpoint)
    return zeep.Client(f"{URL}?wsdl", transport=transport, settings=zeep.Settings(forbid_external=True))


def operations(client: zeep.Client) -> dict[str, Any]:
    (service,) = client.wsdl.services.values()
    (port,) = service.ports.values()
    return {operation.abstract.wsa_action: operation for operation in port.binding.all().values()}


@pytest.mark.parametrize("service", SERVED)
def test_a_foreign_client_finds_every_transaction_with_its_actions_and_roots(service):
    found = operations(client_of(service))

    assert list(found) == [transaction.action for transaction in SERVED[service]]
    for transaction in SERVED[service]:
        assert found[transaction.action].input.body.qname.text == transaction.body_root
    outputs = etree.fromstring(read_wsdl(service).encode()).iter(f"{WSDL}output")
    answered = [output.get(f"{METADATA}Action") for output in outputs if output.get(f"{METADATA}Action")]
    assert answered == [transaction.response_action for transaction in SERVED[service]]


@pytest.mark.parametrize("service", SERVED)
def test_each_file_loads_where_it_lies(service):
    client = zeep.Client(str(FOLDER / f"{service}.wsdl"), transport=InProcessFiles())

    assert operations(client)


class InProcessFiles(Transport):
    def __init__(self) -> None:
        super().__init__()
        self.session.close()


def test_every_schema_is_a_schema():
    for service in SERVED:
        types = etree.fromstring(read_wsdl(service).encode()).find(f"{WSDL}types")
        assert len(types) >= (1 if service == "identity" else 4)
        assert b"xs:include" not in etree.tostring(types)


def the_registry(handle: Any, tmp_path: Any) -> SoapService:
    return SoapService(
        (Served(ITI18, handle, describe),),
        unit=a_unit,
        authenticator=Doorkeeper(),
        recorder=Recorder(),
        settings=ServiceSettings(),
        actor=Actor.REGISTRY,
        spool_folder=tmp_path,
    )


def find_documents(
    client: zeep.Client, query_id: str = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
) -> Any:
    return client.service["DocumentRegistry_RegistryStoredQuery"](
        ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
        AdhocQuery={
            "id": query_id,
            "Slot": [
                {"name": "$XDSDocumentEntryPatientId", "ValueList": {"Value": ["'P1^^^&1.2.3&ISO'"]}},
                {"name": "$XDSDocumentEntryStatus", "ValueList": {"Value": ["('urn:a')", "('urn:b')"]}},
            ],
        },
    )


def test_a_foreign_client_calls_iti_18(tmp_path):
    asked = []
    entry = a_document_entry()

    async def handle(unit: Any, request: Any) -> StoredQueryResponse:
        asked.append(request)
        return StoredQueryResponse(fragments=(encode_document_entry(entry), encode_document_entry(entry)))

    answer = find_documents(client_of("registry", the_registry(handle, tmp_path)))

    assert asked[0].parameters["$XDSDocumentEntryPatientId"] == (("'P1^^^&1.2.3&ISO'",),)
    assert answer.status.endswith("ResponseStatusType:Success")
    found = [choice["ExtrinsicObject"] for choice in answer.RegistryObjectList._value_1]
    assert [one.id for one in found] == [entry.entry_uuid] * 2
    assert found[0].ExternalIdentifier


def test_a_foreign_client_reads_an_orderly_error_and_a_fault(tmp_path):
    async def handle(unit: Any, request: Any) -> StoredQueryResponse:
        raise UnknownStoredQuery(request.query_id)

    client = client_of("registry", the_registry(handle, tmp_path))

    answer = find_documents(client, "urn:uuid:unknown")
    assert [error.errorCode for error in answer.RegistryErrorList.RegistryError] == ["XDSUnknownStoredQuery"]
    with pytest.raises(zeep.exceptions.Fault, match="is not served here") as refused:
        client.service["DocumentRegistry_RegisterDocumentSet-b"](RegistryObjectList={"_value_1": []})
    assert [code.localname for code in refused.value.subcodes] == ["ActionNotSupported"]


@pytest.mark.parametrize("query", [b"wsdl", b"WSDL", b"singleWsdl"])
async def test_a_service_tells_its_wsdl_with_its_address(tmp_path, query):
    class Settings(ServiceSettings):
        service = "registry"

    service = SoapService(
        (),
        unit=a_unit,
        authenticator=Doorkeeper(),
        recorder=Recorder(),
        settings=Settings(public_url="https://hie.example/?a&b"),
        actor=Actor.REGISTRY,
        spool_folder=tmp_path,
    )
    answer = await post(service, b"", method="GET", query=query)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/xml")
    address = answer.xml.find(".//{http://schemas.xmlsoap.org/wsdl/soap12/}address")
    assert address.get("location") == "https://hie.example/?a&b/xds/test"


def test_a_service_without_wsdl_has_none():
    assert read_wsdl("consumer") is None
