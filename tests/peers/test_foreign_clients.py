"""A foreign client reads what our services publish, and every message that they send is valid.

What passes between the services, and between them and the consumer, is recorded on its way by relays, and
looked at with other eyes: Python's own MIME parser, libxml2 and the published schemas.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message as Header
from typing import Any
from urllib.parse import unquote

import pydicom
import pytest
import zeep
from lxml import etree

from consumer.imaging_document_consumer import Via
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from tests.support import schemas
from tests.support.community import (
    StudyFiles,
    call,
    consumer_for,
    cx,
    different,
    make_known,
    publish,
    started,
    store,
    studies_in,
)
from tests.support.metadata import a_document_entry, a_submission
from tests.support.relay import Message, Relay, relays
from tests.support.schemas import assert_valid
from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

PATHS = {
    "registry": "/xds/registry",
    "repository": "/xds/repository",
    "source": "/xds/imaging-source",
}
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
GET_SUBMISSION_SET_AND_CONTENTS = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"

SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
WSA = "{http://www.w3.org/2005/08/addressing}"
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"
XDS = "{urn:ihe:iti:xds-b:2007}"
SCHEMA_OF = {
    "{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}AdhocQueryRequest": schemas.QUERY,
    "{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}AdhocQueryResponse": schemas.QUERY,
    "{urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0}SubmitObjectsRequest": schemas.LCM,
    "{urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0}RegistryResponse": schemas.RS,
    f"{XDS}ProvideAndRegisterDocumentSetRequest": schemas.DOCUMENTS,
    f"{XDS}RetrieveDocumentSetRequest": schemas.DOCUMENTS,
    f"{XDS}RetrieveDocumentSetResponse": schemas.DOCUMENTS,
    "{urn:ihe:rad:xdsi-b:2009}RetrieveImagingDocumentSetRequest": schemas.IMAGING,
}
ACTIONS = {
    "urn:ihe:iti:2007:RegistryStoredQuery": "urn:ihe:iti:2007:RegistryStoredQueryResponse",
    "urn:ihe:iti:2007:RegisterDocumentSet-b": "urn:ihe:iti:2007:RegisterDocumentSet-bResponse",
    "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b": (
        "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse"
    ),
    "urn:ihe:iti:2007:RetrieveDocumentSet": "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
    "urn:ihe:rad:2009:RetrieveImagingDocumentSet": "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
}
MTOM_ACTIONS = frozenset(list(ACTIONS)[2:])


@dataclass(frozen=True)
class Spoken:
    """One SOAP message: where it came from, its envelope, and whether it is MTOM."""

    message: Message
    envelope: etree._Element
    attachments: dict[str, tuple[str, bytes]]
    mtom: bool

    @property
    def body(self) -> etree._Element:
        (body,) = self.envelope.find(f"{SOAP}Body")  # type: ignore[misc]
        return body

    def header(self, name: str) -> list[etree._Element]:
        return self.envelope.findall(f"{SOAP}Header/{WSA}{name}")

    def text(self, name: str) -> str:
        (found,) = self.header(name)
        return found.text or ""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    (study,) = studies_in(folder)
    return study


@pytest.fixture(scope="module")
def relayed() -> Iterator[dict[str, Relay]]:
    with relays(3) as made:
        yield dict(zip(PATHS, made, strict=True))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, relayed: dict[str, Relay]) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("community")
    changes = {
        "registry_url": relayed["registry"].url + PATHS["registry"],
        "repository_url": relayed["repository"].url + PATHS["repository"],
        "imaging_source_url": relayed["source"].url + PATHS["source"],
    }
    stage = Stage(folder, tls=False, changes=changes)
    for name, relay in relayed.items():
        relay.target = stage.ports[name]
    with started(stage):
        yield stage


@pytest.fixture(scope="module")
def spoken(stage: Stage, relayed: dict[str, Relay], study: StudyFiles) -> list[tuple[Spoken, Spoken]]:
    """Every SOAP exchange of the whole path, and of requests that fail in every way that has an answer."""
    asyncio.run(_conversation(stage, relayed, study))
    return [
        (_read(request), _read(response))
        for relay in relayed.values()
        for request, response in relay.exchanges()
        if request.target in PATHS.values()
    ]


async def _conversation(stage: Stage, relayed: dict[str, Relay], study: StudyFiles) -> None:
    await make_known(stage, PATIENT_ID)
    await store(stage, [study])
    await publish(stage, study.uid)
    async with consumer_for(stage, None) as consumer:
        (entry,) = await consumer.find(study.patient_id)
        manifest = await consumer.manifest(await consumer.entry(entry.unique_id))
        folder = stage.folder / "images"
        await consumer.retrieve(manifest, folder, patient_id=study.patient_id, via=Via.RAD69)
        assert different(folder, [study]) == []
    url = {name: relayed[name].url + path for name, path in PATHS.items()}
    for query in _queries(study, entry):
        await call(stage, ITI18, url["registry"], query)
    for request in _retrievals(entry):
        await call(stage, ITI43, url["repository"], request)
    for imaging in _imaging(study):
        await call(stage, RAD69, url["source"], imaging)
    for patient_id in (study.patient_id, cx("NOBODY")):
        submission = a_submission(a_document_entry(patient_id=patient_id, hash="", size=None))
        document = ProvidedDocument(id=submission.document_entries[0].entry_uuid, content=b"a document")
        await call(stage, ITI41, url["repository"], ProvideAndRegisterRequest.of(submission, (document,)))


def _queries(study: StudyFiles, entry: Any) -> Iterator[StoredQueryRequest]:
    approved = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
    asked: list[tuple[str, dict[str, Any]]] = [
        (
            FIND_DOCUMENTS,
            {"$XDSDocumentEntryPatientId": study.patient_id, "$XDSDocumentEntryStatus": (approved,)},
        ),
        (GET_DOCUMENTS, {"$XDSDocumentEntryEntryUUID": (entry.entry_uuid,)}),
        (
            GET_ALL,
            {
                "$patientId": study.patient_id,
                "$XDSDocumentEntryStatus": (approved,),
                "$XDSSubmissionSetStatus": (approved,),
                "$XDSFolderStatus": (approved,),
            },
        ),
        (GET_ASSOCIATIONS, {"$uuid": (entry.entry_uuid,)}),
        (FIND_DOCUMENTS, {}),
        ("urn:uuid:00000000-0000-4000-8000-000000000000", {"$uuid": (entry.entry_uuid,)}),
    ]
    for query_id, parameters in asked:
        for return_type in (ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF):
            yield StoredQueryRequest(
                query_id=query_id, return_type=return_type, parameters=encode_parameters(parameters)
            )


def _retrievals(entry: Any) -> Iterator[RetrieveDocumentSetRequest]:
    here = DocumentRequest(
        repository_unique_id=entry.repository_unique_id, document_unique_id=entry.unique_id
    )
    absent = DocumentRequest(
        repository_unique_id=entry.repository_unique_id,
        document_unique_id="2.25.404",
        home_community_id="urn:oid:2.999.1",
    )
    elsewhere = DocumentRequest(repository_unique_id="2.999.77", document_unique_id=entry.unique_id)
    yield RetrieveDocumentSetRequest(documents=(here, absent))
    yield RetrieveDocumentSetRequest(documents=(absent, elsewhere))


def _imaging(study: StudyFiles) -> Iterator[RetrieveImagingDocumentSetRequest]:
    location = "1.3.6.1.4.1.21367.2026.10.30"
    header = pydicom.dcmread(next(iter(study.files.values())), stop_before_pixels=True)
    for uids in ((header.SOPInstanceUID, "2.25.404"), ("2.25.404",)):
        yield RetrieveImagingDocumentSetRequest(
            studies=(
                StudyRequest(
                    study_instance_uid=study.uid,
                    series=(
                        SeriesRequest(
                            series_instance_uid=header.SeriesInstanceUID,
                            documents=tuple(
                                DocumentRequest(repository_unique_id=location, document_unique_id=uid)
                                for uid in uids
                            ),
                        ),
                    ),
                ),
            ),
            transfer_syntax_uids=("1.2.840.10008.1.2.1",),
        )


# --- reading, with other eyes ------------------------------------------------------------------------


def _header(value: str) -> Header:
    header = Header()
    header["content-type"] = value
    return header


def _parameter(value: str, name: str) -> str:
    return str(_header(value).get_param(name, ""))


def _read(message: Message) -> Spoken:
    if _header(message.content_type).get_content_type() != "multipart/related":
        return Spoken(message, etree.fromstring(message.body), {}, mtom=False)
    parts = message.parts()
    start = _parameter(message.content_type, "start")
    by_id = {headers["content-id"]: (headers, octets) for headers, octets in parts}
    assert len(by_id) == len(parts)
    headers, octets = by_id.pop(start)
    assert _header(headers["content-type"]).get_content_type() == "application/xop+xml"
    assert _parameter(headers["content-type"], "type") == "application/soap+xml"
    attachments = {
        name.strip("<>"): (headers["content-type"], octets) for name, (headers, octets) in by_id.items()
    }
    return Spoken(message, etree.fromstring(octets), attachments, mtom=True)


# --- what must be true -------------------------------------------------------------------------------


def test_the_whole_path_was_spoken(spoken: list[tuple[Spoken, Spoken]]):
    """Otherwise what follows would prove nothing."""
    actions = Counter(request.text("Action") for request, _ in spoken)
    roots = {one.body.tag for pair in spoken for one in pair}
    statuses = {
        status.rpartition(":")[2]
        for _, response in spoken
        for status in response.body.xpath("//@status")  # type: ignore[union-attr]
    }

    assert set(actions) == set(ACTIONS)
    assert roots == set(SCHEMA_OF)
    assert statuses >= {"Success", "Failure", "PartialSuccess"}


def test_every_body_is_valid(spoken: list[tuple[Spoken, Spoken]]):
    for pair in spoken:
        for one in pair:
            assert_valid(one.body, SCHEMA_OF[one.body.tag])


def test_every_request_is_addressed_as_the_framework_says(spoken: list[tuple[Spoken, Spoken]]):
    for request, _ in spoken:
        (action,) = request.header("Action")
        assert action.get(f"{SOAP}mustUnderstand") in ("1", "true")
        assert request.text("MessageID").startswith("urn:uuid:")
        (reply_to,) = request.header("ReplyTo")
        assert reply_to.findtext(f"{WSA}Address") == ANONYMOUS
        assert request.text("To").endswith(request.message.target)
    identifiers = [request.text("MessageID") for request, _ in spoken]
    assert len(set(identifiers)) == len(identifiers)


def test_every_response_is_the_answer_to_its_request(spoken: list[tuple[Spoken, Spoken]]):
    for request, response in spoken:
        assert response.message.status == 200
        assert response.text("Action") == ACTIONS[request.text("Action")]
        (action,) = response.header("Action")
        assert action.get(f"{SOAP}mustUnderstand") in ("1", "true")
        assert response.text("RelatesTo") == request.text("MessageID")


def test_every_message_has_the_encoding_of_its_transaction(spoken: list[tuple[Spoken, Spoken]]):
    for request, response in spoken:
        for one in (request, response):
            content_type = one.message.content_type
            assert one.mtom is (request.text("Action") in MTOM_ACTIONS)
            if one.mtom:
                assert _parameter(content_type, "type") == "application/xop+xml"
                assert _parameter(content_type, "start-info").startswith("application/soap+xml")
            else:
                assert _header(content_type).get_content_type() == "application/soap+xml"
            assert _parameter(content_type, "action") in ("", one.text("Action"))


def test_every_include_has_its_part_and_every_part_its_include(spoken: list[tuple[Spoken, Spoken]]):
    includes = 0
    for pair in spoken:
        for one in pair:
            hrefs = [
                include.get("href", "")
                for include in one.envelope.iter("{http://www.w3.org/2004/08/xop/include}Include")
            ]
            assert all(href.startswith("cid:") for href in hrefs)
            assert sorted(unquote(href[4:]) for href in hrefs) == sorted(one.attachments)
            includes += len(hrefs)
    assert includes > 24


def test_every_error_says_where_it_is_and_what_is_wrong(spoken: list[tuple[Spoken, Spoken]]):
    errors = [
        error
        for _, response in spoken
        for error in response.body.iter("{urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0}RegistryError")
    ]

    assert {error.get("errorCode") for error in errors} == {
        "XDSStoredQueryMissingParam",
        "XDSUnknownStoredQuery",
        "XDSDocumentUniqueIdError",
        "XDSUnknownRepositoryId",
        "XDSUnknownPatientId",
    }
    for error in errors:
        assert error.get("codeContext")
        assert error.get("severity") == "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
        assert not (error.text or "").strip()
        if error.get("errorCode") in ("XDSDocumentUniqueIdError", "XDSUnknownRepositoryId"):
            assert error.get("location")


# --- a foreign client --------------------------------------------------------------------------------


@pytest.fixture
def foreign(stage: Stage) -> Iterator[Any]:
    """Makes a zeep client from the WSDL that a running service publishes."""
    made: list[zeep.Client] = []

    def client(name: str) -> zeep.Client:
        url = stage.url(name, PATHS[name])
        settings = zeep.Settings(forbid_external=True, strict=True)  # type: ignore[call-arg]
        made.append(zeep.Client(f"{url}?wsdl", settings=settings))
        return made[-1]

    yield client
    for one in made:
        one.transport.session.close()


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("registry", list(ACTIONS)[:2]),
        ("repository", list(ACTIONS)[2:4]),
        ("source", list(ACTIONS)[4:]),
    ],
)
def test_a_foreign_client_loads_the_wsdl_of_a_running_service(
    stage: Stage, foreign: Any, name: str, actions: list[str]
):
    client = foreign(name)

    (service,) = client.wsdl.services.values()
    (port,) = service.ports.values()
    assert {one.abstract.wsa_action for one in port.binding.all().values()} >= set(actions)
    assert port.binding_options["address"] == stage.url(name, PATHS[name])


def _ask(client: zeep.Client, query_id: str, slots: dict[str, str]) -> Any:
    return client.service["DocumentRegistry_RegistryStoredQuery"](
        ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
        AdhocQuery={
            "id": query_id,
            "Slot": [{"name": name, "ValueList": {"Value": [value]}} for name, value in slots.items()],
        },
    )


def test_a_foreign_client_finds_what_we_published(
    foreign: Any, spoken: list[tuple[Spoken, Spoken]], study: StudyFiles
):
    answer = _ask(
        foreign("registry"),
        FIND_DOCUMENTS,
        {
            "$XDSDocumentEntryPatientId": f"'{study.patient_id}'",
            "$XDSDocumentEntryStatus": "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')",
            "$XDSDocumentEntryFormatCode": "('1.2.840.10008.5.1.4.1.1.88.59^^1.2.840.10008.2.6.1')",
        },
    )

    assert answer.status.endswith(":Success")
    entries = [choice["ExtrinsicObject"] for choice in answer.RegistryObjectList._value_1]
    references = [
        value
        for entry in entries
        for slot in entry.Slot
        if slot.name == "urn:ihe:iti:xds:2013:referenceIdList"
        for value in slot.ValueList.Value
    ]
    assert {entry.mimeType for entry in entries} == {"application/dicom"}
    assert any(value.startswith(study.uid) for value in references)


def test_a_foreign_client_reads_our_errors(foreign: Any):
    answer = _ask(foreign("registry"), FIND_DOCUMENTS, {})

    assert answer.status.endswith(":Failure")
    missing = {(error.errorCode, error.codeContext) for error in answer.RegistryErrorList.RegistryError}
    assert missing == {
        ("XDSStoredQueryMissingParam", "$XDSDocumentEntryPatientId"),
        ("XDSStoredQueryMissingParam", "$XDSDocumentEntryStatus"),
    }
