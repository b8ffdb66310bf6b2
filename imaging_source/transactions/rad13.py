"""Procedure Scheduled and Updated [RAD-4, RAD-13], Send Imaging Result [RAD-128] and Patient Update [RAD-12]:
expected actions of who owns the images (RAD TF-2 4.4, 4.12, 4.13, 4.128).

What a message says of an order is durable with its record before AA, whether the study is here or not, and
is remembered for `ORDERS_KEPT`; a completed study is then published, a cancelled one is not. The documents
of reports are kept, to be registered beside the images. Manifests of a patient who was corrected are compared
with the registry anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imaging_source.domain import orders
from imaging_source.domain.orders import DepartmentMessage, OrderState
from imaging_source.domain.publishing_rules import enough
from imaging_source.store import orders as order_store
from imaging_source.transactions import received_reports
from imaging_source.transactions.clinical_documents import read_clinical_document
from imaging_source.unit import Parts
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome, Participant, feed_participants, ihe
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.hl7v2.message import AnswerCode, Header, MessageRefused, acknowledgement
from shared.hl7v2.receiver import Receiver
from shared.security.caller import Node
from shared.security.nodes import check_bound
from shared.store.engine import Transaction
from shared.store.failures import DatabaseError
from shared.store.settling import write_settled
from shared.telemetry.log import logger
from shared.telemetry.trace import asked_for

_log = logger(__name__)

PROCEDURE: Final = ihe("RAD-13", "Procedure Update")
PATIENT: Final = ihe("RAD-12", "Patient Update")
REPORT: Final = ihe("RAD-128", "Send Imaging Result")
_EVENT_TYPES: Final = {one.code: one for one in (PROCEDURE, PATIENT, REPORT)}


@dataclass(frozen=True, slots=True)
class OrderReceiver(Receiver[DepartmentMessage]):
    """Takes orders and corrections of patients; `host` is the name by which this source stands in the trail.

    `completed` is called with each study that is here and is to be published now, where studies are published
    by themselves; `corrected` when something was kept, and so is `reported` where there were reports.
    """

    parts: Parts
    host: str
    completed: Callable[[str], None] | None = None
    corrected: Callable[[], None] | None = None
    reported: Callable[[], None] | None = None

    @property
    def transaction(self) -> str:
        """As requests are counted."""
        return PROCEDURE.code

    @property
    def recorder(self) -> AuditRecorder:
        """The recorder of the source."""
        return self.parts.recorder

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    def read(self, octets: bytes, node: Node) -> DepartmentMessage:
        """Read a message of a node that may feed."""
        settings, rights = self.parts.settings, self.parts.authenticator.rights
        rights.check(node, PROCEDURE.code)
        if (entry := rights.entry(node)) is not None:
            domain = settings.publishing.issuers(settings.affinity_domain).patient_id
            check_bound(entry.domains, (domain,), "feeds the domain")
        message = orders.decode(
            octets,
            default_charset=settings.hl7_charset,
            read_document=read_clinical_document if settings.publishing.reports.publish else None,
        )
        asked_for(message.number)
        return message

    async def take(self, message: DepartmentMessage, digest: str, node: Node) -> bytes:
        """Keep what a message says, once; then let it be done."""
        try:
            return await self._taken(message, digest, node)
        except DatabaseError as error:
            _log.error("a message of HL7 cannot be kept", error=type(error).__name__)
            text = "the database cannot be used now; send the message again"
            raise MessageRefused(AnswerCode.ERROR, 207, "MSH", text) from None

    async def _taken(self, message: DepartmentMessage, digest: str, node: Node) -> bytes:
        database, now = self.parts.database, self.now()
        here = await self._here(message)
        states = enough(self.parts.settings.publishing.after)
        completed = [study for study, state in here if state in states]
        cancelled = [study for study, state in here if state is OrderState.CANCELLED]
        corrected = message.patients + message.prior if message.corrects else ()
        answer = acknowledgement(message.header, now=now)
        control_id = message.header.control_id
        events = audit(message, node.address, self.host, Outcome.SUCCESS)
        reports = (
            await asyncio.to_thread(received_reports.ready, self.parts.settings, message, now)
            if message.reports
            else ()
        )

        async def done(transaction: Transaction) -> bytes | None:
            return await order_store.find_acknowledgement(transaction, control_id, digest)

        async def work(transaction: Transaction) -> bytes:
            before = await done(transaction)
            if before is not None:
                return before
            await order_store.keep_acknowledgement(transaction, control_id, digest, answer, now)
            for order in message.orders:
                await order_store.keep_order(transaction, order, message.patients, now)
            await received_reports.keep(transaction, reports)
            await order_store.correct(transaction, corrected, cancelled, now)
            await insert_events(transaction, events, self.parts.recorder)
            return answer

        acknowledged = await write_settled(database, work, done=done)
        if acknowledged is answer:
            if self.completed is not None:
                for study_instance_uid in completed:
                    self.completed(study_instance_uid)
            if self.corrected is not None:
                self.corrected()
            if reports and self.reported is not None:
                self.reported()
        return acknowledged

    async def _here(self, message: DepartmentMessage) -> list[tuple[str, OrderState]]:
        """How the orders of studies stand that are here; one of another patient refuses an order.

        A report of another patient is kept, and set aside: who sends it may not send it again."""
        states: list[tuple[str, OrderState]] = []
        for order in message.orders:
            here = await order_store.find_studies(self.parts.database, order)
            own = [one.study_instance_uid for one in here if one.is_of(message.patients)]
            if here and not own and not message.reports:
                text = "the study is of another patient than PID-3 names; correct the order, or the images"
                raise MessageRefused(AnswerCode.ERROR, 204, "PID-3", text)
            states += [(study, order.state) for study in own]
        return states

    def failed(self, message: DepartmentMessage, address: str, description: str) -> Sequence[AuditEvent]:
        """What the trail says of a message that was not taken."""
        return audit(message, address, self.host, Outcome.SERIOUS_FAILURE, description=description)

    def unread(self, error: MessageRefused, address: str) -> AuditEvent:
        """What it says of one of which the header alone was read."""
        participants = _participants(error.header, address, self.host)
        (event,) = patterns.patient_feed(
            PATIENT,
            participants,
            Outcome.SERIOUS_FAILURE,
            [("U", "")],
            message=("MSH-10", error.header.control_id),
            description=error.text,
        )
        return event


def audit(
    message: DepartmentMessage, address: str, host: str, outcome: Outcome, *, description: str = ""
) -> tuple[AuditEvent, ...]:
    """Describe the message: a Procedure Record for an order, a Patient Record for a patient, of whom a merge
    deletes the prior one."""
    participants = _participants(message.header, address, host)
    message_id = ("MSH-10", message.header.control_id)
    patient = str(message.patients[0])
    if message.number != PATIENT.code:
        studies = {one.study_instance_uid: one.accession_number for one in message.orders}
        return (
            patterns.procedure_record(
                _EVENT_TYPES[message.number],
                participants,
                outcome,
                patient,
                studies,
                message=message_id,
                description=description,
            ),
        )
    changes = [("D", str(one)) for one in message.prior] + [("U", patient)]
    return patterns.patient_feed(
        PATIENT, participants, outcome, changes, message=message_id, description=description
    )


def _participants(header: Header, address: str, host: str) -> tuple[Participant, ...]:
    return feed_participants(
        sender=(header.facility, header.application),
        receiver=(header.receiving_facility, header.receiving_application),
        sender_address=address,
        receiver_host=host,
        server=True,
    )
