"""ITI-44 on the wire: three interactions and their acknowledgement (ITI TF-2 3.44.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.errors import Actor, Busy, SubmissionError
from shared.faults import SenderFault
from shared.messages.iti44 import (
    HL7,
    ITI44_ADD,
    ITI44_MERGE,
    ITI44_REVISE,
    Acknowledgement,
    AcknowledgementCode,
    InstanceId,
    Interaction,
    PatientFeedRequest,
)
from tests.support.metadata import DOMAIN, oids, texts
from tests.support.schemas import HL7_V3, assert_valid

TRANSACTIONS = dict(zip(Interaction, (ITI44_ADD, ITI44_REVISE, ITI44_MERGE), strict=True))
extensions = texts(
    30, alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cn"))
)
ids = st.builds(InstanceId, oids, extensions)
several = st.lists(ids, min_size=1, max_size=3).map(tuple)
message_ids = st.builds(InstanceId, oids, st.one_of(st.just(""), extensions))


@st.composite
def requests(draw):
    interaction = draw(st.sampled_from(Interaction))
    merges = interaction is Interaction.MERGE
    return PatientFeedRequest(
        interaction=interaction,
        message_id=draw(message_ids),
        patients=(draw(several),),
        priors=(draw(several),) if merges else (),
        sender=draw(several),
        receiver=draw(several),
    )


@given(requests())
def test_every_message_survives_its_way_and_is_valid(request_):
    transaction = TRANSACTIONS[request_.interaction]
    octets = transaction.encode_request(request_).xml

    assert_valid(octets, f"{HL7_V3}/{request_.interaction}.xsd")
    body = etree.fromstring(octets)
    assert body.tag == transaction.body_root
    assert transaction.decode_request(body, {}) == request_


def test_a_message_without_canonical_form_is_its_senders_fault():
    body = etree.fromstring(
        f'<PRPA_IN201301UV02 xmlns="{HL7}"><id root="1.2"/><x xmlns="no-uri"/></PRPA_IN201301UV02>'
    )
    with pytest.raises(SenderFault, match="no absolute URI"):
        ITI44_ADD.decode_request(body, {})


@given(requests(), st.lists(texts(60).map(SubmissionError), max_size=2))
def test_every_acknowledgement_survives_its_way_and_is_valid(request_, errors):
    sent = Acknowledgement.to(request_, *errors)
    octets = ITI44_ADD.encode_response(sent).xml

    assert_valid(octets, f"{HL7_V3}/MCCI_IN000002UV01.xsd")
    received = ITI44_ADD.decode_response(etree.fromstring(octets), {})
    assert received.code is (AcknowledgementCode.ERROR if errors else AcknowledgementCode.ACCEPT)
    assert received.target == request_.message_id
    assert (received.sender, received.receiver) == (request_.receiver, request_.sender)
    assert len(received.errors) == len(errors)


def test_an_acknowledgement_of_what_was_not_looked_at_is_valid_too():
    octets = ITI44_MERGE.encode_response(ITI44_MERGE.failure([Busy("later <please>")])).xml

    assert_valid(octets, f"{HL7_V3}/MCCI_IN000002UV01.xsd")
    received = ITI44_MERGE.decode_response(etree.fromstring(octets), {})
    assert (received.code, received.target) == (AcknowledgementCode.ERROR, None)
    assert received.errors[0].context == "later <please>"
    assert b'code="XDSRegistryBusy"' in octets
    assert received.errors[0].code_for(Actor.REGISTRY) == "XDSRegistryError"


def body(name, inside):
    return etree.fromstring(
        f'<x:{name} xmlns:x="{HL7}" xmlns="{HL7}" ITSVersion="XML_1.0">{inside}</x:{name}>'
    )


def test_a_foreign_message_is_read_for_its_ids_alone():
    read = ITI44_MERGE.decode_request(
        body(
            "PRPA_IN201304UV02",
            '<id root="1.2.3"/><!-- no extension -->'
            "<sender><device><id root='1.9'/></device></sender>"
            '<controlActProcess><subject typeCode="SUBJ"><registrationEvent>'
            '<subject1><patient><id root=" 1.2 " extension=" A "/><id nullFlavor="UNK"/>'
            '<patientPerson><name><given>Rick</given></name><asOtherIDs><id root="1.2" extension="B"/>'
            "</asOtherIDs></patientPerson></patient></subject1>"
            '<replacementOf><priorRegistration><subject1><priorRegisteredRole><id root="1.2" extension="C"/>'
            "</priorRegisteredRole></subject1></priorRegistration></replacementOf>"
            "</registrationEvent></subject></controlActProcess>",
        ),
        {},
    )
    assert read == PatientFeedRequest(
        interaction=Interaction.MERGE,
        message_id=InstanceId("1.2.3"),
        patients=((InstanceId("1.2", "A"),),),
        priors=((InstanceId("1.2", "C"),),),
        sender=(InstanceId("1.9"),),
    )


def test_what_a_message_does_not_say_is_empty():
    read = ITI44_ADD.decode_request(body("PRPA_IN201301UV02", '<id root="1.2.3" extension="x"/>'), {})
    assert (read.patients, read.priors, read.sender, read.receiver) == ((), (), (), ())


def test_a_message_without_id_is_a_fault_that_says_so():
    with pytest.raises(SenderFault, match="hl7:id"):
        ITI44_ADD.decode_request(body("PRPA_IN201301UV02", "<sender/>"), {})
    with pytest.raises(SenderFault, match="root"):
        ITI44_ADD.decode_request(body("PRPA_IN201301UV02", '<id extension="x"/>'), {})


@pytest.mark.parametrize(
    ("code", "details", "accepted", "told"),
    [
        ("CA", "", True, []),
        ("AA", "", True, []),
        ("CA", "<acknowledgementDetail><text>hello</text></acknowledgementDetail>", True, []),
        ("CE", "", False, ["does not say why"]),
        ("CR", "", False, ["does not say why"]),
        (
            "AE",
            "<acknowledgementDetail><text>no such id</text></acknowledgementDetail>",
            False,
            ["no such id"],
        ),
    ],
)
def test_the_acknowledgement_of_another_registry_is_read(code, details, accepted, told):
    received = ITI44_ADD.decode_response(
        body(
            "MCCI_IN000002UV01",
            f'<acknowledgement><typeCode code="{code}"/><targetMessage><id root="1.2" extension="m"/>'
            f"</targetMessage>{details}</acknowledgement>",
        ),
        {},
    )
    assert (received.code is AcknowledgementCode.ACCEPT) is accepted
    assert received.target == InstanceId("1.2", "m")
    for error, words in zip(received.errors, told, strict=True):
        assert words in error.context


def test_an_answer_that_acknowledges_nothing_is_a_fault():
    with pytest.raises(SenderFault, match="acknowledgement"):
        ITI44_ADD.decode_response(body("MCCI_IN000002UV01", "<sender/>"), {})


def test_the_actions_are_the_names_of_the_interactions():
    for interaction, transaction in TRANSACTIONS.items():
        assert transaction.action == f"urn:hl7-org:v3:{interaction}"
        assert transaction.response_action == "urn:hl7-org:v3:MCCI_IN000002UV01"


def test_an_id_is_shown_in_the_trail_with_its_authority():
    assert str(InstanceId(DOMAIN, "A")) == f"A@{DOMAIN}"
    assert str(InstanceId("1.2.3")) == "1.2.3"
