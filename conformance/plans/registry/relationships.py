"""Register Document Set-b (ITI-42): documents that replace, transform and append, folders and memberships."""

from __future__ import annotations

from conformance.envelopes import NAMES
from conformance.plans.metadata import (
    APND,
    APPROVED,
    DEPRECATED,
    GET_FOLDER_AND_CONTENTS,
    GET_FOLDERS,
    GET_SUBMISSION_SETS,
    HAS_MEMBER,
    RPLC,
    SIGNS,
    UPDATE_STATUS,
    XFRM,
    XFRM_RPLC,
    Link,
    Patients,
    a_folder,
    a_submission,
    an_entry,
    entries_in,
    expect_found,
    query,
    register,
    registered,
    several,
    text,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.registry.registrations import (
    METADATA,
    filed,
    original,
    related,
    status_of,
)
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))
for _number, (_kind, _name, _after) in enumerate(
    (
        (RPLC, "RPLC", DEPRECATED),
        (XFRM_RPLC, "XFRM_RPLC", DEPRECATED),
        (APND, "APND", APPROVED),
        (XFRM, "XFRM", APPROVED),
        (SIGNS, "signs", APPROVED),
    ),
    1,
):

    def _effect(stand: Stand, kind: str = _kind, after: str = _after) -> None:
        old = original(stand)
        new, submission = related(stand, kind, old.id)
        registered(stand, submission)
        expect_equal(status_of(stand, old), after, "the status of the target")
        expect_equal(status_of(stand, new), APPROVED, "the status of the source")

    PLAN.add(
        f"REG-42-7{_number:02}",
        "ITI TF-3 4.2.2.2",
        f"the target of {_name} is {_after.rpartition(':')[2]} afterwards",
        _effect,
    )

    def _unresolved(stand: Stand, kind: str = _kind) -> None:
        _, submission = related(stand, kind, stand.uuid())
        register(stand, submission).expect_failure("UnresolvedReferenceException")

    PLAN.add(
        f"REG-42-71{_number}",
        "ITI TF-2 3.42.4.1.3.3",
        f"{_name} to an object that nobody knows is refused with UnresolvedReferenceException",
        _unresolved,
    )

    def _deprecated(stand: Stand, kind: str = _kind) -> None:
        old = original(stand)
        registered(stand, related(stand, RPLC, old.id)[1])
        _, submission = related(stand, kind, old.id)
        register(stand, submission).expect_failure("XDSRegistryDeprecatedDocumentError")

    PLAN.add(
        f"REG-42-72{_number}",
        "ITI TF-2 3.42.4.1.3.3",
        f"{_name} to a Deprecated entry is refused with XDSRegistryDeprecatedDocumentError",
        _deprecated,
    )

    def _another_patient(stand: Stand, kind: str = _kind) -> None:
        old = original(stand)
        other = Patients(stand).new()
        entry = an_entry(stand, other, id=stand.uuid())
        link = Link(id=stand.uuid(), type=kind, source=entry.id, target=old.id)
        register(stand, a_submission(stand, entry, links=[link])).expect_failure("XDSPatientIdDoesNotMatch")

    PLAN.add(
        f"REG-42-73{_number}",
        "ITI TF-2 3.42.4.1.3.3",
        f"{_name} between two patients is refused with XDSPatientIdDoesNotMatch",
        _another_patient,
        needs=("feed",),
    )


for _number, (_kind, _name) in enumerate(((APND, "addendum"), (XFRM, "transformation")), 1):

    def _cascade(stand: Stand, kind: str = _kind) -> None:
        old = original(stand)
        child, submission = related(stand, kind, old.id)
        registered(stand, submission)
        registered(stand, related(stand, RPLC, old.id)[1])
        expect_equal(status_of(stand, child), DEPRECATED, "the status of the child")

    PLAN.add(
        f"REG-42-74{_number}",
        "ITI TF-3 4.2.2.2.1",
        f"with an entry that is replaced its {_name} is Deprecated",
        _cascade,
    )


@PLAN.requires("REG-42-751", "ITI TF-3 4.2.2.2.1")
def _(stand: Stand) -> None:
    """What replaces a member of a Folder becomes a member itself."""
    patient = Patients(stand).usual
    old = an_entry(stand, patient, id=stand.uuid())
    folder = a_folder(stand, patient, id=stand.uuid())
    submission = filed(stand, old, folder)
    registered(stand, submission)
    new, replacement = related(stand, RPLC, old.id)
    registered(stand, replacement)
    reply = query(stand, GET_FOLDER_AND_CONTENTS, {"XDSFolderUniqueId": text(folder.unique_id)})
    expect_found(entries_in(reply.expect_success()), old.unique_id, new.unique_id)


@PLAN.requires("REG-42-752", "ITI TF-3 4.2.2.1.3")
def _(stand: Stand) -> None:
    """A registered entry can be put into a new Folder."""
    entry = original(stand)
    folder = a_folder(stand, entry.patient_id, id=stand.uuid())
    link = Link(id=stand.uuid(), type=HAS_MEMBER, source=folder.id, target=entry.id)
    of_set = Link(id=stand.uuid(), type=HAS_MEMBER, source="set", target=link.id)
    registered(stand, a_submission(stand, folders=[folder], links=[link, of_set]))
    reply = query(stand, GET_FOLDER_AND_CONTENTS, {"XDSFolderUniqueId": text(folder.unique_id)})
    expect_found(entries_in(reply.expect_success()), entry.unique_id)


@PLAN.requires("REG-42-753", "ITI TF-3 4.2.2.1.1")
def _(stand: Stand) -> None:
    """A registered entry can be a member by reference."""
    entry = original(stand)
    link = Link(
        id=stand.uuid(),
        type=HAS_MEMBER,
        source="set",
        target=entry.id,
        slots={"SubmissionSetStatus": ("Reference",)},
    )
    registered(stand, a_submission(stand, an_entry(stand, entry.patient_id), links=[link]))
    reply = query(stand, GET_SUBMISSION_SETS, {"uuid": several(entry.id)}).expect_success()
    expect_equal(
        len(reply.all("rim:RegistryObjectList/rim:RegistryPackage")), 2, "the number of SubmissionSets"
    )


@PLAN.requires("REG-42-754", "ITI TF-3 4.2.2.1.1")
def _(stand: Stand) -> None:
    """A member by value that is not in the message is refused."""
    entry = original(stand)
    link = Link(
        id=stand.uuid(),
        type=HAS_MEMBER,
        source="set",
        target=entry.id,
        slots={"SubmissionSetStatus": ("Original",)},
    )
    submission = a_submission(stand, an_entry(stand, entry.patient_id), links=[link])
    register(stand, submission).expect_failure(*METADATA, "UnresolvedReferenceException")


@PLAN.requires("REG-42-755", "ITI TF-3 4.2.3.4.6")
def _(stand: Stand) -> None:
    """The registry sets lastUpdateTime of a Folder."""
    folder = a_folder(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, folders=[folder]))
    reply = query(stand, GET_FOLDERS, {"XDSFolderUniqueId": several(folder.unique_id)}).expect_success()
    (matches,) = reply.all("rim:RegistryObjectList/rim:RegistryPackage")
    time = str(matches.xpath("string(rim:Slot[@name='lastUpdateTime']//rim:Value)", namespaces=NAMES))
    expect(len(time) == 14 and time.isdigit(), f"lastUpdateTime is {time!r}")


@PLAN.requires("REG-42-756", "ITI TF-2 3.57.4.1.3")
def _(stand: Stand) -> None:
    """Constructs of Metadata Update are refused in ITI-42."""
    old = original(stand)
    link = Link(
        id=stand.uuid(),
        type=UPDATE_STATUS,
        source="set",
        target=old.id,
        slots={"OriginalStatus": (APPROVED,), "NewStatus": (DEPRECATED,)},
    )
    register(stand, a_submission(stand, links=[link])).expect_failure(*METADATA)
    expect_equal(status_of(stand, old), APPROVED, "the status")
