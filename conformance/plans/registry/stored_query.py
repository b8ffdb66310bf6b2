"""Registry Stored Query (ITI-18), and what every SOAP endpoint does (asked of it)."""

from __future__ import annotations

from collections.abc import Callable

from conformance.envelopes import NAMES, Envelope
from conformance.plans import soap
from conformance.plans.message import Reply
from conformance.plans.metadata import (
    APND,
    APPROVED,
    CODES,
    DEPRECATED,
    FIND_BY_REFERENCE_ID,
    FIND_DOCUMENTS,
    FIND_FOLDERS,
    FIND_SUBMISSION_SETS,
    GET_ALL,
    GET_ASSOCIATIONS,
    GET_DOCUMENTS,
    GET_DOCUMENTS_AND_ASSOCIATIONS,
    GET_FOLDER_AND_CONTENTS,
    GET_FOLDERS,
    GET_FOLDERS_FOR_DOCUMENT,
    GET_RELATED_DOCUMENTS,
    GET_SUBMISSION_SET_AND_CONTENTS,
    GET_SUBMISSION_SETS,
    QUERY,
    Entry,
    Link,
    Parameters,
    Patients,
    SubmissionMessage,
    a_folder,
    a_submission,
    an_entry,
    code,
    documents_of,
    entries_in,
    entry_of,
    expect_found,
    query,
    query_body,
    registered,
    several,
    text,
    unique_id_of,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.registry.registrations import (
    filed,
)
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))
DOOR = soap.Door(
    "registry",
    QUERY,
    f"{QUERY}Response",
    False,
    lambda stand: query_body(GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(stand.oid())}),
)
soap.state(PLAN, "REG", DOOR)


_STATUS = several(APPROVED)
#: Query: name, what it may be asked with, and which of those it cannot be without.
_QUERIES: dict[
    str, tuple[str, Callable[[Stand, Entry, SubmissionMessage], dict[str, str]], tuple[str, ...]]
] = {
    "FindDocuments": (
        FIND_DOCUMENTS,
        lambda stand, entry, submission: {
            "XDSDocumentEntryPatientId": text(entry.patient_id),
            "XDSDocumentEntryStatus": _STATUS,
        },
        ("XDSDocumentEntryPatientId", "XDSDocumentEntryStatus"),
    ),
    "FindSubmissionSets": (
        FIND_SUBMISSION_SETS,
        lambda stand, entry, submission: {
            "XDSSubmissionSetPatientId": text(entry.patient_id),
            "XDSSubmissionSetStatus": _STATUS,
        },
        ("XDSSubmissionSetPatientId", "XDSSubmissionSetStatus"),
    ),
    "FindFolders": (
        FIND_FOLDERS,
        lambda stand, entry, submission: {
            "XDSFolderPatientId": text(entry.patient_id),
            "XDSFolderStatus": _STATUS,
        },
        ("XDSFolderPatientId", "XDSFolderStatus"),
    ),
    "GetAll": (
        GET_ALL,
        lambda stand, entry, submission: {
            "patientId": text(entry.patient_id),
            "XDSDocumentEntryStatus": _STATUS,
            "XDSSubmissionSetStatus": _STATUS,
            "XDSFolderStatus": _STATUS,
        },
        ("patientId", "XDSDocumentEntryStatus", "XDSSubmissionSetStatus", "XDSFolderStatus"),
    ),
    "GetDocuments": (
        GET_DOCUMENTS,
        lambda stand, entry, submission: {"XDSDocumentEntryUniqueId": several(entry.unique_id)},
        ("XDSDocumentEntryUniqueId",),
    ),
    "GetFolders": (
        GET_FOLDERS,
        lambda stand, entry, submission: {"XDSFolderUniqueId": several(submission.folders[0].unique_id)},
        ("XDSFolderUniqueId",),
    ),
    "GetAssociations": (
        GET_ASSOCIATIONS,
        lambda stand, entry, submission: {"uuid": several(entry.id)},
        ("uuid",),
    ),
    "GetDocumentsAndAssociations": (
        GET_DOCUMENTS_AND_ASSOCIATIONS,
        lambda stand, entry, submission: {"XDSDocumentEntryUniqueId": several(entry.unique_id)},
        ("XDSDocumentEntryUniqueId",),
    ),
    "GetSubmissionSets": (
        GET_SUBMISSION_SETS,
        lambda stand, entry, submission: {"uuid": several(entry.id)},
        ("uuid",),
    ),
    "GetSubmissionSetAndContents": (
        GET_SUBMISSION_SET_AND_CONTENTS,
        lambda stand, entry, submission: {"XDSSubmissionSetUniqueId": text(submission.unique_id)},
        ("XDSSubmissionSetUniqueId",),
    ),
    "GetFolderAndContents": (
        GET_FOLDER_AND_CONTENTS,
        lambda stand, entry, submission: {"XDSFolderUniqueId": text(submission.folders[0].unique_id)},
        ("XDSFolderUniqueId",),
    ),
    "GetFoldersForDocument": (
        GET_FOLDERS_FOR_DOCUMENT,
        lambda stand, entry, submission: {"XDSDocumentEntryUniqueId": text(entry.unique_id)},
        ("XDSDocumentEntryUniqueId",),
    ),
    "GetRelatedDocuments": (
        GET_RELATED_DOCUMENTS,
        lambda stand, entry, submission: {
            "XDSDocumentEntryUniqueId": text(entry.unique_id),
            "AssociationTypes": several(APND),
        },
        ("XDSDocumentEntryUniqueId", "AssociationTypes"),
    ),
    "FindDocumentsByReferenceId": (
        FIND_BY_REFERENCE_ID,
        lambda stand, entry, submission: {
            "XDSDocumentEntryPatientId": text(entry.patient_id),
            "XDSDocumentEntryStatus": _STATUS,
            "XDSDocumentEntryReferenceIdList": several(_reference(entry)),
        },
        ("XDSDocumentEntryPatientId", "XDSDocumentEntryStatus", "XDSDocumentEntryReferenceIdList"),
    ),
}
#: Of each: DocumentEntries, packages and Associations that are found of the usual content.
_FOUND = {
    "FindDocuments": (2, 0, 0),
    "FindSubmissionSets": (0, 2, 0),
    "FindFolders": (0, 1, 0),
    "GetAll": (2, 3, 6),
    "GetDocuments": (1, 0, 0),
    "GetFolders": (0, 1, 0),
    "GetAssociations": (0, 0, 3),
    "GetDocumentsAndAssociations": (1, 0, 3),
    "GetSubmissionSets": (0, 1, 1),
    "GetSubmissionSetAndContents": (1, 2, 4),
    "GetFolderAndContents": (1, 1, 1),
    "GetFoldersForDocument": (0, 1, 0),
    "GetRelatedDocuments": (2, 0, 1),
    "FindDocumentsByReferenceId": (1, 0, 0),
}


def _reference(entry: Entry) -> str:
    return f"{entry.unique_id}^^^^urn:ihe:iti:xds:2016:studyInstanceUID"


def _content(stand: Stand) -> tuple[Entry, SubmissionMessage]:
    """An entry in a folder, with an addendum, of a patient of their own; made once for all queries."""
    if "content" not in stand.shared:
        patient = Patients(stand).new()
        entry = an_entry(stand, patient, id=stand.uuid())
        entry.slots["urn:ihe:iti:xds:2013:referenceIdList"] = (_reference(entry),)
        submission = registered(stand, filed(stand, entry, a_folder(stand, patient, id=stand.uuid())))
        addendum = an_entry(stand, patient, id=stand.uuid())
        link = Link(id=stand.uuid(), type=APND, source=addendum.id, target=entry.id)
        registered(stand, a_submission(stand, addendum, links=[link]))
        stand.shared["content"] = entry, submission
    matches: tuple[Entry, SubmissionMessage] = stand.shared["content"]
    return matches


def _counts(reply: Reply) -> tuple[int, int, int]:
    kinds = ("ExtrinsicObject", "RegistryPackage", "Association")
    entries, packages, links = (len(reply.all(f"rim:RegistryObjectList/rim:{kind}")) for kind in kinds)
    return entries, packages, links


for _number, (_name, (_id, _parameters, _needed)) in enumerate(_QUERIES.items(), 1):

    def _leaf(stand: Stand, name: str = _name) -> None:
        id, parameters, _ = _QUERIES[name]
        reply = query(stand, id, parameters(stand, *_content(stand))).expect_success()
        expect_equal(_counts(reply), _FOUND[name], "entries, packages and associations")

    PLAN.add(f"REG-18-1{_number:02}", "ITI TF-2 3.18.4.1.2.3.7", f"{_name} finds full objects", _leaf)

    def _refs(stand: Stand, name: str = _name) -> None:
        id, parameters, _ = _QUERIES[name]
        arguments = parameters(stand, *_content(stand))
        leaf = query(stand, id, arguments).expect_success()
        refs = query(stand, id, arguments, return_type="ObjectRef").expect_success()
        full = sorted(str(one.get("id")) for one in leaf.all("rim:RegistryObjectList/*"))
        short = sorted(str(one.get("id")) for one in refs.all("rim:RegistryObjectList/rim:ObjectRef"))
        expect_equal(short, full, "the ids of the ObjectRefs")
        expect_equal(len(refs.all("rim:RegistryObjectList/*")), len(short), "the number of objects")

    PLAN.add(
        f"REG-18-2{_number:02}",
        "ITI TF-2 3.18.4.1.2.3.1",
        f"{_name} as ObjectRef finds the ids of the same objects",
        _refs,
    )
    for _place, _parameter in enumerate(_needed, 1):

        def _missing(stand: Stand, name: str = _name, parameter: str = _parameter) -> None:
            id, parameters, _ = _QUERIES[name]
            arguments = {
                key: value for key, value in parameters(stand, *_content(stand)).items() if key != parameter
            }
            reply = query(stand, id, arguments).expect_failure("XDSStoredQueryMissingParam")
            expect(not reply.all("rim:RegistryObjectList/*"), "a Failure brings objects")

        PLAN.add(
            f"REG-18-3{_number:02}{_place}",
            "ITI TF-2 3.18.4.1.2.3.7",
            f"{_name} without ${_parameter} is refused with XDSStoredQueryMissingParam",
            _missing,
        )


# --- ITI-18: what narrows FindDocuments ----------------------------------------------------------------

_OTHER = several("X^^2.999.6")
_NARROWING: tuple[tuple[str, str, str], ...] = (
    *(
        (f"XDSDocumentEntry{name[0].upper()}{name[1:]}", code(name), _OTHER)
        for name in list(CODES)[:7]
    ),
    ("XDSDocumentEntryCreationTimeFrom", "20240305101500", "20240305101501"),
    ("XDSDocumentEntryCreationTimeTo", "20240305101501", "20240305101500"),
    ("XDSDocumentEntryServiceStartTimeFrom", "20240305093000", "20240305093001"),
    ("XDSDocumentEntryServiceStartTimeTo", "20240305093001", "20240305093000"),
    ("XDSDocumentEntryServiceStopTimeFrom", "20240305094500", "20240305094501"),
    ("XDSDocumentEntryServiceStopTimeTo", "20240305094501", "20240305094500"),
    ("XDSDocumentEntryAuthorPerson", several("%Roe%"), several("%roe%")),
    ("XDSDocumentEntryAuthorPerson", several("_Roe^Ann"), several("Roe")),
    ("XDSDocumentEntryStatus", several(APPROVED, DEPRECATED), several(DEPRECATED)),
    (
        "XDSDocumentEntryType",
        several("urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"),
        several("urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"),
    ),
)  # fmt: skip
for _number, (_parameter, _holds, _fails) in enumerate(_NARROWING, 1):

    def _narrowed(
        stand: Stand, parameter: str = _parameter, holds: str = _holds, fails: str = _fails
    ) -> None:
        entry, _ = _content(stand)
        expect_equal(len(documents_of(stand, entry.patient_id, **{parameter: holds})), 2, "entries found")
        expect_equal(len(documents_of(stand, entry.patient_id, **{parameter: fails})), 0, "entries found")

    PLAN.add(
        f"REG-18-4{_number:02}",
        "ITI TF-2 3.18.4.1.2.3.7.1",
        f"${_parameter} finds what it names ({_holds[:40]}) and nothing else",
        _narrowed,
    )


@PLAN.requires("REG-18-501", "ITI TF-2 3.18.4.1.2.3.3")
def _(stand: Stand) -> None:
    """An unknown query id is refused with XDSUnknownStoredQuery."""
    query(stand, stand.uuid(), {}).expect_failure("XDSUnknownStoredQuery")


@PLAN.requires("REG-18-502", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """A parameter that nobody knows is ignored."""
    entry, _ = _content(stand)
    expect_equal(len(documents_of(stand, entry.patient_id, ProbeParameter=text("x"))), 2, "entries found")


@PLAN.requires("REG-18-503", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """A code without its scheme is refused."""
    entry, _ = _content(stand)
    arguments: Parameters = {
        "XDSDocumentEntryPatientId": text(entry.patient_id),
        "XDSDocumentEntryStatus": _STATUS,
        "XDSDocumentEntryClassCode": several("IMAGES"),
    }
    query(stand, FIND_DOCUMENTS, arguments).expect_failure()


@PLAN.requires("REG-18-504", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """Values of several Value elements are alternatives, as those of one list are."""
    entry, _ = _content(stand)
    arguments: Parameters = {
        "XDSDocumentEntryPatientId": text(entry.patient_id),
        "XDSDocumentEntryStatus": _STATUS,
        "XDSDocumentEntryClassCode": [_OTHER, code("classCode")],
    }
    expect_equal(
        len(entries_in(query(stand, FIND_DOCUMENTS, arguments).expect_success())), 2, "entries found"
    )


@PLAN.requires("REG-18-505", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """Several values of a parameter that has one are refused with XDSStoredQueryParamNumber."""
    entry, _ = _content(stand)
    arguments: Parameters = {
        "XDSDocumentEntryPatientId": several(entry.patient_id, stand.patient_id()),
        "XDSDocumentEntryStatus": _STATUS,
    }
    query(stand, FIND_DOCUMENTS, arguments).expect_failure("XDSStoredQueryParamNumber")


@PLAN.requires("REG-18-506", "ITI TF-2 3.18.4.1.2.3.7.5")
def _(stand: Stand) -> None:
    """Of two exclusive parameters both together are refused with XDSStoredQueryParamNumber."""
    entry, _ = _content(stand)
    arguments: Parameters = {
        "XDSDocumentEntryUniqueId": several(entry.unique_id),
        "XDSDocumentEntryEntryUUID": several(entry.id),
    }
    query(stand, GET_DOCUMENTS, arguments).expect_failure("XDSStoredQueryParamNumber")


@PLAN.requires("REG-18-507", "ITI TF-2 3.18.4.1.2.3.1")
def _(stand: Stand) -> None:
    """A returnType that XDS does not define is refused."""
    entry, _ = _content(stand)
    arguments: Parameters = {"XDSDocumentEntryUniqueId": several(entry.unique_id)}
    query(stand, GET_DOCUMENTS, arguments, return_type="RepositoryItem").expect_failure()


@PLAN.requires("REG-18-508", "ITI TF-2 3.18.4.1.3")
def _(stand: Stand) -> None:
    """A patient of whom nothing is registered is an empty Success."""
    expect_found(documents_of(stand, stand.patient_id()))


@PLAN.requires("REG-18-509", "ITI TF-2 3.18.4.1.3")
def _(stand: Stand) -> None:
    """The response has a RegistryObjectList, if only an empty one."""
    arguments: Parameters = {"XDSDocumentEntryUniqueId": several(stand.oid())}
    reply = query(stand, GET_DOCUMENTS, arguments).expect_success()
    expect_equal(len(reply.all("rim:RegistryObjectList")), 1, "the number of RegistryObjectLists")


@PLAN.requires("REG-18-510", "ITI TF-2 3.18.4.1.2.3.7.5", needs=("feed",))
def _(stand: Stand) -> None:
    """Full objects of two patients are refused with XDSResultNotSinglePatient; their ids are not."""
    first, _ = _content(stand)
    second = an_entry(stand, Patients(stand).new())
    registered(stand, a_submission(stand, second))
    arguments: Parameters = {"XDSDocumentEntryUniqueId": several(first.unique_id, second.unique_id)}
    query(stand, GET_DOCUMENTS, arguments).expect_failure("XDSResultNotSinglePatient")
    refs = query(stand, GET_DOCUMENTS, arguments, return_type="ObjectRef").expect_success()
    expect_equal(len(refs.all("rim:RegistryObjectList/rim:ObjectRef")), 2, "ObjectRefs")


@PLAN.requires("REG-18-511", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """A quote in a value is doubled."""
    patient = stand.patient_id("O'Brien")
    expect_found(documents_of(stand, patient))


@PLAN.requires("REG-18-512", "ITI TF-2 3.18.4.1.2.3.5")
def _(stand: Stand) -> None:
    """Slots of one name add up, where an attribute has several values."""
    values = [("A", "2.999.5", "A"), ("B", "2.999.5", "B")]
    entry = an_entry(stand, Patients(stand).usual, codes={"eventCodeList": values})
    registered(stand, a_submission(stand, entry))

    def found(*codes: str) -> int:
        body = query_body(
            FIND_DOCUMENTS,
            {"XDSDocumentEntryPatientId": text(entry.patient_id), "XDSDocumentEntryStatus": _STATUS},
        )
        slots = "".join(
            f'<rim:Slot name="$XDSDocumentEntryEventCodeList"><rim:ValueList><rim:Value>{several(one)}'
            "</rim:Value></rim:ValueList></rim:Slot>"
            for one in codes
        )
        reply = stand.soap(
            "registry",
            Envelope(action=QUERY, body=body.replace("</rim:AdhocQuery>", f"{slots}</rim:AdhocQuery>")),
        ).expect_success()
        return sum(unique_id_of(one) == entry.unique_id for one in entries_in(reply))

    expect_equal(
        (found("A^^2.999.5", "B^^2.999.5"), found("A^^2.999.5", "C^^2.999.5")), (1, 0), "entries found"
    )


@PLAN.requires("REG-18-513", "ITI TF-3 4.2.1")
def _(stand: Stand) -> None:
    """Objects that are found have their ids, status and objectType, and so do what they hold."""
    entry, _ = _content(stand)
    matches = entry_of(stand, entry.unique_id)
    for name in ("id", "status", "objectType", "mimeType"):
        expect(matches.get(name), f"the entry has no {name}")
    for inner in matches.xpath("rim:Classification | rim:ExternalIdentifier", namespaces=NAMES):
        expect(inner.get("id") and inner.get("objectType"), f"{inner.tag} has no id or no objectType")
