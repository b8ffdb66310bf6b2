"""SOAP 1.2 envelopes with WS-Addressing 1.0, and faults (SOAP 1.2 part 1, 5; ITI TF-2 Appendix V.3).

Tolerated in what we read: white space around addresses and actions, a missing `wsa:ReplyTo` (anonymous is
meant), a missing `mustUnderstand` on `wsa:Action`, any `wsa:To`, any SOAPAction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lxml import etree

from shared.faults import (
    SOAP12,
    WSA,
    WSSE,
    WSU,
    ActionFault,
    MustUnderstandFault,
    SenderFault,
    SoapFault,
    VersionMismatch,
)
from shared.xml import Element, elements, escape, escape_attribute, text

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"
NONE = "http://www.w3.org/2005/08/addressing/none"
MAX_MESSAGE_ID = 2_048
MAX_SHOWN = 200

_OUR_ROLES = frozenset({"", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver"})
_ENVELOPE, _HEADER, _BODY, _FAULT = (
    f"{{{SOAP12}}}{name}" for name in ("Envelope", "Header", "Body", "Fault")
)
_ROLE, _MUST_UNDERSTAND = f"{{{SOAP12}}}role", f"{{{SOAP12}}}mustUnderstand"
_ACTION, _MESSAGE_ID, _RELATES_TO = (f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "RelatesTo"))
_ADDRESS = f"{{{WSA}}}Address"
_SECURITY = f"{{{WSSE}}}Security"
_ADDRESSING = frozenset(
    f"{{{WSA}}}{name}"
    for name in (
        "To",
        "From",
        "ReplyTo",
        "FaultTo",
        "Action",
        "MessageID",
        "RelatesTo",
        "ReferenceParameters",
    )
)
_UNDERSTOOD = _ADDRESSING | {_SECURITY}
_REPLY_ADDRESSES = frozenset({f"{{{WSA}}}ReplyTo", f"{{{WSA}}}FaultTo"})
# WS-Addressing 1.0 SOAP binding, 6.4.1: these are told below InvalidAddressingHeader.
_INVALID_HEADER = "InvalidAddressingHeader"
_DETAILS_OF_INVALID_HEADER = frozenset(
    {"InvalidCardinality", "MissingAddressInEPR", "ActionMismatch", "OnlyAnonymousAddressSupported"}
)
_PREFIXES = {WSA: "wsa", WSSE: "wsse", WSU: "wsu"}
_CODES_OF_SOAP11 = {
    "Client": "Sender",
    "MustUnderstand": "MustUnderstand",
    "VersionMismatch": "VersionMismatch",
}
_UNENCODABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class NotUnderstood(MustUnderstandFault):
    """Headers that must be understood and are not; `names` are their expanded names."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"not understood: {', '.join(names)}; send without it, or without mustUnderstand")
        self.names = tuple(names)


class RelayedFault(SoapFault):
    """A fault that a peer answered with under `http_status`; `fault_code` is its code's local name.

    Raised through to a caller of ours it is a failure on our side: our caller did nothing wrong.
    """

    code = "Receiver"

    def __init__(
        self, reason: str, *, fault_code: str, subcode: tuple[str, str] | None, http_status: int
    ) -> None:
        super().__init__(reason, subcode=subcode)
        self.fault_code = fault_code
        self.http_status = http_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message as read, before its addressing was checked.

    Of the headers it holds those that are for us. `message_id` is as it was sent, to the byte, and so empty
    when there is none; `action` and `relates_to` are trimmed. `body` is the element in the Body.
    """

    headers: tuple[Element, ...]
    action: str
    message_id: str
    relates_to: str
    body: Element | None

    @property
    def security(self) -> tuple[Element, ...]:
        """The `wsse:Security` headers; more than one is for the reader to refuse."""
        return tuple(header for header in self.headers if header.tag == _SECURITY)


def read_envelope(root: Element) -> Envelope:
    """Read the parts of an envelope.

    Raises
    ------
    VersionMismatch
        It is an envelope of another version of SOAP.
    SenderFault
        It is no envelope, or not one Body after at most one Header.
    """
    _check_version(root)
    children = list(elements(root))
    names = [child.tag for child in children]
    if names not in ([_BODY], [_HEADER, _BODY]):
        raise SenderFault("an Envelope holds at most one Header and then one Body, both of SOAP 1.2")
    blocks = elements(children[0]) if len(children) == 2 else iter(())
    headers = tuple(block for block in blocks if block.get(_ROLE, "").strip() in _OUR_ROLES)
    body = list(elements(children[-1]))
    if len(body) > 1:
        raise SenderFault("the Body holds more than one element")
    return Envelope(
        headers=headers,
        action=_value(headers, _ACTION).strip(),
        message_id=_value(headers, _MESSAGE_ID),
        relates_to=_value(headers, _RELATES_TO).strip(),
        body=body[0] if body else None,
    )


def _check_version(root: Element) -> None:
    if root.tag == _ENVELOPE:
        return
    name = etree.QName(root)
    if name.localname == "Envelope":
        version = "SOAP 1.1" if name.namespace == SOAP11 else "not of SOAP 1.2"
        raise VersionMismatch(f"the envelope is {version}; send SOAP 1.2 ({SOAP12})")
    raise SenderFault(f"the message is not a SOAP envelope; send an Envelope of SOAP 1.2 ({SOAP12})")


def _value(headers: Sequence[Element], tag: str) -> str:
    for header in headers:
        if header.tag == tag:
            return header.text or "" if len(header) == 0 else text(header)
    return ""


def check_addressing(envelope: Envelope) -> None:
    """Check the headers of a request (ITI TF-2 Appendix V.3.2.2).

    Raises
    ------
    NotUnderstood
        A header must be understood and is not.
    ActionFault
        Action or MessageID is missing or repeated, or an answer is wanted elsewhere than in the HTTP
        response.
    """
    headers = [(header.tag, header) for header in envelope.headers]
    tags = [tag for tag, _ in headers]
    strange = [tag for tag, header in headers if tag not in _UNDERSTOOD and _must_be_understood(header)]
    if strange:
        raise NotUnderstood(strange)
    _required(tags, _ACTION, envelope.action)
    _required(tags, _MESSAGE_ID, envelope.message_id)
    if len(envelope.message_id) > MAX_MESSAGE_ID:
        raise SenderFault(f"the MessageID is longer than {MAX_MESSAGE_ID} characters")
    for tag, header in headers:
        if tag in _REPLY_ADDRESSES:
            _check_reply_address(header)


def _must_be_understood(header: Element) -> bool:
    return header.get(_MUST_UNDERSTAND, "").strip() in ("1", "true")


def _required(tags: Sequence[str], tag: str, value: str) -> None:
    if tags.count(tag) > 1:
        raise ActionFault("InvalidCardinality", f"the message has more than one wsa:{_local(tag)}")
    if not value.strip():
        raise ActionFault(
            "MessageAddressingHeaderRequired", f"the message needs the header wsa:{_local(tag)}"
        )


def _local(tag: str) -> str:
    return etree.QName(tag).localname


def _check_reply_address(header: Element) -> None:
    address = next(header.iterchildren(_ADDRESS), None)
    if address is None:
        raise ActionFault("MissingAddressInEPR", f"wsa:{_local(header.tag)} has no wsa:Address")
    if text(address) not in (ANONYMOUS, NONE):
        raise ActionFault(
            "OnlyAnonymousAddressSupported",
            f"wsa:{_local(header.tag)} names another address; "
            f"answers are given in the HTTP response alone ({ANONYMOUS})",
        )


# --- writing -----------------------------------------------------------------------------------------

_OPEN = f'<soap:Envelope xmlns:soap="{SOAP12}" xmlns:wsa="{WSA}"><soap:Header>'.encode()
_BODY_OPENS = b"</soap:Header><soap:Body>"
_CLOSE = b"</soap:Body></soap:Envelope>"


def _action(action: str) -> bytes:
    return f'<wsa:Action soap:mustUnderstand="1">{escape(action)}</wsa:Action>'.encode()


def _related(message_id: str) -> bytes:
    return f"<wsa:RelatesTo>{escape(message_id)}</wsa:RelatesTo>".encode() if message_id else b""


def encode_response(action: str, message_id: str, body: bytes) -> bytes:
    """The envelope of a response to the request `message_id`."""
    return b"".join((_OPEN, _action(action), _related(message_id), _BODY_OPENS, body, _CLOSE))


def encode_request(
    action: str, message_id: str, to: str, body: bytes, assertion: bytes | None = None
) -> bytes:
    """The envelope of a request; `assertion` stands in its Security header to the byte (ITI-40)."""
    head = (
        f"<wsa:MessageID>{escape(message_id)}</wsa:MessageID>"
        f"<wsa:ReplyTo><wsa:Address>{ANONYMOUS}</wsa:Address></wsa:ReplyTo>"
        f"<wsa:To>{escape(to)}</wsa:To>"
    ).encode()
    security = b""
    if assertion:
        security = f'<wsse:Security xmlns:wsse="{WSSE}">'.encode() + assertion + b"</wsse:Security>"
    return b"".join((_OPEN, _action(action), head, security, _BODY_OPENS, body, _CLOSE))


def encode_fault(fault: SoapFault, message_id: str) -> bytes:
    """The envelope of `fault`, related to the request when its MessageID is known."""
    return b"".join(
        (
            _OPEN,
            _action(fault.action),
            _related(message_id),
            "".join(_fault_headers(fault)).encode(),
            _BODY_OPENS,
            _fault(fault).encode(),
            _CLOSE,
        )
    )


def _fault_headers(fault: SoapFault) -> Iterator[str]:
    if isinstance(fault, VersionMismatch):
        yield '<soap:Upgrade><soap:SupportedEnvelope qname="soap:Envelope"/></soap:Upgrade>'
    if isinstance(fault, NotUnderstood):
        for name in fault.names:
            qualified = etree.QName(name)
            if qualified.namespace:
                declared = f'xmlns:n="{escape_attribute(qualified.namespace)}"'
                yield f'<soap:NotUnderstood {declared} qname="n:{qualified.localname}"/>'


def _fault(fault: SoapFault) -> str:
    reason = escape(_UNENCODABLE.sub(chr(0xFFFD), fault.reason))
    return (
        f"<soap:Fault><soap:Code><soap:Value>soap:{fault.code}</soap:Value>{_subcodes(fault)}</soap:Code>"
        f'<soap:Reason><soap:Text xml:lang="en">{reason}</soap:Text></soap:Reason></soap:Fault>'
    )


def _subcodes(fault: SoapFault) -> str:
    if fault.subcode is None:
        return ""
    namespace, name = fault.subcode
    if namespace == WSA and name in _DETAILS_OF_INVALID_HEADER:
        return _subcode(WSA, _INVALID_HEADER, _subcode(WSA, name))
    return _subcode(namespace, name)


def _subcode(namespace: str, name: str, inner: str = "") -> str:
    prefix = _PREFIXES.get(namespace, "sub")
    value = f'<soap:Value xmlns:{prefix}="{escape_attribute(namespace)}">{prefix}:{name}</soap:Value>'
    return f"<soap:Subcode>{value}{inner}</soap:Subcode>"


# --- faults of peers ---------------------------------------------------------------------------------


def read_fault(body: Element, http_status: int) -> RelayedFault | None:
    """The fault in a Body, or None when it holds something else."""
    if body.tag != _FAULT:
        return None
    code = body.find(f"{{{SOAP12}}}Code")
    codes = [] if code is None else [_resolved(value) for value in code.iter(f"{{{SOAP12}}}Value")]
    reason = body.find(f"{{{SOAP12}}}Reason/{{{SOAP12}}}Text")
    return RelayedFault(
        "no reason was given" if reason is None else text(reason),
        fault_code=codes[0][1] if codes else "Receiver",
        subcode=codes[-1] if len(codes) > 1 else None,
        http_status=http_status,
    )


def read_fault_of_soap11(root: Element, http_status: int) -> RelayedFault | None:
    """The fault in an envelope of SOAP 1.1 (section 4.4), in the terms of 1.2; None when `root` is none.

    Peers that know no other version answer so, and only so can they say that.
    """
    fault = root.find(f"{{{SOAP11}}}Body/{{{SOAP11}}}Fault") if root.tag == f"{{{SOAP11}}}Envelope" else None
    if fault is None:
        return None
    reason = fault.find("faultstring")
    code = fault.find("faultcode")
    code_name = "" if code is None else _resolved(code)[1].partition(".")[0]
    return RelayedFault(
        f"{'no reason was given' if reason is None else text(reason)} (a fault of SOAP 1.1)",
        fault_code=_CODES_OF_SOAP11.get(code_name, "Receiver"),
        subcode=None,
        http_status=http_status,
    )


def _resolved(value: Element) -> tuple[str, str]:
    prefix, colon, local = text(value).partition(":")
    if not colon:
        return value.nsmap.get(None) or "", prefix
    return value.nsmap.get(prefix) or "", local


def shown(value: str) -> str:
    """A value of the sender as it may stand in a reason: short, and whatever it holds readable."""
    return value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"
