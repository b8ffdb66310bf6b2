"""Remove Metadata (ITI-62)."""

from __future__ import annotations

from conformance.envelopes import Envelope
from conformance.plans.message import Reply
from conformance.plans.metadata import (
    GET_SUBMISSION_SET_AND_CONTENTS,
    Parameters,
    SubmissionMessage,
    a_submission,
    entries_in,
    entry_of,
    expect_found,
    query,
    registered,
    text,
)
from conformance.plans.probe import Plan
from conformance.plans.registry.registrations import (
    by_unique_id,
)
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))
REMOVE = "urn:ihe:iti:2010:DeleteDocumentSet"


def remove(stand: Stand, *ids: str) -> Reply:
    """ITI-62 of these objects."""
    refs = "".join(f'<rim:ObjectRef id="{id}"/>' for id in ids)
    body = (
        f"<lcm:RemoveObjectsRequest><rim:ObjectRefList>{refs}</rim:ObjectRefList></lcm:RemoveObjectsRequest>"
    )
    return stand.soap("registry", Envelope(action=REMOVE, body=body))


def _all_of(stand: Stand, submission: SubmissionMessage) -> list[str]:
    arguments: Parameters = {"XDSSubmissionSetUniqueId": text(submission.unique_id)}
    reply = query(stand, GET_SUBMISSION_SET_AND_CONTENTS, arguments, return_type="ObjectRef").expect_success()
    return [str(one.get("id")) for one in reply.all("rim:RegistryObjectList/rim:ObjectRef")]


@PLAN.requires("REG-62-101", "ITI TF-2 3.62.4.1.3", option="Remove Metadata")
def _(stand: Stand) -> None:
    """A submission whose objects are all named is removed."""
    submission = registered(stand, a_submission(stand))
    remove(stand, *_all_of(stand, submission)).expect_success()
    expect_found(entries_in(by_unique_id(stand, submission.entries[0].unique_id)))


@PLAN.requires("REG-62-102", "ITI TF-2 3.62.4.1.3", option="Remove Metadata")
def _(stand: Stand) -> None:
    """An id that nobody knows is refused with UnresolvedReferenceException."""
    remove(stand, stand.uuid()).expect_failure("UnresolvedReferenceException")


@PLAN.requires("REG-62-103", "ITI TF-2 3.62.4.1.3", option="Remove Metadata")
def _(stand: Stand) -> None:
    """An entry whose association would stay is refused with ReferencesExistException."""
    submission = registered(stand, a_submission(stand))
    matches = entry_of(stand, submission.entries[0].unique_id)
    remove(stand, str(matches.get("id"))).expect_failure("ReferencesExistException")
    entry_of(stand, submission.entries[0].unique_id)


@PLAN.requires("REG-62-104", "ITI TF-2 3.62.4.1.3", option="Remove Metadata")
def _(stand: Stand) -> None:
    """A SubmissionSet that would be left alone is refused with XDSUnreferencedObjectException."""
    submission = registered(stand, a_submission(stand))
    arguments: Parameters = {"XDSSubmissionSetUniqueId": text(submission.unique_id)}
    reply = query(stand, GET_SUBMISSION_SET_AND_CONTENTS, arguments).expect_success()
    ids = [
        str(one.get("id")) for one in reply.all("rim:RegistryObjectList/*[not(self::rim:RegistryPackage)]")
    ]
    remove(stand, *ids).expect_failure("XDSUnreferencedObjectException")
