"""Newcomers in conflict with their study are set aside: kept, told with the reason, mendable, and in nobody's
way. Rejection notes count from nodes that may reject, for their own study and patient."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from sqlalchemy import delete

from imaging_source.domain.transfer import Sender
from imaging_source.store.tables import set_aside, study_patient
from imaging_source.store.transfers import Transfer
from imaging_source.transactions import rad68
from shared.audit.events import ihe
from shared.dicom.kos import read_manifest
from shared.dicom.multipart import closing, content_type, new_boundary, part_head
from shared.messages.registry import Status
from shared.security.rights import REJECTION_NOTE
from tests.support.dicom import a_ct, part10
from tests.support.imaging_source import (
    Source,
    a_rejection_note,
    cx,
    database_place,
    either_source,
    postgres_url,
    source,
)
from tests.transactions.imaging_source.test_rad68 import STUDY, entry_of, send_due
from tests.transactions.imaging_source.test_rad69 import Ref, codes, retrieve

__all__ = ["database_place", "either_source", "postgres_url", "source"]

FIRST, SECOND, FOREIGN = "2.25.13", "2.25.15", "2.25.16"


async def publish(source: Source) -> list[str]:
    """Publish the study; the instances of its manifest."""
    await rad68.publish(source.parts, STUDY)
    await send_due(source)
    manifest = read_manifest(source.repository.heard[-1][1].documents[0].content)
    return sorted(one.sop_instance_uid for _, _, one in manifest.instances)


async def told(source: Source) -> dict[str, tuple[str, str]]:
    """What is set aside, as a tool is told."""
    async with source.client() as http:
        answer = (await http.post("/api/publications", json={})).json()
    return {each["sop_instance_uid"]: (each["conflict"], each["explanation"]) for each in answer["set_aside"]}


async def accept(source: Source, uid: str) -> int:
    async with source.client() as http:
        return (await http.post("/api/publications/accept", json={"sop_instance_uid": uid})).status_code


async def from_a_stranger(source: Source, data_set) -> None:
    """Store what comes from a node that may store, and may not reject."""
    incoming = source.parts.instances.files.new(max_bytes=10**9)
    incoming.write(part10(data_set))
    came_by = Transfer(sender=Sender(transaction=ihe("RAD-18", "Creator Images Stored"), participants=()))
    await source.parts.instances.store_part10(incoming.finish(), came_by)


# --- another patient ---------------------------------------------------------------------------------


@pytest.mark.parametrize("published_before", [True, False])
async def test_an_instance_of_another_patient_does_not_keep_the_study_from_being_published(
    either_source, published_before
):
    await either_source.keep(a_ct())
    if published_before:
        await publish(either_source)

    await either_source.keep(
        a_ct(SOPInstanceUID=FOREIGN, PatientID="P2", PatientName="Other^One", InstanceNumber=0),
        a_ct(SOPInstanceUID=SECOND),
    )

    assert await publish(either_source) == [FIRST, SECOND]
    entry = entry_of(either_source.repository.heard[-1][1])
    assert entry.patient_id == cx("P1")
    assert "Other" not in str(entry.source_patient_info)
    conflict, explanation = (await told(either_source))[FOREIGN]
    assert conflict == "other-patient"
    assert "names another patient" in explanation
    assert "P2" not in explanation


async def test_what_is_set_aside_is_given_to_nobody(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID=FOREIGN, PatientID="P2"))

    response = await retrieve(source, Ref(), Ref(sop=FOREIGN))

    assert response.status is Status.PARTIAL_SUCCESS
    assert codes(response) == ["XDSDocumentUniqueIdError"]
    async with source.client() as http:
        path = f"/dicomweb/studies/{STUDY}/series/2.25.12/instances/{FOREIGN}"
        assert (await http.get(path)).status_code == httpx2.codes.NOT_FOUND


async def test_a_person_decides_that_the_study_is_the_newcomers(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID=FOREIGN, PatientID="P2"))

    assert await accept(source, FOREIGN) == httpx2.codes.OK

    assert (await told(source)).keys() == {FIRST}
    assert await publish(source) == [FOREIGN]
    assert entry_of(source.repository.heard[-1][1]).patient_id == cx("P2")
    assert await accept(source, FIRST) == httpx2.codes.OK
    assert await publish(source) == [FIRST]


async def test_what_is_not_set_aside_cannot_be_accepted(source):
    await source.keep(a_ct())

    assert await accept(source, FIRST) == httpx2.codes.NOT_FOUND


async def test_an_issuer_that_is_the_default_is_no_other_one(source):
    domain = source.parts.settings.affinity_domain
    source.parts.instances._patient_id_issuer = type(source.parts.instances._patient_id_issuer)(
        "", domain, "ISO"
    )
    qualified = a_ct(SOPInstanceUID=SECOND)
    item = type(qualified)()
    item.UniversalEntityID, item.UniversalEntityIDType = domain, "ISO"
    qualified.IssuerOfPatientIDQualifiersSequence = [item]

    await source.keep(a_ct(), qualified)

    assert await told(source) == {}


async def test_a_conflict_from_before_is_found_when_the_study_is_published(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID=FOREIGN, PatientID="P2"))
    for table in (set_aside, study_patient):
        await source.parts.database.write(lambda transaction, table=table: transaction.execute(delete(table)))

    assert await publish(source) == [FIRST]
    assert (await told(source)).keys() == {FOREIGN}


async def test_an_instance_without_patient_id_does_not_own_the_study(source):
    await source.keep(a_ct(PatientID=""), a_ct(SOPInstanceUID=SECOND))

    assert await publish(source) == [SECOND]
    assert (await told(source)).keys() == {FIRST}


# --- rejection notes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
async def test_a_rejection_note_of_a_stranger_hides_nothing(either_source, title):
    await either_source.keep(a_ct())
    await from_a_stranger(either_source, a_rejection_note(title))

    assert await publish(either_source) == [FIRST]
    assert (await retrieve(either_source)).status is Status.SUCCESS
    [(conflict, explanation)] = (await told(either_source)).values()
    assert conflict == "note-of-stranger"
    assert "XDSI_RIGHTS__REJECT" in explanation


async def test_a_rejection_note_counts_when_a_person_accepts_it(source):
    await source.keep(a_ct())
    await from_a_stranger(source, a_rejection_note())

    assert await accept(source, "2.25.40") == httpx2.codes.OK

    assert codes(await retrieve(source)) == ["XDSDocumentUniqueIdError"]
    assert await told(source) == {}


async def test_a_note_of_another_patient_hides_nothing(source):
    note = a_rejection_note()
    note.PatientID = "P2"

    await source.keep(a_ct(), note)

    assert (await retrieve(source)).status is Status.SUCCESS
    assert (await told(source)).keys() == {"2.25.40"}


async def test_a_note_of_another_study_hides_nothing_even_when_both_are_asked_for(source):
    note = a_rejection_note()
    note.StudyInstanceUID = "2.25.21"
    await source.keep(a_ct(), note, a_ct(SOPInstanceUID=SECOND, StudyInstanceUID="2.25.21"))

    response = await retrieve(source, Ref(), Ref(study="2.25.21", sop=SECOND))

    assert response.status is Status.SUCCESS


@pytest.mark.parametrize("may_reject", [True, False])
@pytest.mark.parametrize("door", ["STOW-RS", "C-STORE"])
async def test_each_door_asks_for_the_right_to_reject(source, monkeypatch, door, may_reject):
    await source.keep(a_ct())
    for rights in (source.parts.authenticator.rights, source.service.dimse._service.rights):
        monkeypatch.setattr(
            rights, "may", lambda node, asked, right=None: may_reject or asked != REJECTION_NOTE
        )

    await (by_stow if door == "STOW-RS" else by_c_store)(source, a_rejection_note())

    hidden = (await retrieve(source)).status is not Status.SUCCESS
    assert hidden is may_reject
    assert (await told(source)).keys() == (set() if may_reject else {"2.25.40"})


async def by_stow(source: Source, data_set) -> None:
    boundary = new_boundary()
    head = part_head(boundary, [("Content-Type", "application/dicom")])
    async with source.client() as http:
        answer = await http.post(
            "/dicomweb/studies",
            content=head + part10(data_set) + closing(boundary),
            headers={"content-type": content_type(boundary), "accept": "application/dicom+json"},
        )
    assert answer.status_code == httpx2.codes.OK


async def by_c_store(source: Source, data_set) -> None:
    await source.service.dimse.start()
    try:
        assert await asyncio.to_thread(c_store, source.service.dimse.port, data_set) == 0x0000
    finally:
        await source.service.dimse.stop()


def c_store(port: int, data_set) -> int:
    part10(data_set)  # gives it a file meta
    entity = AE("CT1")
    entity.add_requested_context(data_set.SOPClassUID, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="XDSI")
    assert association.is_established
    try:
        return association.send_c_store(data_set).Status
    finally:
        association.release()


async def test_what_is_no_rejection_note_needs_no_right(source):
    await source.keep(a_ct())
    await from_a_stranger(source, a_rejection_note("113000"))

    assert await told(source) == {}
    assert len(await publish(source)) == 2
