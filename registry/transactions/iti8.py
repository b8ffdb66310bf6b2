"""Patient Identity Feed [ITI-8]: expected actions of the Document Registry (ITI TF-2 3.8.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry.domain import feed
from registry.domain.feed import ADDING, Event, FeedMessage
from registry.domain.patients import PatientRefused
from registry.store import feed as feed_store
from registry.transactions import patient_feed
from registry.unit import Parts, Unit, after_merges
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome, feed_participants, ihe
from shared.audit.recorder import AuditRecorder
from shared.hl7v2.message import AnswerCode, Header, MessageRefused, acknowledgement
from shared.hl7v2.receiver import Receiver
from shared.security.caller import Caller, Node
from shared.security.nodes import check_bound
from shared.security.rights import Rights
from shared.store.engine import Transaction

_EVENT_TYPE = ihe("ITI-8", "Patient Identity Feed")


@dataclass(frozen=True, slots=True)
class FeedReceiver(Receiver[FeedMessage]):
    """Takes the messages of a feed; `host` is the name by which this registry stands in the trail."""

    parts: Parts
    host: str
    rights: Rights

    @property
    def transaction(self) -> str:
        """As requests are counted."""
        return _EVENT_TYPE.code

    @property
    def recorder(self) -> AuditRecorder:
        """The recorder of the registry."""
        return self.parts.recorder

    def now(self) -> datetime:
        """The time of the registry."""
        return self.parts.now()

    def read(self, octets: bytes, node: Node) -> FeedMessage:
        """Read a message of a node that may feed the affinity domain."""
        self.rights.check(node, "ITI-8")
        settings = self.parts.settings
        if (entry := self.rights.entry(node)) is not None:
            check_bound(entry.domains, (settings.affinity_domain,), "feeds the domain")
        return feed.decode(
            octets,
            domain=settings.affinity_domain,
            namespace=settings.feed_namespace,
            default_charset=settings.feed_charset,
        )

    async def take(self, message: FeedMessage, digest: str, node: Node) -> bytes:
        """Do what a message says, once."""
        now = self.parts.now()
        answer = acknowledgement(message.header, now=now)
        change = _change(message)

        control_id = message.header.control_id

        async def done(transaction: Transaction) -> bytes | None:
            return await feed_store.find_acknowledgement(transaction, control_id, digest)

        async def work(transaction: Transaction) -> bytes:
            before = await done(transaction)
            if before is not None:
                return before
            await feed_store.keep_acknowledgement(
                transaction,
                control_id=control_id,
                digest=digest,
                acknowledgement=answer,
                created=now.isoformat(),
            )
            await change(transaction)
            return answer

        events = audit(message, node.address, self.host, Outcome.SUCCESS)
        unit = Unit(self.parts, Caller(node=node, endpoint=self.host))
        taken = await after_merges(unit, lambda: unit.write(work, events=events, done=done))
        if message.event is Event.MERGE:
            await patient_feed.finish(unit, message.patient_id)
        return taken

    def failed(self, message: FeedMessage, address: str, description: str) -> Sequence[AuditEvent]:
        """What the trail says of a message that was not taken."""
        return audit(message, address, self.host, Outcome.SERIOUS_FAILURE, description=description)

    def unread(self, error: MessageRefused, address: str) -> AuditEvent:
        """What it says of one of which the header alone was read."""
        action = "C" if error.header.event in list(ADDING) else "U"
        outcome = Outcome.SERIOUS_FAILURE
        (event,) = _events(error.header, [(action, "")], address, self.host, outcome, error.text)
        return event


Change = Callable[[Transaction], Awaitable[None]]


def _change(message: FeedMessage) -> Change:
    if message.event is Event.MERGE:
        return lambda transaction: _merge(transaction, message)
    if message.event in ADDING:
        return lambda transaction: _add(transaction, message)
    return _nothing


async def _nothing(_: Transaction) -> None:
    """A08 tells demographics, of which the registry keeps none."""


async def _add(transaction: Transaction, message: FeedMessage) -> None:
    try:
        await patient_feed.add(transaction, message.patient_id)
    except PatientRefused as refused:
        raise _error("PID-3", str(refused)) from None


async def _merge(transaction: Transaction, message: FeedMessage) -> None:
    try:
        await patient_feed.merge(transaction, message.prior_patient_id, message.patient_id)
    except PatientRefused as refused:
        raise _error("MRG-1", str(refused)) from None


def _error(place: str, text: str) -> MessageRefused:
    return MessageRefused(AnswerCode.ERROR, 204, place, text)


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    message: FeedMessage, address: str, host: str, outcome: Outcome, *, description: str = ""
) -> tuple[AuditEvent, ...]:
    """Describe the message (ITI TF-2 3.8.5): a merge is a deletion and an update at the same time."""
    described = [("C" if message.event in ADDING else "U", message.patient_id)]
    if message.event is Event.MERGE:
        described.insert(0, ("D", message.prior_patient_id))
    return _events(message.header, described, address, host, outcome, description)


def _events(
    header: Header,
    changes: Sequence[tuple[str, str]],
    address: str,
    host: str,
    outcome: Outcome,
    description: str,
) -> tuple[AuditEvent, ...]:
    return patterns.patient_feed(
        _EVENT_TYPE,
        feed_participants(
            sender=(header.facility, header.application),
            receiver=(header.receiving_facility, header.receiving_application),
            sender_address=address,
            receiver_host=host,
            server=True,
        ),
        outcome,
        changes,
        message=("MSH-10", header.control_id),
        description=description,
    )
