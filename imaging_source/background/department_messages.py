"""Messages of HL7 of the department: the listener, where a port is set, and what they leave to be done."""

from __future__ import annotations

from imaging_source.background.corrections import PatientCorrections
from imaging_source.background.publisher import Publisher, StudyWatch
from imaging_source.background.report_publisher import ReportPublisher
from imaging_source.transactions.rad13 import OrderReceiver
from imaging_source.unit import Parts
from shared.background import BackgroundWork
from shared.hl7v2.mllp import MllpLimits, MllpListener
from shared.hl7v2.receiver import cut
from shared.http.handshake import OnTlsFailure
from shared.security.tls import server_context
from shared.telemetry.wire import WireFolder


class DepartmentMessages:
    """Nothing of it is there where no port is set."""

    def __init__(
        self,
        parts: Parts,
        publisher: Publisher,
        watch: StudyWatch,
        reports: ReportPublisher,
        on_tls_failure: OnTlsFailure,
    ) -> None:
        settings = self._settings = parts.settings
        self.works: list[BackgroundWork] = []
        self._listener: MllpListener | None = None
        if settings.hl7_port is None:
            return
        corrections = self._corrections = PatientCorrections(parts, publisher)
        receiver = OrderReceiver(
            parts=parts,
            host=parts.recorder.source.hostname,
            completed=watch.completed if settings.auto_publish else None,
            corrected=corrections.work.wake,
            reported=reports.work.wake,
        )
        self._listener = MllpListener(
            receiver.acknowledge,
            refusal=cut,
            limits=MllpLimits(frame_bytes=settings.hl7_frame_bytes, connections=16),
            tls=server_context(settings.tls) if settings.tls.enabled else None,
            on_tls_failure=on_tls_failure,
            wire=WireFolder(settings.wire_folder, settings.service) if settings.wire_folder else None,
            proxies=settings.proxies,
        )
        self.works = [self._listener.work, corrections.work]

    @property
    def port(self) -> int | None:
        """Where they are taken, once started; None where they are not."""
        return None if self._listener is None else self._listener.port

    async def start(self) -> None:
        """Listen; raises `SettingsError` when the port cannot be used."""
        if self._listener is None:
            return
        settings = self._settings
        self._corrections.work.start()
        with settings.listening("hl7_port"):
            await self._listener.start(settings.host, settings.hl7_port or 0)

    async def stop(self) -> None:
        """Answer who has come, and end."""
        if self._listener is None:
            return
        await self._listener.stop(drain_seconds=self._settings.drain_seconds)
        await self._corrections.work.stop()
