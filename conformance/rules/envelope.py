"""The envelope: SOAP 1.2, WS-Addressing, faults (ITI TF-2 Appendix V)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding
from conformance.transactions import BY_ACTION, Transaction

SOAP12: Final = "{http://www.w3.org/2003/05/soap-envelope}"
WSA: Final = "{http://www.w3.org/2005/08/addressing}"
FAULTS: Final = frozenset(
    {"http://www.w3.org/2005/08/addressing/fault", "http://www.w3.org/2005/08/addressing/soap/fault"}
)
_CODES: Final = frozenset({"Sender", "Receiver", "MustUnderstand", "VersionMismatch", "DataEncodingUnknown"})
_IRI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z")
_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def header(root: Element, name: str) -> Element | None:
    """A header of WS-Addressing."""
    return root.find(f"{SOAP12}Header/{WSA}{name}")


def action_of(root: Element) -> str:
    """The wsa:Action, trimmed; empty when there is none."""
    return text(header(root, "Action"))


def body_of(root: Element) -> Element | None:
    """The first element of the body."""
    return next(iter(root.iterfind(f"{SOAP12}Body/*")), None)


def frame(root: Element) -> Iterator[Finding]:
    """What an envelope consists of."""
    if root.tag != f"{SOAP12}Envelope":
        yield finding("SOAP-031", place(root), "another envelope", str(root.tag))
        return
    names = [local(child) for child in root]
    if names != ["Header", "Body"]:
        yield finding("SOAP-032", place(root), "not a Header and a Body", " ".join(names))
    bodies = list(root.iterfind(f"{SOAP12}Body/*"))
    if len(bodies) != 1:
        yield finding("SOAP-032", place(root, "Body"), f"{len(bodies)} elements in the body")


def addressing(
    root: Element, transaction: Transaction | None, *, request_is_known: bool
) -> Iterator[Finding]:
    """The headers of WS-Addressing. A fault relates to nothing where its request had no MessageID, or was not
    read: that is judged only where `request_is_known`."""
    yield from _action(root, transaction)
    action = action_of(root)
    if transaction is None and action not in FAULTS:
        return
    if transaction is not None and transaction.is_request:
        message_id = text(header(root, "MessageID"))
        if not _IRI.match(message_id):
            yield finding(
                "SOAP-035", place(root, "Header/MessageID"), "absent, or no absolute IRI", message_id
            )
        if header(root, "ReplyTo") is None:
            yield finding("SOAP-036", place(root, "Header/ReplyTo"), "absent")
        if not text(header(root, "To")):
            yield finding("SOAP-037", place(root, "Header/To"), "absent")
    elif not text(header(root, "RelatesTo")) and (request_is_known or action not in FAULTS):
        yield finding("SOAP-038", place(root, "Header/RelatesTo"), "absent")
    for name in ("MessageID", "RelatesTo", "To"):
        if len(root.findall(f"{SOAP12}Header/{WSA}{name}")) > 1 and name != "RelatesTo":
            yield finding("SOAP-033", place(root, f"Header/{name}"), "more than once")


def _action(root: Element, transaction: Transaction | None) -> Iterator[Finding]:
    actions = root.findall(f"{SOAP12}Header/{WSA}Action")
    at = place(root, "Header/Action")
    if len(actions) != 1:
        others = [one for one in root.iterfind(f"{SOAP12}Header/*") if local(one) == "Action"]
        wrong = "of another namespace" if others and not actions else f"{len(actions)} times"
        yield finding("SOAP-033", at, wrong)
        return
    (action,) = actions
    stated = action.text or ""
    if stated != stated.strip():
        yield finding("SOAP-040", place(action), "white space around the action", stated)
    if action.get(f"{SOAP12}mustUnderstand") not in ("1", "true"):
        yield finding("SOAP-034", place(action), "mustUnderstand is not 1")
    if transaction is None and stated.strip() not in FAULTS:
        yield finding("SOAP-041", place(action), "no action of the transactions that are judged", stated)


def body(root: Element, transaction: Transaction) -> Iterator[Finding]:
    """The body is that of the action."""
    only = body_of(root)
    if only is not None and only.tag != transaction.body and only.tag != f"{SOAP12}Fault":
        yield finding(
            "SOAP-042", place(only), "not the body of the action", str(only.tag), right=transaction.body
        )


def fault(root: Element, status: int) -> Iterator[Finding]:
    """A fault: its code, its reason, its action, and the HTTP status."""
    only = body_of(root)
    if only is None or only.tag != f"{SOAP12}Fault":
        return
    code = text(only.find(f"{SOAP12}Code/{SOAP12}Value")).rpartition(":")[2]
    if code not in _CODES:
        yield finding("SOAP-046", place(only, "Code/Value"), "no code of SOAP 1.2", code)
    reason = only.find(f"{SOAP12}Reason/{SOAP12}Text")
    if not text(reason) or reason is None or not reason.get(_LANG):
        yield finding("SOAP-047", place(only, "Reason/Text"), "no text, or none with xml:lang")
    if action_of(root) not in FAULTS:
        yield finding("SOAP-048", place(root, "Header/Action"), "not that of a fault", action_of(root))
    right = 400 if code == "Sender" else 500
    if status and status != right:
        yield finding("SOAP-049", "HTTP status", f"{status} for a fault of {code}", status, right=str(right))


def transaction_of(root: Element, request: Transaction | None) -> Transaction | None:
    """The transaction that the action names; the answer of RAD-69 is known by its request."""
    stated = BY_ACTION.get(action_of(root))
    if stated is not None and not stated.is_request and request is not None and stated.action.endswith(
        "RetrieveDocumentSetResponse"
    ):  # fmt: skip
        from conformance.transactions import answer_of

        expected = answer_of(request)
        return expected if expected.action == stated.action else stated
    return stated
