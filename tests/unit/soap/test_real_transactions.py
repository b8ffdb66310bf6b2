"""The transactions of the product on the wire: our client with our pipeline, documents to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.errors import Actor, DocumentUniqueIdError
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.http.raw_asgi import FileRange
from shared.messages.documents import (
    DocumentRequest,
    PartReference,
    RetrievedDocument,
    RetrieveDocumentSetResponse,
)
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.registry import RegistryResponse, Status
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller
from shared.settings import AssertionSettings, ServiceSettings, TlsSettings, XuaMode
from shared.soap.client import SoapClient
from shared.soap.pipeline import SoapService
from shared.soap.served import Served
from tests.support.certificates import AUDIENCE, assertion_for, communities
from tests.support.metadata import a_submission
from tests.support.soap_exchange import Doorkeeper, Recorder, a_unit, describe

URL = "http://peer.example/xds/test"
INSTANCES = [b"", b"\r\n--", bytes(range(256)) * 2_000]


def client_of(transaction: Any, handle: Any, folder: Path) -> SoapClient:
    service = SoapService(
        (Served(transaction, handle, describe),),
        unit=a_unit,
        authenticator=Doorkeeper(),
        recorder=Recorder(),
        settings=ServiceSettings(),
        actor=Actor.REPOSITORY,
        spool_folder=folder / "spool",
    )
    http = http_client(TlsSettings(), peers=[URL], transport=httpx2.ASGITransport(app=service.asgi))
    return SoapClient(http, spool_folder=folder)


async def test_iti_41_brings_metadata_and_documents(tmp_path):
    submission = a_submission()
    received = []

    async def handle(unit: Any, request: ProvideAndRegisterRequest) -> RegistryResponse:
        received.append(
            (request.decoded.submission, [one.content.path.read_bytes() for one in request.documents])
        )
        return RegistryResponse(status=Status.SUCCESS)

    ids = [entry.entry_uuid for entry in submission.document_entries]
    documents = [ProvidedDocument(id=entry_id, content=b"\r\n" + entry_id.encode()) for entry_id in ids]
    request = ProvideAndRegisterRequest.of(submission, documents)

    answer = await client_of(ITI41, handle, tmp_path).call(ITI41, URL, request)

    assert answer == RegistryResponse(status=Status.SUCCESS)
    assert received == [(submission, [document.content for document in documents])]
    assert list((tmp_path / "spool").iterdir()) == []


def retrieving(tmp_path: Path) -> Any:
    async def handle(unit: Any, request: Any) -> RetrieveDocumentSetResponse:
        found = []
        for number, instance in enumerate(INSTANCES):
            path = tmp_path / f"instance{number}"
            path.write_bytes(b"skipped" + instance)
            found.append(
                RetrievedDocument(
                    repository_unique_id="1.2.3",
                    document_unique_id=f"1.2.3.{number}",
                    mime_type="application/dicom",
                    content=FileRange(path, len(b"skipped"), len(instance)),
                )
            )
        missing = DocumentUniqueIdError("not available", location="1.2.3.9")
        return RetrieveDocumentSetResponse(documents=tuple(found), errors=(missing,))

    return handle


ASKED = DocumentRequest(repository_unique_id="1.2.3", document_unique_id="1.2.3.0")
REQUESTS = [
    (ITI43, RetrieveDocumentSetRequest(documents=(ASKED,))),
    (
        RAD69,
        RetrieveImagingDocumentSetRequest(
            studies=(
                StudyRequest(
                    study_instance_uid="1.2",
                    series=(SeriesRequest(series_instance_uid="1.2.1", documents=(ASKED,)),),
                ),
            ),
            transfer_syntax_uids=("1.2.840.10008.1.2.1",),
        ),
    ),
]


@pytest.mark.parametrize(("transaction", "request_value"), REQUESTS)
async def test_retrievals_bring_documents_and_errors(tmp_path, transaction, request_value):
    client = client_of(transaction, retrieving(tmp_path), tmp_path)

    answer = await client.call(transaction, URL, request_value)

    assert [document.content.path.read_bytes() for document in answer.documents] == INSTANCES
    assert answer.status is Status.PARTIAL_SUCCESS
    assert [error.location for error in answer.errors] == ["1.2.3.9"]


@pytest.mark.parametrize(("transaction", "request_value"), REQUESTS)
async def test_a_streamed_retrieval_names_its_documents_before_they_come(
    tmp_path, transaction, request_value
):
    client = client_of(transaction, retrieving(tmp_path), tmp_path)

    async with client.stream(transaction, URL, request_value) as stream:
        expected = {document.content: document.document_unique_id for document in stream.head.documents}
        came = {
            expected[PartReference(content_id)]: b"".join([chunk async for chunk in chunks])
            async for content_id, _, chunks in stream.parts
        }

    assert came == {f"1.2.3.{number}": instance for number, instance in enumerate(INSTANCES)}


@pytest.mark.parametrize(
    "must_understand", [b"", b' soap:mustUnderstand="1"', b' soap:mustUnderstand="true"']
)
async def test_a_signed_assertion_proves_the_user_through_client_and_pipeline(tmp_path, must_understand):
    north, _ = communities()
    callers: list[Caller] = []

    async def handle(unit: Any, request: Any) -> RetrieveDocumentSetResponse:
        callers.append(unit.caller)
        return RetrieveDocumentSetResponse()

    settings = ServiceSettings(
        xua=XuaMode.REQUIRED,
        assertion=AssertionSettings(issuers={north.issuer: north.provider.certificate}, audience=AUDIENCE),
    )
    recorder = Recorder()
    service = SoapService(
        (Served(ITI43, handle, describe),),
        unit=a_unit,
        authenticator=Authenticator(settings),
        recorder=recorder,
        settings=settings,
        actor=Actor.REPOSITORY,
        spool_folder=tmp_path / "spool",
    )
    signed = assertion_for("dr.north", north)

    async def marked(scope: Any, receive: Any, send: Any) -> None:
        async def with_mark() -> Any:
            message = await receive()
            return {
                **message,
                "body": message.get("body", b"").replace(
                    b"<wsse:Security", b"<wsse:Security" + must_understand
                ),
            }

        await service.asgi(scope, with_mark, send)

    transport = httpx2.ASGITransport(app=marked)
    for assertion in (signed, signed.replace(b"dr.north", b"dr.south"), None):
        http = http_client(TlsSettings(), peers=[URL], transport=transport)
        client = SoapClient(http, assertion=lambda octets=assertion: octets, spool_folder=tmp_path)
        if assertion == signed:
            await client.call(ITI43, URL, REQUESTS[0][1])
        else:
            with pytest.raises(SoapFault) as refused:
                await client.call(ITI43, URL, REQUESTS[0][1])
            assert refused.value.subcode[1] == ("InvalidSecurity" if assertion is None else "FailedCheck")

    assert [caller.user.name_id for caller in callers] == ["dr.north"]
    assert len(recorder.events) == 1 + 1 + 1
