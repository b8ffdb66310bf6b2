"""DIMSE: an application entity of ours, which asks a system and listens for what it sends (PS3.7, PS3.8).

pynetdicom is the upper layer. What is asked, and what is right, is said by the plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any, Final, Self

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from conformance.instances import CT, EXPLICIT, IMPLICIT, MULTIFRAME, RLE, Image
from conformance.plans.probe import NotOffered, Unmet, expect
from conformance.plans.stand import SECONDS, Stand, Unreached

DIMSE: Final = ("dimse",)
VERIFICATION: Final = "1.2.840.10008.1.1"
COMMITMENT: Final = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
SUCCESS: Final = 0x0000
_STORAGE: Final = (CT, MULTIFRAME)
_SYNTAXES: Final = (EXPLICIT, IMPLICIT, RLE)


@dataclass(frozen=True, slots=True)
class EntityAddress:
    """An application entity: its AE title, and where it listens."""

    title: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Self:
        """That of `TITLE@host:port`; raises ValueError for what is none."""
        title, _, address = text.partition("@")
        host, _, port = address.rpartition(":")
        if not (title and len(title) <= 16 and title.isascii() and host and port.isdecimal()):
            raise ValueError("not of the form TITLE@host:port")
        return cls(title, host, int(port))


def system(stand: Stand) -> EntityAddress:
    """The entity that is judged."""
    return EntityAddress.of(stand.endpoint("dimse"))


def ours(stand: Stand) -> EntityAddress:
    """Our own entity; raises `NotOffered` where none was named."""
    if not stand.target.entity:
        raise NotOffered("no AE title of ours was given, which the system knows (--entity TITLE@host:port)")
    return EntityAddress.of(stand.target.entity)


# --- asking ----------------------------------------------------------------------------------------------


@contextmanager
def associated(
    stand: Stand,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """An association with the system, which is released at the end."""
    there, here = system(stand), ours(stand)
    entity = AE(here.title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
    tls = stand.target.tls
    association = entity.associate(
        there.host,
        there.port,
        list(contexts),
        ae_title=there.title,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=(tls, there.host) if tls else None,
    )
    if association.is_rejected:
        raise Unmet(
            f"the association of {here.title} with {there.title} is rejected; let it know {here.title}"
        )
    if not association.is_established:
        raise Unreached(f"{there.host}:{there.port}: no association came about")
    socket = association.dul.socket.socket if association.dul.socket else None
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if socket is not None:
            socket.close()  # pynetdicom does not, where the other side was first


def status_of(response: Dataset) -> int:
    """The status of a response; raises `Unmet` where none came."""
    expect("Status" in response, "no response came: the association was aborted, or ended")
    return int(response.Status)


def keep(stand: Stand, title: str, message: object, *answers: object) -> None:
    """Keep what was asked and what came, as text."""
    stand.keep(
        f"{title} {stand.endpoint('dimse')}", str(message).encode(), "\n\n".join(map(str, answers)).encode()
    )


@dataclass(slots=True)
class Responses:
    """The responses to one query or retrieval: those on the way, the last one, and what came beside them.

    `matches` are identifiers of a search; `data_sets` are what sub-operations brought.
    """

    pending: list[Dataset] = field(default_factory=list)
    matches: list[Dataset] = field(default_factory=list)
    last: Dataset = field(default_factory=Dataset)
    last_identifier: Dataset | None = None
    data_sets: list[Dataset] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The final status."""
        return status_of(self.last)

    def count(self, keyword: str) -> int:
        """A counter of the last response, 0 without it; as Completed, Failed."""
        return int(self.last.get(f"NumberOf{keyword}Suboperations") or 0)


def _collected(answers: Iterator[tuple[Dataset, Dataset | None]]) -> Responses:
    responses = Responses()
    for status, identifier in answers:
        if status_of(status) in (0xFF00, 0xFF01):
            responses.pending.append(status)
            if identifier is not None:
                responses.matches.append(identifier)
        else:
            responses.last, responses.last_identifier = status, identifier
    return responses


def identifier(level: str, **keys: object) -> Dataset:
    """An identifier with these keys."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, key in keys.items():
        setattr(data_set, keyword, key)
    return data_set


def find(stand: Stand, keys: Dataset, model: str = STUDY_FIND) -> Responses:
    """C-FIND by these keys."""
    with associated(stand, [build_context(model, EXPLICIT)]) as association:
        responses = _collected(association.send_c_find(keys, model))
    keep(stand, "C-FIND", keys, *responses.matches, responses.last)
    return responses


def get(stand: Stand, keys: Dataset, *, classes: Sequence[str] = _STORAGE) -> Responses:
    """C-GET by these keys, of instances of these SOP classes."""
    data_sets: list[Dataset] = []
    contexts = [build_context(STUDY_GET, EXPLICIT), *(build_context(one, EXPLICIT) for one in classes)]
    roles = [build_role(one, scp_role=True) for one in classes]
    handlers = [(evt.EVT_C_STORE, partial(_take, data_sets))]
    with associated(stand, contexts, roles=roles, handlers=handlers) as association:
        responses = _collected(association.send_c_get(keys, STUDY_GET))
    responses.data_sets = data_sets
    keep(stand, "C-GET", keys, *responses.pending, responses.last)
    return responses


def _take(data_sets: list[Dataset], event: Any) -> int:
    data_sets.append(_data_set(event))
    return SUCCESS


def _data_set(event: Any) -> Dataset:
    """What an instance is, with the transfer syntax in which it came."""
    received: Dataset = event.dataset
    received.file_meta = FileMetaDataset()
    received.file_meta.TransferSyntaxUID = UID(event.context.transfer_syntax)
    return received


def move(stand: Stand, keys: Dataset, to: str = "") -> tuple[Responses, list[Arrival]]:
    """C-MOVE by these keys to our own entity, or `to` another AE title; and what arrived at ours."""
    listening = listener(stand)
    listening.arrivals.clear()
    with associated(stand, [build_context(STUDY_MOVE, EXPLICIT)]) as association:
        responses = _collected(association.send_c_move(keys, to or ours(stand).title, STUDY_MOVE))
    keep(stand, "C-MOVE", keys, *responses.pending, responses.last)
    return responses, list(listening.arrivals)


def store(stand: Stand, *images: Image) -> list[Dataset]:
    """C-STORE of these instances by one association; the response to each."""
    listed = {(str(one.dataset.SOPClassUID), syntax_of(one)) for one in images}
    with associated(stand, [build_context(*one) for one in sorted(listed)]) as association:
        responses = []
        for image in images:
            try:
                responses.append(association.send_c_store(dcmread(BytesIO(image.octets))))
            except ValueError as error:  # no context of it was accepted
                raise Unmet(f"an instance in {syntax_of(image)} is not taken: {error}") from None
    keep(stand, f"C-STORE of {len(images)}", "\n".join(one.uid for one in images), *responses)
    return responses


def syntax_of(image: Image) -> str:
    """The transfer syntax in which an instance is encoded."""
    return str(image.dataset.file_meta.TransferSyntaxUID)


# --- listening -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that was sent to us; `originator` is AE title and message id of the C-MOVE, as it says."""

    data_set: Dataset
    originator: tuple[str, int]


@dataclass(slots=True)
class Listener:
    """Our own entity as it listens: instances that arrived, and results of storage commitment."""

    arrivals: list[Arrival] = field(default_factory=list)
    reports: list[tuple[int, Dataset]] = field(default_factory=list)

    def arrived(self, event: Any) -> int:
        """Take an instance."""
        request = event.request
        originator = str(request.MoveOriginatorApplicationEntityTitle or "").strip()
        self.arrivals.append(
            Arrival(_data_set(event), (originator, int(request.MoveOriginatorMessageID or 0)))
        )
        return SUCCESS

    def reported(self, event: Any) -> tuple[int, None]:
        """Take a result."""
        self.reports.append((int(event.event_type), event.event_information))
        return SUCCESS, None

    def report_of(self, transaction_uid: str) -> tuple[int, Dataset] | None:
        """Event type and content of the result of a transaction; None while there is none."""
        for event_type, result in self.reports:
            if result.get("TransactionUID") == transaction_uid:
                return event_type, result
        return None


def listener(stand: Stand) -> Listener:
    """Our own entity, which listens until the end of the run."""
    if "listener" not in stand.shared:
        stand.shared["listener"] = _listening(stand)
    listening: Listener = stand.shared["listener"]
    return listening


def _listening(stand: Stand) -> Listener:
    here, listening = ours(stand), Listener()
    entity = AE(here.title)
    for sop_class in _STORAGE:
        entity.add_supported_context(sop_class, list(_SYNTAXES))
    entity.add_supported_context(VERIFICATION)
    # The system reports in the role of an SCP, though it requests the association (PS3.4 J.3.3).
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    try:
        server = entity.start_server(
            (stand.target.peers_host or here.host, here.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, listening.arrived), (evt.EVT_N_EVENT_REPORT, listening.reported)],
            ssl_context=stand.target.peers_tls,
        )
    except OSError as error:
        raise Unreached(f"our entity cannot listen at {here.host}:{here.port}: {error.strerror}") from None
    stand.lasting.callback(server.shutdown)
    return listening
