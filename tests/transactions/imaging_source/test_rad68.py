"""RAD-68 from the imaging source: manifest, outbox, and what a repository says to it (dossier 4, 5, 22)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import httpx2
import pytest
from sqlalchemy import update

from conformance.validation import validate
from imaging_source.background.publisher import Publisher, StudyWatch
from imaging_source.domain.coding import ManifestForm, NotPublishable
from imaging_source.store import outbox
from imaging_source.store.publications import (
    PublicationState,
    PublicationStatus,
    find_publications,
    publication,
)
from imaging_source.transactions import rad68
from shared.audit.events import Outcome
from shared.dicom.kos import read_manifest
from shared.ebrim.model import AssociationType, Code
from shared.errors import Actor, RelayedError, Severity
from shared.faults import WSSE
from shared.http.client import http_client
from shared.messages.iti41 import ITI41
from shared.messages.registry import RegistryResponse, Status
from shared.perform import UnitOfWork
from shared.security.authenticator import Authenticator
from shared.security.speaker import Speaker
from shared.settings import TlsSettings
from shared.soap.client import PeerUnclear, PeerUnreachable, SoapClient
from shared.soap.envelope import RelayedFault
from shared.soap.pipeline import SoapService
from shared.soap.served import Served
from shared.store.failures import DatabaseUnavailable
from tests.support.dicom import a_ct, an_sr
from tests.support.imaging_source import (
    LOCATION_UID,
    SUCCESS,
    Source,
    a_rejection_note,
    cx,
    database_place,
    either_source,
    postgres_url,
    source,
)
from tests.support.made_studies import Studies, studies

__all__ = ["database_place", "either_source", "postgres_url", "source", "studies"]

STUDY = "2.25.11"
URL = "http://127.0.0.1:8020/xds/repository"


def failure(*codes: str, context: str = "why") -> RegistryResponse:
    errors = tuple(RelayedError(code, context, severity=Severity.ERROR) for code in codes)
    return RegistryResponse(status=Status.FAILURE, errors=errors)


async def send_due(source: Source) -> list[PublicationState]:
    """Send what is due once, as the publisher does."""
    return [
        await rad68.provide(source.parts, leased)
        for leased in await outbox.lease(source.parts.database, most=10)
    ]


async def make_due(source: Source) -> None:
    """Let the pauses of all that waits end now."""
    await source.parts.database.write(
        lambda transaction: transaction.execute(update(publication).values(due=0))
    )


async def published(source: Source, study: str = STUDY) -> list[PublicationStatus]:
    return await find_publications(source.parts.database, study_instance_uid=study)


def entry_of(request):
    return request.decoded.submission.document_entries[0]


# --- the message -------------------------------------------------------------------------------------


async def test_a_study_is_published_by_one_message(either_source):
    await either_source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15", SeriesInstanceUID="2.25.16"))
    await rad68.publish(either_source.parts, STUDY)

    assert await send_due(either_source) == [PublicationState.PUBLISHED]

    ((_, request),) = either_source.repository.heard
    entry, (document,) = entry_of(request), request.documents
    manifest = read_manifest(document.content)
    assert document.id == entry.entry_uuid
    assert entry.unique_id == manifest.sop_instance_uid
    assert entry.patient_id == request.decoded.submission.submission_set.patient_id == cx("P1")
    assert sorted(one.sop_instance_uid for _, _, one in manifest.instances) == ["2.25.13", "2.25.15"]
    assert {series.retrieve_location_uid for _, series, _ in manifest.instances} == {LOCATION_UID}


async def test_the_metadata_speak_of_the_study(source):
    await source.keep(a_ct(BodyPartExamined="CHEST"), an_sr())
    await rad68.publish(source.parts, STUDY)
    await send_due(source)

    entry = entry_of(source.repository.heard[0][1])
    assert entry.mime_type == "application/dicom"
    assert entry.format_code == Code("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1")
    assert [code.value for code in entry.event_codes] == ["CT", "816094009"]
    assert "A123^^^&1.3.6.1.4.1.21367.2026.10.33&ISO^urn:ihe:iti:xds:2013:accession" in entry.reference_ids
    assert str(entry.service_start_time) == "20260228093000"
    assert "PID-5|Müller^Jürgen" in entry.source_patient_info


async def test_a_manifest_with_description_is_published_where_a_setting_says_so(source, tmp_path):
    settings = source.parts.settings
    mado = settings.publishing.model_copy(update={"form": ManifestForm.MADO})
    parts = replace(source.parts, settings=settings.model_copy(update={"publishing": mado}))
    await source.keep(a_ct(BodyPartExamined="CHEST", SeriesDescription="Axial"), an_sr())
    await rad68.publish(parts, STUDY)
    await send_due(source)

    _, request = source.repository.heard[0]
    manifest = tmp_path / "manifest.dcm"
    manifest.write_bytes(request.documents[0].content)
    report = validate(manifest)
    assert "MADO" in report.title
    assert report.passed, report.findings
    assert [code.value for code in entry_of(request).event_codes] == ["CT", "816094009", "67734004"]


@asynccontextmanager
async def a_real_repository(source: Source, heard: list) -> AsyncIterator[None]:
    """A SOAP service of ITI-41 in this process, which the source calls with octets."""

    async def handle(unit, request):
        heard.append((unit.caller.message_id, request, request.documents[0].content.path.read_bytes()))
        return SUCCESS

    class Deaf:
        async def record(self, events):
            return None

    settings = source.parts.settings
    service = SoapService(
        (Served(ITI41, handle, lambda *_: (), Speaker.NODE),),
        unit=partial(UnitOfWork, None),
        authenticator=Authenticator(settings),
        recorder=Deaf(),
        settings=settings,
        actor=Actor.REPOSITORY,
        spool_folder=source.folder / "repository-spool",
    )
    transport = httpx2.ASGITransport(app=service.asgi, client=("127.0.0.1", 1))
    async with http_client(TlsSettings(), peers=(URL,), transport=transport) as http:
        source.service.parts = replace(source.parts, repository=SoapClient(http))
        yield


async def test_the_message_is_read_by_a_repository(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    heard: list = []

    async with a_real_repository(source, heard):
        assert await send_due(source) == [PublicationState.PUBLISHED]

    ((message_id, request, octets),) = heard
    assert request.decoded.errors == ()
    assert message_id.startswith("urn:uuid:")
    assert read_manifest(octets).sop_instance_uid == entry_of(request).unique_id
    assert entry_of(request).size == len(octets)


async def test_every_study_of_other_makers_can_be_published(source, studies: Studies):
    await source.keep(*studies.files)
    folders = studies.uids

    for study in folders:
        await rad68.publish(source.parts, study)
    while await send_due(source):
        pass

    by_study = {
        read_manifest(request.documents[0].content).study_instance_uid: request
        for _, request in source.repository.heard
    }
    assert sorted(by_study) == folders
    for study, request in by_study.items():
        manifest = read_manifest(request.documents[0].content)
        stored = await source.parts.instances.find_study(study)
        assert {one.sop_instance_uid for _, _, one in manifest.instances} == {
            one.sop_instance_uid for one in stored if one.modality != "KO"
        }


# --- repeating ---------------------------------------------------------------------------------------

PASSING = {
    "the repository is away": PeerUnreachable(URL, "connection refused"),
    "no answer came": PeerUnclear(URL, "the answer broke off"),
    "the registry is away": failure("XDSRegistryNotAvailable"),
    "the repository is busy": failure("XDSRepositoryBusy"),
    "its disk is full": failure("XDSRepositoryOutOfResources"),
    "the repository has a fault": RelayedFault("sorry", fault_code="Receiver", subcode=None, http_status=500),
    "we are not trusted now": RelayedFault(
        "no", fault_code="Sender", subcode=(WSSE, "FailedAuthentication"), http_status=400
    ),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
async def test_what_passes_is_tried_again_with_the_very_same_message(source, answer):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [answer, SUCCESS]

    assert await send_due(source) == [PublicationState.WAITING]
    assert await send_due(source) == []
    await make_due(source)
    assert await send_due(source) == [PublicationState.PUBLISHED]

    (first_id, first), (second_id, second) = source.repository.heard
    assert first_id == second_id
    assert ITI41.encode_request(first).xml == ITI41.encode_request(second).xml
    assert first.documents == second.documents


async def test_a_refusal_is_final_and_keeps_what_the_registry_said(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    either_source.repository.answers = [failure("XDSRegistryMetadataError", context="a code is missing")]

    assert await send_due(either_source) == [PublicationState.REFUSED]
    await make_due(either_source)
    assert await send_due(either_source) == []

    (status,) = await published(either_source)
    assert [(error.code, error.context) for error in status.errors] == [
        ("XDSRegistryMetadataError", "a code is missing")
    ]


async def test_a_fault_of_the_message_is_final(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [
        RelayedFault("not readable", fault_code="Sender", subcode=None, http_status=400)
    ]

    assert await send_due(source) == [PublicationState.REFUSED]


async def test_a_refused_study_is_published_anew_without_replacing_anything(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [failure("XDSRegistryMetadataError"), SUCCESS]
    await send_due(source)

    await rad68.publish(source.parts, STUDY)

    assert await send_due(source) == [PublicationState.PUBLISHED]
    first, second = (entry_of(request) for _, request in source.repository.heard)
    assert first.unique_id != second.unique_id
    associations = source.repository.heard[1][1].decoded.submission.associations
    assert [one.association_type for one in associations] == [AssociationType.HAS_MEMBER]


async def test_our_own_duplicate_after_a_lost_answer_means_that_it_was_registered(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [PeerUnclear(URL, "the answer broke off")]
    await send_due(source)
    submission_set = source.repository.heard[0][1].decoded.submission.submission_set.unique_id
    source.repository.answers = [failure("XDSDuplicateUniqueIdInRegistry", context=submission_set)]
    await make_due(source)

    assert await send_due(source) == [PublicationState.PUBLISHED]


async def test_a_duplicate_at_the_first_attempt_is_a_refusal(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [failure("XDSDuplicateUniqueIdInRegistry", context="2.25.1")]

    assert await send_due(source) == [PublicationState.REFUSED]


async def test_what_a_dead_process_was_sending_is_sent_again_as_being_in_doubt(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    database = either_source.parts.database
    (lost,) = await outbox.lease(database, most=1)

    assert await outbox.lease(database, most=1) == []
    await outbox.release_all(database)
    (again,) = await outbox.lease(database, most=1)

    assert again.message_id == lost.message_id
    assert (again.attempts, again.in_doubt) == (2, True)


async def test_a_lease_ends_by_time(either_source, monkeypatch):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    database = either_source.parts.database
    await outbox.lease(database, most=1)
    later = outbox.now_ms() + int(outbox.LEASE_SECONDS * 1000) + 1
    monkeypatch.setattr(outbox, "now_ms", lambda: later)

    assert len(await outbox.lease(database, most=1)) == 1


@pytest.mark.parametrize("step_hours", [-24, -1, 1, 24])
async def test_a_step_of_the_clock_stops_nothing(source, monkeypatch, step_hours):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [PeerUnreachable(URL, "away"), SUCCESS]
    await send_due(source)
    stepped = outbox.now_ms() + step_hours * 3_600_000
    monkeypatch.setattr(outbox, "now_ms", lambda: stepped)

    assert await send_due(source) == [PublicationState.PUBLISHED]


async def test_after_a_day_it_is_given_up_until_somebody_asks(source, monkeypatch):
    await source.keep(a_ct())
    publication_id = (await rad68.publish(source.parts, STUDY)).publication_id
    source.repository.answers = [PeerUnreachable(URL, "away")]
    tomorrow = outbox.now_ms() + int(outbox.GIVE_UP_SECONDS * 1000)
    monkeypatch.setattr(outbox, "now_ms", lambda: tomorrow)

    assert await send_due(source) == [PublicationState.ABANDONED]
    await make_due(source)
    assert await send_due(source) == []
    assert await outbox.rearm(source.parts.database, publication_id)
    assert await send_due(source) == [PublicationState.WAITING]


def test_the_pause_grows_to_a_quarter_of_an_hour():
    assert 0.75 <= outbox.pause_seconds(0) <= 1.25
    assert 22 <= outbox.pause_seconds(600_000) <= 38
    assert 675 <= outbox.pause_seconds(24 * 3_600_000) <= 1125
    assert 0.75 <= outbox.pause_seconds(-5_000) <= 1.25


# --- changes -----------------------------------------------------------------------------------------


async def test_an_unchanged_study_keeps_its_publication(either_source):
    await either_source.keep(a_ct())
    first = await rad68.publish(either_source.parts, STUDY)
    waiting = await rad68.publish(either_source.parts, STUDY)
    await send_due(either_source)
    after = await rad68.publish(either_source.parts, STUDY)

    assert {first.publication_id, waiting.publication_id} == {after.publication_id}
    assert [one.unchanged for one in (first, waiting, after)] == [False, False, True]
    assert await send_due(either_source) == []


async def test_a_grown_study_replaces_its_manifest(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    await send_due(either_source)
    await either_source.keep(a_ct(SOPInstanceUID="2.25.15"))

    await rad68.publish(either_source.parts, STUDY)
    await send_due(either_source)

    (_, old), (_, new) = either_source.repository.heard
    replacement = new.decoded.submission.associations[-1]
    assert replacement.association_type == AssociationType.RPLC
    assert replacement.source_object == entry_of(new).entry_uuid
    assert replacement.target_object == entry_of(old).entry_uuid
    assert entry_of(new).unique_id != entry_of(old).unique_id


async def test_a_change_before_the_first_attempt_sends_the_changed_study_alone(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    await either_source.keep(a_ct(SOPInstanceUID="2.25.15"))
    await rad68.publish(either_source.parts, STUDY)

    assert await send_due(either_source) == [PublicationState.PUBLISHED]

    assert len(either_source.repository.heard) == 1
    assert [one.state for one in await published(either_source)] == [
        PublicationState.PUBLISHED,
        PublicationState.SUPERSEDED,
    ]


async def test_a_replacement_waits_for_what_it_replaces(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    either_source.repository.answers = [PeerUnclear(URL, "the answer broke off"), SUCCESS]
    await send_due(either_source)
    await either_source.keep(a_ct(SOPInstanceUID="2.25.15"))
    await rad68.publish(either_source.parts, STUDY)

    assert await send_due(either_source) == []
    await make_due(either_source)
    assert await send_due(either_source) == [PublicationState.PUBLISHED]
    assert await send_due(either_source) == [PublicationState.PUBLISHED]

    first, second, third = (request.decoded.submission for _, request in either_source.repository.heard)
    assert first == second
    assert third.associations[-1].target_object == first.document_entries[0].entry_uuid


async def test_two_requests_at_once_make_one_publication(either_source):
    await either_source.keep(a_ct())

    ids = await asyncio.gather(*(rad68.publish(either_source.parts, STUDY) for _ in range(8)))

    assert len(set(ids)) == 1
    assert len(await published(either_source)) == 1


async def test_a_rejected_instance_leaves_the_manifest(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"))
    await rad68.publish(source.parts, STUDY)
    await send_due(source)
    await source.keep(a_rejection_note())

    await rad68.publish(source.parts, STUDY)
    await send_due(source)

    manifest = read_manifest(source.repository.heard[-1][1].documents[0].content)
    assert [one.sop_instance_uid for _, _, one in manifest.instances] == ["2.25.15"]


async def test_a_study_whose_instances_are_all_rejected_is_not_published(source):
    await source.keep(a_ct(), a_rejection_note())

    with pytest.raises(NotPublishable, match="no instance that can be shared"):
        await rad68.publish(source.parts, STUDY)


async def test_an_unknown_study_is_not_published(source):
    with pytest.raises(rad68.UnknownStudy):
        await rad68.publish(source.parts, "2.25.404")


async def test_a_study_stays_with_the_patient_for_whom_it_was_published(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY, "M7")
    await send_due(source)
    await source.keep(a_ct(SOPInstanceUID="2.25.15"))

    await rad68.publish(source.parts, STUDY)
    await send_due(source)

    assert {entry_of(request).patient_id for _, request in source.repository.heard} == {cx("M7")}


# --- the trail ---------------------------------------------------------------------------------------


async def test_the_export_is_recorded_with_its_outcome(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.recorder.taken()
    await send_due(source)

    (event,) = source.recorder.taken()
    assert (event.event_id.code, event.action, event.outcome) == ("110106", "R", Outcome.SUCCESS)
    assert [kind.code for kind in event.event_types] == ["ITI-41", "RAD-68"]
    patient, submission_set, study = event.objects
    assert patient.object_id == cx("P1")
    assert submission_set.object_id == (
        source.repository.heard[0][1].decoded.submission.submission_set.unique_id
    )
    assert (study.object_id, study.id_type.code) == (STUDY, "110180")
    assert event.participants[-1].user_id == source.parts.settings.repository_url


async def test_a_refused_export_is_recorded_as_a_failure_with_its_codes(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [failure("XDSRegistryMetadataError")]
    source.recorder.taken()
    await send_due(source)

    (event,) = source.recorder.taken()
    assert (event.outcome, event.outcome_description) == (Outcome.SERIOUS_FAILURE, "XDSRegistryMetadataError")


async def test_what_was_never_sent_is_no_export(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    source.repository.answers = [PeerUnreachable(URL, "away")]
    source.recorder.taken()
    await send_due(source)

    assert source.recorder.taken() == []


# --- the publisher -----------------------------------------------------------------------------------


async def until(source: Source, condition, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition(await published(source)):  # noqa: ASYNC110  # the state is in the database
            await asyncio.sleep(0.02)


async def test_the_publisher_sends_what_is_put_into_the_outbox(source):
    publisher = Publisher(source.parts)
    await publisher.start()
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    publisher.wake()

    await until(source, lambda found: found and found[0].state is PublicationState.PUBLISHED)
    assert publisher.work.trouble() == ""
    await publisher.stop()

    assert len(source.repository.heard) == 1


async def test_the_publisher_survives_what_nobody_expected(source):
    source.repository.answers = [RuntimeError("a mistake of ours"), SUCCESS]
    publisher = Publisher(source.parts)
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY)
    await publisher.start()
    await until(source, lambda found: bool(source.repository.heard))
    await publisher.stop()

    again = Publisher(source.parts)
    await again.start()
    await until(source, lambda found: found[0].state is PublicationState.PUBLISHED)
    await again.stop()

    assert source.repository.heard[0][0] == source.repository.heard[1][0]


async def test_a_study_that_has_stopped_growing_is_published_by_itself(source):
    source.service.parts = replace(
        source.parts,
        settings=source.parts.settings.model_copy(update={"publish_delay_seconds": 0.05}),
    )
    publisher = Publisher(source.parts)
    watch = StudyWatch(source.parts, publisher)
    await watch.start()
    await source.keep(a_ct())

    await until(source, lambda found: bool(found))
    await watch.stop()

    assert (await published(source))[0].state is PublicationState.WAITING


async def test_what_arrived_before_a_restart_is_published_after_it(source):
    await source.keep(a_ct())
    source.service.parts = replace(
        source.parts,
        settings=source.parts.settings.model_copy(update={"publish_delay_seconds": 0.0}),
    )
    watch = StudyWatch(source.parts, Publisher(source.parts))
    await watch.start()

    await until(source, lambda found: bool(found))
    await watch.stop()


class Away:
    """A database that is away the first time each of its ways is gone, and then is `database`."""

    def __init__(self, database):
        self._database = database
        self.failed = set()

    def __getattr__(self, name):
        found = getattr(self._database, name)
        if name not in ("fetch", "read", "write"):
            return found

        async def once(*arguments, **parameters):
            if name not in self.failed:
                self.failed.add(name)
                raise DatabaseUnavailable("away at this moment")
            return await found(*arguments, **parameters)

        return once


async def test_studies_are_published_by_themselves_though_the_database_was_away_at_each_moment(
    source, monkeypatch
):
    monkeypatch.setattr("imaging_source.background.publisher._PAUSE_SECONDS", 0.01)
    await source.keep(a_ct())
    away = Away(source.parts.database)
    monkeypatch.setattr(source.parts.instances, "_database", away)
    parts = replace(
        source.parts,
        database=away,
        settings=source.parts.settings.model_copy(update={"publish_delay_seconds": 0.0}),
    )
    publisher = Publisher(parts)
    watch = StudyWatch(parts, publisher)
    publisher.work.start()
    await watch.start()

    await until(source, lambda found: found and found[0].state is PublicationState.PUBLISHED)
    await watch.stop()
    await publisher.stop()

    assert away.failed == {"fetch", "write"} or away.failed == {"fetch", "read", "write"}
    assert watch.work.failures + publisher.work.failures > 0


async def test_a_study_that_met_a_mistake_of_ours_is_tried_again(source, monkeypatch):
    monkeypatch.setattr("imaging_source.background.publisher._LONG_PAUSE_SECONDS", 0.01)
    publish, tried = rad68.publish, []

    async def mistaken(parts, study):
        tried.append(study)
        if len(tried) == 1:
            raise KeyError("a mistake of ours")
        return await publish(parts, study)

    monkeypatch.setattr(rad68, "publish", mistaken)
    source.service.parts = replace(
        source.parts,
        settings=source.parts.settings.model_copy(update={"publish_delay_seconds": 0.0}),
    )
    watch = StudyWatch(source.parts, Publisher(source.parts))
    await watch.start()
    await source.keep(a_ct())

    await until(source, lambda found: bool(found))
    await watch.stop()


# --- the interface -----------------------------------------------------------------------------------


async def test_a_tool_publishes_and_learns_the_outcome(source):
    await source.keep(a_ct())
    async with source.client() as client:
        answer = await client.post("/api/publish", json={"study_instance_uid": STUDY, "patient_id": "M7"})
        await send_due(source)
        publication_id = answer.json()["publication_id"]
        listed = await client.post("/api/publications", json={"publication_id": publication_id})

    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    (found,) = listed.json()["publications"]
    assert (found["state"], found["patient_id"]) == ("published", cx("M7"))


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"study_instance_uid": "2.25.404"}, 404, "import it first"),
        ({"study_instance_uid": "no uid"}, 400, "study_instance_uid"),
        ({}, 400, "study_instance_uid"),
        ({"study_instance_uid": STUDY, "patient_id": "M7^^^&1.2.3&ISO"}, 409, "affinity domain"),
        ({"study_instance_uid": STUDY, "wrong": 1}, 400, "a member is not known"),
    ],
)
async def test_a_request_that_cannot_be_met_is_told_why(source, body, status, told):
    await source.keep(a_ct())
    async with source.client() as client:
        answer = await client.post("/api/publish", json=body)

    assert answer.status_code == status
    assert told in answer.json()["detail"]


async def test_strangers_publish_nothing(source):
    await source.keep(a_ct())
    transport = httpx2.ASGITransport(app=source.service.asgi, client=("192.0.2.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://source.example") as client:
        answer = await client.post("/api/publish", json={"study_instance_uid": STUDY})

    assert answer.status_code == 403
    assert await published(source) == []


# --- for who watches ---------------------------------------------------------------------------------


async def test_metrics_tell_how_many_studies_were_refused_and_how_many_wait(either_source):
    async def shown() -> dict[str, float]:
        await either_source.service.publisher.count()
        async with either_source.client() as http:
            lines = (await http.get("/metrics")).text.splitlines()
        pairs = [line.removeprefix("xdsi_publications").split() for line in lines if "publications{" in line]
        return {state.split('"')[1]: float(number) for state, number in pairs}

    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY)
    waiting = await shown()
    either_source.repository.answers = [failure("XDSRegistryMetadataError"), SUCCESS]
    await send_due(either_source)
    refused = await shown()
    await rad68.publish(either_source.parts, STUDY)
    await send_due(either_source)

    assert waiting == {"waiting": 1, "refused": 0, "abandoned": 0}
    assert refused == {"waiting": 0, "refused": 1, "abandoned": 0}
    assert await shown() == {"waiting": 0, "refused": 0, "abandoned": 0}
