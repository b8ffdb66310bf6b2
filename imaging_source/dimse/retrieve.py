"""C-MOVE and C-GET as SCP [RAD-16]: the Query/Retrieve Service Class (PS3.4 C.4.2, C.4.3).

Statuses are those of tables C.4-2 and C.4-3. What the caller may not have is in no count, and is told as if
it were not there.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode
from pynetdicom.presentation import PresentationContext

from imaging_source.dimse.association import AcceptedAssociation
from imaging_source.dimse.command_set import Command, Element
from imaging_source.dimse.entities import Entity
from imaging_source.dimse.parts import (
    CANCELLED,
    IDENTIFIER_MISMATCH,
    PENDING,
    SUCCESS,
    UNABLE_TO_PROCESS,
    result_of,
    who_may,
)
from imaging_source.dimse.requestor import NotAssociated, associate
from imaging_source.dimse.sub_operations import Contexts, Counters, Peer, PeerGone, Store, proposals, store
from imaging_source.domain.exchange import EntityAddress
from imaging_source.domain.intake import NOT_AUTHORIZED, SOP_CLASS_NOT_SUPPORTED
from imaging_source.domain.retrieve_identifier import (
    LEVEL,
    UNIQUE_KEYS,
    IdentifierMismatch,
    RetrieveKeys,
    Root,
    retrieve_keys,
)
from imaging_source.settings.entities import DimseService
from imaging_source.transactions import rad16
from imaging_source.unit import Unit
from shared.attempts import attempted
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_BE, IMPLICIT_LE
from shared.errors import XdsError
from shared.http.pieces import FileRange
from shared.imaging.instance import Instance
from shared.imaging.retrieval import InstanceResult, Unreadable, files, local_file, syntax_of
from shared.imaging.transfer_syntax import Choice, Impossible
from shared.perform import perform
from shared.security.caller import Caller
from shared.telemetry.trace import Span

_log = logging.getLogger(__name__)

MOVE_ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.2": Root.PATIENT,
    "1.2.840.10008.5.1.4.1.2.2.2": Root.STUDY,
}
GET_ROOTS: Final[Mapping[str, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.3": Root.PATIENT,
    "1.2.840.10008.5.1.4.1.2.2.3": Root.STUDY,
}
ONE_OR_MORE_FAILED: Final = 0xB000
NO_SUB_OPERATIONS: Final = 0xA702
UNKNOWN_DESTINATION: Final = 0xA801

_PENDING_SECONDS: Final = 0.5
_FILES_AT_ONCE: Final = 8
_RECONNECTIONS: Final = 2
# What a list of UIDs may have in Explicit VR, whose length is 16 bits (PS3.5 7.1.2).
_MOST_OCTETS: Final = 65_534


@dataclass(slots=True)
class _Transfer:
    """One retrieval under way: who asked, and what became of its instances.

    `number` counts C-STORE requests; `unreached` says why the destination could not be reached.
    """

    association: AcceptedAssociation
    request: C_MOVE | C_GET
    context: Any
    command: Command
    destination: Entity | None
    instances: Sequence[Instance]
    patient_ids: Mapping[str, str]
    counters: Counters
    results: list[InstanceResult] = field(default_factory=list)
    told_at: float = float("-inf")
    number: int = 0
    unreached: str = ""

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled it (C-CANCEL), or has gone."""
        association = self.association
        return self.request.MessageID in association.messages.cancel_req or not association.transfers

    @property
    def originator(self) -> tuple[str, int] | None:
        """For the requests of a C-MOVE."""
        if self.destination is None:
            return None
        return self.association.calling, int(self.request.MessageID)

    def ended(self, one: Instance, failure: str, *, warned: bool = False) -> None:
        """Count a sub-operation, and tell the caller, though not too often."""
        self.counters.count(one.sop_instance_uid, failure, warned=warned)
        self.results.append(rad16.result_of(one, self.patient_ids[one.sop_instance_uid], failure))
        if time.monotonic() - self.told_at >= _PENDING_SECONDS and self.counters.remaining:
            self.told_at = time.monotonic()
            self.association.answer(
                self.context, self.command, _elements(self.request, PENDING, self.counters, remaining=True)
            )


def move(association: AcceptedAssociation, request: C_MOVE, context: Any) -> None:
    """Send what is asked for to another application entity, or to the caller's own listener."""
    title = str(request.MoveDestination or "").strip()
    destination = association.service.entities.destination(title, association.calling)
    _retrieve(association, request, context, DimseService.MOVE, destination)


def get(association: AcceptedAssociation, request: C_GET, context: Any) -> None:
    """Send what is asked for by the same association."""
    _retrieve(association, request, context, DimseService.GET, None)


def _retrieve(
    association: AcceptedAssociation,
    request: C_MOVE | C_GET,
    context: Any,
    service: DimseService,
    destination: Entity | None,
) -> None:
    is_move = service is DimseService.MOVE
    command = Command.C_MOVE_RSP if is_move else Command.C_GET_RSP
    with Span("DIMSE", association.traceparent, transaction=rad16.EVENT_TYPE.code) as span:
        root = (MOVE_ROOTS if is_move else GET_ROOTS).get(str(context.abstract_syntax))
        if root is None or request.AffectedSOPClassUID != context.abstract_syntax:
            status, comment, counters = SOP_CLASS_NOT_SUPPORTED, "no SOP class of this request", None
        elif not association.may(service):
            status, comment, counters = NOT_AUTHORIZED, who_may(service), None
        else:
            status, comment, counters = _answered(
                association, request, context, root, command, is_move, destination
            )
        elements = _elements(request, status, counters, remaining=status == CANCELLED)
        if comment:
            elements[Element.ERROR_COMMENT] = comment
        failed = _failed_list(counters, str(context.transfer_syntax)) if counters is not None else None
        association.answer(context, command, elements, failed)
        span.outcome = result_of(status)


def _answered(
    association: AcceptedAssociation,
    request: C_MOVE | C_GET,
    context: Any,
    root: Root,
    command: Command,
    is_move: bool,
    destination: Entity | None,
) -> tuple[int, str, Counters | None]:
    """Status, comment and counts of the last response."""
    keys, status, refusal = _keys(request, context, root)
    if keys is not None and is_move and destination is None:
        keys, status, refusal = (
            None,
            UNKNOWN_DESTINATION,
            "the destination is not known, or not for this AE title",
        )
    question = rad16.ImagesRequest(
        exchange=association.exchange(_address(destination)), keys=keys, refusal=refusal
    )
    service = association.service
    caller = association.caller()
    try:
        answer = association.on_loop(perform(rad16.SERVED, service.unit, question, caller, service.recorder))
    except (XdsError, AuditUnavailable) as error:
        _log.error("a retrieval was not begun: %s", type(error).__name__)
        return UNABLE_TO_PROCESS, "the service cannot do it now; try again later", None
    if keys is None:
        return status, refusal, None
    counters = Counters(remaining=len(answer.instances))
    transfer = _Transfer(
        association=association,
        request=request,
        context=context,
        command=command,
        destination=destination,
        instances=answer.instances,
        patient_ids=answer.patient_ids,
        counters=counters,
    )
    try:
        _send_all(transfer, caller)
    finally:
        _conclude(transfer)
    return _status(counters), transfer.unreached, counters


def _status(counters: Counters) -> int:
    if counters.remaining:
        return CANCELLED
    if counters.failed and not counters.completed and not counters.warning:
        return NO_SUB_OPERATIONS
    return ONE_OR_MORE_FAILED if counters.failed or counters.warning else SUCCESS


def _send_all(transfer: _Transfer, caller: Caller) -> None:
    """Send everything, to the caller or to the destination; what cannot be sent counts as failed."""
    association = transfer.association
    if transfer.destination is None:
        contexts = Contexts(association._accepted_cx.values(), as_acceptor=True)
        try:
            _send(transfer, deque(transfer.instances), association, contexts, caller)
        except PeerGone:
            association.abort()
        return
    for proposed, instances in proposals(transfer.instances):
        _send_to(transfer, transfer.destination, proposed, deque(instances), caller)


def _send_to(
    transfer: _Transfer,
    destination: Entity,
    proposed: Sequence[PresentationContext],
    waiting: deque[Instance],
    caller: Caller,
) -> None:
    """Send by an association of our own, and by another one from where that ended, as long as it goes on."""
    fruitless = 0
    while waiting and not transfer.cancelled:
        before = len(waiting)
        try:
            peer = associate(destination, transfer.association.service.settings, proposed)
        except NotAssociated as error:
            transfer.unreached = str(error)
            break
        try:
            _send(transfer, waiting, peer, Contexts(peer.accepted(), as_acceptor=False), caller)
        except PeerGone:
            _log.warning("the destination of a C-MOVE has ended its association")
            peer.cut()
        finally:
            peer.close()
        fruitless = fruitless + 1 if len(waiting) == before else 0
        if fruitless > _RECONNECTIONS:
            transfer.unreached = f"{destination.title} ends its associations"
            break
    while waiting and not transfer.cancelled:
        transfer.ended(waiting.popleft(), transfer.unreached)


def _send(
    transfer: _Transfer, waiting: deque[Instance], peer: Peer, contexts: Contexts, caller: Caller
) -> None:
    """Send `waiting` one after the other, and take from it what is done; raises `PeerGone`."""
    while waiting:
        for one, choice, file in _prepared(transfer, list(islice(waiting, _FILES_AT_ONCE)), contexts, caller):
            if transfer.cancelled:
                return
            failure, warned = file if isinstance(file, str) else "", False
            if isinstance(file, Path):
                transfer.number += 1
                request = Store(
                    instance=one,
                    context_id=contexts.id_of(one, syntax_of(one, choice)),
                    file=file,
                    originator=transfer.originator,
                )
                failure, warned = store(peer, request, transfer.number)
            waiting.popleft()
            transfer.ended(one, failure, warned=warned)


def _prepared(
    transfer: _Transfer, batch: Sequence[Instance], contexts: Contexts, caller: Caller
) -> list[tuple[Instance, Choice, Path | str]]:
    """Each of `batch` with its file as it is to be sent, which was proved to be whole, or why it has none."""
    service = transfer.association.service
    return service.on_loop(_files_of(service.unit(caller), batch, contexts))


async def _files_of(
    unit: Unit, batch: Sequence[Instance], contexts: Contexts
) -> list[tuple[Instance, Choice, Path | str]]:
    codecs = unit.parts.transcoder.codecs
    chosen = [(one, contexts.choice(one, codecs)) for one in batch]
    pieces = await files(unit, chosen)
    prepared: list[tuple[Instance, Choice, Path | str]] = []
    for one, choice in chosen:
        piece = pieces.get(one.sop_instance_uid)
        file: Path | str
        if isinstance(choice, Impossible):
            file = choice.reason
        elif isinstance(piece, FileRange):
            file = Path(piece.path)
        elif piece is None or isinstance(piece, Unreadable):
            file = "what is stored cannot be read" if piece is None else piece.reason
        else:
            local = await local_file(unit, one, choice)
            file = local.reason if isinstance(local, Unreadable) else local
        prepared.append((one, choice, file))
    return prepared


def _conclude(transfer: _Transfer) -> None:
    """Record what became of the instances; of those that were not begun it is told, too."""
    ended = {result.sop_instance_uid for result in transfer.results}
    reason = "cancelled, or the association ended"
    missing = (
        rad16.result_of(one, transfer.patient_ids[one.sop_instance_uid], reason)
        for one in transfer.instances
        if one.sop_instance_uid not in ended
    )
    association = transfer.association
    exchange = association.exchange(_address(transfer.destination))
    try:
        events = rad16.transferred(exchange, [*transfer.results, *missing])
        association.on_loop(association.service.recorder.record(events))
    except AuditUnavailable:
        _log.exception("what became of a transfer could not be recorded; its beginning was")


def _keys(request: C_MOVE | C_GET, context: Any, root: Root) -> tuple[RetrieveKeys | None, int, str]:
    """What is asked for; or a status, and why."""
    identifier = attempted(lambda: decoded(request, context))
    if isinstance(identifier, Exception):
        return None, UNABLE_TO_PROCESS, "the identifier cannot be read"
    try:
        return retrieve_keys(root, identifier), SUCCESS, ""
    except IdentifierMismatch as mismatch:
        return None, IDENTIFIER_MISMATCH, str(mismatch)


def decoded(request: C_MOVE | C_GET, context: Any) -> dict[int, list[str]]:
    """The values of the level and of unique keys; raises whatever pydicom does."""
    syntax = str(context.transfer_syntax)
    data_set: Dataset = decode(request.Identifier, syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    values: dict[int, list[str]] = {}
    for tag in (LEVEL, *UNIQUE_KEYS.values()):
        value = data_set[tag].value if tag in data_set else None
        several = value if isinstance(value, MultiValue) else [value]
        values[tag] = [str(one) for one in several if one is not None]
    return values


def _address(entity: Entity | None) -> EntityAddress | None:
    return None if entity is None else EntityAddress(title=entity.title, host=entity.settings.host or "")


def _elements(
    request: C_MOVE | C_GET, status: int, counters: Counters | None, *, remaining: bool
) -> dict[Element, str | int]:
    elements: dict[Element, str | int] = {
        Element.AFFECTED_SOP_CLASS_UID: str(request.AffectedSOPClassUID),
        Element.RESPONDED_TO: int(request.MessageID),
        Element.STATUS: status,
    }
    return elements if counters is None else {**elements, **counters.elements(remaining=remaining)}


def _failed_list(counters: Counters, transfer_syntax_uid: str) -> list[bytes] | None:
    """The Failed SOP Instance UID List as a data set; None when nothing failed."""
    if not counters.failed_uids:
        return None
    octets = b""
    for uid in counters.failed_uids:
        if len(octets) + len(uid) + 1 > _MOST_OCTETS:
            _log.warning("more instances failed than a list can name: %d", counters.failed)
            break
        octets += (b"\\" if octets else b"") + uid.encode()
    octets += b"\0" * (len(octets) % 2)
    form = "<HHI" if transfer_syntax_uid == IMPLICIT_LE else "<HH2sH"
    tag = (0x0008, 0x0058)
    if transfer_syntax_uid == IMPLICIT_LE:
        return [struct.pack(form, *tag, len(octets)) + octets]
    return [struct.pack(form, *tag, b"UI", len(octets)) + octets]
