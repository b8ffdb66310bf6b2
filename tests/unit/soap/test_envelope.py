"""Envelopes and faults: what is accepted, what is refused with which code, what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.faults import (
    SOAP12,
    WSA,
    WSSE,
    ActionFault,
    ReceiverFault,
    SecurityFault,
    SenderFault,
    SoapFault,
    VersionMismatch,
)
from shared.soap.envelope import (
    NotUnderstood,
    RelayedFault,
    check_addressing,
    encode_fault,
    encode_request,
    encode_response,
    read_envelope,
    read_fault,
)
from shared.xml import parse
from tests.support.soap_exchange import ANONYMOUS, MESSAGE_ID, an_echo, an_envelope

NS = {"s": SOAP12, "a": WSA, "w": WSSE}
XML_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
)


def checked(octets: bytes):
    envelope = read_envelope(parse(octets))
    check_addressing(envelope)
    return envelope


def test_action_is_trimmed_and_message_id_is_kept_to_the_byte():
    envelope = checked(an_echo(action="\n urn:echo:Echo\t", message_id=" urn:x  y "))

    assert envelope.action == "urn:echo:Echo"
    assert envelope.message_id == " urn:x  y "


@given(XML_TEXT.filter(str.strip))
def test_relates_to_is_the_message_id_to_the_byte(message_id):
    asked = read_envelope(parse(encode_request("urn:a", message_id, "http://x/", b"<x/>")))
    answer = parse(encode_response("urn:b", asked.message_id, b"<x/>"))

    assert answer.findtext("s:Header/a:RelatesTo", namespaces=NS) == asked.message_id == message_id


def test_our_own_requests_carry_what_the_standard_asks():
    root = parse(encode_request("urn:a", MESSAGE_ID, "https://r.example/x?a&b", b"<x/>"))

    action = root.find("s:Header/a:Action", NS)
    assert action.get(f"{{{SOAP12}}}mustUnderstand") == "1"
    assert root.findtext("s:Header/a:ReplyTo/a:Address", namespaces=NS) == ANONYMOUS
    assert root.findtext("s:Header/a:To", namespaces=NS) == "https://r.example/x?a&b"
    assert checked(etree.tostring(root)).action == "urn:a"


def test_an_assertion_is_inserted_to_the_byte():
    assertion = b'<s:Assertion xmlns:s="urn:x"  ID = "_1"><!-- c -->\n</s:Assertion>'

    octets = encode_request("urn:a", MESSAGE_ID, "http://x/", b"<x/>", assertion)

    assert assertion + b"</wsse:Security>" in octets
    (security,) = checked(octets).security
    assert len(security) == 1


@pytest.mark.parametrize(
    "headers",
    [
        "",
        f"<a:ReplyTo><a:Address> {ANONYMOUS}\n</a:Address></a:ReplyTo>",
        f'<a:ReplyTo s:mustUnderstand="1"><a:Address>{WSA}/none</a:Address></a:ReplyTo>',
        '<a:To s:mustUnderstand="true">http://somewhere/else</a:To><a:From><a:Address>x</a:Address></a:From>',
        f'<w:Security xmlns:w="{WSSE}" s:mustUnderstand="1"/>',
        '<x:Own xmlns:x="urn:x" s:mustUnderstand="0"/><x:Own xmlns:x="urn:x"/>',
        f'<x:Own xmlns:x="urn:x" s:mustUnderstand="1" s:role="{SOAP12}/role/none"/>',
        '<x:Own xmlns:x="urn:x" s:mustUnderstand="1" s:role="urn:some:proxy"/>',
        '<a:Action s:role="urn:some:proxy">urn:other</a:Action>',
    ],
)
def test_headers_that_do_not_concern_us_are_no_obstacle(headers):
    assert checked(an_echo(headers=headers)).action == "urn:echo:Echo"


REPLY_ELSEWHERE = "<a:{0}><a:Address>http://evil.example/</a:Address></a:{0}>"


@pytest.mark.parametrize(
    ("message", "fault", "subcode", "says"),
    [
        (an_echo(action=""), ActionFault, "MessageAddressingHeaderRequired", "wsa:Action"),
        (an_echo(action="  "), ActionFault, "MessageAddressingHeaderRequired", "wsa:Action"),
        (an_echo(message_id=""), ActionFault, "MessageAddressingHeaderRequired", "wsa:MessageID"),
        (an_echo(headers="<a:Action>urn:2</a:Action>"), ActionFault, "InvalidCardinality", "wsa:Action"),
        (an_echo(headers="<a:MessageID>2</a:MessageID>"), ActionFault, "InvalidCardinality", "MessageID"),
        (
            an_echo(headers=REPLY_ELSEWHERE.format("ReplyTo")),
            ActionFault,
            "OnlyAnonymousAddressSupported",
            "Rep",
        ),
        (
            an_echo(headers=REPLY_ELSEWHERE.format("FaultTo")),
            ActionFault,
            "OnlyAnonymousAddressSupported",
            "Fau",
        ),
        (an_echo(headers="<a:ReplyTo/>"), ActionFault, "MissingAddressInEPR", "Address"),
        (an_echo(message_id="x" * 2049), SenderFault, None, "2048"),
        (an_echo(headers='<x:Own xmlns:x="urn:x" s:mustUnderstand=" true "/>'), NotUnderstood, None, "urn:x"),
        (an_echo(soap="http://schemas.xmlsoap.org/soap/envelope/"), VersionMismatch, None, "SOAP 1.1"),
        (an_echo(soap="urn:soap:2"), VersionMismatch, None, "SOAP 1.2"),
        (b"<x/>", SenderFault, None, "not a SOAP envelope"),
        (an_envelope("<x/><y/>"), SenderFault, None, "more than one element"),
        (f'<s:Envelope xmlns:s="{SOAP12}"/>'.encode(), SenderFault, None, "one Body"),
        (
            f'<s:Envelope xmlns:s="{SOAP12}"><s:Body/><s:Header/></s:Envelope>'.encode(),
            SenderFault,
            None,
            "Body",
        ),
        (
            f'<s:Envelope xmlns:s="{SOAP12}"><s:Body/><s:Body/></s:Envelope>'.encode(),
            SenderFault,
            None,
            "Body",
        ),
    ],
)
def test_what_is_wrong_has_its_fault(message, fault, subcode, says):
    with pytest.raises(fault, match=says) as refused:
        checked(message)

    assert (refused.value.subcode or (None, None))[1] == subcode


def test_a_body_may_be_empty_and_comments_anywhere():
    root = f'<!-- a --><s:Envelope xmlns:s="{SOAP12}"><!-- b --><s:Body><!-- c --></s:Body></s:Envelope>'

    assert read_envelope(parse(root.encode())).body is None


# --- faults -------------------------------------------------------------------------------------------


def fault_of(fault: SoapFault):
    return parse(encode_fault(fault, MESSAGE_ID))


@pytest.mark.parametrize(
    ("fault", "codes", "action"),
    [
        (SenderFault("x"), ["Sender"], f"{WSA}/soap/fault"),
        (ReceiverFault("x"), ["Receiver"], f"{WSA}/soap/fault"),
        (VersionMismatch("x"), ["VersionMismatch"], f"{WSA}/soap/fault"),
        (ActionFault("ActionNotSupported", "x"), ["Sender", "ActionNotSupported"], f"{WSA}/fault"),
        (
            ActionFault("OnlyAnonymousAddressSupported", "x"),
            ["Sender", "InvalidAddressingHeader", "OnlyAnonymousAddressSupported"],
            f"{WSA}/fault",
        ),
        (SecurityFault("FailedCheck"), ["Sender", "FailedCheck"], f"{WSA}/soap/fault"),
        (
            SecurityFault("MessageExpired", namespace="urn:wsu"),
            ["Sender", "MessageExpired"],
            f"{WSA}/soap/fault",
        ),
        (NotUnderstood(["{urn:x}Own", "Bare"]), ["MustUnderstand"], f"{WSA}/soap/fault"),
    ],
)
def test_a_fault_says_its_codes_in_qualified_names(fault, codes, action):
    root = fault_of(fault)

    values = list(root.iterfind(".//s:Fault//s:Value", NS))
    names = [value.text.partition(":") for value in values]
    assert [local for _, _, local in names] == codes
    assert all(value.nsmap[prefix] for value, (prefix, _, _) in zip(values, names, strict=True))
    assert root.findtext("s:Header/a:Action", namespaces=NS) == action
    assert root.findtext("s:Header/a:RelatesTo", namespaces=NS) == MESSAGE_ID
    assert root.find(".//s:Text", NS).get("{http://www.w3.org/XML/1998/namespace}lang") == "en"


def test_a_version_mismatch_says_which_version_is_right():
    supported = fault_of(VersionMismatch("x")).find("s:Header/s:Upgrade/s:SupportedEnvelope", NS)

    prefix, _, local = supported.get("qname").partition(":")
    assert (supported.nsmap[prefix], local) == (SOAP12, "Envelope")


def test_headers_that_were_not_understood_are_named():
    found = fault_of(NotUnderstood(["{urn:x&y}Own"])).find("s:Header/s:NotUnderstood", NS)

    prefix, _, local = found.get("qname").partition(":")
    assert (found.nsmap[prefix], local) == ("urn:x&y", "Own")


@given(st.text(max_size=50))
def test_a_reason_may_quote_anything(reason):
    relayed = read_fault(read_envelope(parse(encode_fault(SenderFault(reason), "")).__copy__()).body, 400)

    assert isinstance(relayed, RelayedFault)


def test_a_fault_is_read_again_by_its_namespaces():
    body = read_envelope(fault_of(SecurityFault("FailedAuthentication"))).body

    relayed = read_fault(body, 200)

    assert relayed.fault_code == "Sender"
    assert relayed.subcode == (WSSE, "FailedAuthentication")
    assert relayed.http_status == 200
    assert relayed.reason == "The security token could not be accepted."


def test_what_is_no_fault_is_none():
    assert read_fault(parse(b"<x/>"), 500) is None


def test_a_fault_without_parts_is_read_for_what_it_has():
    relayed = read_fault(parse(f'<s:Fault xmlns:s="{SOAP12}"/>'.encode()), 500)

    assert (relayed.fault_code, relayed.subcode) == ("Receiver", None)
