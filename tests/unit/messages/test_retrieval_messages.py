"""ITI-43 and RAD-69 on the wire (ITI TF-2 3.43.4, RAD TF-2 4.69.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.errors import (
    Actor,
    DocumentUniqueIdError,
    RelayedError,
    Severity,
    UnknownRepositoryId,
    XdsError,
)
from shared.faults import SenderFault
from shared.http.raw_asgi import FileRange
from shared.messages.documents import (
    DocumentRequest,
    PartReference,
    RetrievedDocument,
    RetrieveDocumentSetResponse,
)
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.iti86 import ITI86, RemoveDocumentsRequest
from shared.messages.rad69 import (
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)
from shared.messages.registry import Status
from shared.soap.mtom import Received
from shared.xml import NS
from tests.support.metadata import oids, texts
from tests.support.schemas import DOCUMENTS, IMAGING, REMOVAL, assert_valid

ids = texts(60).filter(lambda text: text.strip() == text)
homes = st.sampled_from(("", "urn:oid:1.2.3"))
document_requests = st.builds(
    DocumentRequest, repository_unique_id=oids, document_unique_id=ids, home_community_id=homes
)
imaging_requests = st.builds(
    RetrieveImagingDocumentSetRequest,
    studies=st.lists(
        st.builds(
            StudyRequest,
            study_instance_uid=oids,
            series=st.lists(
                st.builds(
                    SeriesRequest,
                    series_instance_uid=oids,
                    documents=st.lists(document_requests, min_size=1, max_size=3).map(tuple),
                ),
                min_size=1,
                max_size=2,
            ).map(tuple),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    transfer_syntax_uids=st.lists(oids, min_size=1, max_size=3).map(tuple),
)


@given(st.lists(document_requests, min_size=1, max_size=5).map(tuple))
def test_every_request_for_documents_survives_its_message(documents):
    request = RetrieveDocumentSetRequest(documents=documents)

    encoded = ITI43.encode_request(request)

    assert_valid(encoded, DOCUMENTS)
    assert encoded.attachments == ()
    body = etree.fromstring(encoded.xml)
    assert body.tag == ITI43.body_root
    assert ITI43.decode_request(body, {}) == request


@given(imaging_requests)
def test_every_request_for_instances_survives_its_message(request_):
    encoded = RAD69.encode_request(request_)

    assert_valid(encoded, IMAGING)
    assert encoded.attachments == ()
    body = etree.fromstring(encoded.xml)
    assert body.tag == RAD69.body_root
    assert RAD69.decode_request(body, {}) == request_


def _imaging(content: str) -> etree._Element:
    return etree.fromstring(
        f'<r:RetrieveImagingDocumentSetRequest xmlns:r="{NS["xdsi"]}" xmlns:x="{NS["xds"]}">{content}'
        "</r:RetrieveImagingDocumentSetRequest>"
    )


def _study(
    document: str = "x:DocumentRequest", child: str = "x", study: str = 'studyInstanceUID="1.2"'
) -> str:
    return (
        f'<r:StudyRequest {study}><r:SeriesRequest seriesInstanceUID=" 1.3 "><{document}><!-- of one -->'
        f"<{child}:RepositoryUniqueId> 1.4 </{child}:RepositoryUniqueId>"
        f"<{child}:DocumentUniqueId>\n1.5\n</{child}:DocumentUniqueId></{document}></r:SeriesRequest></r:StudyRequest>"
    )


SYNTAXES = (
    "<r:TransferSyntaxUIDList><r:TransferSyntaxUID> 1.2.840.10008.1.2.1 </r:TransferSyntaxUID>"
    "<r:TransferSyntaxUID/></r:TransferSyntaxUIDList>"
)
EXPECTED = RetrieveImagingDocumentSetRequest(
    studies=(
        StudyRequest(
            study_instance_uid="1.2",
            series=(
                SeriesRequest(
                    series_instance_uid="1.3",
                    documents=(DocumentRequest(repository_unique_id="1.4", document_unique_id="1.5"),),
                ),
            ),
        ),
    ),
    transfer_syntax_uids=("1.2.840.10008.1.2.1",),
)


@pytest.mark.parametrize("document", ["x:DocumentRequest", "r:DocumentRequest"])
def test_a_document_request_is_read_in_both_namespaces(document):
    assert RAD69.decode_request(_imaging(_study(document) + SYNTAXES), {}) == EXPECTED


@pytest.mark.parametrize("study", ["", 'studyInstanceUID=""', 'studyInstanceUID=" "'])
def test_an_empty_study_uid_reaches_the_source(study):
    decoded = RAD69.decode_request(_imaging(_study(study=study) + SYNTAXES), {})

    assert decoded.studies[0].study_instance_uid == ""


@pytest.mark.parametrize(
    "listed",
    [
        "",
        "<r:TransferSyntaxUIDList/>",
        "<r:TransferSyntaxUIDList><r:TransferSyntaxUID> </r:TransferSyntaxUID></r:TransferSyntaxUIDList>",
    ],
)
def test_blank_transfer_syntaxes_reach_the_source_as_none(listed):
    assert RAD69.decode_request(_imaging(_study() + listed), {}).transfer_syntax_uids == ()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (SYNTAXES, "names no instance"),
        ('<r:StudyRequest studyInstanceUID="1"/>', "names no instance"),
        (_study(child="r"), "RepositoryUniqueId"),
    ],
)
def test_what_is_absent_from_a_request_for_instances_is_named(body, named):
    with pytest.raises(SenderFault, match=named):
        RAD69.decode_request(_imaging(body), {})


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "names no document"),
        ("<DocumentRequest><RepositoryUniqueId>1</RepositoryUniqueId></DocumentRequest>", "DocumentUniqueId"),
        ("<DocumentRequest><DocumentUniqueId>1</DocumentUniqueId></DocumentRequest>", "RepositoryUniqueId"),
    ],
)
def test_what_is_absent_from_a_request_for_documents_is_named(content, named):
    body = f'<RetrieveDocumentSetRequest xmlns="{NS["xds"]}">{content}</RetrieveDocumentSetRequest>'

    with pytest.raises(SenderFault, match=named):
        ITI43.decode_request(etree.fromstring(body), {})


# --- responses ---------------------------------------------------------------------------------------


def a_document(unique_id: str = "1.5", **changes: object) -> RetrievedDocument:
    return RetrievedDocument(
        **{  # type: ignore[arg-type]
            "repository_unique_id": "1.4",
            "document_unique_id": unique_id,
            "mime_type": "application/dicom",
            "content": b"DICM",
            **changes,
        }
    )


MISSING = DocumentUniqueIdError("no such document", location="1.6")
FOREIGN = UnknownRepositoryId("1.7 is not served here", location="1.8")


def a_warning() -> XdsError:
    return RelayedError("XDSRepositoryError", "shortened", severity=Severity.WARNING, location="1.5")


@pytest.mark.parametrize("transaction", [ITI43, RAD69], ids=("ITI-43", "RAD-69"))
@pytest.mark.parametrize(
    ("response", "status"),
    [
        (RetrieveDocumentSetResponse(documents=(a_document(),)), Status.SUCCESS),
        (RetrieveDocumentSetResponse(documents=(a_document(),), errors=(a_warning(),)), Status.SUCCESS),
        (RetrieveDocumentSetResponse(documents=(a_document(),), errors=(MISSING,)), Status.PARTIAL_SUCCESS),
        (RetrieveDocumentSetResponse(errors=(MISSING, FOREIGN)), Status.FAILURE),
        (RetrieveDocumentSetResponse(), Status.FAILURE),
        (
            RetrieveDocumentSetResponse(
                documents=(
                    a_document("1.5", home_community_id="urn:oid:1.2"),
                    a_document("1.9", new_document_unique_id="1.10", new_repository_unique_id="1.11"),
                )
            ),
            Status.SUCCESS,
        ),
    ],
)
def test_every_response_validates_and_is_read_again(transaction, response, status):
    encoded = transaction.encode_response(response)

    assert_valid(encoded, DOCUMENTS)
    body = etree.fromstring(encoded.xml)
    assert body[0].get("status") == status
    decoded = transaction.decode_response(body, {})
    assert decoded.status is status
    assert [_told(error) for error in decoded.errors] == [
        _told(error) for error in response.errors or ([] if response.documents else [UNEXPLAINED])
    ]
    assert [_described(document) for document in decoded.documents] == [
        _described(document) for document in response.documents
    ]


# What is read into a failure that gives no reason.
UNEXPLAINED = RelayedError("XDSRepositoryError", "", severity=Severity.ERROR)


def _told(error: XdsError) -> tuple[str, ...]:
    return (error.code_for(Actor.REPOSITORY), error.location, error.severity)


def _described(document: RetrievedDocument) -> tuple[str, ...]:
    return (
        document.repository_unique_id,
        document.document_unique_id,
        document.new_repository_unique_id,
        document.new_document_unique_id,
        document.mime_type,
        document.home_community_id,
    )


def test_the_failure_of_a_retrieval_carries_its_errors_alone():
    assert ITI43.failure([MISSING]) == RetrieveDocumentSetResponse(errors=(MISSING,))


def test_each_document_is_a_part_of_its_registered_type_and_nothing_is_read(tmp_path):
    part = FileRange(tmp_path / "blob", 7, 43)
    documents = (a_document("1.5", content=part), a_document("1.6", mime_type="text/plain", content=b"x"))

    encoded = RAD69.encode_response(RetrieveDocumentSetResponse(documents=documents))

    assert [attachment.content for attachment in encoded.attachments] == [part, b"x"]
    assert [attachment.content_type for attachment in encoded.attachments] == [
        "application/dicom",
        "text/plain",
    ]
    assert len({attachment.content_id for attachment in encoded.attachments}) == 2


def test_parts_that_are_here_are_given_and_parts_that_follow_are_referred_to(tmp_path):
    encoded = ITI43.encode_response(
        RetrieveDocumentSetResponse(documents=(a_document("1.5"), a_document("1.6")))
    )
    here, follows = (attachment.content_id for attachment in encoded.attachments)
    received = Received(tmp_path / "one", 4, "sha1", "sha256")

    decoded = ITI43.decode_response(etree.fromstring(encoded.xml), {here: received})

    assert [document.content for document in decoded.documents] == [received, PartReference(follows)]


def test_an_href_is_percent_decoded_before_it_is_looked_up():
    octets = ITI43.encode_response(RetrieveDocumentSetResponse(documents=(a_document(),))).xml
    body = etree.fromstring(octets.replace(b"cid:document1@xdsi", b"CID:a%2Fb%40x"))

    assert ITI43.decode_response(body, {}).documents[0].content == PartReference("a/b@x")


def test_a_document_that_was_not_received_cannot_be_sent():
    response = RetrieveDocumentSetResponse(documents=(a_document(content=PartReference("a")),))

    with pytest.raises(ValueError, match="has not been received"):
        ITI43.encode_response(response)


def test_a_partial_success_without_a_word_is_still_partial():
    octets = ITI43.encode_response(RetrieveDocumentSetResponse(documents=(a_document(),))).xml
    body = etree.fromstring(octets.replace(Status.SUCCESS.encode(), Status.PARTIAL_SUCCESS.encode()))

    decoded = ITI43.decode_response(body, {})

    assert decoded.status is Status.PARTIAL_SUCCESS
    assert len(decoded.errors) == 1


@pytest.mark.parametrize("absent", ["RegistryResponse", "mimeType", "Document", "DocumentUniqueId"])
def test_what_is_absent_from_a_response_is_named(absent):
    body = etree.fromstring(ITI43.encode_response(RetrieveDocumentSetResponse(documents=(a_document(),))).xml)
    (found,) = body.xpath(f"//*[local-name()='{absent}']")
    found.getparent().remove(found)

    with pytest.raises(SenderFault, match=absent):
        ITI43.decode_response(body, {})


def test_both_retrievals_answer_with_the_same_action():
    assert RAD69.response_action == ITI43.response_action == "urn:ihe:iti:2007:RetrieveDocumentSetResponse"


@given(st.lists(document_requests, min_size=1, max_size=3).map(tuple))
def test_a_removal_means_the_same_after_decoding(documents):
    request = RemoveDocumentsRequest(documents=documents)
    assert ITI86.decode_request(etree.fromstring(ITI86.encode_request(request).xml), {}) == request


def test_a_removal_is_valid_by_the_schema_of_the_supplement():
    asked = DocumentRequest(
        repository_unique_id="1.2", document_unique_id="1.3", home_community_id="urn:oid:1"
    )
    assert_valid(ITI86.encode_request(RemoveDocumentsRequest(documents=(asked,))).xml, REMOVAL)


def test_a_removal_of_nothing_is_no_removal():
    with pytest.raises(SenderFault):
        ITI86.decode_request(etree.fromstring(f'<r:RemoveDocumentsRequest xmlns:r="{NS["rmd"]}"/>'), {})
