"""C-STORE as SCP [RAD-18]: the Storage Service Class (PS3.4 annex B).

Success is answered when the instance is durable and visible, B007H when something of it had to be tolerated.
Statuses are those of PS3.4 table B.2-1, and 0110H when another data set has the SOP Instance UID already; the
Error Comment says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import cache
from typing import Any, Final

from pydicom.uid import UID, UID_dictionary
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext

from imaging_source.archives.moves import ExpectedMove
from imaging_source.dimse.association import AcceptedAssociation
from imaging_source.dimse.command_set import Command, Element
from imaging_source.dimse.parts import RAD18, SUCCESS, result_of, who_may
from imaging_source.domain.intake import (
    NOT_AUTHORIZED,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    Refused,
    StoredInstance,
)
from imaging_source.settings.entities import DimseService
from imaging_source.store.incoming import SpooledFile
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import (
    DEFLATED_LE,
    ENCAPSULATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE,
)
from shared.imaging.description import Claim
from shared.telemetry.trace import Span

# The first that a sender offers as well is taken: what every receiver can take, then what keeps every pixel.
_FIRST: Final = (EXPLICIT_LE, IMPLICIT_LE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1, RLE)
_LAST: Final = (DEFLATED_LE, EXPLICIT_BE)
_SYNTAXES: Final = (*_FIRST, *sorted(ENCAPSULATED.difference(_FIRST)), *_LAST)
# pynetdicom warns of those that its dictionary does not hold yet.
TRANSFER_SYNTAXES: Final = tuple(uid for uid in _SYNTAXES if uid in UID_dictionary)
_STANDARD: Final = "1.2.840.10008."


def contexts() -> list[PresentationContext]:
    """A presentation context for every storage SOP class of the standard, retired ones included."""
    uids = (
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and uid.startswith("1.2.840.10008.5.1.4.1.1.") and "Storage" in name
    )
    storage_classes = (context.abstract_syntax for context in AllStoragePresentationContexts)
    return [_context(uid) for uid in sorted({*uids, *storage_classes})]


def _context(uid: str) -> PresentationContext:
    """One that may be used both ways: a requestor that proposes to be SCP gets instances by C-GET."""
    context = copy(_of_no_class())
    context.abstract_syntax = UID(uid)
    return context


@cache
def _of_no_class() -> PresentationContext:
    """What the contexts have in common, none of which is changed: pynetdicom looks at each transfer syntax
    several times, which for two hundred contexts takes most of the time of a start."""
    context = PresentationContext()
    context.transfer_syntax = list(TRANSFER_SYNTAXES)
    context.scu_role = context.scp_role = True
    return context


def private_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Contexts for private SOP classes of `proposed`: vendors store what they alone read."""
    uids = {str(context.abstract_syntax) for context in proposed}
    return [_context(uid) for uid in sorted(uids) if not uid.startswith(_STANDARD)]


def serve(association: AcceptedAssociation, request: C_STORE, context: Any) -> None:
    """Keep one instance and answer with its status; called in the thread of the association."""
    with Span("DIMSE", association.traceparent, transaction=RAD18.code) as span:
        status, comment = _kept(association, request, context)
        elements: dict[Element, str | int] = {
            Element.AFFECTED_SOP_CLASS_UID: str(request.AffectedSOPClassUID),
            Element.AFFECTED_SOP_INSTANCE_UID: str(request.AffectedSOPInstanceUID),
            Element.RESPONDED_TO: int(request.MessageID),
            Element.STATUS: status,
            Element.ERROR_COMMENT: comment,
        }
        association.answer(context, Command.C_STORE_RSP, elements)
        span.outcome = result_of(status)


def _kept(association: AcceptedAssociation, request: C_STORE, context: Any) -> tuple[int, str]:
    """Status and comment, when the instance is kept or refused."""
    if not association.may(DimseService.STORE):
        return NOT_AUTHORIZED, who_may(DimseService.STORE)
    claim = Claim(
        sop_class_uid=str(request.AffectedSOPClassUID), sop_instance_uid=str(request.AffectedSOPInstanceUID)
    )
    file = association.messages.take(
        request.DataSet,
        sop_class_uid=claim.sop_class_uid,
        sop_instance_uid=claim.sop_instance_uid,
        syntax=str(context.transfer_syntax[0]),
    )
    if (move := _expected(association, request)) is not None:
        move.take(file)
        return SUCCESS, ""
    try:
        if context.abstract_syntax != claim.sop_class_uid:
            reason = "the SOP class is not that of the presentation context"
            raise Refused(SOP_CLASS_NOT_SUPPORTED, reason, claim)
        spooled = file.finish()
    except Refused as refused:
        file.discard()
        association.on_loop(association.service.store.refuse(refused, association.transfer))
        return refused.status, refused.reason
    try:
        stored = association.on_loop(_keep(association, spooled, claim))
    except Refused as refused:
        return refused.status, refused.reason
    return stored.status, "; ".join(stored.warnings)


def _expected(association: AcceptedAssociation, request: C_STORE) -> ExpectedMove | None:
    """The C-MOVE of ours to which an instance comes from an archive."""
    title, message_id = request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID
    if message_id is None or title != association.service.settings.ae_title:
        return None
    return association.service.moves.find(
        int(message_id), calling_title=str(association.requestor.ae_title).strip()
    )


def verify(event: Event) -> int:
    """Answer C-ECHO: a node hears whether it would be served."""
    with Span("DIMSE", event.assoc.traceparent, transaction="C-ECHO") as span:
        span.quiet = True
        status = 0x0000 if event.assoc.may_any else NOT_AUTHORIZED
        span.outcome = result_of(status)
        return status


async def _keep(association: AcceptedAssociation, spooled: SpooledFile, claim: Claim) -> StoredInstance:
    service = association.service
    try:
        await service.recorder.check()
    except AuditUnavailable:
        spooled.path.unlink(missing_ok=True)
        raise Refused(OUT_OF_RESOURCES, "audit events cannot be recorded", claim) from None
    return await service.store.store_part10(spooled, association.transfer, claim)
