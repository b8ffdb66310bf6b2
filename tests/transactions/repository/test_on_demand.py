"""On-Demand entries and delayed document assembly: a real registry and a real imaging source in one process
(ITI TF-2 3.43.4.1.3, 3.57, 3.61)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from lxml import etree

from imaging_source.transactions import rad68
from registry.domain.stored_queries import GET_ALL
from registry.transactions import SERVED as REGISTRY_SERVED
from registry.unit import Unit as RegistryUnit
from repository.background.janitor import Janitor
from repository.domain.assembly import EMPTY_SHA1, AssemblyKind
from repository.domain.provision import ProvisionState
from repository.peers.provider import CannotMake, ImagingSource, ProviderUnavailable
from repository.store.replays import forget_portion
from repository.transactions import iti43, iti57, iti61, iti86
from shared.consent.decision import Action, Decision, Resource
from shared.dicom.kos import read_manifest
from shared.ebrim import schemes
from shared.ebrim.codec import RegistryObjects
from shared.ebrim.model import AssociationType, AvailabilityStatus, Code, DocumentEntry
from shared.errors import Actor, Rejected, XdsError
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest, RetrieveDocumentSetResponse
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.messages.iti86 import RemoveDocumentsRequest
from shared.messages.registry import RegistryResponse, Status
from shared.perform import perform
from shared.security.caller import Caller
from shared.settings import PatientPolicy, TlsSettings
from shared.soap.client import PeerUnclear, PeerUnreachable
from tests.support.blobs import octets_of
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct
from tests.support.imaging_source import BASE, Source, cx, source
from tests.support.registry import APPROVED, DEPRECATED, REPOSITORY, Registry, open_parts
from tests.support.updates import a_status, a_version, an_update, new_version, update
from tests.support.waiting import until
from tests.transactions.repository.conftest import PROVIDER, House

__all__ = ["source"]

STUDY = "2.25.11"
PATIENT = cx("P1")
CONSUMER = replace(PROVIDER, message_id="")
LOST = PeerUnclear("http://127.0.0.1:8010/xds/registry", "no answer")
DOWN = PeerUnreachable("http://127.0.0.1:8010/xds/registry", "refused")


@dataclass
class RealRegistry:
    """Carries messages to a registry in this process as the wire would; `lost` loses answers or messages."""

    registry: Registry
    heard: list[str] = field(default_factory=list)
    lost: list[PeerUnclear | PeerUnreachable] = field(default_factory=list)
    answering: int = 0

    async def call(
        self, transaction: Any, url: str, request: Any, *, message_id: str, timeout_seconds: float
    ) -> RegistryResponse:
        loss = self.lost.pop(0) if self.lost else None
        if isinstance(loss, PeerUnreachable):
            raise loss
        [served] = [one for one in REGISTRY_SERVED if one.transaction.action == transaction.action]
        self.heard.append(transaction.number)
        self.answering += 1
        arrived = served.transaction.decode_request(
            etree.fromstring(transaction.encode_request(request).xml), {}
        )
        caller = replace(REPOSITORY, message_id=message_id, community_node=True)
        parts = self.registry.parts
        try:
            answer = await perform(served, partial(RegistryUnit, parts), arrived, caller, parts.recorder)
        except Rejected as refusal:
            answer = RegistryResponse(status=Status.FAILURE, errors=refusal.errors)
        self.answering -= 1
        if loss:
            raise loss
        return transaction.decode_response(
            etree.fromstring(served.transaction.encode_response(answer).xml), {}
        )

    async def everything(self) -> RegistryObjects:
        statuses = [AvailabilityStatus.APPROVED, AvailabilityStatus.DEPRECATED]
        return await self.registry.query(
            GET_ALL,
            {
                "$patientId": PATIENT,
                "$XDSDocumentEntryStatus": statuses,
                "$XDSSubmissionSetStatus": statuses,
                "$XDSFolderStatus": statuses,
                "$XDSDocumentEntryType": [schemes.STABLE, schemes.ON_DEMAND],
                "$XDSAssociationStatus": statuses,
                "$MetadataLevel": 2,
            },
        )

    async def entries(self, object_type: str) -> list[DocumentEntry]:
        found = (await self.everything()).document_entries
        return sorted(
            (entry for entry in found if entry.object_type == object_type), key=lambda entry: entry.version
        )


@dataclass
class RestrictiveConsent:
    """Permits what does not bear the code `refused`."""

    refused: str = ""
    asked: list[Resource] = field(default_factory=list)

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        self.asked += resources
        return tuple(
            Decision(self.refused not in one.confidentiality, "policy urn:uuid:9: deny") for one in resources
        )


@dataclass
class Hospital:
    """A repository with its imaging source and its registry."""

    house: House
    source: Source
    registry: RealRegistry
    consent: RestrictiveConsent

    async def enter(self, kind: AssemblyKind = AssemblyKind.ON_DEMAND, patient_id: str = "") -> str:
        """Register the entry of the study, and give its uniqueId."""
        entered = await iti61.enter(self.house.unit(), STUDY, patient_id, kind)
        assert entered.response.status is Status.SUCCESS, entered.response.errors
        return entered.unique_id

    async def ask(self, unique_id: str, caller: Caller = CONSUMER) -> RetrieveDocumentSetResponse:
        return await iti43.handle(self.house.unit(caller), self.request(unique_id))

    def request(self, unique_id: str) -> RetrieveDocumentSetRequest:
        ours = self.house.parts.settings.repository_unique_id
        asked = DocumentRequest(repository_unique_id=ours, document_unique_id=unique_id)
        return RetrieveDocumentSetRequest(documents=(asked,))

    async def refused(self, unique_id: str) -> XdsError:
        response = await self.ask(unique_id)
        assert not response.documents
        [error] = response.errors
        assert error.location == unique_id
        return error

    def set(self, **changes: Any) -> None:
        settings = self.house.parts.settings.model_copy(update=changes)
        self.house.parts = replace(self.house.parts, settings=settings)


@pytest.fixture
async def hospital(house: House, source: Source, tmp_path: Path) -> AsyncIterator[Hospital]:
    place = DatabasePlace(url=None, folder=tmp_path / "registry-database", name="registry")
    registry = RealRegistry(Registry(await open_parts(place, patients=PatientPolicy.ANY)))
    consent = RestrictiveConsent()
    transport = httpx2.ASGITransport(app=source.service.asgi, client=("127.0.0.1", 50_000))
    async with http_client(TlsSettings(), peers=(BASE,), transport=transport) as http:
        provider = ImagingSource(http, f"{BASE}/xds/imaging-source")
        house.parts = replace(house.parts, registry=registry, consent=consent, provider=provider)
        await source.keep(a_ct())
        yield Hospital(house, source, registry, consent)
    await registry.registry.parts.recorder.close()
    await registry.registry.parts.database.close()


def references(octets: bytes) -> set[str]:
    """The SOP Instance UIDs that a manifest names."""
    return {instance.sop_instance_uid for _, _, instance in read_manifest(octets).instances}


# --- On-Demand ---------------------------------------------------------------------------------------


async def test_an_on_demand_entry_says_nothing_of_bytes_that_are_not_there(hospital: Hospital):
    unique_id = await hospital.enter()

    [entry] = await hospital.registry.entries(schemes.ON_DEMAND)
    assert entry.unique_id == unique_id
    assert (entry.creation_time, entry.hash, entry.size) == (None, "", None)
    assert entry.repository_unique_id == hospital.house.parts.settings.repository_unique_id
    assert entry.patient_id == PATIENT
    assert hospital.registry.heard == ["ITI-61"]


async def test_a_retrieval_gets_the_manifest_of_now_under_a_new_uniqueId_and_registers_it(
    hospital: Hospital,
):
    unique_id = await hospital.enter()

    response = await hospital.ask(unique_id)

    [document] = response.documents
    octets = octets_of(document.content)
    assert response.status is Status.SUCCESS
    assert document.document_unique_id == unique_id
    assert document.new_document_unique_id not in ("", unique_id)
    assert document.new_repository_unique_id == document.repository_unique_id
    assert document.mime_type == "application/dicom"
    assert references(octets) == {"2.25.13"}
    [stable] = await hospital.registry.entries(schemes.STABLE)
    assert stable.unique_id == document.new_document_unique_id
    assert (stable.hash, stable.size) == (hashlib.sha1(octets).hexdigest(), len(octets))
    [on_demand] = await hospital.registry.entries(schemes.ON_DEMAND)
    [snapshot] = [
        one
        for one in (await hospital.registry.everything()).associations
        if one.association_type == AssociationType.IS_SNAPSHOT_OF
    ]
    assert (snapshot.source_object, snapshot.target_object) == (stable.entry_uuid, on_demand.entry_uuid)
    [again] = (await hospital.ask(stable.unique_id)).documents
    assert octets_of(again.content) == octets
    assert again.new_document_unique_id == ""


async def test_the_same_content_is_the_same_snapshot_and_new_content_another(hospital: Hospital):
    unique_id = await hospital.enter()
    [first], [second] = [(await hospital.ask(unique_id)).documents for _ in range(2)]
    await hospital.source.keep(a_ct(SOPInstanceUID="2.25.14"))
    [third] = (await hospital.ask(unique_id)).documents

    assert second.new_document_unique_id == first.new_document_unique_id
    assert octets_of(second.content) == octets_of(first.content)
    assert third.new_document_unique_id != first.new_document_unique_id
    assert references(octets_of(third.content)) == {"2.25.13", "2.25.14"}
    assert len(await hospital.registry.entries(schemes.STABLE)) == 2


async def test_retrievals_at_the_same_time_make_one_snapshot(hospital: Hospital):
    unique_id = await hospital.enter()

    responses = await asyncio.gather(*(hospital.ask(unique_id) for _ in range(12)))

    assert {one.documents[0].new_document_unique_id for one in responses if one.documents} == {
        entry.unique_id for entry in await hospital.registry.entries(schemes.STABLE)
    }
    assert [one.errors for one in responses] == [()] * 12
    assert len(await hospital.registry.entries(schemes.STABLE)) == 1


async def test_without_persistence_nothing_is_registered_and_the_same_content_has_the_same_uniqueId(
    hospital: Hospital,
):
    hospital.set(persist_on_demand=False)
    unique_id = await hospital.enter()

    [first], [second] = [(await hospital.ask(unique_id)).documents for _ in range(2)]

    assert first.new_repository_unique_id == ""
    assert first.new_document_unique_id == second.new_document_unique_id != ""
    assert octets_of(first.content) == octets_of(second.content)
    assert await hospital.registry.entries(schemes.STABLE) == []
    assert (await hospital.refused(first.new_document_unique_id)).code_for(Actor.REPOSITORY) == (
        "XDSDocumentUniqueIdError"
    )


async def test_two_entries_of_one_study_do_not_share_snapshots(hospital: Hospital):
    one, other = await hospital.enter(), await hospital.enter(patient_id=cx("P2"))

    [first], [second] = (await hospital.ask(one)).documents, (await hospital.ask(other)).documents

    assert first.new_document_unique_id != second.new_document_unique_id


async def test_a_study_has_one_on_demand_entry_for_a_patient(hospital: Hospital):
    assert await hospital.enter() == await hospital.enter()
    assert len(await hospital.registry.entries(schemes.ON_DEMAND)) == 1


# --- a snapshot takes the place of the one before ------------------------------------------------------


async def shown(hospital: Hospital) -> dict[str, list[AvailabilityStatus]]:
    """The statuses of the Stable entries, by uniqueId."""
    found: dict[str, list[AvailabilityStatus]] = {}
    for entry in await hospital.registry.entries(schemes.STABLE):
        found.setdefault(entry.unique_id, []).append(entry.availability_status)
    return {unique_id: sorted(statuses) for unique_id, statuses in found.items()}


async def replaced(hospital: Hospital) -> list[tuple[str, str]]:
    """The uniqueIds that every RPLC joins: new, old."""
    everything = await hospital.registry.everything()
    names = {entry.entry_uuid: entry.unique_id for entry in everything.document_entries}
    return [
        (names[one.source_object], names[one.target_object])
        for one in everything.associations
        if one.association_type == AssociationType.RPLC
    ]


async def snapshot_of_now(hospital: Hospital, unique_id: str) -> str:
    """Ask for an On-Demand document; the uniqueId of what comes."""
    response = await hospital.ask(unique_id)
    assert response.errors == ()
    return response.documents[0].new_document_unique_id


async def grown(hospital: Hospital, number: int = 14) -> None:
    """One more image in the study."""
    await hospital.source.keep(a_ct(SOPInstanceUID=f"2.25.{number}"))


async def deprecate(hospital: Hospital, entry: DocumentEntry) -> None:
    """Somebody else deprecates an entry."""
    message = an_update(a_status(entry.entry_uuid, APPROVED, DEPRECATED), patient_id=entry.patient_id)
    assert (await update(hospital.registry.registry, message)).status is Status.SUCCESS


async def test_new_content_replaces_the_snapshot_before_which_stays_retrievable(hospital: Hospital):
    unique_id = await hospital.enter()
    first = await snapshot_of_now(hospital, unique_id)
    await grown(hospital)
    second = await snapshot_of_now(hospital, unique_id)
    await grown(hospital, 15)
    third = await snapshot_of_now(hospital, unique_id)

    assert await shown(hospital) == {first: [DEPRECATED], second: [DEPRECATED], third: [APPROVED]}
    assert sorted(await replaced(hospital)) == sorted([(third, second), (second, first)])
    [on_demand] = await hospital.registry.entries(schemes.ON_DEMAND)
    assert on_demand.availability_status == APPROVED
    [old] = (await hospital.ask(first)).documents
    assert references(octets_of(old.content)) == {"2.25.13"}


async def test_the_same_content_replaces_nothing(hospital: Hospital):
    unique_id = await hospital.enter()

    [name] = {await snapshot_of_now(hospital, unique_id) for _ in range(3)}

    assert await shown(hospital) == {name: [APPROVED]}
    assert await replaced(hospital) == []


async def test_the_snapshots_of_another_entry_stay(hospital: Hospital):
    one, other = await hospital.enter(), await hospital.enter(patient_id=cx("P2"))
    await snapshot_of_now(hospital, other)
    first = await snapshot_of_now(hospital, one)
    await grown(hospital)

    second = await snapshot_of_now(hospital, one)

    assert await shown(hospital) == {first: [DEPRECATED], second: [APPROVED]}
    assert await replaced(hospital) == [(second, first)]


async def test_content_that_comes_back_is_the_same_document_in_the_place_of_what_was_between(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
):
    unique_id = await hospital.enter()
    first = await snapshot_of_now(hospital, unique_id)
    await grown(hospital)
    second = await snapshot_of_now(hospital, unique_id)
    shareable = rad68.shareable_instances

    async def without_the_last(parts: Any, study_instance_uid: str) -> Any:
        found = await shareable(parts, study_instance_uid)
        return [one for one in found if one.sop_instance_uid != "2.25.14"]

    monkeypatch.setattr(rad68, "shareable_instances", without_the_last)

    assert {await snapshot_of_now(hospital, unique_id) for _ in range(2)} == {first}

    assert await shown(hospital) == {first: [APPROVED, DEPRECATED], second: [DEPRECATED]}
    [document] = (await hospital.ask(first)).documents
    assert references(octets_of(document.content)) == {"2.25.13"}


async def test_retrievals_at_the_same_time_after_a_change_replace_once(hospital: Hospital):
    unique_id = await hospital.enter()
    first = await snapshot_of_now(hospital, unique_id)
    await grown(hospital)

    [second] = set(await asyncio.gather(*(snapshot_of_now(hospital, unique_id) for _ in range(6))))

    assert await shown(hospital) == {first: [DEPRECATED], second: [APPROVED]}
    assert await replaced(hospital) == [(second, first)]


@dataclass
class SlowOnce:
    """A provider whose first answer waits until it is let go."""

    provider: Any
    made: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def make(self, asked: Any) -> Any:
        first = not self.made.is_set()
        made = await self.provider.make(asked)
        if first:
            self.made.set()
            await self.go.wait()
        return made


@pytest.mark.parametrize("before", [True, False], ids=["with one before", "the first one"])
async def test_what_was_made_before_a_change_never_replaces_what_was_made_after_it(
    hospital: Hospital, before: bool
):
    unique_id = await hospital.enter()
    if before:
        await snapshot_of_now(hospital, unique_id)
        await grown(hospital, 15)
    slow = SlowOnce(hospital.house.parts.provider)
    hospital.house.parts = replace(hospital.house.parts, provider=slow)
    late = asyncio.create_task(snapshot_of_now(hospital, unique_id))
    await slow.made.wait()
    await grown(hospital)
    newest = await snapshot_of_now(hospital, unique_id)

    slow.go.set()

    assert await late == newest
    found = await shown(hospital)
    assert found.pop(newest) == [APPROVED]
    assert list(found.values()) == [[DEPRECATED]] * before


async def test_content_that_changes_all_the_time_is_told_and_not_chased_for_ever(hospital: Hospital):
    unique_id = await hospital.enter()
    provider, numbers = hospital.house.parts.provider, iter(range(20, 99))

    class Restless:
        """Makes what is no longer true when it is made: another retrieval came between."""

        async def make(self, asked: Any) -> Any:
            made = await provider.make(asked)
            await grown(hospital, next(numbers))
            hospital.house.parts = replace(hospital.house.parts, provider=provider)
            await snapshot_of_now(hospital, unique_id)
            hospital.house.parts = replace(hospital.house.parts, provider=self)
            return made

    hospital.house.parts = replace(hospital.house.parts, provider=Restless())

    error = await hospital.refused(unique_id)

    assert error.code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    assert "again" in error.context


async def test_a_snapshot_that_somebody_else_deprecated_is_left_as_it_is(hospital: Hospital):
    unique_id = await hospital.enter()
    first = await snapshot_of_now(hospital, unique_id)
    [entry] = await hospital.registry.entries(schemes.STABLE)
    await deprecate(hospital, entry)
    await grown(hospital)

    second = await snapshot_of_now(hospital, unique_id)
    assert await replaced(hospital) == []
    await grown(hospital, 15)
    third = await snapshot_of_now(hospital, unique_id)

    assert await shown(hospital) == {first: [DEPRECATED], second: [DEPRECATED], third: [APPROVED]}
    assert await replaced(hospital) == [(third, second)]
    assert len(await hospital.house.states()) == 5


async def update_it(hospital: Hospital, entry: DocumentEntry) -> None:
    """Somebody gives an entry other metadata."""
    message = an_update(a_version(new_version(entry, title="another")))
    assert (await update(hospital.registry.registry, message)).status is Status.SUCCESS


@pytest.mark.parametrize("before", [True, False], ids=["with one before", "the first one"])
@pytest.mark.parametrize("change", [deprecate, update_it])
async def test_what_the_registry_takes_no_snapshots_of_any_more_is_given_without_one(
    hospital: Hospital, before: bool, change: Any
):
    unique_id = await hospital.enter()
    known = [await snapshot_of_now(hospital, unique_id)] if before else []
    [entry] = await hospital.registry.entries(schemes.ON_DEMAND)
    await change(hospital, entry)
    await grown(hospital)

    [first], [second] = [(await hospital.ask(unique_id)).documents for _ in range(2)]

    assert references(octets_of(first.content)) == {"2.25.13", "2.25.14"}
    assert octets_of(second.content) == octets_of(first.content)
    assert first.new_repository_unique_id == ""
    assert first.new_document_unique_id == second.new_document_unique_id not in ("", *known)
    assert list(await shown(hospital)) == known


async def test_a_snapshot_whose_outcome_is_not_known_is_asked_for_before_it_is_replaced(hospital: Hospital):
    unique_id = await hospital.enter()
    hospital.registry.lost = [LOST, LOST]
    await hospital.refused(unique_id)
    await grown(hospital)
    hospital.registry.lost = [LOST, LOST]
    assert "outcome" in (await hospital.refused(unique_id)).context

    second = await snapshot_of_now(hospital, unique_id)

    found = await shown(hospital)
    assert found.pop(second) == [APPROVED]
    assert list(found.values()) == [[DEPRECATED]]
    assert set(await hospital.house.states()) == {ProvisionState.REGISTERED}


async def test_a_snapshot_that_was_removed_is_made_and_registered_again(hospital: Hospital):
    unique_id = await hospital.enter()
    first = await snapshot_of_now(hospital, unique_id)
    removal = RemoveDocumentsRequest(documents=hospital.request(first).documents)
    await iti86.handle(hospital.house.unit(replace(PROVIDER, community_node=True)), removal)

    assert await snapshot_of_now(hospital, unique_id) == first

    assert await shown(hospital) == {first: [APPROVED, DEPRECATED]}
    assert (await hospital.ask(first)).errors == ()


async def test_an_entry_that_is_removed_while_its_document_is_made_gives_nothing(hospital: Hospital):
    unique_id = await hospital.enter()
    slow = SlowOnce(hospital.house.parts.provider)
    hospital.house.parts = replace(hospital.house.parts, provider=slow)
    late = asyncio.create_task(hospital.refused(unique_id))
    await slow.made.wait()
    removal = RemoveDocumentsRequest(documents=hospital.request(unique_id).documents)
    await iti86.handle(hospital.house.unit(replace(PROVIDER, community_node=True)), removal)

    slow.go.set()

    assert (await late).code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    assert await hospital.registry.entries(schemes.STABLE) == []


async def test_what_another_retrieval_is_registering_is_not_forgotten(hospital: Hospital):
    """One finds the registry away while the other's attempt for the same snapshot is on its way."""
    unique_id = await hospital.enter()
    registry = hospital.registry
    call, arrived, refused = registry.call, asyncio.Event(), asyncio.Event()

    async def one_comes_and_one_does_not(*arguments: Any, **named: Any) -> RegistryResponse:
        if not arrived.is_set():
            arrived.set()
            await refused.wait()
            raise DOWN
        refused.set()
        await asyncio.sleep(0)
        return await call(*arguments, **named)

    hospital.house.parts = replace(
        hospital.house.parts, registry=SimpleNamespace(call=one_comes_and_one_does_not)
    )
    one = asyncio.create_task(hospital.ask(unique_id))
    await arrived.wait()
    await hospital.ask(unique_id)
    await one

    [stable] = await hospital.registry.entries(schemes.STABLE)
    [document] = (await hospital.ask(stable.unique_id)).documents
    assert hashlib.sha1(octets_of(document.content)).hexdigest() == stable.hash


# --- rights ------------------------------------------------------------------------------------------


async def test_consent_is_asked_before_anything_is_made(hospital: Hospital):
    unique_id = await hospital.enter()
    hospital.source.recorder.taken()
    hospital.consent.refused = "N^^2.16.840.1.113883.5.25"

    error = await hospital.refused(unique_id)

    assert error.code_for(Actor.REPOSITORY) == "XDSDocumentUniqueIdError"
    assert "not available" in error.context
    assert hospital.source.recorder.taken() == []
    assert await hospital.registry.entries(schemes.STABLE) == []


async def test_what_is_described_more_strictly_by_now_is_asked_for_again(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
):
    unique_id = await hospital.enter()
    publishing = hospital.source.parts.settings.publishing
    strict = replace(publishing.coding, confidentiality=(Code("V", "2.16.840.1.113883.5.25"),))
    monkeypatch.setitem(publishing.__dict__, "coding", strict)
    hospital.consent.refused = "V^^2.16.840.1.113883.5.25"

    assert (await hospital.refused(unique_id)).code_for(Actor.REPOSITORY) == "XDSDocumentUniqueIdError"
    assert await hospital.registry.entries(schemes.STABLE) == []


async def test_a_study_that_became_another_patients_is_not_given_away(hospital: Hospital, monkeypatch):
    unique_id = await hospital.enter(patient_id=PATIENT)
    header = hospital.source.parts.instances.header

    async def corrected(study_instance_uid: str) -> Any:
        return replace(await header(study_instance_uid), patient_id="P9")

    monkeypatch.setattr(hospital.source.parts.instances, "header", corrected)

    error = await hospital.refused(unique_id)

    assert error.code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    assert "another patient" in error.context
    assert await hospital.registry.entries(schemes.STABLE) == []


async def test_both_sides_are_audited(hospital: Hospital):
    unique_id = await hospital.enter()
    hospital.source.recorder.taken()

    response = await perform(
        iti43.SERVED,
        _unit_of(hospital),
        hospital.request(unique_id),
        CONSUMER,
        hospital.house.parts.recorder,
    )

    [made] = hospital.source.recorder.taken()
    assert [code.code for code in made.event_types] == ["manifest-on-demand"]
    assert {item.object_id for item in made.objects} == {PATIENT, STUDY}
    [event] = iti43.audit(hospital.request(unique_id), response, CONSUMER, 0)
    assert {item.object_id for item in event.objects} == {PATIENT, unique_id}


def _unit_of(hospital: Hospital) -> Any:
    return hospital.house.unit


async def test_an_entry_that_is_removed_gives_nothing_more(hospital: Hospital):
    unique_id = await hospital.enter()
    request = RemoveDocumentsRequest(documents=hospital.request(unique_id).documents)

    response = await iti86.handle(hospital.house.unit(replace(PROVIDER, community_node=True)), request)

    assert response.status is Status.SUCCESS
    assert (await hospital.refused(unique_id)).code_for(Actor.REPOSITORY) == "XDSDocumentUniqueIdError"


# --- what goes wrong ---------------------------------------------------------------------------------


async def test_a_provider_that_is_away_is_told_and_leaves_nothing(hospital: Hospital):
    unique_id = await hospital.enter()
    async with http_client(TlsSettings(), peers=("http://127.0.0.1:9",)) as http:
        away = ImagingSource(http, "http://127.0.0.1:9/xds/imaging-source")
        hospital.house.parts = replace(hospital.house.parts, provider=away)

        error = await hospital.refused(unique_id)
        with pytest.raises(ProviderUnavailable, match="does not answer"):
            await hospital.enter(AssemblyKind.DELAYED)

    assert error.code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    assert "does not answer" in error.context
    assert await hospital.registry.entries(schemes.STABLE) == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"{}", CannotMake),
        (409, b"{}", CannotMake),
        (500, b"", ProviderUnavailable),
        (403, b"{}", ProviderUnavailable),
        (200, b"hello", ProviderUnavailable),
        (200, b'{"document": "AA==", "submission": "<rim:RegistryObjectList/>"}', ProviderUnavailable),
        (200, b'{"document": 7, "submission": ""}', ProviderUnavailable),
    ],
)
async def test_a_provider_that_answers_anything_else_makes_nothing(
    hospital: Hospital, status: int, body: bytes, kind: type[Exception]
):
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    transport = httpx2.ASGITransport(app=answer)
    async with http_client(TlsSettings(), peers=(BASE,), transport=transport) as http:
        strange = ImagingSource(http, BASE)
        hospital.house.parts = replace(hospital.house.parts, provider=strange)
        with pytest.raises(kind):
            await hospital.enter()


async def test_the_provider_answers_nodes_of_the_community_alone(hospital: Hospital):
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=hospital.source.service.asgi, client=("192.0.2.9", 50_000)),
        base_url=BASE,
    ) as http:
        asked = {"study_instance_uid": STUDY, "document_unique_id": "2.25.9", "on_demand": True}
        assert (await http.post("/api/manifest", json=asked)).status_code in (401, 403)


async def test_a_study_that_is_not_there_has_no_entry(hospital: Hospital):
    with pytest.raises(CannotMake):
        await iti61.enter(hospital.house.unit(), "2.25.404", "", AssemblyKind.ON_DEMAND)
    assert await hospital.registry.entries(schemes.ON_DEMAND) == []


async def test_an_entry_that_the_registry_never_heard_of_is_forgotten(hospital: Hospital):
    hospital.registry.lost = [DOWN]

    entered = await iti61.enter(hospital.house.unit(), STUDY, "", AssemblyKind.ON_DEMAND)

    assert entered.response.status is Status.FAILURE
    assert (await hospital.refused(entered.unique_id)).code_for(Actor.REPOSITORY) == (
        "XDSDocumentUniqueIdError"
    )
    assert await hospital.house.states() == []


async def test_an_entry_whose_answer_was_lost_is_registered_once(hospital: Hospital):
    hospital.registry.lost = [LOST, LOST]
    entered = await iti61.enter(hospital.house.unit(), STUDY, "", AssemblyKind.ON_DEMAND)
    assert not entered.final

    assert await hospital.enter() == entered.unique_id

    [entry] = await hospital.registry.entries(schemes.ON_DEMAND)
    assert entry.unique_id == entered.unique_id


@pytest.mark.parametrize("loss", [[LOST, LOST], [DOWN]])
async def test_a_snapshot_that_cannot_be_registered_is_not_answered_and_comes_the_next_time(
    hospital: Hospital, loss: list[Any]
):
    unique_id = await hospital.enter()
    hospital.registry.lost = [*loss]

    assert (await hospital.refused(unique_id)).code_for(Actor.REPOSITORY) == "XDSRepositoryError"
    [document] = (await hospital.ask(unique_id)).documents

    [stable] = await hospital.registry.entries(schemes.STABLE)
    assert stable.unique_id == document.new_document_unique_id


async def test_the_janitor_finishes_what_a_crash_left(hospital: Hospital):
    unique_id = await hospital.enter()
    hospital.registry.lost = [LOST, LOST]
    await hospital.refused(unique_id)

    assert await Janitor(hospital.house.parts).resolve(older_than_seconds=-1) == 1

    [stable] = await hospital.registry.entries(schemes.STABLE)
    [document] = (await hospital.ask(stable.unique_id)).documents
    assert hashlib.sha1(octets_of(document.content)).hexdigest() == stable.hash


# --- delayed document assembly -----------------------------------------------------------------------


async def test_a_delayed_entry_shows_the_hash_of_no_bytes_until_its_document_is_made(hospital: Hospital):
    unique_id = await hospital.enter(AssemblyKind.DELAYED)

    [entry] = await hospital.registry.entries(schemes.STABLE)
    assert (entry.unique_id, entry.hash, entry.size) == (unique_id, EMPTY_SHA1, 0)
    assert hospital.registry.heard == ["ITI-42"]

    [document] = (await hospital.ask(unique_id)).documents

    octets = octets_of(document.content)
    assert (document.new_document_unique_id, document.new_repository_unique_id) == ("", "")
    assert read_manifest(octets).sop_instance_uid == unique_id
    old, new = await hospital.registry.entries(schemes.STABLE)
    assert (old.availability_status, new.availability_status) == (
        AvailabilityStatus.DEPRECATED,
        AvailabilityStatus.APPROVED,
    )
    assert (new.unique_id, new.logical_id) == (unique_id, entry.entry_uuid)
    assert (new.hash, new.size) == (hashlib.sha1(octets).hexdigest(), len(octets))
    assert hospital.registry.heard == ["ITI-42", "ITI-57"]


async def test_a_delayed_document_is_made_once_and_kept(hospital: Hospital):
    unique_id = await hospital.enter(AssemblyKind.DELAYED)
    responses = await asyncio.gather(*(hospital.ask(unique_id) for _ in range(4)))
    await hospital.source.keep(a_ct(SOPInstanceUID="2.25.14"))
    responses.append(await hospital.ask(unique_id))

    assert len({octets_of(one.documents[0].content) for one in responses}) == 1
    assert hospital.registry.heard == ["ITI-42", "ITI-57"]


@pytest.mark.parametrize(("loss", "attempts"), [(DOWN, 1), (LOST, 2)])
async def test_an_update_that_was_not_answered_is_sent_again_until_it_is(
    hospital: Hospital, loss: Any, attempts: int
):
    unique_id = await hospital.enter(AssemblyKind.DELAYED)
    hospital.registry.lost = [loss]
    [document] = (await hospital.ask(unique_id)).documents
    janitor = Janitor(hospital.house.parts)

    await janitor.start()
    try:
        await until(lambda: hospital.registry.heard.count("ITI-57") == attempts)
        await until(lambda: not hospital.registry.answering)
    finally:
        await janitor.stop()

    _, new = await hospital.registry.entries(schemes.STABLE)
    assert new.hash == hashlib.sha1(octets_of(document.content)).hexdigest()


async def test_a_delayed_document_that_was_removed_is_not_made(hospital: Hospital):
    unique_id = await hospital.enter(AssemblyKind.DELAYED)
    request = RemoveDocumentsRequest(documents=hospital.request(unique_id).documents)
    await iti86.handle(hospital.house.unit(replace(PROVIDER, community_node=True)), request)

    assert (await hospital.refused(unique_id)).code_for(Actor.REPOSITORY) == "XDSDocumentUniqueIdError"


# --- a crash between two steps -----------------------------------------------------------------------


class Crash(Exception):
    """The end of the process, as far as the request is concerned."""


@pytest.mark.parametrize("kind", AssemblyKind)
@pytest.mark.parametrize(
    "point",
    [
        "repository.store.blobs:Blobs.spool",
        "repository.transactions.registration:register",
        "repository.transactions.registration:_record",
        "repository.transactions.iti57:resolve",
        "repository.transactions.iti57:_conclude",
    ],
)
@pytest.mark.parametrize("step", ["entering", "retrieving"])
async def test_wherever_it_dies_the_next_start_leaves_nothing_dangling_and_nothing_twice(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, kind: AssemblyKind, point: str, step: str
):
    module_name, _, path = point.partition(":")
    owner: Any = importlib.import_module(module_name)
    *groups, name = path.split(".")
    for group in groups:
        owner = getattr(owner, group)

    async def die(*arguments: Any, **named: Any) -> Any:
        raise Crash

    unique_id = await hospital.enter(kind) if step == "retrieving" else ""
    with monkeypatch.context() as dying:
        dying.setattr(owner, name, die)
        with contextlib.suppress(Crash):
            if unique_id:
                await hospital.ask(unique_id)
            else:
                await iti61.enter(hospital.house.unit(), STUDY, "", kind)

    await Janitor(hospital.house.parts).resolve(older_than_seconds=-1)
    await iti57.resolve(hospital.house.unit())
    entries = [
        one
        for one in (await hospital.registry.everything()).document_entries
        if one.availability_status is AvailabilityStatus.APPROVED
    ]
    for entry in entries:
        [document] = (await hospital.ask(entry.unique_id)).documents
        if entry.size:
            assert hashlib.sha1(octets_of(document.content)).hexdigest() == entry.hash
    again = [
        one
        for one in (await hospital.registry.everything()).document_entries
        if one.availability_status is AvailabilityStatus.APPROVED
    ]
    assert len({one.unique_id for one in again}) == len(again), "something is registered twice"
    assert all(one.size for one in again if one.object_type == schemes.STABLE), "an update was never sent"
    assert all(state is ProvisionState.REGISTERED for state in await hospital.house.states())


@pytest.mark.parametrize("kind", AssemblyKind)
async def test_answers_are_forgotten_but_not_what_is_still_to_be_made(hospital: Hospital, kind: AssemblyKind):
    unique_id = await hospital.enter(kind)

    assert await forget_portion(hospital.house.parts.database, before=time.time() + 1) == 0

    assert (await hospital.ask(unique_id)).errors == ()
    assert all(entry.hash != EMPTY_SHA1 for entry in (await hospital.registry.entries(schemes.STABLE))[-1:])
