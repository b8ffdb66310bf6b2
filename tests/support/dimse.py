"""Application entities of other makers, at the other end of DIMSE: requests by pynetdicom and DCMTK, and
receivers that behave as a test wants."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from shared.dicom.uids import EXPLICIT_LE, IMPLICIT_LE

STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3))
COMMITMENT = "1.2.840.10008.1.20.1"
# Without it Debian's DCMTK waits 40 ms for an acknowledgement of every PDU.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}

Response = tuple[Dataset, Dataset | None]


async def run(*command: object) -> tuple[int, str]:
    """Run a program; its status, and all that it says."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace")


def identifier(level: str, **keys: Any) -> Dataset:
    """An identifier with these keys."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


@dataclass
class Receiver:
    """A storage SCP: what it received, and how it answers, by default with success."""

    title: str = "DESTINATION"
    syntaxes: Sequence[str] = (EXPLICIT_LE, IMPLICIT_LE)
    status: Callable[[Receiver], int] = lambda receiver: 0
    requests: list[Any] = field(default_factory=list)
    data_sets: list[tuple[str, bytes]] = field(default_factory=list)
    associations: int = 0
    port: int = 0

    def store(self, event: Any) -> int:
        """Take one."""
        self.requests.append(event.request)
        status = self.status(self)
        if status == 0:
            self.data_sets.append((str(event.context.transfer_syntax), event.request.DataSet.getvalue()))
        return status

    def _established(self, event: Any) -> None:
        self.associations += 1

    @property
    def uids(self) -> list[str]:
        """The SOP Instance UIDs that were sent, in their order."""
        return [str(request.AffectedSOPInstanceUID) for request in self.requests]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Let it listen on a free port."""
        entity = AE(self.title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, list(self.syntaxes))
        server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self.store), (evt.EVT_ESTABLISHED, self._established)],
        )
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            await asyncio.to_thread(server.shutdown)


def associated(
    port: int,
    title: str,
    *models: str,
    storage: Sequence[tuple[str, str]] = (),
    finding: tuple[str, str] | None = None,
    extended: bytes = b"",
) -> Association:
    """An association for these information models, for `finding` in one transfer syntax with extended
    negotiation, and as SCP of storage for these SOP classes with transfer syntaxes."""
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    contexts = [build_context(model) for model in models]
    contexts += [build_context(sop_class, syntax) for sop_class, syntax in storage]
    negotiation: list[Any] = []
    if finding is not None:
        contexts.append(build_context(*finding))
    if finding is not None and extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = finding[0], extended
        negotiation.append(item)
    negotiation += [
        build_role(sop_class, scp_role=True) for sop_class in {sop_class for sop_class, _ in storage}
    ]
    association = entity.associate("127.0.0.1", port, contexts, ae_title="XDSI", ext_neg=negotiation)
    assert association.is_established
    return association


async def matched(
    port: int,
    title: str,
    keys: Dataset,
    model: str = STUDY_FIND,
    *,
    negotiation: bytes = b"",
    syntax: str = EXPLICIT_LE,
) -> tuple[list[Dataset], list[int], Dataset]:
    """The matches of a C-FIND, the statuses that they came with, and the last response."""

    def ask() -> list[Response]:
        association = associated(port, title, finding=(model, syntax), extended=negotiation)
        try:
            return list(association.send_c_find(keys, model))
        finally:
            association.release()

    *pending, (last, _) = await asyncio.to_thread(ask)
    found = [match for _, match in pending if match is not None]
    return found, [status.Status for status, _ in pending], last


async def moved(port: int, title: str, to: str, keys: Dataset, model: str = STUDY_MOVE) -> list[Response]:
    """All responses to a C-MOVE."""

    def ask() -> list[Response]:
        association = associated(port, title, model)
        try:
            return list(association.send_c_move(keys, to, model))
        finally:
            association.release()

    return await asyncio.to_thread(ask)


async def fetched(
    port: int, title: str, keys: Dataset, storage: Sequence[tuple[str, str]], model: str = STUDY_GET
) -> tuple[list[Response], list[Dataset]]:
    """All responses to a C-GET, and the data sets that came."""
    data_sets: list[Dataset] = []

    def take(event: Any) -> int:
        data_sets.append(event.dataset)
        return 0

    def ask() -> list[Response]:
        association = associated(port, title, model, storage=storage)
        association.bind(evt.EVT_C_STORE, take)
        try:
            return list(association.send_c_get(keys, model))
        finally:
            association.release()

    return await asyncio.to_thread(ask), data_sets


def counts(status: Dataset) -> tuple[int, int, int]:
    """Completed, failed and warned sub-operations of a response."""
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def data_set_of(path: Path) -> bytes:
    """The octets of the data set in a file that begins with meta information of ours."""
    from shared.dicom.part10 import data_set_offset

    return path.read_bytes()[data_set_offset(path) :]
