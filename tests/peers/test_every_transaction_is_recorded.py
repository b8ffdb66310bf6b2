"""Over everything that is served by SOAP, DIMSE and MLLP: each request leaves one event of who was asked,
what a service asks of another leaves one at each end, and an event that is taken out of the code is missed.

Over REST: `test_every_rest_transaction`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from imaging_source.settings.entities import DimseService
from imaging_source.transactions import SERVED_DIMSE
from shared.audit.events import ANONYMOUS, USER_AUTHENTICATION, AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.hl7v2.mllp import framed
from shared.messages.documents import DocumentRequest
from shared.messages.iti41 import ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti44 import InstanceId, Interaction, PatientFeedRequest
from shared.messages.iti57 import UpdateRequest
from shared.messages.iti62 import RemoveMetadataRequest
from shared.messages.iti86 import RemoveDocumentsRequest
from shared.messages.ws_trust import SecurityTokenRequest
from shared.security.saml import Claims
from tests.peers.test_every_transaction_asks_consent import (
    HOME,
    PATIENT,
    Shared,
    a_shared_study,
)
from tests.support.community import post
from tests.support.dicom import a_ct, part10
from tests.support.dimse import associated
from tests.support.every_door import SOAP
from tests.support.metadata import DOMAIN, a_document_entry, a_submission
from tests.support.orders import adt as corrected
from tests.support.orders import orm, oru
from xdsi.patient import message as adt

pytestmark = [pytest.mark.heavy]

#: A storage commitment asks, tells and changes nothing of a patient (PS3.15 A.5.3).
UNRECORDED = {"RAD-10"}
_OF_THE_TRAIL = ("shared/audit", "dataclasses.py", __file__)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """An event, which service recorded it, and which function of the code made it."""

    source: str
    event: AuditEvent
    made_by: str

    @property
    def asked_at(self) -> str:
        """Where the service was asked, if it is the one that was; else nothing."""
        named = [one.user_id for one in self._own]
        if self.event.event_id == USER_AUTHENTICATION:
            # The server is a process there, and its address an object (ITI TF-2 3.71.5).
            named += [one.object_id for one in self.event.objects]
        return next(filter(is_address, named), "")

    @property
    def asks(self) -> str:
        """Whom it asked, if it is the one that asked; else nothing."""
        others = [one for one in self.event.participants if not one.alternative_user_id]
        asked = next((one.user_id for one in others if is_address(one.user_id)), "")
        return "" if self.asked_at else asked

    @property
    def _own(self) -> list[Any]:
        return [one for one in self.event.participants if one.alternative_user_id]


def is_address(user_id: str) -> bool:
    """Whether it is where somebody is asked; a client that names none is anonymous."""
    return user_id.startswith("http") and user_id != ANONYMOUS


@dataclass
class Trail:
    """What the services of this process report from now on."""

    reported: list[Reported] = field(default_factory=list)
    made: dict[int, tuple[AuditEvent, str]] = field(default_factory=dict)


def _maker() -> str:
    """The function of a service that makes an event now."""
    frame = sys._getframe(2)
    while frame.f_back is not None and any(part in frame.f_code.co_filename for part in _OF_THE_TRAIL):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> Trail:
    seen = Trail()
    begin, messages = AuditEvent.__init__, AuditRecorder.messages

    def made(self: AuditEvent, *arguments: Any, **changes: Any) -> None:
        begin(self, *arguments, **changes)
        seen.made[id(self)] = (self, _maker())

    def recorded(self: AuditRecorder, event: AuditEvent) -> tuple[bytes, ...]:
        _, made_by = seen.made.get(id(event), (event, ""))
        seen.reported.append(Reported(source=self.source.source_id, event=event, made_by=made_by))
        return messages(self, event)

    monkeypatch.setattr(AuditEvent, "__init__", made)
    monkeypatch.setattr(AuditRecorder, "messages", recorded)
    return seen


@dataclass(frozen=True, kw_only=True)
class Door:
    """One transaction where it is served: how it is asked there, and what must then be told by whom."""

    name: str
    ask: Callable[[], Awaitable[Any]]
    number: str
    source: str
    url: str = ""
    #: The kinds of events that one request leaves, where they are more than one.
    kinds: tuple[str, ...] = ()
    #: How many patients it is about: each has an event of its own.
    patients: int = 1

    def told(self, reported: list[Reported]) -> Counter[str]:
        """What the service that was asked reports of it, by the kind of event."""
        return Counter(
            one.event.event_id.code
            for one in reported
            if one.source == self.source
            and one.asked_at == self.url
            and any(kind.code == self.number for kind in one.event.event_types)
        )

    def is_complete(self, reported: list[Reported]) -> bool:
        """Whether each event is there, and once."""
        told = self.told(reported)
        return set(told.values()) == {self.patients} and (not self.kinds or set(told) == set(self.kinds))


def soap_doors(shared: Shared) -> Iterator[Door]:
    entry = a_document_entry(patient_id=PATIENT)
    submission = a_submission(entry)
    nothing = DocumentRequest(repository_unique_id="2.999.3", document_unique_id="2.999.4")
    requests: dict[str, Any] = {
        "ITI-41": ProvideAndRegisterRequest.of(
            submission, (ProvidedDocument(id=entry.entry_uuid, content=b"x"),)
        ),
        "ITI-42": RegisterRequest.of(submission),
        "ITI-61": RegisterRequest.of(submission),
        "ITI-57": UpdateRequest.of(submission),
        "ITI-92": UpdateRequest.of(submission),
        "ITI-62": RemoveMetadataRequest(ids=(entry.entry_uuid,)),
        "ITI-86": RemoveDocumentsRequest(documents=(nothing,)),
        "RST-Issue": SecurityTokenRequest(claims=Claims()),
    }
    interactions = iter((Interaction.ADD, Interaction.REVISE, Interaction.MERGE))
    for service, path, all_served in SOAP:
        home = HOME if service == "gateway" else ""
        for served in all_served:
            transaction, url = served.transaction, shared.house.url(service, path)
            number, kind = transaction.number, ""
            if number == "ITI-44":
                kind = next(interactions)
                request = a_feed(kind)
            else:
                request = {**requests, **shared.soap_requests(home)}[number]
            yield Door(
                name=f"{transaction.name} {path} {kind}",
                patients=2 if kind is Interaction.MERGE else 1,
                ask=_posted(shared, transaction, url, request),
                number=number,
                source=f"xdsi-{service.replace(' ', '-')}",
                url=url,
            )


def _posted(shared: Shared, transaction: Any, url: str, request: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: post(shared.http, transaction, url, request)


def a_feed(interaction: Interaction) -> PatientFeedRequest:
    merges = interaction is Interaction.MERGE
    return PatientFeedRequest(
        interaction=interaction,
        message_id=InstanceId("2.999.77", f"M-{interaction.name}"),
        patients=((InstanceId(DOMAIN, "P-fed"),),),
        priors=((InstanceId(DOMAIN, "P-prior"),),) if merges else (),
    )


def dimse_doors(shared: Shared) -> Iterator[Door]:
    port = shared.house.listeners["DIMSE"]

    def on_association(*models: str) -> Callable[[Callable[[Any], Any]], Callable[[], Awaitable[Any]]]:
        def asking(what: Callable[[Any], Any]) -> Callable[[], Awaitable[Any]]:
            def ask() -> None:
                association = associated(port, "XDSI", *models)
                try:
                    what(association)
                finally:
                    association.release()

            return lambda: asyncio.to_thread(ask)

        return asking

    instance = pydicom.dcmread(BytesIO(part10(a_ct(StudyInstanceUID="2.25.4711"))))
    store = on_association(str(instance.SOPClassUID))(lambda association: association.send_c_store(instance))
    transferred = ("110102", "110104")
    of_source = {"source": "xdsi-imaging-source"}
    yield Door(name="C-STORE", ask=store, number="RAD-18", **of_source)
    for service, number, kinds in (
        (DimseService.FIND, "RAD-14", ()),
        (DimseService.MOVE, "RAD-16", transferred),
        (DimseService.GET, "RAD-16", transferred),
    ):
        yield Door(
            name=f"C-{service.name}",
            ask=shared._by_dimse(service),
            number=number,
            kinds=kinds,
            **of_source,
        )


def feed_doors(shared: Shared) -> Iterator[Door]:
    def sent(octets: bytes, listener: str = "MLLP") -> Callable[[], Awaitable[Any]]:
        async def ask() -> None:
            port = shared.house.listeners[listener]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(framed(octets))
            await reader.readuntil(b"\x1c\x0d")
            writer.close()

        return ask

    fed = f"P-mllp^^^&{DOMAIN}&ISO"
    for event in ("A04", "A08"):
        yield Door(name=event, ask=sent(adt(event, patient=fed)), number="ITI-8", source="xdsi-registry")
    for number, octets in (
        ("RAD-13", orm(study="2.25.404")),
        ("RAD-12", corrected("A08", control_id="C2")),
        ("RAD-128", oru(study="2.25.404", control_id="C3")),
    ):
        yield Door(
            name=number,
            ask=sent(octets, "MLLP of the imaging source"),
            number=number,
            source="xdsi-imaging-source",
        )


def doors(shared: Shared) -> list[Door]:
    """Every transaction that is served by SOAP, DIMSE or MLLP."""
    return [*soap_doors(shared), *dimse_doors(shared), *feed_doors(shared)]


async def settled(trail: Trail, before: int, seconds: float = 5.0) -> list[Reported]:
    """What was reported since, once nothing more comes: a transfer is reported when its association ends."""
    async with asyncio.timeout(seconds):
        known = -1
        while known != len(trail.reported) or known == before:
            known = len(trail.reported)
            await asyncio.sleep(0.1)
    return trail.reported[before:]


async def told_by_door(folder: Path, trail: Trail) -> dict[str, tuple[Door, list[Reported]]]:
    told = {}
    async with a_shared_study(folder) as shared:
        for door in doors(shared):
            before = len(trail.reported)
            await door.ask()
            try:
                told[door.name] = (door, await settled(trail, before))
            except TimeoutError:
                told[door.name] = (door, [])
    return told


async def test_each_request_leaves_one_event_of_each_actor_and_any_that_is_taken_out_is_missed(
    tmp_path: Path, trail: Trail
):
    told = await told_by_door(tmp_path, trail)

    wrong = {
        name: sorted((one.source, one.made_by) for one in reported)
        for name, (door, reported) in told.items()
        if not door.is_complete(reported)
    }
    assert wrong == {}

    served = {one.transaction.number for _, _, all_served in SOAP for one in all_served}
    served |= {one.event_type.code for one in SERVED_DIMSE} | {
        "ITI-8",
        "RAD-12",
        "RAD-13",
        "RAD-18",
        "RAD-128",
    }
    assert served - {door.number for door, _ in told.values()} == UNRECORDED

    # Both ends of what services ask of one another, by the transaction and the address that was asked.
    everything = [one for _, reported in told.values() for one in reported]
    own = Counter[tuple[str, str]]()
    for door, _ in told.values():
        own[door.number, door.url] += door.patients
    assert unanswered(everything, own) == []

    makers = {one.made_by for one in everything}
    assert len(makers) > 12
    unmissed = {
        maker
        for maker in makers
        if all(door.is_complete(without(reported, maker)) for door, reported in told.values())
        and not unanswered(without(everything, maker), own)
    }
    assert unmissed == set()


def without(reported: list[Reported], maker: str) -> list[Reported]:
    """What would be reported if one function made no event."""
    return [one for one in reported if one.made_by != maker]


def unanswered(reported: list[Reported], own: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """What one service says to have asked of another that says nothing of it, or the other way round;
    `own` is what the test asked itself."""
    ends = {one.asked_at for one in reported if one.asked_at}
    asked = Counter((one.event.event_types[0].code, one.asks) for one in reported if one.asks in ends)
    heard = Counter((one.event.event_types[0].code, one.asked_at) for one in reported if one.asked_at)
    return [key for key in asked.keys() | heard.keys() if asked[key] + own[key] != heard[key]]
