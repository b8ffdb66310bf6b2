"""What each stored query selects, before consent (ITI TF-2 3.18.4.1.2.3.7), and what surrounds it.

A selection reads several statements on one snapshot. It gives the objects once each, in no particular order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from registry.domain import stored_queries as queries
from registry.domain.multi_patient_queries import (
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
)
from registry.domain.stored_queries import Criteria
from registry.domain.submission import HAS_MEMBER, ObjectClass
from registry.domain.visibility import Candidate, Choice, Surroundings
from registry.store import consents
from registry.store.associations import (
    find_memberships_in,
    find_memberships_of,
    find_of_types,
    find_touching,
)
from registry.store.candidates import (
    find_by_ids,
    find_latest,
    find_of_class,
    find_shown,
)
from registry.store.document_entries import find_contents, find_documents
from registry.store.folders import FOLDERS
from registry.store.fragments import find_fragments
from registry.store.multi_patient import find_documents_of_patients, find_folders_of_patients
from registry.store.submission_sets import SUBMISSION_SETS
from shared.ebrim.model import AvailabilityStatus
from shared.errors import TooManyResults
from shared.store.engine import Transaction

_DE, _SS, _FD = "$XDSDocumentEntry", "$XDSSubmissionSet", "$XDSFolder"

Select = Callable[[Transaction, Criteria, int], Awaitable[Choice]]


@dataclass(frozen=True, slots=True)
class Selection:
    """A result before consent, with what consent needs.

    `fragments` are those of the whole result on the same snapshot, or None when they were not read.
    """

    choice: Choice
    surroundings: Surroundings
    given: Mapping[str, consents.Given]
    fragments: Mapping[str, bytes] | None = None


async def select_objects(
    transaction: Transaction, criteria: Criteria, *, most: int, fragments_up_to: int = 0
) -> Selection:
    """Carry out the selection of a query and read what surrounds it, and the fragments if they are so few.

    A Find… query is refused when there are `most` objects to look at, or more.
    """
    choice = await SELECTIONS[criteria.query.query_id](transaction, criteria, most)
    result = list({item.entry_uuid: item for item in choice.result}.values())
    around = await _surroundings(transaction, [*result, *choice.witnesses])
    patients = {item.patient_id for item in around.objects.values() if not item.is_association}
    return Selection(
        choice=replace(choice, result=result),
        surroundings=around,
        given=await consents.find_given(transaction, patients) if patients else {},
        fragments=await find_fragments(transaction, result) if len(result) <= fragments_up_to else None,
    )


async def _surroundings(transaction: Transaction, looked_at: list[Candidate]) -> Surroundings:
    objects = {item.entry_uuid: item for item in looked_at}
    members: dict[str, list[str]] = {}
    fresh = looked_at
    while fresh:
        holders = [
            item for item in fresh if item.object_class in (ObjectClass.SUBMISSION_SET, ObjectClass.FOLDER)
        ]
        ends = _ends(item for item in fresh if item.is_association)
        for membership in await _all_memberships(transaction, holders):
            source, target = membership.source_object or "", membership.target_object or ""
            members.setdefault(source, []).append(target)
            ends.add(target)
        fresh = await find_by_ids(transaction, ends - objects.keys())
        objects.update((item.entry_uuid, item) for item in fresh)
    latest = await find_latest(transaction, filter(_may_be_old, objects.values()))
    objects.update((item.entry_uuid, item) for item in latest.values())
    return Surroundings(
        objects, members, {entry_uuid: item.entry_uuid for entry_uuid, item in latest.items()}
    )


async def _all_memberships(transaction: Transaction, holders: list[Candidate]) -> list[Candidate]:
    """The Approved memberships of each of `holders`, or, where there is none, those of any status."""
    approved = await find_memberships_of(transaction, holders, statuses=(str(AvailabilityStatus.APPROVED),))
    of_these = {item.source_object for item in approved}
    emptied = [item for item in holders if item.entry_uuid not in of_these]
    return [
        *approved,
        *await find_memberships_of(transaction, emptied, statuses=tuple(map(str, AvailabilityStatus))),
    ]


def _may_be_old(item: Candidate) -> bool:
    return item.may_be_old


def _ids(candidates: Iterable[Candidate]) -> set[str]:
    return {item.entry_uuid for item in candidates}


def _ends(associations: Iterable[Candidate]) -> set[str]:
    ends: set[str] = set()
    for item in associations:
        ends.update((item.source_object or "", item.target_object or ""))
    return ends


def _within(associations: Iterable[Candidate], ids: set[str]) -> list[Candidate]:
    return [item for item in associations if item.source_object in ids and item.target_object in ids]


# --- Find… --------------------------------------------------------------------------------------------


def _complete(candidates: list[Candidate], most: int) -> list[Candidate]:
    """`candidates`, unless there may be more: what was not looked at might be what may be seen."""
    if len(candidates) >= most:
        raise TooManyResults(f"{most} objects or more to look at; narrow the query")
    return candidates


async def _find_documents(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    patient_id = criteria.value(f"{_DE}PatientId")
    documents = await find_documents(transaction, criteria, patient_id=patient_id, most=most, leaf=False)
    return Choice(_complete(documents.candidates, most))


async def _find_submission_sets(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    patient_id = criteria.value(f"{_SS}PatientId")
    sets = await SUBMISSION_SETS.find(transaction, criteria, patient_id=patient_id, most=most)
    return Choice(_complete(sets, most))


async def _find_folders(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    patient_id = criteria.value(f"{_FD}PatientId")
    folders = await FOLDERS.find(transaction, criteria, patient_id=patient_id, most=most)
    return Choice(_complete(folders, most))


async def _find_documents_of_patients(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    return Choice(_complete(await find_documents_of_patients(transaction, criteria, most=most), most))


async def _find_folders_of_patients(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    return Choice(_complete(await find_folders_of_patients(transaction, criteria, most=most), most))


async def _get_all(transaction: Transaction, criteria: Criteria, most: int) -> Choice:
    patient_id = criteria.value("$patientId")
    documents = await find_documents(transaction, criteria, patient_id=patient_id, most=most, leaf=False)
    candidates = [
        *documents.candidates,
        *await SUBMISSION_SETS.find(transaction, criteria, patient_id=patient_id, most=most),
        *await FOLDERS.find(transaction, criteria, patient_id=patient_id, most=most),
    ]
    _complete(candidates, most)
    return Choice([*candidates, *await _touching(transaction, criteria, _ids(candidates))])


# --- Get… ---------------------------------------------------------------------------------------------


async def _touching(transaction: Transaction, criteria: Criteria, ids: Iterable[str]) -> list[Candidate]:
    return await find_touching(transaction, ids, statuses=criteria.shown.association_statuses)


async def _memberships(
    transaction: Transaction, criteria: Criteria, of: Iterable[Candidate]
) -> list[Candidate]:
    return await find_memberships_of(transaction, of, statuses=criteria.shown.association_statuses)


async def _documents(transaction: Transaction, criteria: Criteria) -> list[Candidate]:
    return await find_of_class(
        transaction,
        ObjectClass.DOCUMENT_ENTRY,
        level=criteria.level,
        ids=criteria.values(f"{_DE}EntryUUID"),
        unique_ids=criteria.values(f"{_DE}UniqueId"),
        logical_ids=criteria.values(f"{_DE}LogicalID"),
    )


async def _folders(transaction: Transaction, criteria: Criteria) -> list[Candidate]:
    return await find_of_class(
        transaction,
        ObjectClass.FOLDER,
        level=criteria.level,
        ids=criteria.values(f"{_FD}EntryUUID"),
        unique_ids=criteria.values(f"{_FD}UniqueId"),
        logical_ids=criteria.values(f"{_FD}LogicalID"),
    )


async def _get_documents(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    return Choice(await _documents(transaction, criteria))


async def _get_folders(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    return Choice(await _folders(transaction, criteria))


async def _get_associations(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    return Choice(await _touching(transaction, criteria, criteria.values("$uuid")))


async def _get_documents_and_associations(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    documents = await _documents(transaction, criteria)
    return Choice([*documents, *await _touching(transaction, criteria, _ids(documents))])


async def _get_submission_sets(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    members = [
        item.entry_uuid
        for item in await find_shown(transaction, criteria.values("$uuid"), criteria.shown)
        if item.object_class in (ObjectClass.DOCUMENT_ENTRY, ObjectClass.FOLDER)
    ]
    memberships = await find_memberships_in(
        transaction, ObjectClass.SUBMISSION_SET, members, statuses=criteria.shown.association_statuses
    )
    sets = await find_by_ids(transaction, {item.source_object or "" for item in memberships})
    return Choice([*sets, *memberships], because=_starting_with(memberships))


async def _get_submission_set_and_contents(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    sets = await find_of_class(
        transaction,
        ObjectClass.SUBMISSION_SET,
        level=criteria.level,
        ids=criteria.values(f"{_SS}EntryUUID"),
        unique_ids=criteria.values(f"{_SS}UniqueId"),
    )
    memberships = await _memberships(transaction, criteria, sets)
    targets = {item.target_object or "" for item in memberships}
    members = await find_shown(transaction, targets, criteria.shown)
    documents = await find_contents(transaction, criteria, targets)
    folders = [item for item in members if item.object_class == ObjectClass.FOLDER]
    # An association is returned when both its ends are; then its own membership is.
    objects = _ids([*sets, *documents, *folders])
    collected = _within((item for item in members if item.is_association), objects)
    return Choice(
        [
            *sets,
            *documents,
            *folders,
            *collected,
            *_within(memberships, objects | _ids(collected)),
        ]
    )


async def _get_folder_and_contents(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    folders = await _folders(transaction, criteria)
    memberships = await _memberships(transaction, criteria, folders)
    documents = await find_contents(transaction, criteria, {item.target_object or "" for item in memberships})
    within = _within(memberships, _ids([*folders, *documents]))
    return Choice([*folders, *documents, *within])


async def _get_folders_for_document(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    documents = await _documents(transaction, criteria)
    memberships = await find_memberships_in(
        transaction, ObjectClass.FOLDER, _ids(documents), statuses=criteria.shown.association_statuses
    )
    holders = {item.source_object or "" for item in memberships}
    folders = await find_shown(transaction, holders, criteria.shown)
    return Choice(folders, because=_starting_with(memberships), witnesses=memberships)


async def _get_related_documents(transaction: Transaction, criteria: Criteria, _: int) -> Choice:
    start = _ids(await _documents(transaction, criteria))
    types = set(criteria.values("$AssociationTypes")) - {str(HAS_MEMBER)}
    related = await find_of_types(transaction, start, types, statuses=criteria.shown.association_statuses)
    documents = await find_contents(transaction, criteria, _ends(related))
    joined = _within(related, _ids(documents))
    because = {
        document.entry_uuid: [
            item.entry_uuid
            for item in joined
            if document.entry_uuid in (item.source_object, item.target_object)
        ]
        for document in documents
    }
    return Choice([*documents, *joined], because=because)


def _starting_with(memberships: Iterable[Candidate]) -> dict[str, list[str]]:
    because: dict[str, list[str]] = {}
    for item in memberships:
        because.setdefault(item.source_object or "", []).append(item.entry_uuid)
    return because


SELECTIONS: Mapping[str, Select] = {
    queries.FIND_DOCUMENTS.query_id: _find_documents,
    queries.FIND_DOCUMENTS_BY_REFERENCE_ID.query_id: _find_documents,
    queries.FIND_SUBMISSION_SETS.query_id: _find_submission_sets,
    queries.FIND_FOLDERS.query_id: _find_folders,
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS.query_id: _find_documents_of_patients,
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS.query_id: _find_folders_of_patients,
    queries.GET_ALL.query_id: _get_all,
    queries.GET_DOCUMENTS.query_id: _get_documents,
    queries.GET_FOLDERS.query_id: _get_folders,
    queries.GET_ASSOCIATIONS.query_id: _get_associations,
    queries.GET_DOCUMENTS_AND_ASSOCIATIONS.query_id: _get_documents_and_associations,
    queries.GET_SUBMISSION_SETS.query_id: _get_submission_sets,
    queries.GET_SUBMISSION_SET_AND_CONTENTS.query_id: _get_submission_set_and_contents,
    queries.GET_FOLDER_AND_CONTENTS.query_id: _get_folder_and_contents,
    queries.GET_FOLDERS_FOR_DOCUMENT.query_id: _get_folders_for_document,
    queries.GET_RELATED_DOCUMENTS.query_id: _get_related_documents,
}
