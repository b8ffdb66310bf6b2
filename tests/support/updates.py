"""Updates of metadata to start from (ITI-57, 92), and a short way to ask a registry for them.

`new_version` gives the next version of a value, `an_update` a message with operations, each of which is what
`versions`, `status_changes` or `submitted` make of their arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from registry.domain import stored_queries as queries
from registry.transactions import iti57, iti92
from registry.unit import Unit
from shared.ebrim import schemes
from shared.ebrim.codec import DecodedSubmission, RegistryObjects
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    DocumentEntry,
    Folder,
    RegistryObject,
    Slot,
    Submission,
    SubmissionSet,
)
from shared.errors import Rejected
from shared.messages.iti57 import UpdateRequest
from shared.messages.registry import RegistryResponse
from shared.perform import perform
from shared.security.caller import Caller
from tests.support.metadata import PATIENT, a_submission_set, an_association
from tests.support.registry import APPROVED, DEPRECATED, REPOSITORY, Registry, codes

T = AssociationType
Versioned = DocumentEntry | Folder
STATUSES = [APPROVED, DEPRECATED]


def new_version(value: Any, **changes: Any) -> Any:
    """The next version of `value`, under an id of its own."""
    logical_id = value.logical_id or value.entry_uuid
    return replace(value, **{"entry_uuid": new_uuid(), "logical_id": logical_id, **changes})


def slots(**values: str | Sequence[str] | None) -> tuple[Slot, ...]:
    """The Slots of an association; those that are None are absent."""
    return tuple(
        Slot(name, (value,) if isinstance(value, str) else tuple(value))
        for name, value in values.items()
        if value is not None
    )


@dataclass(frozen=True)
class Operation:
    """Objects of a message, and the associations from its set, which is not known yet."""

    objects: tuple[RegistryObject, ...] = ()
    from_set: tuple[Association, ...] = ()


def a_version(
    value: Versioned,
    previous: str | Sequence[str] | None = "1",
    propagation: str | None = None,
    **changes: Any,
) -> Operation:
    """A new version that follows `previous`; `changes` are those of its HasMember."""
    status = schemes.ORIGINAL if isinstance(value, DocumentEntry) else ""
    annotations = slots(PreviousVersion=previous, AssociationPropagation=propagation)
    membership = an_association(
        "", value.entry_uuid, **{"submission_set_status": status, "extra_slots": annotations, **changes}
    )
    return Operation((value,), (membership,))


def a_status(target: str, original: str | None, new: str | None, **extra: str) -> Operation:
    """A change of status."""
    return Operation(
        from_set=(
            an_association(
                "",
                target,
                T.UPDATE_AVAILABILITY_STATUS,
                extra_slots=slots(OriginalStatus=original, NewStatus=new, **extra),
            ),
        )
    )


def submitted(association: Association, **changes: Any) -> Operation:
    """An association, and the trigger that submits it."""
    trigger = an_association("", association.entry_uuid, T.SUBMIT_ASSOCIATION, **changes)
    return Operation((association,), (trigger,))


def an_update(
    *operations: Operation, submission_set: SubmissionSet | None = None, **changes: Any
) -> Submission:
    """A message of these operations; `changes` are those of its SubmissionSet."""
    objects = [thing for operation in operations for thing in operation.objects]
    patients = [thing.patient_id for thing in objects if not isinstance(thing, Association)]
    of = submission_set or a_submission_set(**{"patient_id": (patients or [PATIENT])[0], **changes})
    return Submission(
        submission_set=of,
        document_entries=tuple(thing for thing in objects if isinstance(thing, DocumentEntry)),
        folders=tuple(thing for thing in objects if isinstance(thing, Folder)),
        associations=(
            *(
                replace(item, source_object=item.source_object or of.entry_uuid)
                for operation in operations
                for item in operation.from_set
            ),
            *(thing for thing in objects if isinstance(thing, Association)),
        ),
    )


async def update(
    registry: Registry,
    message: Submission | DecodedSubmission | Operation,
    *,
    restricted: bool = False,
    caller: Caller = REPOSITORY,
    message_id: str = "",
) -> RegistryResponse:
    """Ask for an update by ITI-57, or by ITI-92; raises `Rejected`."""
    if isinstance(message, Operation):
        message = an_update(message)
    decoded = message if isinstance(message, DecodedSubmission) else DecodedSubmission(submission=message)
    return await perform(
        (iti92 if restricted else iti57).SERVED,
        partial(Unit, registry.parts),
        UpdateRequest(decoded=decoded),
        replace(caller, message_id=message_id),
        registry.parts.recorder,
    )


async def refusal(
    registry: Registry, message: Submission | Operation, *, restricted: bool = False
) -> Rejected:
    """What the registry refuses an update with."""
    with pytest.raises(Rejected) as raised:
        await update(registry, message, restricted=restricted)
    return raised.value


async def refused(
    registry: Registry, message: Submission | Operation, *, restricted: bool = False
) -> list[str]:
    """The error codes of that."""
    return codes(await refusal(registry, message, restricted=restricted))


# --- what is registered -----------------------------------------------------------------------------------


async def everything(registry: Registry, level: int = 2, patient_id: str = PATIENT) -> RegistryObjects:
    """All objects of a patient that a metadata level shows, associations in any status at level 2."""
    given: dict[str, Any] = {
        "$patientId": patient_id,
        "$XDSDocumentEntryStatus": STATUSES,
        "$XDSSubmissionSetStatus": STATUSES,
        "$XDSFolderStatus": STATUSES,
        "$XDSDocumentEntryType": [schemes.STABLE, schemes.ON_DEMAND],
        "$MetadataLevel": level,
    }
    if level == 2:
        given["$XDSAssociationStatus"] = STATUSES
    return await registry.query(queries.GET_ALL, given)


def objects_of(found: RegistryObjects) -> list[RegistryObject]:
    """The objects of an answer in one list."""
    return [*found.document_entries, *found.submission_sets, *found.folders, *found.associations]


async def versions_of(registry: Registry, value: Versioned) -> list[Any]:
    """All versions of a value, the first one first."""
    kind, query = (
        ("$XDSDocumentEntry", queries.GET_DOCUMENTS)
        if isinstance(value, DocumentEntry)
        else ("$XDSFolder", queries.GET_FOLDERS)
    )
    wanted = {f"{kind}LogicalID": [value.logical_id or value.entry_uuid], "$MetadataLevel": 2}
    found = await registry.query(queries.STORED_QUERIES[query.query_id], wanted)
    versions: list[Any] = [*found.document_entries, *found.folders]
    return sorted(versions, key=lambda version: version.version)


def ids(things: Iterable[RegistryObject]) -> set[str]:
    """Their ids."""
    return {thing.entry_uuid for thing in things}
