"""Register Document Set-b (ITI-42): what must be there, what is accepted, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from conformance.envelopes import NAMES, Element
from conformance.plans.metadata import (
    APPROVED,
    CODES,
    DEPRECATED,
    HASH,
    IDENTIFIERS,
    Change,
    Patients,
    a_folder,
    a_submission,
    an_entry,
    entries_in,
    entry_of,
    expect_found,
    register,
    registered,
    twice,
    with_attribute,
    with_text,
    without,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.registry.registrations import (
    METADATA,
    by_unique_id,
)
from conformance.plans.stand import Stand

PLAN = Plan("registry", needs=("registry",))
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
        expect_found(entries_in(by_unique_id(stand, submission.entries[0].unique_id)))

    return ask


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
    expect_equal(len(entries_in(by_unique_id(stand, first.unique_id))), 2, "the number of entries")


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
    expect_found(entries_in(by_unique_id(stand, good.unique_id)))


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
