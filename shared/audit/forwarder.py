"""Audit records on their way: to every audit repository that the settings name, each for itself (ITI-20)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from prometheus_client import Gauge

from shared.audit.delivery import PLACES, Delivery, destinations
from shared.audit.node_events import records_lost
from shared.audit.recorder import AuditRecorder
from shared.audit.spool import AuditUnavailable, Spool
from shared.audit.trial import EventSource
from shared.background import BackgroundWork
from shared.settings import ServiceSettings
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

MEASURE_SECONDS = 2.0
# Measuring takes at most this share of the time.
MEASURE_SHARE = 0.05


class Kept(Protocol):
    """Where events wait for every destination: the spool, or an outbox table."""

    def readers(self, names: Sequence[str]) -> Sequence[EventSource]:
        """Of each of the destinations `names` what it has not had; nothing is owed to others."""
        ...


@runtime_checkable
class MeasuredOutbox(Kept, Protocol):
    """Where events wait that count to the spool's bound: an outbox table."""

    async def measure(self) -> int:
        """Octets that wait."""
        ...

    async def drop(self, octets: int) -> int:
        """Drop the oldest, at least `octets` of them as far as there are so many; how many messages."""
        ...


class Forwarder:
    """Drains the spool of `recorder` and `others` to the audit repositories of `settings`.

    Each has every event, however the others do: one that is away keeps none of them waiting.

    Raises
    ------
    SettingsError
        `audit.url` is neither `tls://host:port` nor `tcp://` on loopback, or TLS is not set up.
    """

    def __init__(self, settings: ServiceSettings, recorder: AuditRecorder, *others: Kept) -> None:
        self._settings = settings.audit
        self._recorder = recorder
        self._stores: tuple[Kept, ...] = (recorder.spool, *others)
        to = destinations(settings)
        names = [destination.name for destination in to]
        sources = zip(*(store.readers(names) for store in self._stores), strict=True)
        folder = recorder.spool.folder
        self._deliveries = [
            Delivery(
                destination,
                of_destination,
                aside=folder.with_name(f"{folder.name}-set-aside"),
                author=recorder.source,
            )
            for destination, of_destination in zip(to, sources, strict=True)
        ]
        self._measured_until = 0.0
        self._shown: Sequence[tuple[Gauge, Callable[[], float]]] = ()
        self.works = (
            *_works(self._deliveries),
            BackgroundWork("audit measuring", self._measure, rest_seconds=MEASURE_SECONDS),
        )

    @property
    def connected(self) -> bool:
        """Whether every destination is reached."""
        return all(delivery.connected for delivery in self._deliveries)

    async def start(self) -> None:
        """Begin to send; returns at once."""
        for work in self.works:
            work.start()

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Send what waits if that takes at most `grace_seconds`, then stop; the rest stays in its place."""
        await asyncio.gather(*(delivery.catch_up(grace_seconds) for delivery in self._deliveries))
        for work in self.works:
            await work.stop()

    # --- how it is doing -----------------------------------------------------------------------------

    def sent_until(self, spool: Spool) -> dict[str, int]:
        """By destination the last message of `spool` that was sent to it."""
        by_name = {one.destination.name: one for one in self._deliveries}
        sequences = {name: one.sent_until(spool.reader(name)) for name, one in by_name.items()}
        return {name: sequence for name, sequence in sequences.items() if sequence is not None}

    def trouble(self) -> str:
        """Why the service must not be given more work, for operators; empty when nothing is wrong."""
        return "; ".join(filter(None, map(self._trouble_with, self._deliveries)))

    def _trouble_with(self, delivery: Delivery) -> str:
        name = delivery.destination.name
        if delivery.oldest_seconds > self._settings.unsent_seconds:
            return (
                f"the oldest audit record has waited for {delivery.oldest_seconds:.0f} s; the audit "
                f"repository {name} (XDSI_AUDIT__URL) is away, or does not take what is sent"
            )
        if delivery.set_aside > self._settings.set_aside_max:
            return (
                f"{delivery.set_aside} audit records were set aside, because the audit repository {name} "
                "does not take them; mend that and send them again (xdsi audit resend), or move them away "
                "from the folder audit-set-aside of this service"
            )
        return ""

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest record has waited that is not sent everywhere; 0 when none waits."""
        return max(one.oldest_seconds for one in self._deliveries)

    def _oldest_in(self, place: str) -> float:
        return max(one.oldest_in(place) for one in self._deliveries)

    @property
    def set_aside(self) -> int:
        """How many records lie aside for an operator."""
        return sum(one.set_aside for one in self._deliveries)

    def details(self) -> dict[str, Any]:
        """What an operator wants to know at a glance; where there are several destinations, of each too."""
        details: dict[str, Any] = _told(self)
        if len(self._deliveries) > 1:
            details["destinations"] = {one.destination.name: _told(one) for one in self._deliveries}
        return details

    def show_in(self, metrics: Metrics) -> None:
        """Let metrics show the same."""
        oldest = "For how long the oldest audit record has waited to be sent"
        aside = "Audit records set aside because an audit repository does not take them"
        fill = "Share of audit.spool_max_bytes in use, by the spool and outbox tables"
        by_name = {one.destination.name: one for one in self._deliveries}
        ages = metrics.levels("audit_destination_unsent_seconds", oldest, "destination", by_name)
        places = metrics.levels("audit_waiting_seconds", f"{oldest}, by where it waits", "place", PLACES)
        numbers = metrics.levels("audit_destination_set_aside", aside, "destination", by_name)
        self._shown = (
            *((ages[name], partial(getattr, one, "oldest_seconds")) for name, one in by_name.items()),
            *((numbers[name], partial(getattr, one, "set_aside")) for name, one in by_name.items()),
            *((places[place], partial(self._oldest_in, place)) for place in PLACES),
            (metrics.level("audit_oldest_unsent_seconds", oldest), lambda: self.oldest_seconds),
            (metrics.level("audit_set_aside", aside), lambda: self.set_aside),
            (metrics.level("audit_fill", fill), lambda: self._recorder.spool.fill),
        )

    async def _measure(self) -> None:
        """Count what waits in outbox tables to the spool's bound, and tell what could not be told."""
        if time.monotonic() >= self._measured_until:
            await self._count_outboxes()
        for delivery in self._deliveries:
            await asyncio.to_thread(delivery.look)
            await self._tell(delivery)
        for shown, read in self._shown:
            shown.set(read())

    async def _tell(self, delivery: Delivery) -> None:
        while delivery.untold:
            try:
                await self._recorder.record(delivery.untold[:1])
            except AuditUnavailable:
                break
            del delivery.untold[:1]

    async def _count_outboxes(self) -> None:
        began = time.monotonic()
        outboxes = [store for store in self._stores if isinstance(store, MeasuredOutbox)]
        octets = sum([await outbox.measure() for outbox in outboxes])
        excess = self._recorder.spool.count_elsewhere(octets)
        if excess and outboxes and (number := await outboxes[0].drop(excess)):
            _log.error("an audit outbox is full; its oldest records were dropped", number=number)
            self._deliveries[0].untold.append(
                records_lost(number, "the outbox table was full and its oldest were dropped")
            )
        self._measured_until = time.monotonic() + (time.monotonic() - began) / MEASURE_SHARE


def _works(deliveries: Sequence[Delivery]) -> Iterator[BackgroundWork]:
    for number, delivery in enumerate(deliveries, 1):
        work = BackgroundWork("audit delivery", delivery.attempt)
        if number > 1:
            work.name += f" {number}"
        yield work


def _told(one: Forwarder | Delivery) -> dict[str, float]:
    return {"oldest_unsent_seconds": round(one.oldest_seconds, 1), "set_aside": one.set_aside}
