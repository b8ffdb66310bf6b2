"""Document Registry: submissions (ITI-42), queries (ITI-18), identities (ITI-8), removal (ITI-62) and updates
(ITI-57)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conformance.plans import soap
from conformance.plans.feed import told
from conformance.plans.message import NAMES, Element, Envelope, Reply
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
    HAS_MEMBER,
    HASH,
    IDENTIFIERS,
    QUERY,
    RPLC,
    SIGNS,
    SUBMIT_ASSOCIATION,
    UPDATE_STATUS,
    XFRM,
    XFRM_RPLC,
    Change,
    Entry,
    Folder,
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
    register,
    registered,
    several,
    text,
    twice,
    unique_id_of,
    with_attribute,
    with_text,
    without,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))

soap.state(
    PLAN,
    "REG",
    soap.Door(
        "registry",
        QUERY,
        f"{QUERY}Response",
        False,
        lambda stand: query_body(GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(stand.oid())}),
    ),
)

METADATA = ("XDSRegistryMetadataError",)
ENTRY, SET, FOLDER = (
    "//rim:ExtrinsicObject",
    "//rim:RegistryPackage[@id='set']",
    "//rim:RegistryPackage[@id='folder']",
)


def classified(attribute: str) -> str:
    """Where a code stands."""
    return f"{ENTRY}/rim:Classification[@classificationScheme='{CODES[attribute][0]}']"


def identified(attribute: str) -> str:
    """Where an identifier stands."""
    return f"//rim:ExternalIdentifier[@identificationScheme='{IDENTIFIERS[attribute][0]}']"


def slotted(name: str, of: str = ENTRY) -> str:
    """Where a Slot stands."""
    return f"{of}/rim:Slot[@name='{name}']"


# --- ITI-42: what must be there ------------------------------------------------------------------------


def _refuses(
    *changes: Change, codes: Sequence[str] = METADATA, folder: bool = False
) -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        patient = Patients(stand).usual
        folders = [a_folder(stand, patient)] if folder else []
        submission = a_submission(stand, an_entry(stand, patient), folders=folders, changes=list(changes))
        register(stand, submission).expect_failure(*codes)
        expect_found(entries_in(_by_unique_id(stand, submission.entries[0].unique_id)))

    return ask


def _by_unique_id(stand: Stand, unique_id: str) -> Reply:
    return query(stand, GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(unique_id)}).expect_success()


_REQUIRED = (
    *((f"code {name}", without(classified(name))) for name in list(CODES)[:6]),
    *((f"slot {name}", without(slotted(name))) for name in (
        "creationTime", "languageCode", "sourcePatientId", "hash", "size", "repositoryUniqueId"
    )),
    ("patientId", without(identified("document patientId"))),
    ("uniqueId", without(identified("document uniqueId"))),
)  # fmt: skip
for _number, (_name, _change) in enumerate(_REQUIRED, 1):
    PLAN.add(
        f"REG-42-1{_number:02}",
        "ITI TF-3 4.2.3.2",
        f"a DocumentEntry without {_name} is refused, and nothing of it registered",
        _refuses(_change),
    )
for _number, (_name, _change, _folder) in enumerate(
    (
        ("contentTypeCode", without(f"{SET}/rim:Classification[@classificationScheme='{CODES['contentTypeCode'][0]}']"), False),
        ("patientId", without(identified("set patientId")), False),
        ("sourceId", without(identified("set sourceId")), False),
        ("uniqueId", without(identified("set uniqueId")), False),
        ("submissionTime", without(slotted("submissionTime", SET)), False),
        ("codeList of a Folder", without(f"{FOLDER}/rim:Classification[@classificationScheme='{CODES['codeList'][0]}']"), True),
        ("patientId of a Folder", without(identified("folder patientId")), True),
        ("uniqueId of a Folder", without(identified("folder uniqueId")), True),
        ("title of a Folder", without(f"{FOLDER}/rim:Name"), True),
    ),
    1,
):  # fmt: skip
    PLAN.add(
        f"REG-42-2{_number:02}",
        "ITI TF-3 4.2.3.4" if _folder else "ITI TF-3 4.2.3.3",
        f"a submission without {_name} is refused, and nothing of it registered",
        _refuses(_change, folder=_folder),
    )

_MALFORMED: tuple[tuple[str, str, Change], ...] = (
    ("4.2.3.1.7", "a creationTime that is no DTM", with_text(f"{slotted('creationTime')}//rim:Value", "yesterday")),
    ("4.2.3.1.7", "a creationTime of a day that is none", with_text(f"{slotted('creationTime')}//rim:Value", "20240231")),
    ("4.2.3.1.7", "a creationTime with a zone", with_text(f"{slotted('creationTime')}//rim:Value", "20240305101500+0100")),
    ("4.2.3.2.9", "a hash that is no SHA-1", with_text(f"{slotted('hash')}//rim:Value", "abc")),
    ("4.2.3.2.21", "a size that is no number", with_text(f"{slotted('size')}//rim:Value", "large")),
    ("4.2.3.2.21", "a negative size", with_text(f"{slotted('size')}//rim:Value", "-1")),
    ("4.2.3.1.7", "a patientId that is no CX", with_attribute(identified("document patientId"), "value", "77")),
    ("4.2.3.1.7", "a sourcePatientId that is no CX", with_text(f"{slotted('sourcePatientId')}//rim:Value", "L-77")),
    ("4.2.3.1.7", "a repositoryUniqueId that is no OID", with_text(f"{slotted('repositoryUniqueId')}//rim:Value", "1.02.x")),
    ("4.2.3.1.7", "a sourceId that is no OID", with_attribute(identified("set sourceId"), "value", "here")),
    ("4.2.3.1.7", "a submissionTime that is no DTM", with_text(f"{slotted('submissionTime', SET)}//rim:Value", "2024-03-05")),
    ("4.2.3.2.19", "a serviceStartTime after the serviceStopTime", with_text(f"{slotted('serviceStartTime')}//rim:Value", "20990101")),
    ("4.2.3.1.2", "a code without codingScheme", without(f"{classified('classCode')}/rim:Slot")),
    ("4.2.3.1.2", "a code without display name", without(f"{classified('classCode')}/rim:Name")),
    ("4.2.3.1.2", "a code without value", with_attribute(classified("classCode"), "nodeRepresentation", "")),
    ("4.2.3.2", "two values of a code that has one", twice(classified("classCode"))),
    ("4.2.3.2", "two values of a slot that has one", twice(f"{slotted('creationTime')}//rim:Value")),
    ("4.2.1.5", "the same slot twice", twice(slotted("creationTime"))),
    ("4.2.3.2", "two patientIds of one entry", twice(identified("document patientId"))),
    ("4.2.2.1", "an entry that is no member of the SubmissionSet", without("//rim:Association")),
    ("4.2.2.1.1", "a membership without SubmissionSetStatus", without("//rim:Association/rim:Slot")),
    ("4.2.2.1.1", "a SubmissionSetStatus that is none", with_text("//rim:Association//rim:Value", "Perhaps")),
    ("4.2.2", "an associationType that nobody knows", with_attribute("//rim:Association", "associationType", "urn:probe:type")),
    ("4.2.2", "an associationType of XDS.a, without its URN", with_attribute("//rim:Association", "associationType", "HasMember")),
    ("4.2.1", "a submission without SubmissionSet", without(SET)),
    ("4.2.1.4", "a package that is neither SubmissionSet nor Folder", without(f"{SET}/rim:Classification[@classificationNode]")),
    ("4.2.3.2", "an objectType that is none", with_attribute(ENTRY, "objectType", "urn:uuid:00000000-0000-0000-0000-000000000000")),
    ("4.2.3.1.6", "an extra slot whose name is no URN", with_attribute(slotted("serviceStopTime"), "name", "mine")),
    ("4.2.3.1.7", "a UUID in upper case", with_attribute(ENTRY, "id", "urn:uuid:AAAAAAAA-0000-4000-8000-00000000000A")),
)  # fmt: skip
for _number, (_clause, _name, _change) in enumerate(_MALFORMED, 1):
    PLAN.add(
        f"REG-42-3{_number:02}",
        f"ITI TF-3 {_clause}",
        f"{_name} is refused, and nothing of it registered",
        _refuses(_change, codes=(*METADATA, "UnresolvedReferenceException")),
    )


# --- ITI-42: what is accepted --------------------------------------------------------------------------


def _accepts(**changes: Any) -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        entry = an_entry(stand, Patients(stand).usual, **changes)
        registered(stand, a_submission(stand, entry))
        entry_of(stand, entry.unique_id)

    return ask


_ACCEPTED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("4.2.3.1.6", "extra slots with names of URNs", {"slots": {"urn:probe:note": ("1", "2")}}),
    ("4.2.3.1.7", "a creationTime of a year alone", {"slots": {"creationTime": ("2024",), "serviceStartTime": (), "serviceStopTime": ()}}),
    ("4.2.3.2.9", "a hash in upper case", {"slots": {"hash": (HASH.upper(),)}}),
    ("4.2.3.2", "an entry without author and events", {"author": "", "codes": {"eventCodeList": []}}),
    ("4.2.3.2", "an entry without title", {"title": ""}),
    ("4.2.3.2.24", "a title with letters of every script", {"title": "Thorax – 胸部 ‏صدر"}),
    ("4.2.3.2.3", "comments of a thousand letters", {"comments": "x" * 1000}),
    ("4.2.3.2.2", "a status that the sender says", {"attributes": f'status="{DEPRECATED}"'}),
    ("4.2.3.2.12", "a homeCommunityId", {"attributes": 'home="urn:oid:2.999.7"'}),
    ("4.2.3.2.15", "another media type", {"mime_type": "application/pdf"}),
    ("4.2.3.2", "a size of nothing", {"slots": {"size": ("0",), "hash": ("da39a3ee5e6b4b0d3255bfef95601890afd80709",)}}),
    ("4.2.3.2.4", "two confidentialityCodes", {"codes": {"confidentialityCode": [CODES["confidentialityCode"][1], ("R", "2.16.840.1.113883.5.25", "Restricted")]}}),
)  # fmt: skip
for _number, (_clause, _name, _changes) in enumerate(_ACCEPTED, 1):
    PLAN.add(
        f"REG-42-4{_number:02}",
        f"ITI TF-3 {_clause}",
        f"{_name} is registered and found",
        _accepts(**_changes),
    )


@PLAN.requires("REG-42-501", "ITI TF-3 4.2.3.2.2")
def _(stand: Stand) -> None:
    """What is registered is Approved, whatever its sender said."""
    entry = an_entry(stand, Patients(stand).usual, attributes=f'status="{DEPRECATED}"')
    registered(stand, a_submission(stand, entry))
    expect_equal(entry_of(stand, entry.unique_id).get("status"), APPROVED, "the status")


@PLAN.requires("REG-42-502", "ITI TF-3 4.2.1.5")
def _(stand: Stand) -> None:
    """Symbolic ids become UUIDs, everywhere alike."""
    entry = an_entry(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, entry))
    matches = entry_of(stand, entry.unique_id)
    id = str(matches.get("id"))
    expect(id.startswith("urn:uuid:"), f"the id is {id!r}")
    inner = set(matches.xpath(".//@classifiedObject | .//@registryObject"))
    expect_equal(inner, {id}, "classifiedObject and registryObject")


@PLAN.requires("REG-42-503", "ITI TF-3 4.2.1.5")
def _(stand: Stand) -> None:
    """A UUID that the sender gives is kept."""
    id = stand.uuid()
    entry = an_entry(stand, Patients(stand).usual, id=id)
    registered(stand, a_submission(stand, entry))
    expect_equal(entry_of(stand, entry.unique_id).get("id"), id, "the id")


@PLAN.requires("REG-42-504", "ITI TF-3 4.2.1.5")
def _(stand: Stand) -> None:
    """A UUID of a registered object cannot be given again."""
    id = stand.uuid()
    registered(stand, a_submission(stand, an_entry(stand, Patients(stand).usual, id=id)))
    again = a_submission(stand, an_entry(stand, Patients(stand).usual, id=id))
    register(stand, again).expect_failure(*METADATA)


@PLAN.requires("REG-42-505", "ITI TF-2 3.42.4.1.3.3.1", needs=("feed",))
def _(stand: Stand) -> None:
    """A submission for a patient who is not known is refused with XDSUnknownPatientId."""
    patient = stand.patient_id()
    reply = register(stand, a_submission(stand, an_entry(stand, patient))).expect_failure(
        "XDSUnknownPatientId"
    )
    expect(patient in str(reply.errors[0].get("codeContext")), "codeContext does not name the patient id")


@PLAN.requires("REG-42-506", "ITI TF-2 3.42.4.1.3.3.1")
def _(stand: Stand) -> None:
    """A patient id of a foreign authority is not known."""
    patient = "77^^^&2.999.1.77&ISO"
    register(stand, a_submission(stand, an_entry(stand, patient))).expect_failure("XDSUnknownPatientId")


@PLAN.requires("REG-42-507", "ITI TF-2 3.42.4.1.3.3", needs=("feed",))
def _(stand: Stand) -> None:
    """An entry of another patient than its SubmissionSet is refused with XDSPatientIdDoesNotMatch."""
    submission = a_submission(stand, an_entry(stand, Patients(stand).new()), patient_id=Patients(stand).usual)
    register(stand, submission).expect_failure("XDSPatientIdDoesNotMatch")


@PLAN.requires("REG-42-508", "ITI TF-3 4.2.3.2.26")
def _(stand: Stand) -> None:
    """One uniqueId for two entries of a message is refused."""
    first = an_entry(stand, Patients(stand).usual, id="one")
    second = an_entry(stand, Patients(stand).usual, id="two", unique_id=first.unique_id)
    reply = register(stand, a_submission(stand, first, second))
    reply.expect_failure("XDSRegistryDuplicateUniqueIdInMessage", "XDSDuplicateUniqueIdInMessage")
    expect(
        first.unique_id in str(reply.errors[0].get("codeContext")), "codeContext does not name the uniqueId"
    )


@PLAN.requires("REG-42-509", "ITI TF-3 4.2.3.3.12")
def _(stand: Stand) -> None:
    """The uniqueId of a registered SubmissionSet cannot be used again."""
    first = registered(stand, a_submission(stand))
    again = a_submission(stand, unique_id=first.unique_id)
    register(stand, again).expect_failure("XDSDuplicateUniqueIdInRegistry")


@PLAN.requires("REG-42-510", "ITI TF-3 4.2.3.4.9")
def _(stand: Stand) -> None:
    """The uniqueId of a registered Folder cannot be used again."""
    folder = a_folder(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, folders=[folder]))
    again = a_submission(stand, folders=[a_folder(stand, folder.patient_id, unique_id=folder.unique_id)])
    register(stand, again).expect_failure("XDSDuplicateUniqueIdInRegistry")


@PLAN.requires("REG-42-511", "ITI TF-3 4.2.3.2.26")
def _(stand: Stand) -> None:
    """The same document may be registered again: uniqueId, hash and size are the same."""
    first = an_entry(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, first))
    registered(stand, a_submission(stand, an_entry(stand, first.patient_id, unique_id=first.unique_id)))
    expect_equal(len(entries_in(_by_unique_id(stand, first.unique_id))), 2, "the number of entries")


@PLAN.requires("REG-42-512", "ITI TF-3 4.2.3.2.26")
def _(stand: Stand) -> None:
    """A registered uniqueId with another hash is refused with XDSNonIdenticalHash."""
    first = an_entry(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, first))
    other = an_entry(stand, first.patient_id, unique_id=first.unique_id, slots={"hash": ("0" * 40,)})
    register(stand, a_submission(stand, other)).expect_failure("XDSNonIdenticalHash")


@PLAN.requires("REG-42-513", "ITI TF-3 4.2.3.2.26")
def _(stand: Stand) -> None:
    """A registered uniqueId with another size is refused."""
    first = an_entry(stand, Patients(stand).usual)
    registered(stand, a_submission(stand, first))
    other = an_entry(stand, first.patient_id, unique_id=first.unique_id, slots={"size": ("44",)})
    register(stand, a_submission(stand, other)).expect_failure("XDSNonIdenticalSize", "XDSNonIdenticalHash")


@PLAN.requires("REG-42-514", "ITI TF-2 3.42.4.1.3.3")
def _(stand: Stand) -> None:
    """A submission is registered whole or not at all."""
    good = an_entry(stand, Patients(stand).usual, id="good")
    bad = an_entry(stand, Patients(stand).usual, id="bad", slots={"hash": ("no",)})
    register(stand, a_submission(stand, good, bad)).expect_failure()
    expect_found(entries_in(_by_unique_id(stand, good.unique_id)))


@PLAN.requires("REG-42-515", "ITI TF-3 4.2.1.3")
def _(stand: Stand) -> None:
    """The label of a SubmissionSet may stand beside it in the list."""

    def beside(root: Element) -> None:
        (label,) = root.xpath(f"{SET}/rim:Classification[@classificationNode]", namespaces=NAMES)
        label.getparent().getparent().append(label)

    registered(stand, a_submission(stand, changes=[beside]))


@PLAN.requires("REG-42-516", "ITI TF-3 4.2.3.1.6")
def _(stand: Stand) -> None:
    """Extra metadata come back, or their loss is told by the warning XDSExtraMetadataNotSaved."""
    entry = an_entry(stand, Patients(stand).usual, slots={"urn:probe:note": ("one", "two")})
    reply = register(stand, a_submission(stand, entry)).expect_success()
    values = entry_of(stand, entry.unique_id).xpath(
        "rim:Slot[@name='urn:probe:note']//rim:Value/text()", namespaces=NAMES
    )
    expect(
        values == ["one", "two"] or "XDSExtraMetadataNotSaved" in reply.codes,
        f"the slot came back as {values}, and no warning told that",
    )


_RETURNED = (
    ("title", "string(rim:Name/rim:LocalizedString/@value)", "Title of the probe"),
    ("comments", "string(rim:Description/rim:LocalizedString/@value)", "Comments of the probe"),
    ("mimeType", "string(@mimeType)", "text/plain"),
    ("languageCode", "string(rim:Slot[@name='languageCode']//rim:Value)", "de-CH"),
    ("sourcePatientId", "string(rim:Slot[@name='sourcePatientId']//rim:Value)", "S-1^^^&2.999.9&ISO"),
    ("URI", "string(rim:Slot[@name='URI']//rim:Value)", "a%20b.txt"),
    ("serviceStartTime", "string(rim:Slot[@name='serviceStartTime']//rim:Value)", "201912312359"),
    ("legalAuthenticator", "string(rim:Slot[@name='legalAuthenticator']//rim:Value)", "77^Roe^Ann^^^^^^&2.999.8&ISO"),
)  # fmt: skip
_FIELDS = {"title": "title", "comments": "comments", "mimeType": "mime_type"}


def _returns(attribute: str, path: str, value: str) -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        changes: dict[str, Any] = (
            {_FIELDS[attribute]: value} if attribute in _FIELDS else {"slots": {attribute: (value,)}}
        )
        entry = an_entry(stand, Patients(stand).usual, **changes)
        registered(stand, a_submission(stand, entry))
        matches = entry_of(stand, entry.unique_id).xpath(path, namespaces=NAMES)
        expect_equal(str(matches), value, attribute)

    return ask


for _number, (_name, _path, _value) in enumerate(_RETURNED, 1):
    PLAN.add(
        f"REG-42-6{_number:02}",
        "ITI TF-3 4.2.3.2",
        f"{_name} comes back as it was registered",
        _returns(_name, _path, _value),
    )
for _number, _attribute in enumerate(list(CODES)[:7], 21):

    def _code_returned(stand: Stand, attribute: str = _attribute) -> None:
        value = (f"V-{stand.oid()[-6:]}", "2.999.5", "Display")
        entry = an_entry(stand, Patients(stand).usual, codes={attribute: [value]})
        registered(stand, a_submission(stand, entry))
        at = f"rim:Classification[@classificationScheme='{CODES[attribute][0]}']"
        matches = entry_of(stand, entry.unique_id)
        values = [
            str(matches.xpath(f"string({at}{rest})", namespaces=NAMES))
            for rest in (
                "/@nodeRepresentation",
                "/rim:Slot//rim:Value",
                "/rim:Name/rim:LocalizedString/@value",
            )
        ]
        expect_equal(tuple(values), value, attribute)

    PLAN.add(
        f"REG-42-6{_number}",
        "ITI TF-3 4.2.3.1.2",
        f"{_attribute} comes back with value, scheme and display name",
        _code_returned,
    )


# --- relationships -------------------------------------------------------------------------------------


def _original(stand: Stand, **changes: Any) -> Entry:
    entry = an_entry(stand, Patients(stand).usual, id=stand.uuid(), **changes)
    registered(stand, a_submission(stand, entry))
    return entry


def _related(stand: Stand, kind: str, target: str, **changes: Any) -> tuple[Entry, SubmissionMessage]:
    entry = an_entry(stand, Patients(stand).usual, id=stand.uuid(), **changes)
    link = Link(id=stand.uuid(), type=kind, source=entry.id, target=target)
    return entry, a_submission(stand, entry, links=[link])


def _status_of(stand: Stand, entry: Entry) -> str:
    return str(entry_of(stand, entry.unique_id).get("status"))


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
        old = _original(stand)
        new, submission = _related(stand, kind, old.id)
        registered(stand, submission)
        expect_equal(_status_of(stand, old), after, "the status of the target")
        expect_equal(_status_of(stand, new), APPROVED, "the status of the source")

    PLAN.add(
        f"REG-42-7{_number:02}",
        "ITI TF-3 4.2.2.2",
        f"the target of {_name} is {_after.rpartition(':')[2]} afterwards",
        _effect,
    )

    def _unresolved(stand: Stand, kind: str = _kind) -> None:
        _, submission = _related(stand, kind, stand.uuid())
        register(stand, submission).expect_failure("UnresolvedReferenceException")

    PLAN.add(
        f"REG-42-71{_number}",
        "ITI TF-2 3.42.4.1.3.3",
        f"{_name} to an object that nobody knows is refused with UnresolvedReferenceException",
        _unresolved,
    )

    def _deprecated(stand: Stand, kind: str = _kind) -> None:
        old = _original(stand)
        registered(stand, _related(stand, RPLC, old.id)[1])
        _, submission = _related(stand, kind, old.id)
        register(stand, submission).expect_failure("XDSRegistryDeprecatedDocumentError")

    PLAN.add(
        f"REG-42-72{_number}",
        "ITI TF-2 3.42.4.1.3.3",
        f"{_name} to a Deprecated entry is refused with XDSRegistryDeprecatedDocumentError",
        _deprecated,
    )

    def _another_patient(stand: Stand, kind: str = _kind) -> None:
        old = _original(stand)
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
        old = _original(stand)
        child, submission = _related(stand, kind, old.id)
        registered(stand, submission)
        registered(stand, _related(stand, RPLC, old.id)[1])
        expect_equal(_status_of(stand, child), DEPRECATED, "the status of the child")

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
    submission = _filed(stand, old, folder)
    registered(stand, submission)
    new, replacement = _related(stand, RPLC, old.id)
    registered(stand, replacement)
    reply = query(stand, GET_FOLDER_AND_CONTENTS, {"XDSFolderUniqueId": text(folder.unique_id)})
    expect_found(entries_in(reply.expect_success()), old.unique_id, new.unique_id)


def _filed(stand: Stand, entry: Entry, folder: Folder) -> SubmissionMessage:
    """A submission of an entry in a folder, both new."""
    link = Link(id=stand.uuid(), type=HAS_MEMBER, source=folder.id, target=entry.id)
    of_set = Link(id=stand.uuid(), type=HAS_MEMBER, source="set", target=link.id)
    return a_submission(stand, entry, folders=[folder], links=[link, of_set])


@PLAN.requires("REG-42-752", "ITI TF-3 4.2.2.1.3")
def _(stand: Stand) -> None:
    """A registered entry can be put into a new Folder."""
    entry = _original(stand)
    folder = a_folder(stand, entry.patient_id, id=stand.uuid())
    link = Link(id=stand.uuid(), type=HAS_MEMBER, source=folder.id, target=entry.id)
    of_set = Link(id=stand.uuid(), type=HAS_MEMBER, source="set", target=link.id)
    registered(stand, a_submission(stand, folders=[folder], links=[link, of_set]))
    reply = query(stand, GET_FOLDER_AND_CONTENTS, {"XDSFolderUniqueId": text(folder.unique_id)})
    expect_found(entries_in(reply.expect_success()), entry.unique_id)


@PLAN.requires("REG-42-753", "ITI TF-3 4.2.2.1.1")
def _(stand: Stand) -> None:
    """A registered entry can be a member by reference."""
    entry = _original(stand)
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
    entry = _original(stand)
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
    old = _original(stand)
    link = Link(
        id=stand.uuid(),
        type=UPDATE_STATUS,
        source="set",
        target=old.id,
        slots={"OriginalStatus": (APPROVED,), "NewStatus": (DEPRECATED,)},
    )
    register(stand, a_submission(stand, links=[link])).expect_failure(*METADATA)
    expect_equal(_status_of(stand, old), APPROVED, "the status")


# --- ITI-18: what a query needs ------------------------------------------------------------------------

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
        submission = registered(stand, _filed(stand, entry, a_folder(stand, patient, id=stand.uuid())))
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


# --- ITI-8 ----------------------------------------------------------------------------------------------


@PLAN.requires("REG-08-101", "ITI TF-2 3.8.4.1.3", needs=("feed",))
def _(stand: Stand) -> None:
    """A patient who was fed can have documents."""
    patient = Patients(stand).new()
    registered(stand, a_submission(stand, an_entry(stand, patient)))


for _number, _event in enumerate(("A01", "A04", "A05", "A08"), 2):

    def _acknowledged(stand: Stand, event: str = _event) -> None:
        answer = told(stand, event, stand.patient_id())
        expect_equal(answer.get("1"), "AA", "MSA-1")

    PLAN.add(
        f"REG-08-10{_number}",
        "ITI TF-2 3.8.4.1",
        f"ADT^{_event} is acknowledged with AA and its control id",
        _acknowledged,
        needs=("feed",),
    )


def _merged(stand: Stand) -> tuple[str, str, Entry]:
    old, new = Patients(stand).new(), Patients(stand).new()
    entry = an_entry(stand, old)
    registered(stand, a_submission(stand, entry))
    expect_equal(told(stand, "A40", new, merged=old).get("1"), "AA", "MSA-1 of the merge")
    return old, new, entry


@PLAN.requires("REG-08-111", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge the documents are found under the surviving id, and name it."""
    _, new, entry = _merged(stand)
    matches = documents_of(stand, new)
    expect_found(matches, entry.unique_id)
    scheme = IDENTIFIERS["document patientId"][0]
    told_id = matches[0].xpath(
        f"string(rim:ExternalIdentifier[@identificationScheme='{scheme}']/@value)", namespaces=NAMES
    )
    expect_equal(str(told_id), new, "patientId")


@PLAN.requires("REG-08-112", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge nothing is found under the id that was merged away."""
    old, _, _ = _merged(stand)
    expect_found(documents_of(stand, old))


@PLAN.requires("REG-08-113", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """After a merge nothing can be registered under the id that was merged away."""
    old, _, _ = _merged(stand)
    register(stand, a_submission(stand, an_entry(stand, old))).expect_failure("XDSUnknownPatientId")


@PLAN.requires("REG-08-114", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """A merge with a patient whom nobody knows changes nothing."""
    patient = Patients(stand).new()
    entry = an_entry(stand, patient)
    registered(stand, a_submission(stand, entry))
    told(stand, "A40", stand.patient_id(), merged=patient)
    expect_found(documents_of(stand, patient), entry.unique_id)


@PLAN.requires("REG-08-115", "ITI TF-2 3.8.4.2.3", needs=("feed",))
def _(stand: Stand) -> None:
    """What was merged away does not come back by being fed again."""
    old, _, _ = _merged(stand)
    told(stand, "A04", old)
    register(stand, a_submission(stand, an_entry(stand, old))).expect_failure("XDSUnknownPatientId")


# --- ITI-62 ---------------------------------------------------------------------------------------------

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
    expect_found(entries_in(_by_unique_id(stand, submission.entries[0].unique_id)))


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


# --- ITI-57 ---------------------------------------------------------------------------------------------

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
    old = _original(stand)
    _updated(stand, old, title="Better title").expect_success()
    matches = entry_of(stand, old.unique_id)
    title = str(matches.xpath("string(rim:Name/rim:LocalizedString/@value)", namespaces=NAMES))
    expect_equal(title, "Better title", "the title")


@PLAN.requires("REG-57-102", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update of a version that is not the latest is refused with XDSMetadataVersionError."""
    _updated(stand, _original(stand), previous="7").expect_failure("XDSMetadataVersionError")


@PLAN.requires("REG-57-103", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update that changes the uniqueId is refused."""
    _updated(stand, _original(stand), unique_id=stand.oid()).expect_failure("XDSMetadataUpdateError")


@PLAN.requires("REG-57-104", "ITI TF-2 3.57.4.1.3.3.1", option="Metadata Update")
def _(stand: Stand) -> None:
    """An update with incomplete metadata is refused with XDSRegistryMetadataError."""
    _updated(stand, _original(stand), codes={"classCode": []}).expect_failure("XDSRegistryMetadataError")


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
    old = _original(stand)
    _new_status(stand, old.id, APPROVED, DEPRECATED).expect_success()
    expect_equal(_status_of(stand, old), DEPRECATED, "the status")
    _new_status(stand, old.id, DEPRECATED, APPROVED).expect_success()
    expect_equal(_status_of(stand, old), APPROVED, "the status")


@PLAN.requires("REG-57-112", "ITI TF-2 3.57.4.1.3.3.2", option="Metadata Update")
def _(stand: Stand) -> None:
    """A change from a status that is not the current one is refused with XDSMetadataUpdateError."""
    old = _original(stand)
    _new_status(stand, old.id, DEPRECATED, APPROVED).expect_failure("XDSMetadataUpdateError")


@PLAN.requires("REG-57-113", "ITI TF-2 3.57.4.1.3.3.4", option="Metadata Update")
def _(stand: Stand) -> None:
    """A relationship between registered entries can be submitted."""
    one, other = _original(stand), _original(stand)
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
