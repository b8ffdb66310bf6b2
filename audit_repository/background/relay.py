"""The trail goes on to further receivers: a second repository, a SIEM (ITI TF-1 9.1, Audit Record Forwarder).

What waits for a receiver is the trail itself, from where it has been had: a receiver that is away holds up
nobody, and nothing is kept twice. A message goes on as it came; a resource of the FHIR feed goes as the
message that it means. By UDP nothing says that it arrived.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import Gauge
from sqlalchemy import bindparam, delete, func, insert, literal, select, update

from audit_repository.domain.record import is_resource, message_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.tables import audit_record, audit_relay
from shared.audit.delivery import AuditDestination, Delivery, destination_of
from shared.audit.events import AuditEvent, AuditSource
from shared.audit.recorder import messages
from shared.background import BackgroundWork
from shared.settings.kinds import relay_address
from shared.store.engine import Database, Transaction
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

RELAY = "XDSI_AUDIT_REPOSITORY__RELAY"
MEASURE_SECONDS = 2.0
POLL_SECONDS = 0.2
BATCH = 200
#: What a datagram of IPv4 holds.
LONGEST_DATAGRAM = 65_507

_NEXT = (
    select(audit_record.c.sequence, audit_record.c.raw)
    .where(audit_record.c.sequence > bindparam("after"), func.length(audit_record.c.raw) > literal(0))
    .order_by(audit_record.c.sequence)
    .limit(bindparam("most"))
)
_PLACE = select(audit_relay.c.sequence).where(audit_relay.c.destination == bindparam("of"))
_PLACES = select(audit_relay.c.destination)
_BEGIN = insert(audit_relay).values(destination=bindparam("of"), sequence=bindparam("sequence"))
_GO_ON = (
    update(audit_relay).where(audit_relay.c.destination == bindparam("of")).values(sequence=bindparam("to"))
)
_FORGET = delete(audit_relay).where(audit_relay.c.destination == bindparam("of"))
_RECEIVED = (
    select(audit_record.c.received)
    .where(audit_record.c.sequence > bindparam("after"))
    .order_by(audit_record.c.sequence)
    .limit(1)
)


class TrailReader:
    """Of the trail, what one receiver has not had (`shared.audit.trial.EventSource`)."""

    place = "outbox"

    def __init__(self, database: Database, destination: str) -> None:
        self._database = database
        self._destination = destination
        self._after: int | None = None

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """The next messages, in the order of the trail."""
        if self._after is None:
            self._after = await self.position()
        rows = await self._database.fetch(_NEXT, after=self._after, most=most)
        if rows:
            self._after = rows[-1][0]
        return await asyncio.to_thread(
            lambda: [one for row in rows for one in numbered(row[0], relayed(bytes(row[1])))]
        )

    async def done(self, sequences: Sequence[int]) -> None:
        """Up to the last of these it has had them."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_GO_ON, of=self._destination, to=max(sequences))

        await self._database.write(work)

    def rewind(self) -> None:
        """Begin again where it has had everything."""
        self._after = None

    async def position(self) -> int:
        """Up to where it has had everything."""
        ((sequence,),) = await self._database.fetch(_PLACE, of=self._destination)
        return int(sequence)

    async def waiting_seconds(self) -> float:
        """For how long the oldest record has waited; 0 when none does."""
        rows = await self._database.fetch(_RECEIVED, after=await self.position())
        if not rows:
            return 0.0
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(rows[0][0])).total_seconds())


def relayed(raw: bytes) -> tuple[bytes, ...]:
    """A record as it goes on: a syslog message as it came, a resource as the messages of what it says."""
    if not is_resource(raw) or (meant := message_of(raw)) is None:
        return (raw,)
    return messages(meant.event, meant.source)


def numbered(sequence: int, record: tuple[bytes, ...]) -> Iterator[tuple[int, bytes]]:
    """The messages of one record: only the last says that the receiver has had it whole."""
    for octets in record[:-1]:
        yield sequence - 1, octets
    yield sequence, record[-1]


class Sending(Protocol):
    """The way to one receiver; an `attempt` lasts until it fails."""

    untold: list[AuditEvent]

    async def attempt(self) -> None:
        """Send what waits, and what comes."""
        ...


class DatagramDelivery:
    """Sends by UDP, a datagram for each record (RFC 5426); what is too long for one is cut, as it says."""

    def __init__(self, host: str, port: int, source: TrailReader) -> None:
        self._to = host, port
        self._source = source
        self.untold: list[AuditEvent] = []

    async def attempt(self) -> None:
        """Send until the network refuses."""
        loop = asyncio.get_running_loop()
        self._source.rewind()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=self._to, family=socket.AF_UNSPEC
        )
        try:
            while True:
                messages = await self._source.next(BATCH)
                for _, octets in messages:
                    transport.sendto(octets[:LONGEST_DATAGRAM])
                if messages:
                    await self._source.done([sequence for sequence, _ in messages])
                # Datagrams come from a buffer that is small, and which nobody reads for us.
                await asyncio.sleep(POLL_SECONDS)
        finally:
            transport.close()


@dataclass(frozen=True, slots=True)
class _Receiver:
    name: str
    reader: TrailReader
    sending: Sending


class Relay:
    """Sends the trail to the receivers that the settings name, to each for itself.

    Raises
    ------
    SettingsError
        A receiver is spoken to by TLS, and TLS is not set up.
    """

    def __init__(
        self,
        settings: AuditRepositorySettings,
        database: Database,
        author: AuditSource,
        record: Callable[[AuditEvent], Awaitable[None]],
    ) -> None:
        self._database = database
        self._record = record
        self._receivers = tuple(_receivers(settings, database, author))
        self._shown: dict[str, Gauge] = {}
        self.works = tuple(self._works())

    def _works(self) -> Iterator[BackgroundWork]:
        for number, receiver in enumerate(self._receivers, 1):
            work = BackgroundWork("relay", receiver.sending.attempt)
            if number > 1:
                work.name += f" {number}"
            yield work
        if self._receivers:
            yield BackgroundWork("relay measuring", self._measure, rest_seconds=MEASURE_SECONDS)

    async def start(self, sequence: int) -> None:
        """Begin to send; a receiver that is new has what comes after the record `sequence`."""
        names = [receiver.name for receiver in self._receivers]
        places = {row[0] for row in await self._database.fetch(_PLACES)}

        async def work(transaction: Transaction) -> None:
            for name in places.difference(names):
                await transaction.execute(_FORGET, of=name)
            for name in names:
                if name not in places:
                    await transaction.execute(_BEGIN, of=name, sequence=sequence)

        if places != set(names):
            await self._database.write(work)
        for one in self.works:
            one.start()

    async def stop(self) -> None:
        """Send no more; what waits goes on with the next start."""
        for work in self.works:
            await work.stop()

    def show_in(self, metrics: Metrics) -> None:
        """Let metrics show for how long records wait, as services show it of their repositories."""
        if self._receivers:
            self._shown = metrics.levels(
                "audit_destination_unsent_seconds",
                "For how long the oldest audit record has waited to be sent",
                "destination",
                [receiver.name for receiver in self._receivers],
            )

    async def _measure(self) -> None:
        for receiver in self._receivers:
            seconds = await receiver.reader.waiting_seconds()
            if receiver.name in self._shown:
                self._shown[receiver.name].set(seconds)
            while receiver.sending.untold:
                await self._record(receiver.sending.untold[0])
                del receiver.sending.untold[0]


def relay_destinations(settings: AuditRepositorySettings) -> tuple[AuditDestination, ...]:
    """The receivers to whom there is a connection: all but those by UDP.

    Raises
    ------
    SettingsError
        One is spoken to by TLS, and TLS is not set up.
    """
    return tuple(
        destination_of(settings, url, RELAY) for url in settings.relay if relay_address(url)[0] != "udp"
    )


def _receivers(
    settings: AuditRepositorySettings, database: Database, author: AuditSource
) -> Iterator[_Receiver]:
    for to in relay_destinations(settings):
        reader = TrailReader(database, to.name)
        aside = settings.folder / "relay-set-aside"
        yield _Receiver(to.name, reader, Delivery(to, [reader], aside=aside, author=author))
    for scheme, host, port in map(relay_address, settings.relay):
        if scheme == "udp":
            reader = TrailReader(database, f"{host}:{port}")
            yield _Receiver(f"{host}:{port}", reader, DatagramDelivery(host, port, reader))
