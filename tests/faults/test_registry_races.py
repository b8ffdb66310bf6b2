"""Sixteen clients want the same of one registry at once, over sockets: one gets it, the others learn why."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

import pytest

from registry.domain import stored_queries as queries
from shared.ebrim.codec import RegistryObjects
from shared.ebrim.identifiers import new_oid
from shared.ebrim.model import AssociationType, AvailabilityStatus, Submission
from tests.support.metadata import DOMAIN, a_document_entry, a_folder, a_submission, an_association
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_process import (
    RegistryClient,
    RegistryProcess,
    client_of,
    fed,
    running_registry,
)
from tests.support.updates import APPROVED, DEPRECATED
from xdsi.patient import message as adt

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

CLIENTS = 16
SUCCESS: frozenset[str] = frozenset()
DUPLICATE = frozenset({"XDSDuplicateUniqueIdInRegistry"})
NON_IDENTICAL = frozenset({"XDSNonIdenticalHash"})
REPLACED = frozenset({"XDSRegistryDeprecatedDocumentError"})
UNKNOWN_PATIENT = frozenset({"XDSUnknownPatientId"})
DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="module", params=DATABASES)
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterable[RegistryProcess]:
    """One registry for all rounds on each database, which takes any patient."""
    url = None
    if request.param == "postgresql":
        url = asyncio.run(fresh_database(request.getfixturevalue("postgres_url")))
    with running_registry(tmp_path_factory.mktemp("registry"), url, patients="any") as process:
        yield process
    # A race that was lost is a refusal and never an accident.
    told = [json.loads(line) for line in process.log.splitlines()]
    assert told
    assert [each for each in told if each["level"] in ("error", "critical")] == []


@pytest.fixture
async def client(registry: RegistryProcess) -> AsyncIterator[RegistryClient]:
    async with client_of(registry) as client:
        yield client


@pytest.fixture
def rounds(long: bool) -> range:
    return range(200 if long else 20)


def a_patient() -> str:
    return f"{uuid4().hex}^^^&{DOMAIN}&ISO"


async def registered(client: RegistryClient, submissions: Iterable[Submission]) -> list[frozenset[str]]:
    """The error codes of submissions that are sent at once."""
    return await asyncio.gather(*(client.register(each) for each in submissions))


async def everything(client: RegistryClient, patient_id: str) -> RegistryObjects:
    """All that is registered for a patient."""
    statuses = [APPROVED, DEPRECATED]
    asked: dict[str, Any] = {
        "$patientId": patient_id,
        "$XDSDocumentEntryStatus": statuses,
        "$XDSSubmissionSetStatus": statuses,
        "$XDSFolderStatus": statuses,
    }
    return await client.query(queries.GET_ALL, asked)


async def test_one_submission_set_of_a_unique_id_is_registered(client: RegistryClient, rounds: range) -> None:
    for _ in rounds:
        patient, unique_id = a_patient(), new_oid()
        answers = await registered(
            client,
            (a_submission(a_document_entry(patient_id=patient), unique_id=unique_id) for _ in range(CLIENTS)),
        )

        assert sorted(answers, key=len) == [SUCCESS, *[DUPLICATE] * (CLIENTS - 1)]
        found = await everything(client, patient)
        assert (len(found.submission_sets), len(found.document_entries)) == (1, 1)


async def test_one_folder_of_a_unique_id_is_registered(client: RegistryClient, rounds: range) -> None:
    for _ in rounds:
        patient, unique_id = a_patient(), new_oid()
        answers = await registered(
            client,
            (
                a_submission(
                    a_document_entry(patient_id=patient),
                    folders=[a_folder(patient_id=patient, unique_id=unique_id)],
                )
                for _ in range(CLIENTS)
            ),
        )

        assert sorted(answers, key=len) == [SUCCESS, *[DUPLICATE] * (CLIENTS - 1)]
        found = await everything(client, patient)
        assert (len(found.folders), len(found.document_entries)) == (1, 1)


async def test_one_content_of_a_document_unique_id_is_accepted_however_often(
    client: RegistryClient, rounds: range
) -> None:
    for _ in rounds:
        patient, unique_id = a_patient(), new_oid()
        # Each content comes twice, so that the winner has a companion.
        entries = [
            a_document_entry(patient_id=patient, unique_id=unique_id, hash=f"{number % 8:040x}")
            for number in range(CLIENTS)
        ]
        answers = await registered(client, map(a_submission, entries))

        accepted = {entry.hash for entry, codes in zip(entries, answers, strict=True) if codes == SUCCESS}
        assert len(accepted) == 1
        assert sorted(answers, key=len) == [SUCCESS] * 2 + [NON_IDENTICAL] * (CLIENTS - 2)
        found = await everything(client, patient)
        assert [entry.hash for entry in found.document_entries] == [*accepted] * 2


async def test_one_of_racing_replacements_wins_and_the_chain_has_one_head(
    client: RegistryClient, rounds: range
) -> None:
    patient = a_patient()
    head = a_document_entry(patient_id=patient)
    assert await client.register(a_submission(head)) == SUCCESS
    for length in rounds:
        heirs = [a_document_entry(patient_id=patient) for _ in range(CLIENTS)]
        answers = await registered(
            client,
            (
                a_submission(
                    heir,
                    associations=[an_association(heir.entry_uuid, head.entry_uuid, AssociationType.RPLC)],
                )
                for heir in heirs
            ),
        )

        assert sorted(answers, key=len) == [SUCCESS, *[REPLACED] * (CLIENTS - 1)]
        head = heirs[answers.index(SUCCESS)]
        found = await everything(client, patient)
        heads = [
            entry.entry_uuid
            for entry in found.document_entries
            if entry.availability_status is AvailabilityStatus.APPROVED
        ]
        assert heads == [head.entry_uuid]
        replacements = [item for item in found.associations if item.association_type == AssociationType.RPLC]
        assert len(replacements) == len(found.document_entries) - 1 == length + 1
        assert len({item.target_object for item in replacements}) == len(replacements)


async def test_nobody_is_left_under_the_id_of_a_patient_who_is_merged_while_submissions_come(
    registry: RegistryProcess, client: RegistryClient, rounds: range
) -> None:
    """Submissions of many kinds, and one merge in the middle of them."""
    outcomes: Counter[bool] = Counter()
    for number in rounds:
        subsumed, survivor = a_patient(), a_patient()
        old = a_document_entry(patient_id=subsumed)
        assert await client.register(a_submission(old)) == SUCCESS
        assert b"\rMSA|AA|" in await fed(registry, adt("A04", patient=survivor))

        async def submitted(
            at: int, patient: str = subsumed, replaced: str = old.entry_uuid, turn: int = number
        ) -> frozenset[str]:
            # The merge comes sooner or later among them.
            await asyncio.sleep(0.002 * ((at + turn) % 8))
            entry = a_document_entry(patient_id=patient)
            kinds = ((), [an_association(entry.entry_uuid, replaced, AssociationType.APND)])
            folders = [a_folder(patient_id=patient)] if at % 3 else []
            return await client.register(a_submission(entry, folders=folders, associations=kinds[at % 2]))

        async def merged(prior: str = subsumed, to: str = survivor) -> frozenset[str]:
            await asyncio.sleep(0.006)
            acknowledged = await fed(registry, adt("A40", patient=to, prior=prior))
            return SUCCESS if b"\rMSA|AA|" in acknowledged else frozenset({"AE"})

        answers = await asyncio.gather(*map(submitted, range(CLIENTS)), merged())

        assert answers.pop() == SUCCESS
        # A patient who is merged away does not take a document any more, from whoever.
        assert await submitted(0) >= UNKNOWN_PATIENT
        outcomes.update(codes == SUCCESS for codes in answers)
        assert {*answers} <= {SUCCESS, UNKNOWN_PATIENT, UNKNOWN_PATIENT | {"XDSPatientIdDoesNotMatch"}}
        left, found = await everything(client, subsumed), await everything(client, survivor)
        assert not any((left.document_entries, left.submission_sets, left.folders, left.associations))
        accepted = answers.count(SUCCESS) + 1
        assert (len(found.document_entries), len(found.submission_sets)) == (accepted, accepted)
        assert {
            item.patient_id for item in (*found.document_entries, *found.submission_sets, *found.folders)
        } == {survivor}
    assert outcomes[True]
