"""ITI-41, RAD-68 and ITI-42 on the wire (ITI TF-2 3.41.4, 3.42.4)."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from lxml import etree

from shared.ebrim.codec import DecodedSubmission
from shared.errors import Actor, MetadataError, UnknownPatientId
from shared.faults import SenderFault
from shared.http.raw_asgi import FileRange
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.registry import RegistryResponse, Status
from shared.soap.mtom import MtomBody, Received, include
from shared.xml import NS
from tests.support.metadata import a_document_entry, a_submission, submissions
from tests.support.schemas import DOCUMENTS, LCM, RS, assert_valid

SUBMISSION = a_submission(a_document_entry(entry_uuid="doc1"), a_document_entry(entry_uuid="doc2"))
LAW = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def received(body: MtomBody, folder) -> tuple[etree._Element, dict[str, Received]]:
    """What the reader makes of the message: the element, and the parts in files."""
    parts = {}
    for number, part in enumerate(body.attachments):
        assert isinstance(part.content, bytes)
        path = folder / str(number)
        path.write_bytes(part.content)
        parts[part.content_id] = Received(path, len(part.content), "sha1", "sha256")
    return etree.fromstring(body.xml), parts


# --- ITI-42 ------------------------------------------------------------------------------------------


@LAW
@given(submissions())
def test_every_registration_survives_its_message(submission):
    octets = ITI42.encode_request(RegisterRequest.of(submission)).xml

    assert_valid(octets, LCM)
    body = etree.fromstring(octets)
    assert body.tag == ITI42.body_root
    assert ITI42.decode_request(body, {}) == RegisterRequest.of(submission)


def test_a_registration_without_object_list_is_a_fault_that_says_so():
    with pytest.raises(SenderFault, match="RegistryObjectList"):
        ITI42.decode_request(etree.fromstring(f'<SubmitObjectsRequest xmlns="{NS["lcm"]}"/>'), {})


def test_errors_of_the_metadata_stand_in_the_value():
    octets = ITI42.encode_request(RegisterRequest.of(SUBMISSION)).xml.replace(
        b"urn:uuid:41a5887f", b"urn:uuid:00000000"
    )

    decoded = ITI42.decode_request(etree.fromstring(octets), {}).decoded

    assert decoded.submission is None
    assert {error.code_for(Actor.REGISTRY) for error in decoded.errors} == {"XDSRegistryMetadataError"}


def test_slots_of_the_request_itself_are_passed_over():
    body = etree.fromstring(ITI42.encode_request(RegisterRequest.of(SUBMISSION)).xml)
    body.insert(0, etree.fromstring(f'<RequestSlotList xmlns="{NS["rs"]}"/>'))

    assert ITI42.decode_request(body, {}) == RegisterRequest.of(SUBMISSION)


def test_what_could_not_be_decoded_is_not_sent_on():
    broken = DecodedSubmission(submission=None, errors=(MetadataError("x"),))

    with pytest.raises(ValueError, match="cannot be sent"):
        ITI42.encode_request(RegisterRequest(decoded=broken))
    with pytest.raises(ValueError, match="cannot be sent"):
        ITI41.encode_request(ProvideAndRegisterRequest(decoded=broken))


@pytest.mark.parametrize(
    ("transaction", "actor"), [(ITI41, Actor.REPOSITORY), (ITI42, Actor.REGISTRY)], ids=("41", "42")
)
def test_the_answer_carries_the_codes_of_its_actor(transaction, actor):
    sent = transaction.failure([MetadataError("x"), UnknownPatientId("P1")])

    encoded = transaction.encode_response(sent)

    assert_valid(encoded, RS)
    assert encoded.attachments == ()
    decoded = transaction.decode_response(etree.fromstring(encoded.xml), {})
    assert decoded.status is Status.FAILURE
    assert [error.code_for(Actor.REGISTRY) for error in decoded.errors] == [
        f"XDS{actor}MetadataError",
        "XDSUnknownPatientId",
    ]


def test_success_needs_no_words():
    encoded = ITI41.encode_response(RegistryResponse(status=Status.SUCCESS))

    assert ITI41.decode_response(etree.fromstring(encoded.xml), {}) == RegistryResponse(status=Status.SUCCESS)


# --- ITI-41 ------------------------------------------------------------------------------------------


def test_a_submission_with_its_documents_validates_and_is_read_again(tmp_path):
    request = ProvideAndRegisterRequest.of(
        SUBMISSION,
        [ProvidedDocument(id="doc1", content=b"one"), ProvidedDocument(id="doc2", content=b"")],
    )

    encoded = ITI41.encode_request(request)

    assert_valid(encoded, DOCUMENTS)
    body, parts = received(encoded, tmp_path)
    assert body.tag == ITI41.body_root
    decoded = ITI41.decode_request(body, parts)
    assert decoded.decoded == request.decoded
    assert [document.id for document in decoded.documents] == ["doc1", "doc2"]
    contents = [document.content for document in decoded.documents]
    assert [content.path.read_bytes() for content in contents if isinstance(content, Received)] == [
        b"one",
        b"",
    ]
    assert [part.content_type for part in encoded.attachments] == ["application/dicom", "application/dicom"]


@LAW
@given(submissions())
def test_every_submission_validates_with_its_documents(submission):
    documents = [ProvidedDocument(id=entry.entry_uuid, content=b"x") for entry in submission.document_entries]

    encoded = ITI41.encode_request(ProvideAndRegisterRequest.of(submission, documents))

    assert_valid(encoded, DOCUMENTS)
    ids = [part.content_id for part in encoded.attachments]
    assert len(set(ids)) == len(submission.document_entries)


def test_the_bytes_of_a_file_are_sent_as_a_range_of_it(tmp_path):
    part = FileRange(tmp_path / "kos", 0, 43)

    encoded = ITI41.encode_request(
        ProvideAndRegisterRequest.of(SUBMISSION, [ProvidedDocument(id="doc1", content=part)])
    )

    assert encoded.attachments[0].content is part


def test_a_submission_of_folders_alone_needs_no_document():
    submission = replace(SUBMISSION, document_entries=(), associations=())

    encoded = ITI41.encode_request(ProvideAndRegisterRequest.of(submission, []))

    assert_valid(encoded, DOCUMENTS)
    assert ITI41.decode_request(etree.fromstring(encoded.xml), {}).documents == ()


def _with(documents: str) -> etree._Element:
    encoded = ITI41.encode_request(ProvideAndRegisterRequest.of(SUBMISSION, []))
    head, _, tail = encoded.xml.decode().rpartition("</xds:ProvideAndRegister")
    return etree.fromstring(f"{head}{documents}</xds:ProvideAndRegister{tail}")


def test_a_document_whose_part_is_missing_has_no_content():
    body = _with(f'<xds:Document id="doc1">{include("nobody@x")}</xds:Document>')

    decoded = ITI41.decode_request(body, {})

    assert decoded.documents == (ProvidedDocument(id="doc1", content=None),)
    assert decoded.decoded.errors == ()


def test_an_empty_document_is_a_document_of_no_bytes():
    decoded = ITI41.decode_request(_with('<xds:Document id="doc1"/>'), {})

    assert decoded.documents == (ProvidedDocument(id="doc1", content=b""),)


def test_a_document_without_id_reaches_the_repository_without_one():
    assert ITI41.decode_request(_with("<xds:Document/>"), {}).documents[0].id == ""


def test_an_id_of_two_documents_is_an_error_of_the_metadata():
    body = _with('<xds:Document id="doc1"/><xds:Document id="doc1"/>')

    (error,) = ITI41.decode_request(body, {}).decoded.errors

    assert error.code_for(Actor.REPOSITORY) == "XDSRepositoryMetadataError"
    assert error.location == "doc1/Document"


@pytest.mark.parametrize("content", ["not base64!", "<other/>", include("a") + include("b"), "<xds:x/>"])
def test_a_document_that_is_no_document_is_a_fault(content):
    with pytest.raises(SenderFault, match="Document"):
        ITI41.decode_request(_with(f'<xds:Document id="doc1">{content}</xds:Document>'), {})


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("<x:ProvideAndRegisterDocumentSetRequest {}/>", "SubmitObjectsRequest"),
        (
            "<x:ProvideAndRegisterDocumentSetRequest {}><l:SubmitObjectsRequest/>"
            "</x:ProvideAndRegisterDocumentSetRequest>",
            "RegistryObjectList",
        ),
    ],
)
def test_what_is_absent_from_the_frame_is_named_in_a_fault(body, named):
    declared = f'xmlns:x="{NS["xds"]}" xmlns:l="{NS["lcm"]}"'

    with pytest.raises(SenderFault, match=named):
        ITI41.decode_request(etree.fromstring(body.format(declared)), {})


def test_a_document_without_content_cannot_be_sent():
    request = ProvideAndRegisterRequest.of(SUBMISSION, [ProvidedDocument(id="doc1", content=None)])

    with pytest.raises(ValueError, match="doc1"):
        ITI41.encode_request(request)
