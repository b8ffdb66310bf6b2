"""The whole path on real services: import, publish, find, fetch; every byte, and every record of the trail.

Mutual TLS on every socket and signed assertions; nothing is replaced by anything that is easier.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from consumer.imaging_document_consumer import Retrieval, Via
from shared.dicom.part10 import scan
from shared.ebrim.model import DocumentEntry
from tests.support.community import (
    RADIOLOGIST,
    StudyFiles,
    audit_messages,
    c_store,
    consumer_for,
    different,
    make_known,
    permit,
    publish,
    running,
    settings_of,
    store,
    studies_in,
    trail_until,
)
from tests.support.dicom import STUDIES
from tests.support.made_studies import made_studies
from tests.support.schemas import AUDIT, assert_valid
from tests.support.trail import DESTINATION, SOURCE, Told, of_transaction, told
from xdsi.audit import verified_by_service
from xdsi.builtin_study import write_study
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]


@dataclass
class Walk:
    """What came of one walk along the whole path."""

    stage: Stage
    studies: list[StudyFiles]
    by_c_store: list[StudyFiles]
    found: list[DocumentEntry] = field(default_factory=list)
    retrieved: dict[Via, list[Retrieval]] = field(default_factory=lambda: {via: [] for via in Via})
    messages: list[Told] = field(default_factory=list)

    def folder(self, via: Via) -> Path:
        return self.stage.folder / "south" / f"{via}-{self.studies[0].uid}"

    @property
    def by_stow(self) -> list[StudyFiles]:
        return [study for study in self.studies if study not in self.by_c_store]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community")) as stage:
        yield stage


@pytest.fixture(scope="module", params=["the built-in study", "studies made here", "real studies"])
def walk(request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    if request.param == "real studies" and not STUDIES.is_dir():
        pytest.skip("the real studies are not here; those that are made here were tested")
    if request.param != "the built-in study":
        made = request.param == "studies made here"
        studies = studies_in(made_studies(tmp_path_factory.mktemp("made")).folder if made else STUDIES)
        walk = Walk(stage, studies, by_c_store=studies[::2])
    else:
        write_study(stage.folder / "built-in")
        walk = Walk(stage, studies_in(stage.folder / "built-in"), by_c_store=[])
    asyncio.run(_walked(walk))
    return walk


async def _walked(walk: Walk) -> None:
    stage, patients = walk.stage, sorted({study.patient for study in walk.studies})
    await make_known(stage, *patients)
    await store(stage, walk.by_stow)
    if paths := [path for study in walk.by_c_store for path in study.files.values()]:
        assert set((await asyncio.to_thread(c_store, stage, paths)).values()) == {0x0000}
    await publish(stage, *(study.uid for study in walk.studies))
    await permit(stage, *patients)
    async with consumer_for(stage) as consumer:
        for patient_id in sorted({study.patient_id for study in walk.studies}):
            walk.found += await consumer.find(patient_id)
        for via in Via:
            for entry in walk.found:
                manifest = await consumer.manifest(entry)
                walk.retrieved[via].append(
                    await consumer.retrieve(manifest, walk.folder(via), patient_id=entry.patient_id, via=via)
                )
    await _arrived(walk)


async def _arrived(walk: Walk) -> None:
    """Records travel after what they tell of, from each service by its own way."""
    uids = {study.uid for study in walk.studies}

    def whole(records: list[dict[str, Any]]) -> bool:
        counts = Counter((code["code"], record["source"]) for record in records for code in record["types"])
        named = {
            item["id"]
            for record in records
            if "RAD-107" in {code["code"] for code in record["types"]}
            for item in record["objects"]
        }
        return uids <= named and all(
            counts[transaction, client[0]] == counts[transaction, server[0]]
            for transaction, (client, server) in CLIENT_AND_SERVER.items()
        )

    await trail_until(walk.stage, whole, seconds=10)
    walk.messages = [told(message) for message in audit_messages(walk.stage)]


def data_set(path: Path) -> bytes:
    return path.read_bytes()[scan(path).data_set_offset :]


# --- what must be true of it -------------------------------------------------------------------------


def test_every_study_is_found_by_its_patient_and_no_other(walk: Walk):
    expected = Counter(study.patient_id for study in walk.studies)

    assert Counter(entry.patient_id for entry in walk.found) == expected
    assert len({entry.unique_id for entry in walk.found}) == len(walk.studies)


@pytest.mark.parametrize("via", Via)
def test_every_instance_is_delivered(walk: Walk, via: Via):
    results = walk.retrieved[via]

    assert [result.missing for result in results if result.missing] == []
    assert sum(result.instances for result in results) == sum(len(study.shared) for study in walk.studies)


@pytest.mark.parametrize("via", Via)
def test_what_came_by_stow_comes_back_file_for_file(walk: Walk, via: Via):
    assert different(walk.folder(via), walk.by_stow) == []


@pytest.mark.parametrize("via", Via)
def test_what_came_by_c_store_comes_back_data_set_for_data_set(walk: Walk, via: Via):
    came = {path.stem: path for path in walk.folder(via).rglob("*.dcm")}

    different_ones = [
        uid
        for study in walk.by_c_store
        for uid, path in study.shared.items()
        if data_set(came[uid]) != data_set(path)
    ]

    assert different_ones == []


# --- and what the trail must tell of it --------------------------------------------------------------

CLIENT_AND_SERVER = {
    "ITI-42": (("xdsi-repository", "110106", "R"), ("xdsi-registry", "110107", "C")),
    "RAD-68": (("xdsi-imaging-source", "110106", "R"), ("xdsi-repository", "110107", "C")),
    "ITI-18": (("xdsi-consumer", "110112", "E"), ("xdsi-registry", "110112", "E")),
    "ITI-43": (("xdsi-consumer", "110107", "C"), ("xdsi-repository", "110106", "R")),
    "RAD-69": (("xdsi-consumer", "110103", "R"), ("xdsi-imaging-source", "110104", "R")),
    "RAD-107": (("xdsi-consumer", "110103", "R"), ("xdsi-imaging-source", "110104", "R")),
}
PULLED = frozenset({"ITI-43", "RAD-69", "RAD-107"})


@pytest.mark.parametrize("transaction", CLIENT_AND_SERVER)
def test_both_sides_tell_the_same_of_each_exchange(walk: Walk, transaction: str):
    sides = [
        [one for one in of_transaction(walk.messages, transaction, reporter) if one.outcome == 0]
        for reporter, _, _ in CLIENT_AND_SERVER[transaction]
    ]
    (_, *client_event), (_, *server_event) = CLIENT_AND_SERVER[transaction]

    assert sides[0]
    assert {(one.event, one.action) for one in sides[0]} == {tuple(client_event)}
    assert {(one.event, one.action) for one in sides[1]} == {tuple(server_event)}
    client, server = (Counter(map(_exchange, side)) for side in sides)
    assert client == server


def _exchange(one: Told) -> tuple[object, ...]:
    # The study of a RAD-68 is known to its source alone: to the repository a manifest is a document.
    objects = frozenset() if "RAD-68" in one.types else one.objects
    return (
        one.types,
        one.party(SOURCE).user_id,
        one.party(DESTINATION).user_id,
        one.humans,
        one.purposes,
        one.patients,
        objects,
    )


@pytest.mark.parametrize("transaction", CLIENT_AND_SERVER)
def test_each_side_gives_its_process_and_both_addresses(walk: Walk, transaction: str):
    client_role, server_role = (DESTINATION, SOURCE) if transaction in PULLED else (SOURCE, DESTINATION)
    reporters = dict(
        zip((name for name, _, _ in CLIENT_AND_SERVER[transaction]), (client_role, server_role), strict=True)
    )
    for reporter, own in reporters.items():
        other = client_role if own == server_role else server_role
        for one in of_transaction(walk.messages, transaction, reporter):
            assert one.party(own).process.isdigit()
            assert not one.party(other).process
            assert one.party(own).address
            assert one.party(other).address


def test_every_participant_is_where_it_is(walk: Walk):
    """All of the stage is on loopback, whose services say their public name where they have one."""
    parties = [
        (one, party) for one in walk.messages for party in one.parties if not party.human or party.address
    ]
    assert parties
    for one, party in parties:
        literal = party.address.count(".") == 3 or ":" in party.address
        assert party.address_type == ("2" if literal else "1"), (one.types, party)
        assert party.address in ("127.0.0.1", gethostname()), (one.types, party)


def test_at_most_one_participant_asks_and_it_is_the_human_where_one_is_known(walk: Walk):
    for one in walk.messages:
        asking = [party for party in one.parties if party.requestor]
        humans = [party for party in one.parties if party.human and party.user_name.startswith("<")]
        assert len(asking) <= 1, one.types
        assert not humans or asking == humans[:1], one.types


def test_every_record_came_from_the_node_that_its_source_stands_for(walk: Walk):
    records = asyncio.run(trail_until(walk.stage, bool))

    assert {record["standing"] for record in records} == {"proved"}
    assert all(record["fingerprint"] and record["subject"] for record in records)


@pytest.mark.parametrize("transaction", ["ITI-18", "ITI-43", "RAD-69", "RAD-107"])
def test_both_sides_name_the_user_with_roles_and_purpose(walk: Walk, transaction: str):
    name = f"<{RADIOLOGIST.name_id}@{walk.stage.south.issuer}>"
    for reporter, _, _ in CLIENT_AND_SERVER[transaction]:
        for one in of_transaction(walk.messages, transaction, reporter):
            assert one.humans == (name,)
            assert one.purposes == ("TREAT",)
            (human,) = [party for party in one.parties if party.human]
            assert human.roles == {"RAD-PHYS"}
            assert [party.user_name for party in one.parties if party.requestor] == [name]


def test_every_study_has_its_record_of_arrival_publication_and_access(walk: Walk):
    for study in walk.studies:
        arrival = "RAD-18" if study in walk.by_c_store else "RAD-108"
        for transaction, reporter in (
            (arrival, "xdsi-imaging-source"),
            ("RAD-68", "xdsi-imaging-source"),
            ("RAD-69", "xdsi-imaging-source"),
            ("RAD-69", "xdsi-consumer"),
            ("RAD-107", "xdsi-imaging-source"),
            ("RAD-107", "xdsi-consumer"),
        ):
            named = [
                one
                for one in of_transaction(walk.messages, transaction, reporter)
                if study.uid in one.objects
            ]
            assert named, f"{reporter} says nothing of {study.uid} in {transaction}"
            assert {patient for one in named for patient in one.patients} == {study.patient_id}


def test_every_patient_has_a_record_of_its_feed(walk: Walk):
    fed = of_transaction(walk.messages, "ITI-8", "xdsi-registry")

    assert {(one.event, one.action, one.outcome) for one in fed} == {("110110", "C", 0)}
    assert {study.patient_id for study in walk.studies} <= {
        patient for one in fed for patient in one.patients
    }


def test_provide_and_register_are_told_of_the_same_submission_sets(walk: Walk):
    provided, registered = (
        {item for one in of_transaction(walk.messages, *said) for item in one.objects}
        for said in (("ITI-41", "xdsi-repository"), ("ITI-42", "xdsi-registry"))
    )

    assert provided == registered
    assert len(provided) >= len(walk.studies)


def test_every_message_of_the_trail_is_valid(walk: Walk):
    for message in audit_messages(walk.stage):
        assert_valid(message, AUDIT)


async def test_the_chain_of_the_trail_is_whole(walk: Walk):
    report = await verified_by_service(settings_of(walk.stage, Service.AUDIT_REPOSITORY), "")

    assert report["problems"] == []
