"""Every message that the product can write, whichever it is, is right by the reading of the judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conformance.findings import Severity
from conformance.validation import judge
from shared.ebrim.model import Code
from shared.errors import (
    Busy,
    DocumentUniqueIdError,
    MetadataError,
    StoredQueryMissingParam,
    UnresolvedReference,
)
from shared.faults import ReceiverFault, SecurityFault, SenderFault
from shared.hl7v2.message import Header, acknowledgement
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, StoredQueryResponse
from shared.messages.iti38 import ITI38
from shared.messages.iti39 import ITI39
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.iti44 import (
    ITI44_ADD,
    ITI44_MERGE,
    ITI44_REVISE,
    Acknowledgement,
    InstanceId,
    Interaction,
    PatientFeedRequest,
)
from shared.messages.iti51 import ITI51
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.iti61 import ITI61
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.messages.iti86 import ITI86, RemoveDocumentsRequest
from shared.messages.iti92 import ITI92
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.rad75 import RAD75
from shared.messages.registry import RegistryResponse, Status
from shared.soap.envelope import encode_fault, encode_request, encode_response
from shared.soap.package import write_package
from tests.support.metadata import (
    DOMAIN,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_on_demand_entry,
)
from tests.support.updates import a_version, an_update, new_version
from xdsi.patient import message

HOME = "urn:oid:2.999.1"
ID = "urn:uuid:0c0ffee0-0000-4000-8000-000000000001"
APPROVED = "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"


def query(query_id: str, home: str = "", **parameters: str) -> StoredQueryRequest:
    return StoredQueryRequest(
        query_id=query_id,
        return_type=ReturnType.LEAF_CLASS,
        parameters={f"${name}": ((value,),) for name, value in parameters.items()},
        home=home,
    )


def document(home: str = "") -> DocumentRequest:
    return DocumentRequest(
        repository_unique_id="2.999.3", document_unique_id="2.999.6.1", home_community_id=home
    )


def images(home: str = "") -> RetrieveImagingDocumentSetRequest:
    series = SeriesRequest(series_instance_uid="2.999.5.1", documents=(document(home),))
    return RetrieveImagingDocumentSetRequest(
        studies=(StudyRequest(study_instance_uid="2.999.5", series=(series,)),),
        transfer_syntax_uids=("1.2.840.10008.1.2.1",),
    )


def delivered(home: str = "") -> RetrieveDocumentSetResponse:
    one = RetrievedDocument(
        repository_unique_id="2.999.3",
        document_unique_id="2.999.6.1",
        home_community_id=home,
        mime_type="application/dicom",
        content=b"",
    )
    return RetrieveDocumentSetResponse(documents=(one,))


def feed(interaction: Interaction, priors: tuple[Any, ...] = ()) -> PatientFeedRequest:
    return PatientFeedRequest(
        interaction=interaction,
        message_id=InstanceId("2.999.7.1"),
        patients=((InstanceId(DOMAIN, "P-1"),),),
        priors=priors,
        sender=(InstanceId("2.999.7.2"),),
        receiver=(InstanceId("2.999.7.3"),),
    )


FIND = query(
    "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
    XDSDocumentEntryPatientId=f"'{PATIENT}'",
    XDSDocumentEntryStatus=APPROVED,
)
MANY = query(
    "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f",
    XDSDocumentEntryPatientId=f"('{PATIENT}')",
    XDSDocumentEntryStatus=APPROVED,
)
ENTRY = a_document_entry()
UPDATE = UpdateRequest.of(an_update(a_version(new_version(ENTRY))))
TEXT = Code("urn:ihe:rad:TEXT", "1.3.6.1.4.1.19376.1.2.3", "Text")
PROVIDED = a_submission(replace(ENTRY, size=None, hash="", format_code=TEXT))
DONE = RegistryResponse(status=Status.SUCCESS)
FEED = feed(Interaction.ADD)

EXCHANGES: dict[str, tuple[Any, Any, Any]] = {
    "ITI-18": (ITI18, FIND, StoredQueryResponse()),
    "ITI-38": (ITI38, replace(FIND, home=HOME), StoredQueryResponse()),
    "ITI-39": (ITI39, RetrieveDocumentSetRequest(documents=(document(HOME),)), delivered(HOME)),
    "ITI-41": (
        ITI41,
        ProvideAndRegisterRequest.of(
            PROVIDED, [ProvidedDocument(id=PROVIDED.document_entries[0].entry_uuid, content=b"x")]
        ),
        DONE,
    ),
    "ITI-42": (ITI42, RegisterRequest.of(a_submission(a_document_entry(), folders=(a_folder(),))), DONE),
    "ITI-43": (ITI43, RetrieveDocumentSetRequest(documents=(document(),)), delivered()),
    "ITI-44 add": (ITI44_ADD, FEED, Acknowledgement.to(FEED)),
    "ITI-44 revise": (ITI44_REVISE, feed(Interaction.REVISE), Acknowledgement.to(FEED)),
    "ITI-44 merge": (
        ITI44_MERGE,
        feed(Interaction.MERGE, ((InstanceId(DOMAIN, "P-0"),),)),
        Acknowledgement.to(FEED),
    ),
    "ITI-51": (ITI51, MANY, StoredQueryResponse()),
    "ITI-57": (ITI57, UPDATE, DONE),
    "ITI-61": (ITI61, RegisterRequest.of(a_submission(an_on_demand_entry())), DONE),
    "ITI-62": (ITI62, RemoveMetadataRequest(ids=(ENTRY.entry_uuid,)), DONE),
    "ITI-86": (ITI86, RemoveDocumentsRequest(documents=(document(),)), DONE),
    "ITI-92": (ITI92, UPDATE, DONE),
    "RAD-69": (RAD69, images(), None),
    "RAD-75": (RAD75, images(HOME), None),
}
REFUSALS = {
    "ITI-18": StoredQueryMissingParam("$XDSDocumentEntryStatus"),
    "ITI-42": MetadataError("no classCode"),
    "ITI-62": UnresolvedReference(ENTRY.entry_uuid),
    "ITI-43": DocumentUniqueIdError("not here", location="2.999.6.1"),
    "RAD-69": DocumentUniqueIdError("not here", location="2.999.6.1"),
    "ITI-41": Busy("later"),
}


def capture(transaction: Any, line: str, envelope: bytes, body: Any) -> bytes:
    content_type, octets = "application/soap+xml; charset=UTF-8", envelope
    if transaction.mtom:
        content_type, pieces = write_package(envelope, body.attachments, action="")
        octets = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return f"{line}\r\nContent-Type: {content_type}\r\n\r\n".encode() + octets + b"\n"


def errors(octets: bytes, title: str) -> list[Any]:
    report = judge(octets, title)
    assert title.partition(" ")[0] in report.title
    return [finding for finding in report.findings if finding.severity is Severity.ERROR]


def request_of(name: str) -> bytes:
    transaction, request, _ = EXCHANGES[name]
    body = transaction.encode_request(request)
    envelope = encode_request(transaction.action, ID, "https://peer.example/xds", body.xml, None)
    return capture(transaction, "POST /xds HTTP/1.1", envelope, body)


def answer_of(name: str, response: Any) -> bytes:
    transaction = EXCHANGES[name][0]
    body = transaction.encode_response(response)
    return capture(
        transaction, "HTTP/1.1 200 OK", encode_response(transaction.response_action, ID, body.xml), body
    )


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_request_and_its_answer_have_no_error(name: str):
    response = EXCHANGES[name][2]
    octets = request_of(name)
    assert errors(octets + (answer_of(name, response) if response is not None else b""), name) == []


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_no_error(name: str):
    transaction = EXCHANGES[name][0]
    refusal = answer_of(name, transaction.failure([REFUSALS[name]]))
    assert errors(request_of(name) + refusal, name) == []


@pytest.mark.parametrize(
    "fault", [SenderFault("why"), ReceiverFault("why"), SecurityFault("FailedCheck", "why")]
)
def test_a_fault_has_no_error(fault: Any):
    head = f"HTTP/1.1 {fault.status} x\r\nContent-Type: application/soap+xml; charset=UTF-8\r\n\r\n"
    assert errors(head.encode() + encode_fault(fault, ID), "SOAP fault") == []


@pytest.mark.parametrize("event", ["A04", "A08", "A40"])
def test_a_feed_and_its_acknowledgement_have_no_error(event: str):
    prior = PATIENT.replace("P-", "Q-") if event == "A40" else ""
    assert errors(message(event, patient=PATIENT, prior=prior, name="Roe^Rick"), "HL7 v2") == []
    header = Header(
        application="A",
        facility="B",
        receiving_application="C",
        receiving_facility="D",
        event=event,
        control_id="1",
    )
    assert errors(acknowledgement(header), "HL7 v2") == []
