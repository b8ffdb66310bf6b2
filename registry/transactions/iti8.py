"""Patient Identity Feed [ITI-8]: expected actions of the Document Registry (ITI TF-2 3.8.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from registry.domain import feed
from registry.domain.feed import ADDING, AcknowledgementCode, Event, FeedError, FeedMessage, Header
from registry.domain.patients import PatientRefused
from registry.store import feed as feed_store
from registry.transactions import patient_feed
from registry.unit import Parts, Unit, after_merges
from shared.attempts import attempted, awaited
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome, feed_participants, ihe
from shared.audit.recorder import AuditUnavailable
from shared.errors import UnavailableError
from shared.faults import NodeRefused
from shared.security.caller import Caller, Node
from shared.security.nodes import check_bound
from shared.security.rights import Rights
from shared.store.engine import Transaction
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result
from shared.telemetry.trace import asked_for, ended

_log = logger(__name__)
_EVENT_TYPE = ihe("ITI-8", "Patient Identity Feed")


@dataclass(frozen=True, slots=True)
class FeedReceiver:
    """Takes the messages of a feed; `host` is the name by which this registry stands in the trail."""

    parts: Parts
    host: str
    rights: Rights

    async def acknowledge(self, octets: bytes, node: Node) -> bytes:
        """Do what a message of `node` says; what it changed is durable before its AA.

        The same message again, by control id and bytes, is acknowledged as before. Whatever goes wrong
        becomes AE or AR with its reason, and changes nothing.
        """
        address = node.address
        asked_for("ITI-8")
        ended(Result.FAILURE)
        message = attempted(lambda: self._read(octets, node))
        if isinstance(message, FeedMessage):
            answer = await awaited(self._taken(message, hashlib.sha256(octets).hexdigest(), node))
            return await self._answered(answer, message, octets, address)
        return await self._answered(message, None, octets, address)

    def _read(self, octets: bytes, node: Node) -> FeedMessage:
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

    async def _answered(
        self, outcome: bytes | Exception, message: FeedMessage | None, octets: bytes, address: str
    ) -> bytes:
        match outcome:
            case NodeRefused() as fault:
                ended(Result.FAULT)
                return await self._stranger(fault, octets, address)
            case FeedError() as error:
                return await self._refused(error, message, address)
            case UnavailableError() as error:
                unavailable = FeedError(AcknowledgementCode.ERROR, 207, "MSH", error.context)
                return await self._refused(unavailable, message, address)
            case Exception() as error:
                ended(Result.ERROR)
                _log.error("a feed message failed", kind=type(error).__name__, exc_info=error)
                text = "internal error; the registry's log explains it"
                mistake = FeedError(AcknowledgementCode.ERROR, 207, "MSH", text)
                return await self._refused(mistake, message, address)
            case acknowledgement:
                ended(Result.SUCCESS)
                return acknowledgement

    async def _taken(self, message: FeedMessage, digest: str, node: Node) -> bytes:
        now = self.parts.now()
        acknowledgement = feed.acknowledgement(message.header, now=now)
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
                acknowledgement=acknowledgement,
                created=now.isoformat(),
            )
            await change(transaction)
            return acknowledgement

        events = audit(message, node.address, self.host, Outcome.SUCCESS)
        unit = Unit(self.parts, Caller(node=node, endpoint=self.host))
        taken = await after_merges(unit, lambda: unit.write(work, events=events, done=done))
        if message.event is Event.MERGE:
            await patient_feed.finish(unit, message.patient_id)
        return taken

    async def _stranger(self, fault: NodeRefused, octets: bytes, address: str) -> bytes:
        """Refuse a node that may not feed, whatever it says; of its message the header alone is read."""
        _log.warning("a node may not feed", peer=address, reason=fault.detail)
        with suppress(AuditUnavailable):  # refused either way
            await self.parts.recorder.refusals.node(address, fault.detail)
        error = FeedError(AcknowledgementCode.REJECT, 207, "MSH", fault.reason)
        return feed.acknowledgement(feed.readable_header(octets), now=self.parts.now(), error=error)

    async def _refused(self, error: FeedError, message: FeedMessage | None, address: str) -> bytes:
        _log.warning("a feed message was not taken", code=str(error.code), number=error.number)
        header = error.header if message is None else message.header
        recorder = self.parts.recorder
        try:
            if message is None:
                unread = _unread(error, address, self.host)
                await recorder.refusals.event(
                    address, error.text, lambda description: replace(unread, outcome_description=description)
                )
            else:
                failed = audit(message, address, self.host, Outcome.SERIOUS_FAILURE, description=error.text)
                await recorder.record(failed)
        except AuditUnavailable:
            # Nothing was changed, so that nothing is hidden; the sender learns of the refusal all the same.
            _log.error("the refusal cannot be recorded")
        return feed.acknowledgement(header, now=self.parts.now(), error=error)


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


def _error(place: str, text: str) -> FeedError:
    return FeedError(AcknowledgementCode.ERROR, 204, place, text)


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    message: FeedMessage, address: str, host: str, outcome: Outcome, *, description: str = ""
) -> tuple[AuditEvent, ...]:
    """Describe the message (ITI TF-2 3.8.5): a merge is a deletion and an update at the same time."""
    described = [("C" if message.event in ADDING else "U", message.patient_id)]
    if message.event is Event.MERGE:
        described.insert(0, ("D", message.prior_patient_id))
    return _events(message.header, described, address, host, outcome, description)


def _unread(error: FeedError, address: str, host: str) -> AuditEvent:
    action = "C" if error.header.event in list(ADDING) else "U"
    (event,) = _events(error.header, [(action, "")], address, host, Outcome.SERIOUS_FAILURE, error.text)
    return event


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
