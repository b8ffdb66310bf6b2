"""Storage commitment as SCP [RAD-10]: N-ACTION is answered when the request is noted, the result is an
N-EVENT-REPORT (PS3.4 annex J; PS3.7 10.1.1, 10.1.4).

It goes by an association of ours, in the role of an SCP, to the address that the table names; never to where
the request came from. An entity for which the table says so hears it by its own association, where the result
can be told at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT, DimseServiceType
from pynetdicom.dsutils import decode

from imaging_source.dimse.association import AcceptedAssociation
from imaging_source.dimse.command_set import Command, Element, command_set
from imaging_source.dimse.entities import Entity
from imaging_source.dimse.parts import SUCCESS, result_of, who_may
from imaging_source.dimse.requestor import NotAssociated, associate
from imaging_source.dimse.upper_layer import BoundedMessages
from imaging_source.domain.commitment import (
    MAX_INSTANCES,
    REQUEST,
    SOP_CLASS,
    SOP_INSTANCE,
    CommitmentRequest,
    CommitmentResult,
    ReferencedInstance,
    distinct,
)
from imaging_source.domain.identifier import encode_identifier
from imaging_source.domain.intake import NOT_AUTHORIZED, PROCESSING_FAILURE
from imaging_source.settings import ENTITIES_SETTING, ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from imaging_source.store import commitments
from imaging_source.store.commitments import Commitment
from imaging_source.transactions import rad10
from shared.attempts import attempted
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, is_uid
from shared.errors import XdsError
from shared.perform import perform
from shared.telemetry.trace import Span

_log = logging.getLogger(__name__)

INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_INSTANCE: Final = 0x0112
MISSING_ATTRIBUTE: Final = 0x0120
NO_SUCH_ACTION: Final = 0x0123
RESOURCE_LIMITATION: Final = 0x0213
_MESSAGE_ID: Final = 1


class _Refusal(Exception):
    """The request cannot be taken: a status of PS3.7 annex C, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class NotReported(Exception):
    """The result did not reach who asked; the text says why."""


class Reporting(Protocol):
    """The association by which a result is reported."""

    messages: BoundedMessages

    def response(self) -> DimseServiceType | None:
        """The next message; None when there is none in time, or the association has ended."""
        ...


# --- requests ------------------------------------------------------------------------------------------


def serve(association: AcceptedAssociation, request: N_ACTION, context: Any) -> None:
    """Note a request and answer that it is; then report, or let it be reported."""
    noted: Commitment | None = None
    comment = ""
    with Span("DIMSE", association.traceparent, transaction=rad10.EVENT_TYPE.code) as span:
        try:
            noted = _noted(association, request, context)
            status = SUCCESS
        except _Refusal as refusal:
            status, comment = refusal.status, str(refusal)
        elements: dict[Element, str | int] = {
            Element.AFFECTED_SOP_CLASS_UID: str(request.RequestedSOPClassUID),
            Element.AFFECTED_SOP_INSTANCE_UID: str(request.RequestedSOPInstanceUID),
            Element.RESPONDED_TO: int(request.MessageID),
            Element.ACTION_TYPE: int(request.ActionTypeID),
            Element.STATUS: status,
        }
        if comment:
            elements[Element.ERROR_COMMENT] = comment
        association.answer(context, Command.N_ACTION_RSP, elements)
        span.outcome = result_of(status)
    if noted is not None:
        entity = association.service.entities[association.calling]
        if entity is not None and entity.settings.same_association:
            _report_here(association, noted, context)
        association.service.on_commitment()


def _noted(association: AcceptedAssociation, request: N_ACTION, context: Any) -> Commitment:
    service = association.service
    if not association.may(DimseService.COMMIT):
        raise _Refusal(NOT_AUTHORIZED, who_may(DimseService.COMMIT))
    entity = service.entities[association.calling]
    if entity is None or entity.settings.host is None:
        setting = ENTITIES_SETTING.partition("_")[2]
        raise _Refusal(PROCESSING_FAILURE, f"{setting} has no address for the result")
    question = _request(association.calling, request, context)
    try:
        work = perform(rad10.SERVED, service.unit, question, association.caller(), service.recorder)
        noted: Commitment = association.on_loop(work)
    except (XdsError, AuditUnavailable) as error:
        _log.error("a request for storage commitment was not noted: %s", type(error).__name__)
        raise _Refusal(PROCESSING_FAILURE, "the service cannot do it now; ask again later") from None
    return noted


def _request(title: str, request: N_ACTION, context: Any) -> CommitmentRequest:
    if request.RequestedSOPClassUID != SOP_CLASS or request.RequestedSOPInstanceUID != SOP_INSTANCE:
        raise _Refusal(NO_SUCH_INSTANCE, f"there is {SOP_INSTANCE} alone")
    if request.ActionTypeID != REQUEST:
        raise _Refusal(NO_SUCH_ACTION, "there is the action type 1 alone")
    data_set = attempted(lambda: _decoded(request, context))
    if isinstance(data_set, Exception):
        raise _Refusal(INVALID_ARGUMENT, "the action information cannot be read")
    transaction_uid = str(data_set.get("TransactionUID", "") or "")
    if not is_uid(transaction_uid):
        raise _Refusal(MISSING_ATTRIBUTE, "(0008,1195) is absent, or no UID")
    items = data_set.get("ReferencedSOPSequence", ()) or ()
    if len(items) > MAX_INSTANCES:
        raise _Refusal(RESOURCE_LIMITATION, f"{MAX_INSTANCES} instances are the most of one request")
    instances = distinct([_instance(item) for item in items])
    if not instances:
        raise _Refusal(MISSING_ATTRIBUTE, "(0008,1199) is absent or empty")
    return CommitmentRequest(ae_title=title, transaction_uid=transaction_uid, instances=instances)


def _decoded(request: N_ACTION, context: Any) -> Dataset:
    syntax = str(context.transfer_syntax)
    data_set: Dataset = decode(request.ActionInformation, syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    for item in data_set.get("ReferencedSOPSequence", ()) or ():
        _ = item.get("ReferencedSOPClassUID"), item.get("ReferencedSOPInstanceUID")
    return data_set


def _instance(item: Dataset) -> ReferencedInstance:
    uids = [str(item.get(name, "") or "") for name in ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")]
    if not all(map(is_uid, uids)):
        raise _Refusal(MISSING_ATTRIBUTE, "an item lacks (0008,1150) or (0008,1155)")
    return ReferencedInstance(*uids)


# --- results -------------------------------------------------------------------------------------------


def _report_here(association: AcceptedAssociation, noted: Commitment, context: Any) -> None:
    """Report by the association of the request; what does not get through by it goes by another one."""
    parts = association.service.unit(association.caller()).parts
    result = association.on_loop(rad10.decided(parts, noted))
    if result is None:
        return
    try:
        _send(
            association, int(context.context_id), str(context.transfer_syntax), noted, result, parts.settings
        )
    except NotReported as failure:
        _log.warning("a result of storage commitment goes by another association: %s", failure)
        return
    association.on_loop(commitments.end(parts.database, noted))


def report(
    entity: Entity, settings: ImagingSourceSettings, one: Commitment, result: CommitmentResult
) -> None:
    """Report a result by an association of our own; blocks.

    Raises
    ------
    NotReported
        The entity does not answer, or does not take it.
    """
    contexts = [build_context(SOP_CLASS, [EXPLICIT_LE, IMPLICIT_LE])]
    try:
        association = associate(entity, settings, contexts, [build_role(SOP_CLASS, scp_role=True)])
    except NotAssociated as error:
        raise NotReported(str(error)) from None
    try:
        context = _first(association.accepted())
        if context is None:
            raise NotReported(f"{entity.title} takes no results of storage commitment")
        _send(association, context.context_id, str(context.transfer_syntax[0]), one, result, settings)
    finally:
        association.close()


def _first(contexts: Sequence[Any]) -> Any:
    return next(iter(contexts), None)


def _send(
    association: Reporting,
    context_id: int,
    transfer_syntax_uid: str,
    one: Commitment,
    result: CommitmentResult,
    settings: ImagingSourceSettings,
) -> None:
    command = command_set(
        Command.N_EVENT_REPORT_RQ,
        {
            Element.AFFECTED_SOP_CLASS_UID: SOP_CLASS,
            Element.MESSAGE_ID: _MESSAGE_ID,
            Element.AFFECTED_SOP_INSTANCE_UID: SOP_INSTANCE,
            Element.EVENT_TYPE: result.event_type,
        },
        has_data_set=True,
    )
    octets = encode_identifier(
        result.attributes(one.request.transaction_uid, settings.ae_title),
        implicit=transfer_syntax_uid == IMPLICIT_LE,
        character_sets=(),
    )
    alive = association.messages.send(context_id, command, [octets])
    response = association.response() if alive else None
    if not isinstance(response, N_EVENT_REPORT) or response.Status is None:
        raise NotReported(f"{one.request.ae_title} gives no answer")
    if response.Status != SUCCESS:
        raise NotReported(f"{one.request.ae_title} answers with status {int(response.Status):04X}")
