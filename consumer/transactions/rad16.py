"""Retrieve Images [RAD-16], initiating side: by C-MOVE to ourselves, where an archive speaks nothing else
(RAD TF-2 4.16; PS3.4 C.4.2).

The archive connects to us: it must know our AE title, address and port. What it delivers unasked is refused.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from consumer.domain.destination import Destination
from consumer.domain.study import Delivery, RequestedInstance
from consumer.settings import ConsumerSettings
from consumer.store import files
from consumer.transactions.access import accessed
from consumer.transactions.association import NoAssociation, associated
from consumer.unit import Unit
from shared.attempts import to_its_end
from shared.audit.events import ihe
from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE, TRANSFER_SYNTAXES
from shared.security.caller import Caller
from shared.security.tls import server_context
from shared.soap.client import PeerUnclear, PeerUnreachable

EVENT_TYPE: Final = ihe("RAD-16", "Retrieve Images")
_STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
_SUCCESS: Final = 0x0000
_PENDING: Final = (0xFF00, 0xFF01)
_NOT_ASKED_FOR: Final = 0xA900
_CANNOT: Final = 0xC000

Arrival = tuple[RequestedInstance, int, files.WrongInstance | None]


async def retrieve(
    unit: Unit, instances: Sequence[RequestedInstance], folder: Path
) -> AsyncIterator[Delivery]:
    """Have `instances`, all of one place, sent to us, and yield each when its file in `folder` is whole; then
    what did not come.

    Raises
    ------
    PeerError
        The archive does not answer, or lets us not in; what came before is kept.
    """
    there = Destination.of(unit.settings.move_archives[instances[0].retrieve_ae_title])
    caller = Caller(node=unit.node, endpoint=there.text, user=unit.user)
    missing = {one.sop_instance_uid: one for one in instances}
    wrong: dict[str, files.WrongInstance] = {}
    try:
        async with unit.moves:
            moving = _Moving(unit.settings, there, instances, folder)
            async for one, size, error in moving.arrivals():
                if error is not None:
                    wrong[one.sop_instance_uid] = error
                elif missing.pop(one.sop_instance_uid, None):
                    yield Delivery(one, size)
        for one in missing.values():
            failure = wrong.get(one.sop_instance_uid)
            yield Delivery(one, 0, str(failure or moving.answer), failure=failure)
    finally:
        delivered = {one.sop_instance_uid for one in instances} - missing.keys()
        await unit.record(*accessed(caller, EVENT_TYPE, instances, delivered))


class _Moving:
    """One C-MOVE for each series, and the listener at which what it brings arrives; `answer` says why the
    rest did not come."""

    def __init__(
        self,
        settings: ConsumerSettings,
        there: Destination,
        instances: Sequence[RequestedInstance],
        folder: Path,
    ) -> None:
        self._settings = settings
        self._there = there
        self._expected = {one.sop_instance_uid: one for one in instances}
        self._folder = folder
        self._tell: Callable[[Arrival], object] = lambda _: None
        self.answer = "not sent by the archive"

    async def arrivals(self) -> AsyncIterator[Arrival]:
        """What arrives, as it does; raises as `retrieve`."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Arrival | None] = asyncio.Queue()
        self._tell = lambda one: loop.call_soon_threadsafe(queue.put_nowait, one)
        moving = asyncio.create_task(asyncio.to_thread(self._move))
        moving.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (one := await queue.get()) is not None:
                yield one
            await moving
        finally:
            await to_its_end(asyncio.wait((moving,)))

    def _move(self) -> None:
        try:
            with (
                self._listening(),
                associated([(_STUDY_ROOT_MOVE, IMPLICIT_LE)], self._there, self._settings.tls) as one,
            ):
                for series, group in groupby(sorted(self._expected.values(), key=_series_of), key=_series_of):
                    self._move_series(one, series, [instance.sop_instance_uid for instance in group])
        except NoAssociation as error:
            raise PeerUnreachable(self._there.text, str(error)) from error
        except OSError as error:
            raise PeerUnclear(
                self._there.text, f"our port for C-MOVE cannot be opened: {error.strerror}"
            ) from error

    def _move_series(self, association: Any, series: tuple[str, str], uids: Sequence[str]) -> None:
        from pydicom.dataset import Dataset

        keys = Dataset()
        keys.QueryRetrieveLevel = "IMAGE"
        keys.StudyInstanceUID, keys.SeriesInstanceUID = series
        keys.SOPInstanceUID = list(uids)
        for status, _ in association.send_c_move(keys, self._settings.move_ae_title, _STUDY_ROOT_MOVE):
            code = status.get("Status")
            if code is None:
                raise PeerUnclear(self._there.text, "the archive gave no answer to C-MOVE in time")
            if code not in (*_PENDING, _SUCCESS):
                comment = str(status.get("ErrorComment") or "")
                self.answer = (
                    f"the archive answers C-MOVE with {code:04X}H{f' ({comment[:64]})' if comment else ''}"
                )

    @contextmanager
    def _listening(self) -> Iterator[None]:
        from pynetdicom import AE, _config, evt  # it takes its time, and is needed here alone

        tls = self._settings.tls
        entity = AE(self._settings.move_ae_title)
        entity.require_called_aet = True
        entity.acse_timeout = entity.network_timeout = self._settings.instance_seconds
        syntaxes = [EXPLICIT_LE, IMPLICIT_LE, *sorted(TRANSFER_SYNTAXES - {EXPLICIT_LE, IMPLICIT_LE})]
        for sop_class in {one.sop_class_uid for one in self._expected.values()} - {""}:
            entity.add_supported_context(sop_class, syntaxes)
        # Files, and not memory, take what arrives.
        before, _config.STORE_RECV_CHUNKED_DATASET = _config.STORE_RECV_CHUNKED_DATASET, True
        server = entity.start_server(
            # As every service: without TLS for this machine alone.
            (self._settings.host if tls.enabled else "127.0.0.1", self._settings.move_port),
            block=False,
            ssl_context=_context(self._settings),
            evt_handlers=[(evt.EVT_C_STORE, self._stored)],
        )
        try:
            yield
        finally:
            server.shutdown()
            _config.STORE_RECV_CHUNKED_DATASET = before

    def _stored(self, event: Any) -> int:
        """Keep an instance that was asked for; the status for the archive."""
        arrived = Path(event.dataset_path)
        one = self._expected.get(str(event.request.AffectedSOPInstanceUID))
        if one is None:
            return _NOT_ASKED_FOR
        size = arrived.stat().st_size
        try:
            if size > self._settings.max_instance_bytes:
                raise files.Endless(
                    f"it is longer than {self._settings.max_instance_bytes} bytes, the most that is taken"
                )
            path = self._folder / f"{uuid4()}.part"
            shutil.copyfile(arrived, path)
            try:
                files.keep_instance(path, one, self._folder)
            finally:
                path.unlink(missing_ok=True)
        except files.WrongInstance as error:
            self._tell((one, size, error))
            return _CANNOT
        self._tell((one, size, None))
        return _SUCCESS


def _context(settings: ConsumerSettings) -> ssl.SSLContext | None:
    return server_context(settings.tls) if settings.tls.enabled else None


def _series_of(one: RequestedInstance) -> tuple[str, str]:
    return one.study_instance_uid, one.series_instance_uid
