"""Update Document Set (ITI-57)."""

from __future__ import annotations

from typing import Any

from conformance.envelopes import NAMES
from conformance.plans.message import Reply
from conformance.plans.metadata import (
    APND,
    APPROVED,
    DEPRECATED,
    GET_RELATED_DOCUMENTS,
    HAS_MEMBER,
    SUBMIT_ASSOCIATION,
    UPDATE_STATUS,
    Entry,
    Link,
    Parameters,
    Patients,
    a_submission,
    an_entry,
    entries_in,
    entry_of,
    expect_found,
    query,
    register,
    several,
    text,
)
from conformance.plans.probe import Plan, expect_equal
from conformance.plans.registry.registrations import (
    original,
    status_of,
)
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))
UPDATE = "urn:ihe:iti:2010:UpdateDocumentSet"


def _updated(stand: Stand, old: Entry, *, previous: str = "1", **changes: Any) -> Reply:
    """A new version of an entry: ITI-57 Update DocumentEntry Metadata."""
    new = an_entry(
        stand,
        old.patient_id,
        id=stand.uuid(),
        attributes=f'lid="{old.id}"',
        **{"unique_id": old.unique_id, **changes},
    )
    link = Link(
        id=stand.uuid(),
        type=HAS_MEMBER,
        source="set",
        target=new.id,
        slots={"SubmissionSetStatus": ("Original",), "PreviousVersion": (previous,)},
    )
    return register(stand, a_submission(stand, new, links=[link], members=False), action=UPDATE)


@PLAN.requires("REG-57-101", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update makes a new version, which alone is found."""
    old = original(stand)
    _updated(stand, old, title="Better title").expect_success()
    matches = entry_of(stand, old.unique_id)
    title = str(matches.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=NAMES))
    expect_equal(title, "Better title", "the title")


@PLAN.requires("REG-57-102", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update of a version that is not the latest is refused with XDSMetadataVersionError."""
    _updated(stand, original(stand), previous="7").expect_failure("XDSMetadataVersionError")


@PLAN.requires("REG-57-103", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update that changes the uniqueId is refused."""
    _updated(stand, original(stand), unique_id=stand.oid()).expect_failure("XDSMetadataUpdateError")


@PLAN.requires("REG-57-104", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update with incomplete metadata is refused with XDSRegistryMetadataError."""
    _updated(stand, original(stand), codes={"classCode": []}).expect_failure("XDSRegistryMetadataError")


@PLAN.requires("REG-57-105", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update of an entry that nobody knows is refused with XDSMetadataVersionError."""
    strange = an_entry(stand, Patients(stand).usual, id=stand.uuid())
    _updated(stand, strange).expect_failure("XDSMetadataVersionError")


def _new_status(stand: Stand, target: str, before: str, after: str) -> Reply:
    link = Link(
        id=stand.uuid(),
        type=UPDATE_STATUS,
        source="set",
        target=target,
        slots={"OriginalStatus": (before,), "NewStatus": (after,)},
    )
    submission = a_submission(stand, patient_id=Patients(stand).usual, folders=[], links=[link])
    return register(stand, submission, action=UPDATE)


@PLAN.requires("REG-57-111", "ITI TF-2 3.57.4.1.3.3.2", option="Metadata Update")
def _(stand: Stand) -> None:
    """An entry can be deprecated, and approved again."""
    old = original(stand)
    _new_status(stand, old.id, APPROVED, DEPRECATED).expect_success()
    expect_equal(status_of(stand, old), DEPRECATED, "the status")
    _new_status(stand, old.id, DEPRECATED, APPROVED).expect_success()
    expect_equal(status_of(stand, old), APPROVED, "the status")


@PLAN.requires("REG-57-112", "ITI TF-2 3.57.4.1.3.3.2", option="Metadata Update")
def _(stand: Stand) -> None:
    """A change from a status that is not the current one is refused with XDSMetadataUpdateError."""
    old = original(stand)
    _new_status(stand, old.id, DEPRECATED, APPROVED).expect_failure("XDSMetadataUpdateError")


@PLAN.requires("REG-57-113", "ITI TF-2 3.57.4.1.3.3.4", option="Metadata Update")
def _(stand: Stand) -> None:
    """A relationship between registered entries can be submitted."""
    one, other = original(stand), original(stand)
    link = Link(id=stand.uuid(), type=APND, source=one.id, target=other.id)
    trigger = Link(id=stand.uuid(), type=SUBMIT_ASSOCIATION, source="set", target=link.id)
    submission = a_submission(stand, patient_id=one.patient_id, folders=[], links=[link, trigger])
    register(stand, submission, action=UPDATE).expect_success()
    arguments: Parameters = {
        "XDSDocumentEntryUniqueId": text(one.unique_id),
        "AssociationTypes": several(APND),
    }
    reply = query(stand, GET_RELATED_DOCUMENTS, arguments).expect_success()
    expect_found(entries_in(reply), one.unique_id, other.unique_id)
