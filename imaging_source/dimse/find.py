"""C-FIND as SCP [RAD-14]: the Query/Retrieve Service Class (PS3.4 C.4.1, C.5.3).

Statuses are those of table C.4-1; A700H tells that there are more matches than are told. Relational queries
and fuzzy names are taken where they were negotiated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import decode

from imaging_source.dimse.association import AcceptedAssociation
from imaging_source.dimse.command_set import Command, Element
from imaging_source.dimse.parts import (
    CANCELLED,
    IDENTIFIER_MISMATCH,
    PENDING,
    SUCCESS,
    UNABLE_TO_PROCESS,
    result_of,
    who_may,
)
from imaging_source.domain.find_identifier import Elements, FindKeys, find_keys
from imaging_source.domain.intake import NOT_AUTHORIZED, OUT_OF_RESOURCES, SOP_CLASS_NOT_SUPPORTED
from imaging_source.domain.retrieve_identifier import IdentifierMismatch, Root
from imaging_source.settings.entities import DimseService
from imaging_source.transactions import rad14
from shared.attempts import attempted
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_BE, IMPLICIT_LE
from shared.errors import XdsError
from shared.imaging.query.matching import MAX_DEPTH
from shared.perform import perform
from shared.telemetry.trace import Span

_log = logging.getLogger(__name__)

ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": Root.PATIENT,
    "1.2.840.10008.5.1.4.1.2.2.1": Root.STUDY,
}
#: Matching continues, and some optional keys are not supported.
PENDING_UNSUPPORTED: Final = 0xFF01

# Bytes of the extended negotiation (PS3.4 C.5.1.1): relational queries, combined matching of date and time,
# fuzzy names, adjustment of time zones, conversion of multi-frame images.
_RELATIONAL, _FUZZY = 0, 2


def negotiated(requested: Mapping[str, bytes], *, fuzzy: bool) -> dict[str, bytes]:
    """What is taken of the extended negotiation, byte by byte."""
    supported = {_RELATIONAL: True, _FUZZY: fuzzy}
    return {
        uid: bytes(int(bool(octet) and supported.get(at, False)) for at, octet in enumerate(octets))
        for uid, octets in requested.items()
        if uid in ROOTS
    }


def serve(association: AcceptedAssociation, request: C_FIND, context: Any) -> None:
    """Answer with each match, then with what became of the query."""
    with Span("DIMSE", association.traceparent, transaction=rad14.EVENT_TYPE.code) as span:
        root = ROOTS.get(str(context.abstract_syntax))
        if root is None or request.AffectedSOPClassUID != context.abstract_syntax:
            status, comment = SOP_CLASS_NOT_SUPPORTED, "no SOP class of this request"
        elif not association.may(DimseService.FIND):
            status, comment = NOT_AUTHORIZED, who_may(DimseService.FIND)
        else:
            status, comment = _answered(association, request, context, root)
        elements = _elements(request, status)
        if comment:
            elements[Element.ERROR_COMMENT] = comment
        association.answer(context, Command.C_FIND_RSP, elements)
        span.outcome = result_of(status)


def _answered(association: AcceptedAssociation, request: C_FIND, context: Any, root: Root) -> tuple[int, str]:
    """Status and comment of the last response; the matches were told before."""
    service = association.service
    keys, status, refusal = _keys(association, request, context, root)

    def cancelled() -> bool:
        return request.MessageID in association.messages.cancel_req

    question = rad14.FindRequest(
        exchange=association.exchange(),
        sop_class_uid=str(context.abstract_syntax),
        transfer_syntax_uid=str(context.transfer_syntax),
        identifier=request.Identifier.getvalue() if request.Identifier else b"",
        keys=keys,
        refusal=refusal,
        cancelled=cancelled,
    )
    work = perform(rad14.SERVED, service.unit, question, association.caller(), service.recorder)
    try:
        answer = association.on_loop(work)
    except (XdsError, AuditUnavailable) as error:
        _log.error("a query was not answered: %s", type(error).__name__)
        return UNABLE_TO_PROCESS, "the service cannot do it now; try again later"
    if keys is None:
        return status, refusal
    if answer.refusal:
        return OUT_OF_RESOURCES, answer.refusal
    pending = _elements(request, PENDING_UNSUPPORTED if keys.unsupported else PENDING)
    for match in answer.matches:
        if cancelled():
            return CANCELLED, ""
        if not association.answer(context, Command.C_FIND_RSP, pending, [match]):
            return CANCELLED, ""
    if cancelled():
        return CANCELLED, ""
    if answer.limited:
        return OUT_OF_RESOURCES, f"more than {len(answer.matches)} matches; narrow the query"
    return SUCCESS, ""


def _elements(request: C_FIND, status: int) -> dict[Element, str | int]:
    return {
        Element.AFFECTED_SOP_CLASS_UID: str(request.AffectedSOPClassUID),
        Element.RESPONDED_TO: int(request.MessageID),
        Element.STATUS: status,
    }


def _keys(
    association: AcceptedAssociation, request: C_FIND, context: Any, root: Root
) -> tuple[FindKeys | None, int, str]:
    """What is asked for; or a status, and why."""
    settings = association.service.settings
    agreed = negotiated(association.requestor.sop_class_extended, fuzzy=settings.fuzzy_names)
    octets = agreed.get(str(context.abstract_syntax), b"")
    relational = octets[_RELATIONAL : _RELATIONAL + 1] == b"\1" or settings.relational_queries
    elements = attempted(lambda: _decoded(request, context))
    if isinstance(elements, Exception):
        return None, UNABLE_TO_PROCESS, "the identifier cannot be read"
    try:
        fuzzy = octets[_FUZZY : _FUZZY + 1] == b"\1"
        return find_keys(root, elements, relational=relational, fuzzy=fuzzy), SUCCESS, ""
    except IdentifierMismatch as mismatch:
        return None, IDENTIFIER_MISMATCH, str(mismatch)


def _decoded(request: C_FIND, context: Any) -> Elements:
    """The elements of an identifier, with text in the character set that it names; raises whatever pydicom
    does."""
    syntax = str(context.transfer_syntax)
    data_set: Dataset = decode(request.Identifier, syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    data_set.decode()
    return _tree(data_set, MAX_DEPTH)


def _tree(data_set: Dataset, depth: int) -> Elements:
    if not depth:
        raise ValueError("sequences are nested too deeply")
    elements: dict[int, Any] = {}
    for element in data_set:
        value = element.value
        if element.VR == "SQ":
            elements[int(element.tag)] = [_tree(item, depth - 1) for item in value]
        elif isinstance(value, MultiValue | list):
            elements[int(element.tag)] = "\\".join("" if one is None else str(one) for one in value)
        else:
            elements[int(element.tag)] = "" if value is None or isinstance(value, bytes) else str(value)
    return elements
