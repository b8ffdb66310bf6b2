"""The way to the audit repository: syslog over TLS, in order, until it has arrived (ITI-20; RFC 5425).

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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Gauge

from shared.audit.connection import Connection, ConnectionEnded, opened, reason_of
from shared.audit.events import AuditEvent, record_in_doubt, record_set_aside, records_lost
from shared.audit.recorder import AuditRecorder, message
from shared.audit.set_aside import SetAside, digest
from shared.audit.spool import AuditUnavailable
from shared.audit.syslog import stamp_of
from shared.audit.trial import BATCH, MOST_PATIENCE, PATIENCE, EventSource, MeasuredSource, Trial
from shared.background import BackgroundWork
from shared.security.tls import client_context
from shared.settings import ServiceSettings, SettingsError
from shared.settings.kinds import syslog_address
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

KEPT_MESSAGES = 1_000
# More than both hosts' socket buffers hold by Linux's defaults (4 and 6 MB).
KEPT_BYTES = 12 * 1024**2
KEPT_SECONDS = 60.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE = 0.25
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 5.0
# Connections in a row, ended soon after something was sent on them, until records are tried.
ENDINGS = 2
MEASURE_SECONDS = 2.0
# Measuring takes at most this share of the time.
MEASURE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class _Sent:
    source: EventSource
    sequence: int
    at: float
    total: int


class Forwarder:
    """Drains the spool of `recorder` and `others` to the audit repository of `settings`.

    A record upon which the receiver ends the connection again and again is set aside, in the folder
    `<spool>-set-aside` of the service, so that the others go on; that is logged, shown and recorded.

    Raises
    ------
    SettingsError
        `audit.url` is neither `tls://host:port` nor `tcp://` on loopback, or TLS is not set up.
    """

    def __init__(self, settings: ServiceSettings, recorder: AuditRecorder, *others: EventSource) -> None:
        self._host, self._port, self._tls = address_of(settings)
        self._settings = settings.audit
        self._recorder = recorder
        self._sources: tuple[EventSource, ...] = (recorder.spool, *others)
        self._aside = SetAside(recorder.spool.folder.with_name(f"{recorder.spool.folder.name}-set-aside"))
        self._kept: deque[_Sent] = deque()
        self._sent_until: dict[EventSource, int] = {}
        self._since: dict[EventSource, datetime] = {}
        self._total = 0
        self._taken_at = 0.0
        self._pause = SHORTEST_PAUSE
        self._endings = 0
        self._trial: Trial | None = None
        self._patience = PATIENCE
        self._untold: list[AuditEvent] = []
        self._measured_until = 0.0
        self._shown: Sequence[tuple[Gauge, Callable[[], float]]] = ()
        self._caught_up = asyncio.Event()
        self.works = (
            BackgroundWork("audit delivery", self._attempt),
            BackgroundWork("audit measuring", self._measure, rest_seconds=MEASURE_SECONDS),
        )
        self.connected = False

    async def start(self) -> None:
        """Begin to send; returns at once."""
        for work in self.works:
            work.start()

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Send what waits if that takes at most `grace_seconds`, then stop; the rest stays in its place."""
        self._caught_up.clear()
        if self.connected and self._trial is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._caught_up.wait()
        for work in self.works:
            await work.stop()

    # --- how it is doing -----------------------------------------------------------------------------

    def sent_until(self, source: EventSource) -> int | None:
        """The last message of `source` that was sent on the connection at hand, or on the last one."""
        return self._sent_until.get(source)

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest record has waited that is not sent on a connection which lasts; else 0."""
        if not self._since:
            return 0.0
        return max(0.0, (datetime.now(UTC) - min(self._since.values())).total_seconds())

    @property
    def set_aside(self) -> int:
        """How many records lie aside for an operator."""
        return self._aside.number

    def trouble(self) -> str:
        """Why the service must not be given more work, for operators; empty when nothing is wrong."""
        if self.oldest_seconds > self._settings.unsent_seconds:
            return (
                f"the oldest audit record has waited for {self.oldest_seconds:.0f} s; the audit repository "
                "(XDSI_AUDIT__URL) is away, or does not take what is sent"
            )
        if self.set_aside > self._settings.set_aside_max:
            return (
                f"{self.set_aside} audit records were set aside, because the audit repository does not take "
                "them; mend that and send them again (xdsi audit resend), or move them away from the folder "
                "audit-set-aside of this service"
            )
        return ""

    def details(self) -> dict[str, float]:
        """What an operator wants to know at a glance."""
        return {"oldest_unsent_seconds": round(self.oldest_seconds, 1), "set_aside": self.set_aside}

    def show_in(self, metrics: Metrics) -> None:
        """Let metrics show the same."""
        oldest = "For how long the oldest audit record has waited to be sent"
        aside = "Audit records set aside because the audit repository does not take them"
        fill = "Share of audit.spool_max_bytes in use, by the spool and outbox tables"
        self._shown = (
            (metrics.level("audit_oldest_unsent_seconds", oldest), lambda: self.oldest_seconds),
            (metrics.level("audit_set_aside", aside), lambda: self.set_aside),
            (metrics.level("audit_fill", fill), lambda: self._recorder.spool.fill),
        )

    async def _measure(self) -> None:
        """Count what waits in outbox tables to the spool's bound, and tell what could not be told."""
        if time.monotonic() >= self._measured_until:
            await self._count_outboxes()
        await asyncio.to_thread(self._aside.look)
        while self._untold:
            try:
                await self._recorder.record(self._untold[:1])
            except AuditUnavailable:
                break
            del self._untold[:1]
        for shown, read in self._shown:
            shown.set(read())

    async def _count_outboxes(self) -> None:
        began = time.monotonic()
        outboxes = [source for source in self._sources if isinstance(source, MeasuredSource)]
        octets = sum([await outbox.measure() for outbox in outboxes])
        excess = self._recorder.spool.count_elsewhere(octets)
        if excess and outboxes and (number := await outboxes[0].drop(excess)):
            _log.error("an audit outbox is full; its oldest records were dropped", number=number)
            self._untold.append(records_lost(number, "the outbox table was full and its oldest were dropped"))
        self._measured_until = time.monotonic() + (time.monotonic() - began) / MEASURE_SHARE

    # --- sending -------------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Send until the connection ends; that the repository is away is no failure of ours."""
        began = time.monotonic()
        await self._look()
        try:
            await self._session()
        except (OSError, TimeoutError, ConnectionEnded) as error:
            _log.warning("no audit repository", host=self._host, port=self._port, reason=reason_of(error))
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
            async with opened(self._host, self._port, self._tls) as connection:
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
        return message(record_in_doubt(len(suspected), digest(suspected)), self._recorder.source)

    async def _set_aside(self, octets: bytes) -> None:
        record_digest = digest(octets)
        name, gone = await asyncio.to_thread(self._aside.keep, octets)
        _log.error("an audit record was set aside", octets=len(octets), sha256=record_digest, file=name)
        self._untold.append(record_set_aside(len(octets), record_digest))
        if gone:
            _log.error("the folder of records set aside is full; the oldest went", number=gone)
            self._untold.append(records_lost(gone, "set aside, until there was no more room for them"))


def address_of(settings: ServiceSettings) -> tuple[str, int, ssl.SSLContext | None]:
    """Host and port of the audit repository, and how it is spoken to.

    Raises
    ------
    SettingsError
        `audit.url` is neither `tls://host:port` nor `tcp://` on loopback, or TLS is not set up.
    """
    url, tls = settings.audit_url, settings.tls
    try:
        scheme, host, port = syslog_address(url)
    except ValueError as error:
        raise SettingsError((f"XDSI_AUDIT__URL: {url} {error}",)) from None
    if scheme == "tcp":
        return host, port, None
    context = client_context(tls)
    context.check_hostname = tls.check_host_names
    return host, port, context
