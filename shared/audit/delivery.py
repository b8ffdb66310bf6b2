"""The way to one audit repository: syslog over TLS, in order, until it has arrived (ITI-20; RFC 5425).

RFC 5425 has no acknowledgement. What was sent is therefore kept until so much more was sent that it cannot
stand in a buffer any more, or until the peer's host has had it for a minute on a connection that still lives;
after a broken connection everything kept is sent again. The bytes are the same, so that the repository can
drop what it has already.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.audit.connection import Connection, ConnectionEnded, opened, reason_of
from shared.audit.events import AuditEvent, AuditSource
from shared.audit.node_events import record_in_doubt, record_set_aside, records_lost
from shared.audit.recorder import message
from shared.audit.set_aside import SetAside, digest
from shared.audit.syslog import stamp_of
from shared.audit.trial import BATCH, MOST_PATIENCE, PATIENCE, EventSource, Trial
from shared.security.tls import client_context
from shared.settings import ServiceSettings, SettingsError
from shared.settings.kinds import syslog_address
from shared.telemetry.log import logger

_log = logger(__name__)

KEPT_MESSAGES = 1_000
# More than both hosts' socket buffers hold by Linux's defaults (4 and 6 MB).
KEPT_BYTES = 12 * 1024**2
KEPT_SECONDS = 60.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 5.0
#: Where records wait.
PLACES = ("spool", "outbox")
# Connections in a row, ended soon after something was sent on them, until records are tried.
ENDINGS = 2


@dataclass(frozen=True, slots=True)
class AuditDestination:
    """An audit repository, and how it is spoken to; `name` is host and port."""

    name: str
    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None


def destinations(settings: ServiceSettings) -> tuple[AuditDestination, ...]:
    """The audit repositories that `audit.url` names.

    Raises
    ------
    SettingsError
        One is neither `tls://host:port` nor `tcp://` on loopback, or TLS is not set up.
    """
    return tuple(destination_of(settings, url, "XDSI_AUDIT__URL") for url in settings.audit_urls)


def destination_of(settings: ServiceSettings, url: str, setting: str) -> AuditDestination:
    """The audit repository at `url`, which `setting` names; raises as `destinations`."""
    tls = settings.tls
    try:
        scheme, host, port = syslog_address(url)
    except ValueError as error:
        raise SettingsError((f"{setting}: {url} {error}",)) from None
    context = None
    if scheme != "tcp":
        context = client_context(tls)
        context.check_hostname = tls.check_host_names
    return AuditDestination(f"{host}:{port}", url, host, port, context)


@dataclass(frozen=True, slots=True)
class _Sent:
    source: EventSource
    sequence: int
    at: float
    total: int


class Delivery:
    """Drains sources to one destination, for itself alone: its own connection, place and records set aside.

    A record upon which the receiver ends the connection again and again is set aside, in a folder below
    `aside`, so that the others go on; that is logged, shown and told by an event, `untold`.
    """

    def __init__(
        self,
        destination: AuditDestination,
        sources: Sequence[EventSource],
        *,
        aside: Path,
        author: AuditSource,
    ) -> None:
        self.destination = destination
        self._sources = tuple(sources)
        self._author = author
        self._aside = SetAside(aside / destination.name)
        self._kept: deque[_Sent] = deque()
        self._sent_until: dict[EventSource, int] = {}
        self._since: dict[EventSource, datetime] = {}
        self._total = 0
        self._taken_at = 0.0
        self._pause = SHORTEST_PAUSE
        self._endings = 0
        self._trial: Trial | None = None
        self._patience = PATIENCE
        self.untold: list[AuditEvent] = []
        self._caught_up = asyncio.Event()
        self.connected = False

    async def catch_up(self, grace_seconds: float) -> None:
        """Let what waits be sent if that takes at most `grace_seconds`."""
        self._caught_up.clear()
        if self.connected and self._trial is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._caught_up.wait()

    # --- how it is doing -----------------------------------------------------------------------------

    def sent_until(self, source: EventSource) -> int | None:
        """The last message of `source` that was sent on the connection at hand, or on the last one."""
        return self._sent_until.get(source)

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest record has waited that is not sent on a connection which lasts; else 0."""
        return max(map(self.oldest_in, PLACES))

    def oldest_in(self, place: str) -> float:
        """As `oldest_seconds`, of those that wait in the spool, or in an outbox table."""
        since = [moment for source, moment in self._since.items() if source.place == place]
        return max(0.0, (datetime.now(UTC) - min(since)).total_seconds()) if since else 0.0

    @property
    def set_aside(self) -> int:
        """How many records lie aside for an operator."""
        return self._aside.number

    def look(self) -> None:
        """See anew what lies aside; an operator takes files away."""
        self._aside.look()

    # --- sending -------------------------------------------------------------------------------------

    async def attempt(self) -> None:
        """Send until the connection ends; that the repository is away is no failure of ours."""
        began = time.monotonic()
        await self._look()
        try:
            await self._session()
        except (OSError, TimeoutError, ConnectionEnded) as error:
            _log.warning(
                "no audit repository",
                host=self.destination.host,
                port=self.destination.port,
                reason=reason_of(error),
            )
        if time.monotonic() - began > STEADY_SECONDS or (self._trial is not None and self._trial.telling):
            self._pause = SHORTEST_PAUSE
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads reconnects
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _look(self) -> None:
        """Find out since when records have waited."""
        for source in self._sources:
            source.rewind()
            messages = await source.next(1)
            source.rewind()
            self._waits(source, messages)

    def _waits(self, source: EventSource, messages: Sequence[tuple[int, bytes]]) -> None:
        if not messages:
            self._since.pop(source, None)
        elif (since := stamp_of(messages[0][1])) is not None:
            self._since[source] = since

    async def _session(self) -> None:
        try:
            to = self.destination
            async with opened(to.host, to.port, to.tls) as connection:
                self.connected = True
                self._kept.clear()
                if self._trial is None:
                    await self._drain(connection)
                else:
                    await self._try(connection, self._trial)
        except ConnectionEnded:
            raise
        except (OSError, TimeoutError):
            self._endings = 0
            if self._trial is not None:
                self._trial.away()
            raise
        finally:
            self.connected = False

    async def _drain(self, connection: Connection) -> None:
        began = time.monotonic()
        try:
            while True:
                steady = time.monotonic() - began > STEADY_SECONDS
                if not await self._send_next(connection, steady):
                    self._caught_up.set()
                    self._endings = 0 if steady else self._endings
                    await connection.quiet(POLL_SECONDS)
                elif connection.ended:
                    await connection.quiet(0)
        except ConnectionEnded:
            self._endings += bool(self._kept)
            if self._endings >= ENDINGS:
                _log.warning("records are tried one by one; the audit repository ends connections upon some")
                self._trial = self._new_trial()
            raise

    async def _send_next(self, connection: Connection, steady: bool) -> int:
        sent = 0
        for source in self._sources:
            messages = await source.next(BATCH)
            if messages or steady:
                self._waits(source, messages)
            self._keep(source, messages)
            await connection.send([octets for _, octets in messages if not self._aside.holds(octets)])
            sent += len(messages)
        await self._release(connection)
        return sent

    def _keep(self, source: EventSource, messages: Sequence[tuple[int, bytes]]) -> None:
        now = time.monotonic()
        for sequence, octets in messages:
            self._total += len(octets)
            self._kept.append(_Sent(source, sequence, now, self._total))
            self._sent_until[source] = sequence

    async def _release(self, connection: Connection) -> None:
        now = time.monotonic()
        if not connection.in_flight:
            self._taken_at = now
        done: dict[EventSource, list[int]] = {}
        while self._kept and self._may_go(self._kept[0], now):
            record = self._kept.popleft()
            done.setdefault(record.source, []).append(record.sequence)
        for source, sequences in done.items():
            await source.done(sequences)

    def _may_go(self, sent: _Sent, now: float) -> bool:
        if len(self._kept) > KEPT_MESSAGES and self._total - sent.total >= KEPT_BYTES:
            return True
        return now - sent.at >= KEPT_SECONDS and self._taken_at >= sent.at

    # --- what the receiver does not take ---------------------------------------------------------------

    def _new_trial(self) -> Trial:
        return Trial(self._aside, other=self._other, on_culprit=self._set_aside, patience=self._patience)

    async def _try(self, connection: Connection, trial: Trial) -> None:
        """Go on with the trial; what it was about is sent again in the usual way when it is over."""
        await trial.go_on(connection, self._sources)
        # A receiver that is slow to end its connections needs more patience the next time.
        self._patience = PATIENCE if trial.guilty else min(self._patience * 2, MOST_PATIENCE)
        self._trial, self._endings = None, 0

    def _other(self, suspected: bytes) -> bytes:
        return message(record_in_doubt(len(suspected), digest(suspected)), self._author)

    async def _set_aside(self, octets: bytes) -> None:
        record_digest = digest(octets)
        name, gone = await asyncio.to_thread(self._aside.keep, octets)
        _log.error("an audit record was set aside", octets=len(octets), sha256=record_digest, file=name)
        self.untold.append(record_set_aside(len(octets), record_digest))
        if gone:
            _log.error("the folder of records set aside is full; the oldest went", number=gone)
            self.untold.append(records_lost(gone, "set aside, until there was no more room for them"))
