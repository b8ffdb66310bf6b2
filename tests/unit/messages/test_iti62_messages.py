"""ITI-62 on the wire (supplement Remove Metadata and Documents, 3.62.4); what ITI-51 and 61 borrow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.errors import Actor, ReferencesExist, UnreferencedObject, UnresolvedReference
from shared.messages.iti18 import ITI18
from shared.messages.iti42 import ITI42
from shared.messages.iti51 import ITI51
from shared.messages.iti61 import ITI61
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.messages.registry import Status
from shared.xml import NS
from tests.support.metadata import uuids
from tests.support.schemas import LCM, RS, assert_valid

HEAD = f'<r:RemoveObjectsRequest xmlns:r="{NS["lcm"]}" xmlns="{NS["rim"]}"'


def decoded(inside, attributes=""):
    return ITI62.decode_request(
        etree.fromstring(f"{HEAD} {attributes}>{inside}</r:RemoveObjectsRequest>"), {}
    )


@given(st.lists(uuids, min_size=1, max_size=5, unique=True).map(tuple))
def test_every_removal_survives_its_message(ids):
    octets = ITI62.encode_request(RemoveMetadataRequest(ids=ids)).xml

    assert_valid(octets, LCM)
    body = etree.fromstring(octets)
    assert body.tag == ITI62.body_root
    assert ITI62.decode_request(body, {}) == RemoveMetadataRequest(ids=ids)


def test_ids_are_trimmed_and_told_once_in_order():
    refs = "".join(f'<ObjectRef id="{each}"/>' for each in (" b\n", "a", "b"))
    assert decoded(
        f"<!-- two --><ObjectRefList>{refs}<!-- more --></ObjectRefList>"
    ) == RemoveMetadataRequest(ids=("b", "a"))


@pytest.mark.parametrize(
    ("inside", "attributes", "told"),
    [
        ("", "", ["nothing is listed"]),
        ("<ObjectRefList/>", "", ["nothing is listed"]),
        ("<ObjectRefList><!-- none --></ObjectRefList>", "", ["nothing is listed"]),
        ('<ObjectRefList><ObjectRef id="  "/></ObjectRefList>', "", ["has no id"]),
        ('<ObjectRefList><ObjectRef/><ObjectRef id="a"/></ObjectRefList>', "", ["has no id"]),
        ('<ObjectRefList><ExtrinsicObject id="a"/></ObjectRefList>', "", ["by their ids"]),
        ("<RegistryObjectList/>", "", ["by their ids", "nothing is listed"]),
        ('<AdhocQuery id="q"/>', "", ["AdhocQuery", "nothing is listed"]),
        ('<ObjectRefList><ObjectRef id="a"/></ObjectRefList>', 'deletionScope=""', ["deletionScope"]),
    ],
)
def test_what_is_wrong_with_a_message_stands_in_the_value(inside, attributes, told):
    errors = decoded(inside, attributes).errors
    assert {error.code_for(Actor.REGISTRY) for error in errors} == {"XDSRegistryError"}
    for error, words in zip(errors, told, strict=True):
        assert words in error.context


def test_the_answer_carries_the_codes_of_a_removal():
    sent = ITI62.failure([ReferencesExist("x"), UnreferencedObject("y"), UnresolvedReference("z")])
    encoded = ITI62.encode_response(sent).xml

    assert_valid(encoded, RS)
    received = ITI62.decode_response(etree.fromstring(encoded), {})
    assert received.status is Status.FAILURE
    assert [error.code_for(Actor.REGISTRY) for error in received.errors] == [
        "ReferencesExistException",
        "XDSUnreferencedObjectException",
        "UnresolvedReferenceException",
    ]


def test_the_actions_are_those_of_the_framework():
    prefix = "urn:ihe:iti:2010:"
    assert (ITI62.action, ITI62.response_action) == (
        f"{prefix}DeleteDocumentSet",
        f"{prefix}DeleteDocumentSetResponse",
    )
    assert (ITI61.action, ITI61.response_action) == (
        f"{prefix}RegisterOnDemandDocumentEntry",
        f"{prefix}RegisterOnDemandDocumentResponse",
    )
    assert (ITI51.action, ITI51.response_action) == (
        "urn:ihe:iti:2009:MultiPatientStoredQuery",
        "urn:ihe:iti:2009:MultiPatientStoredQueryResponse",
    )


def test_two_transactions_have_the_messages_of_their_models():
    for transaction, model in ((ITI51, ITI18), (ITI61, ITI42)):
        assert transaction.body_root == model.body_root
        assert transaction.encode_request is model.encode_request
        assert transaction.decode_response is model.decode_response
        assert transaction.number != model.number
