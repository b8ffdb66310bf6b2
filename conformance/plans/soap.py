"""What every SOAP endpoint does with messages that are not as they should be (SOAP 1.2; WS-Addressing 1.0;
ITI TF-2 Appendix V.3): the same probes for every actor."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from conformance.envelopes import SOAP, WSA, Envelope, package, parameter
from conformance.plans.message import Reply
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

_PREFIX = re.compile(rb"(?<![\w-])s(?=:)|(?<=xmlns:)s(?==)")
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"


@dataclass(frozen=True, slots=True)
class Door:
    """One SOAP endpoint: the name of its actor, and a request that it answers in order."""

    actor: str
    action: str
    response_action: str
    mtom: bool
    body: Callable[[Stand], str]

    def envelope(self, stand: Stand) -> Envelope:
        """The request."""
        return Envelope(action=self.action, body=self.body(stand))

    def ask(self, stand: Stand, envelope: Envelope | None = None) -> Reply:
        """Send it, or another, as it should be sent."""
        return stand.soap(self.actor, envelope or self.envelope(stand), parts={} if self.mtom else None)


Ask = Callable[[Door, Stand], None]


def state(plan: Plan, prefix: str, door: Door) -> None:
    """Add the probes of `door` to a plan, under ids that begin with `prefix`."""
    for number, (clause, purpose, ask, needs_mtom) in enumerate(_TABLE, 1):
        if needs_mtom in (None, door.mtom):
            plan.add(
                f"{prefix}-SOAP-{number:02}",
                clause,
                purpose,
                partial(ask, door),
            )


def _answers(door: Door, stand: Stand) -> None:
    reply = door.ask(stand)
    expect_equal(reply.status, 200, "the HTTP status")
    expect(reply.response is not None, "no response")


def _relates(door: Door, stand: Stand) -> None:
    reply = door.ask(stand)
    expect_equal(reply.relates_to, reply.message_id, "wsa:RelatesTo")


def _relates_to_a_strange_id(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), message_id=f"urn:x-probe:{stand.oid()}?a=b&c=d")
    expect_equal(door.ask(stand, envelope).relates_to, envelope.message_id, "wsa:RelatesTo")


def _action(door: Door, stand: Stand) -> None:
    expect_equal(door.ask(stand).action, door.response_action, "wsa:Action of the response")


def _action_is_understood(door: Door, stand: Stand) -> None:
    reply = door.ask(stand)
    value = reply.envelope.xpath(
        "string(s:Header/a:Action/@s:mustUnderstand)", namespaces={"s": SOAP, "a": WSA}
    )
    expect(value in ("1", "true"), f"wsa:Action has mustUnderstand={value!r}, and should have 1 or true")


def _mirrors(door: Door, stand: Stand) -> None:
    right = "multipart/related" if door.mtom else "application/soap+xml"
    expect_equal(door.ask(stand).media_type, right, "the media type of the response")


def _package(door: Door, stand: Stand) -> None:
    reply = door.ask(stand)
    expect_equal(parameter(reply.content_type, "type"), "application/xop+xml", "the parameter type")
    start_info = parameter(reply.content_type, "start-info")
    expect(start_info.startswith("application/soap+xml"), f"the parameter start-info is {start_info!r}")
    start = parameter(reply.content_type, "start")
    head = reply.content.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
    expect(start.lower() in head, f"the parameter start is {start!r}, which the first part is not named")
    expect("application/xop+xml" in head, "the first part is not application/xop+xml")


def _no_reply_to(door: Door, stand: Stand) -> None:
    expect(not door.ask(stand, replace(door.envelope(stand), reply_to=None)).fault, "a fault came")


def _true(door: Door, stand: Stand) -> None:
    expect(not door.ask(stand, replace(door.envelope(stand), must_understand="true")).fault, "a fault came")


def _blanks(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), action=f"\n   {door.action}\n  ")
    expect(not stand.soap(door.actor, envelope, parts={} if door.mtom else None).fault, "a fault came")


def _harmless_header(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), headers='<p:Note xmlns:p="urn:probe">hello</p:Note>')
    expect(not door.ask(stand, envelope).fault, "a fault came")


def _not_understood(door: Door, stand: Stand) -> None:
    header = '<p:Note xmlns:p="urn:probe" s:mustUnderstand="1">hello</p:Note>'
    door.ask(stand, replace(door.envelope(stand), headers=header)).expect_fault("MustUnderstand")


def _for_somebody_else(door: Door, stand: Stand) -> None:
    header = '<p:Note xmlns:p="urn:probe" s:mustUnderstand="1" s:role="urn:probe:else">hello</p:Note>'
    expect(not door.ask(stand, replace(door.envelope(stand), headers=header)).fault, "a fault came")


def _version(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), namespace=SOAP11)
    reply = door.ask(stand, envelope)
    expect_equal(reply.fault, "VersionMismatch", "the code of the fault")


def _unknown_action(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), action="urn:probe:nobody:knows:this")
    door.ask(stand, envelope).expect_fault("Sender", "ActionNotSupported")


def _fault_action(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), action="urn:probe:nobody:knows:this")
    reply = door.ask(stand, envelope)
    expect(
        reply.action in (f"{WSA}/fault", f"{WSA}/soap/fault"), f"wsa:Action of the fault is {reply.action!r}"
    )


def _fault_relates(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), action="urn:probe:nobody:knows:this")
    expect_equal(door.ask(stand, envelope).relates_to, envelope.message_id, "wsa:RelatesTo of the fault")


def _no_action(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), action="")
    door.ask(stand, envelope).expect_fault(
        "Sender", "MessageAddressingHeaderRequired", "InvalidAddressingHeader"
    )


def _no_message_id(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), message_id="")
    door.ask(stand, envelope).expect_fault(
        "Sender", "MessageAddressingHeaderRequired", "InvalidAddressingHeader"
    )


def _other_body(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), body='<p:Other xmlns:p="urn:probe"/>')
    expect_equal(door.ask(stand, envelope).fault, "Sender", "the code of the fault")


def _empty_body(door: Door, stand: Stand) -> None:
    expect_equal(
        door.ask(stand, replace(door.envelope(stand), body="")).fault, "Sender", "the code of the fault"
    )


def _not_xml(door: Door, stand: Stand) -> None:
    url = stand.endpoint(door.actor)
    reply = stand.post(url, b"this is no XML <", "application/soap+xml; charset=UTF-8")
    expect(reply.status in (400, 500), f"HTTP {reply.status}, and 400 would be right")


def _doctype(door: Door, stand: Stand) -> None:
    xml = door.envelope(stand).xml()
    bomb = b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + xml
    reply = stand.post(stand.endpoint(door.actor), bomb, "application/soap+xml; charset=UTF-8")
    expect(reply.status in (400, 500), f"HTTP {reply.status}: SOAP 1.2 forbids a DOCTYPE (part 1, 5)")


def _other_form(door: Door, stand: Stand) -> None:
    envelope = door.envelope(stand)
    reply = stand.soap(door.actor, envelope, parts=None if door.mtom else {})
    expect_equal(reply.fault, "Sender", "the code of the fault")


def _get(door: Door, stand: Stand) -> None:
    reply = stand.http("GET", stand.endpoint(door.actor))
    expect(400 <= reply.status < 500, f"HTTP {reply.status} for a GET, and 405 would be right")


def _another_media_type(door: Door, stand: Stand) -> None:
    reply = stand.post(stand.endpoint(door.actor), door.envelope(stand).xml(), "text/plain")
    expect(400 <= reply.status < 600, f"HTTP {reply.status} for text/plain, and 400 or 415 would be right")


def _another_prefix(door: Door, stand: Stand) -> None:
    envelope = door.envelope(stand)
    xml = _PREFIX.sub(b"env", envelope.xml())
    if door.mtom:
        content_type, body = package(xml, {})
    else:
        content_type, body = "application/soap+xml", xml
    expect(not stand.post(stand.endpoint(door.actor), body, content_type).fault, "a fault came")


def _action_parameter(door: Door, stand: Stand) -> None:
    envelope = door.envelope(stand)
    reply = stand.soap(
        door.actor, envelope, content_type=f'application/soap+xml; charset=UTF-8; action="{door.action}"'
    )
    expect(not reply.fault, "a fault came")


def _two_actions(door: Door, stand: Stand) -> None:
    envelope = replace(door.envelope(stand), headers=f"<a:Action>{door.action}</a:Action>")
    door.ask(stand, envelope).expect_fault("Sender", "InvalidCardinality", "InvalidAddressingHeader")


#: Clause, what is right, the function, and whether it is asked of MTOM doors (True), of SIMPLE ones (False) or
#: of both (None).  A place in the table is a number for ever.
_TABLE: tuple[tuple[str, str, Ask, bool | None], ...] = (
    ("ITI TF-2 V.3", "a proper request is answered with HTTP 200 and an orderly response", _answers, None),
    ("WS-Addressing 1.0 Core 3.4", "wsa:RelatesTo is the MessageID of the request", _relates, None),
    (
        "WS-Addressing 1.0 Core 3.4",
        "wsa:RelatesTo repeats any IRI to the byte",
        _relates_to_a_strange_id,
        None,
    ),
    ("ITI TF-2 V.3.2.2", "the response has the wsa:Action of its transaction", _action, None),
    ("ITI TF-2 V.3.2.2", "wsa:Action of the response must be understood", _action_is_understood, None),
    ("ITI TF-2 V.3.6", "the response comes in the encoding of the request", _mirrors, None),
    ("XOP 1.0 4.1", "the package names its type, start and start-info", _package, True),
    ("WS-Addressing 1.0 Core 3.2", "without wsa:ReplyTo the anonymous address is meant", _no_reply_to, None),
    ("SOAP 1.2 Part 1 5.2.3", "mustUnderstand true is the same as 1", _true, None),
    ("XML Schema Part 2 3.2.17", "white space around wsa:Action has no meaning", _blanks, None),
    ("SOAP 1.2 Part 1 2.4", "a header that need not be understood is ignored", _harmless_header, None),
    (
        "SOAP 1.2 Part 1 5.4.8",
        "a header that must be understood and is not is a fault",
        _not_understood,
        None,
    ),
    ("SOAP 1.2 Part 1 2.4", "a header for another role is nobody's here", _for_somebody_else, None),
    ("SOAP 1.2 Part 1 5.4.7", "an envelope of SOAP 1.1 is a VersionMismatch", _version, None),
    ("WS-Addressing 1.0 SOAP 6.4.2", "an unknown action is ActionNotSupported", _unknown_action, None),
    ("WS-Addressing 1.0 SOAP 6", "a fault has the wsa:Action of faults", _fault_action, None),
    ("WS-Addressing 1.0 SOAP 6", "a fault relates to its request", _fault_relates, None),
    ("WS-Addressing 1.0 SOAP 6.4.1", "a message without wsa:Action is a fault", _no_action, None),
    ("ITI TF-2 V.3.2.2", "a message without wsa:MessageID is a fault", _no_message_id, None),
    ("ITI TF-2 V.3.2", "a Body with another element is a fault of the sender", _other_body, None),
    ("ITI TF-2 V.3.2", "an empty Body is a fault of the sender", _empty_body, None),
    ("SOAP 1.2 Part 2 7.5.2", "what is no XML is refused", _not_xml, None),
    ("SOAP 1.2 Part 1 5", "a document type declaration is refused", _doctype, None),
    ("ITI TF-2 V.3.6", "a message in the other encoding (SIMPLE, MTOM) is a fault", _other_form, None),
    ("SOAP 1.2 Part 2 7.4", "a GET does not ask for anything", _get, None),
    ("ITI TF-2 V.3.3", "another media type than SOAP's is refused", _another_media_type, None),
    ("Namespaces in XML 1.0 4", "prefixes have no meaning", _another_prefix, None),
    ("ITI TF-2 V.3.3", "the parameter action of the media type may be there", _action_parameter, False),
    ("WS-Addressing 1.0 SOAP 6.4.1", "two wsa:Action headers are a fault", _two_actions, None),
)
