"""ITI-18: requests and responses on the wire (ITI TF-2 3.18.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.ebrim.codec import encode_association, encode_document_entry, encode_object_ref
from shared.ebrim.model import AvailabilityStatus, Code, Timestamp
from shared.errors import Actor, ExtraMetadataNotSaved, Severity, StoredQueryMissingParam, TooManyResults
from shared.faults import SenderFault
from shared.messages.iti18 import (
    ITI18,
    ReturnType,
    StoredQueryRequest,
    StoredQueryResponse,
    encode_parameters,
)
from shared.messages.registry import Status
from shared.xml import NS
from tests.support.metadata import PATIENT, a_document_entry, an_association, characters, texts
from tests.support.schemas import QUERY, assert_valid

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"

REQUEST = StoredQueryRequest(
    query_id=FIND_DOCUMENTS,
    return_type=ReturnType.LEAF_CLASS,
    parameters=encode_parameters(
        {
            "$XDSDocumentEntryPatientId": PATIENT,
            "$XDSDocumentEntryStatus": [AvailabilityStatus.APPROVED],
            "$XDSDocumentEntryEventCodeList": [Code("CT", "1.2.840.10008.2.16.4")],
            "$XDSDocumentEntryCreationTimeFrom": Timestamp("20240101"),
            "$XDSDocumentEntryClassCode": [],
        }
    ),
)


def test_a_request_validates_and_is_read_again():
    octets = ITI18.encode_request(REQUEST).xml

    assert_valid(octets, QUERY)
    decoded = ITI18.decode_request(etree.fromstring(octets), {})
    assert decoded == REQUEST
    assert decoded.parameters == {
        "$XDSDocumentEntryPatientId": ((f"'{PATIENT}'",),),
        "$XDSDocumentEntryStatus": ((f"('{AvailabilityStatus.APPROVED}')",),),
        "$XDSDocumentEntryEventCodeList": (("('CT^^1.2.840.10008.2.16.4')",),),
        "$XDSDocumentEntryCreationTimeFrom": (("20240101",),),
    }


values = texts(200).filter(lambda text: text.strip() == text)


@given(
    st.builds(
        StoredQueryRequest,
        query_id=st.uuids().map("urn:uuid:{}".format),
        return_type=st.sampled_from((ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF)),
        parameters=st.dictionaries(
            texts(30).map("${}".format),
            st.lists(st.lists(values, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
            max_size=4,
        ),
        home=st.sampled_from(("", "urn:oid:1.2.3")),
    )
)
def test_every_request_survives_its_message(request_):
    octets = ITI18.encode_request(request_).xml

    assert_valid(octets, QUERY)
    assert ITI18.decode_request(etree.fromstring(octets), {}) == request_


def _body(option: str, query: str) -> etree._Element:
    return etree.fromstring(
        f'<q:Envelope xmlns:q="{NS["query"]}" xmlns="{NS["rim"]}"><q:AdhocQueryRequest startIndex="3">'
        f"{option}{query}</q:AdhocQueryRequest>tail</q:Envelope>"
    )[0]


@pytest.mark.parametrize(
    ("option", "return_type"),
    [
        ('<q:ResponseOption returnType="LeafClass"/>', ReturnType.LEAF_CLASS),
        ('<q:ResponseOption returnType=" ObjectRef "/>', ReturnType.OBJECT_REF),
        # The registry refuses the others with an orderly error, so they must reach it.
        ('<q:ResponseOption returnType="RegistryObject"/>', ReturnType.REGISTRY_OBJECT),
        ("<q:ResponseOption/>", ReturnType.REGISTRY_OBJECT),
        ("", ReturnType.REGISTRY_OBJECT),
        (
            '<q:ResponseOption returnType="LeafClassWithRepositoryItem"/>',
            ReturnType.LEAF_CLASS_WITH_REPOSITORY_ITEM,
        ),
        ('<q:ResponseOption returnType="Everything"/>', ReturnType.UNKNOWN),
        ('<q:ResponseOption returnType=""/>', ReturnType.UNKNOWN),
    ],
)
def test_any_return_type_is_representable(option, return_type):
    decoded = ITI18.decode_request(_body(option, f'<AdhocQuery id="{FIND_DOCUMENTS}"/>'), {})

    assert decoded.return_type is return_type


@pytest.mark.parametrize("spelled", [f" {FIND_DOCUMENTS} ", FIND_DOCUMENTS.replace("uuid:", "uuid: ")])
def test_blanks_in_the_query_id_are_taken_out(spelled):
    assert ITI18.decode_request(_body("", f'<AdhocQuery id="{spelled}"/>'), {}).query_id == FIND_DOCUMENTS


def test_slots_of_one_name_stay_apart_and_values_of_one_slot_together():
    slots = "".join(
        f'<Slot name="$a"><ValueList><!-- --><Value>\n {one} </Value><Value>{two}</Value></ValueList></Slot>'
        for one, two in (("1", "2"), ("3", "4"))
    )

    decoded = ITI18.decode_request(_body("", f'<AdhocQuery id="q">{slots}</AdhocQuery>'), {})

    assert decoded.parameters == {"$a": (("1", "2"), ("3", "4"))}


def test_a_parameter_without_values_counts_as_absent():
    slots = '<Slot name="$a"><ValueList/></Slot><Slot name="$b"/>'

    assert ITI18.decode_request(_body("", f'<AdhocQuery id="q">{slots}</AdhocQuery>'), {}).parameters == {}


def test_the_octets_for_the_trail_are_the_request_alone():
    body = _body("", f'<AdhocQuery id="{FIND_DOCUMENTS}" home="urn:oid:1.2"/>')

    decoded = ITI18.decode_request(body, {})

    assert decoded.home == "urn:oid:1.2"
    assert b"tail" not in decoded.octets
    assert ITI18.decode_request(etree.fromstring(decoded.octets), {}) == decoded


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "AdhocQuery"),
        ("<AdhocQuery/>", "id"),
        ('<AdhocQuery id="q"><Slot><ValueList><Value>1</Value></ValueList></Slot></AdhocQuery>', "name"),
    ],
)
def test_what_is_absent_from_the_frame_is_named_in_a_fault(query, named):
    with pytest.raises(SenderFault, match=named):
        ITI18.decode_request(_body("", query), {})


# --- responses ---------------------------------------------------------------------------------------

ENTRY = a_document_entry()
LINK = an_association("urn:uuid:11111111-1111-4111-8111-111111111111", ENTRY.entry_uuid)
WARNING = ExtraMetadataNotSaved("dropped")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (StoredQueryResponse(), Status.SUCCESS),
        (StoredQueryResponse(fragments=[encode_document_entry(ENTRY)]), Status.SUCCESS),
        (StoredQueryResponse(fragments=[encode_object_ref(ENTRY.entry_uuid)]), Status.SUCCESS),
        (StoredQueryResponse(fragments=[encode_association(LINK)], errors=(WARNING,)), Status.SUCCESS),
        (StoredQueryResponse(errors=(WARNING,)), Status.SUCCESS),
        (ITI18.failure([StoredQueryMissingParam("$XDSDocumentEntryStatus")]), Status.FAILURE),
        (
            StoredQueryResponse(fragments=[encode_document_entry(ENTRY)], errors=(TooManyResults("a"),)),
            Status.PARTIAL_SUCCESS,
        ),
    ],
)
def test_every_response_validates_and_is_read_again(response, status):
    octets = ITI18.encode_response(response).xml

    assert_valid(octets, QUERY)
    body = etree.fromstring(octets)
    assert body.get("status") == status
    assert body[-1].tag == f"{{{NS['rim']}}}RegistryObjectList"
    decoded = ITI18.decode_response(body, {})
    assert decoded.status is status
    assert [error.code_for(Actor.REGISTRY) for error in decoded.errors] == [
        error.code_for(Actor.REGISTRY) for error in response.errors
    ]


def test_objects_are_decoded_by_kind():
    fragments = [encode_document_entry(ENTRY), encode_association(LINK), encode_object_ref("urn:uuid:9")]

    objects = ITI18.decode_response(
        etree.fromstring(ITI18.encode_response(StoredQueryResponse(fragments=fragments)).xml), {}
    ).objects

    assert objects.document_entries == (ENTRY,)
    assert objects.associations == (LINK,)
    assert objects.object_refs == ("urn:uuid:9",)


def test_a_failure_without_a_word_is_still_a_failure():
    silent = etree.fromstring(f'<AdhocQueryResponse xmlns="{NS["query"]}" status="{Status.FAILURE}"/>')

    decoded = ITI18.decode_response(silent, {})

    assert decoded.status is Status.FAILURE
    assert [error.severity for error in decoded.errors] == [Severity.ERROR]


def test_the_text_of_an_error_is_escaped():
    octets = ITI18.encode_response(ITI18.failure([StoredQueryMissingParam('$a & "b" <c>\n')])).xml

    assert ITI18.decode_response(etree.fromstring(octets), {}).errors[0].context == '$a & "b" <c>\n'


@given(st.text(characters, min_size=1))
def test_any_string_can_be_a_parameter(text):
    request = StoredQueryRequest(
        query_id="q", return_type=ReturnType.OBJECT_REF, parameters=encode_parameters({"$a": text})
    )

    decoded = ITI18.decode_request(etree.fromstring(ITI18.encode_request(request).xml), {})

    assert decoded == request
