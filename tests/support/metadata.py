"""Valid metadata to start from, and strategies that generate more of it.

A builder gives a registrable object; a test says what is different about its own. Strategies give everything
that the standard allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from shared.ebrim import schemes
from shared.ebrim.identifiers import CX, CXi, is_unique_id, new_oid, new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    Author,
    AvailabilityStatus,
    Code,
    DocumentEntry,
    Folder,
    LocalizedText,
    Slot,
    Submission,
    SubmissionSet,
    Timestamp,
)

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
PATIENT = f"P-1001^^^&{DOMAIN}&ISO"
OTHER_PATIENT = f"P-2002^^^&{DOMAIN}&ISO"
REPOSITORY = "1.3.6.1.4.1.21367.9.30"
SOURCE = "1.3.6.1.4.1.21367.9.40"

IMAGES = Code("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images")
DIAGNOSTIC_IMAGING = Code("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study")
MANIFEST = Code("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "Key Object Selection Document")
HOSPITAL = Code("HOSP", "1.3.6.1.4.1.21367.9.50", "Hospital")
RADIOLOGY = Code("309964003", "2.16.840.1.113883.6.96", "Radiology department")
NORMAL = Code("N", "2.16.840.1.113883.5.25", "Normal")
CT = Code("CT", "1.2.840.10008.2.16.4", "Computed Tomography")


# --- builders ----------------------------------------------------------------------------------------


def an_on_demand_entry(**changes: Any) -> DocumentEntry:
    """An On-Demand entry of a CT manifest: nothing is known yet of a document (ITI TF-3 4.2.3.2)."""
    unknown = {"creation_time": None, "hash": "", "size": None}
    return a_document_entry(object_type=schemes.ON_DEMAND, **unknown, **changes)


def a_document_entry(**changes: Any) -> DocumentEntry:
    """A Stable entry of a CT manifest with everything that the registry demands, of fresh ids."""
    return DocumentEntry(
        **{
            "entry_uuid": new_uuid(),
            "unique_id": new_oid(),
            "patient_id": PATIENT,
            "class_code": IMAGES,
            "type_code": DIAGNOSTIC_IMAGING,
            "format_code": MANIFEST,
            "healthcare_facility_type_code": HOSPITAL,
            "practice_setting_code": RADIOLOGY,
            "confidentiality_codes": (NORMAL,),
            "event_codes": (CT,),
            "mime_type": "application/dicom",
            "language_code": "en-US",
            "source_patient_id": "L-77^^^&1.3.6.1.4.1.21367.9.60&ISO",
            "source_patient_info": ("PID-5|Roe^Rick", "PID-7|19560527", "PID-8|M"),
            "creation_time": Timestamp("20240305101500"),
            "service_start_time": Timestamp("20240305093000"),
            "authors": (
                Author(person="^Roe^Ann", institutions=("General Hospital^^^^^^^^^1.3.6.1.4.1.21367.9.70",)),
            ),
            "reference_ids": (
                f"A123^^^&1.3.6.1.4.1.21367.9.80&ISO^{schemes.REFERENCE_ACCESSION}",
                f"2.25.500^^^^{schemes.REFERENCE_STUDY_INSTANCE_UID}",
            ),
            "title": "CT chest",
            "hash": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
            "size": 43,
            "repository_unique_id": REPOSITORY,
            **changes,
        }
    )


def a_submission_set(**changes: Any) -> SubmissionSet:
    """A SubmissionSet of fresh ids."""
    return SubmissionSet(
        **{
            "entry_uuid": new_uuid(),
            "unique_id": new_oid(),
            "patient_id": PATIENT,
            "source_id": SOURCE,
            "submission_time": Timestamp("20240305101600"),
            "content_type_code": DIAGNOSTIC_IMAGING,
            **changes,
        }
    )


def a_folder(**changes: Any) -> Folder:
    """A Folder of fresh ids."""
    return Folder(
        **{
            "entry_uuid": new_uuid(),
            "unique_id": new_oid(),
            "patient_id": PATIENT,
            "title": "Episode 12",
            "codes": (DIAGNOSTIC_IMAGING,),
            **changes,
        }
    )


def an_association(
    source: str, target: str, association_type: str = AssociationType.HAS_MEMBER, **changes: Any
) -> Association:
    """An Association of fresh id between the objects of these ids."""
    return Association(
        **{
            "entry_uuid": new_uuid(),
            "association_type": association_type,
            "source_object": source,
            "target_object": target,
            **changes,
        }
    )


def a_submission(
    *document_entries: DocumentEntry,
    folders: Sequence[Folder] = (),
    associations: Sequence[Association] = (),
    **changes: Any,
) -> Submission:
    """A submission of the entries (one, when none is given) and folders, each a member of the SubmissionSet.

    `changes` are those of the SubmissionSet.
    """
    entries = document_entries or (a_document_entry(),)
    submission_set = a_submission_set(**{"patient_id": entries[0].patient_id, **changes})
    members = [
        an_association(submission_set.entry_uuid, entry.entry_uuid, submission_set_status=schemes.ORIGINAL)
        for entry in entries
    ]
    members += [an_association(submission_set.entry_uuid, folder.entry_uuid) for folder in folders]
    return Submission(
        submission_set=submission_set,
        document_entries=entries,
        folders=tuple(folders),
        associations=(*members, *associations),
    )


# --- strategies --------------------------------------------------------------------------------------

#: Every character that XML 1.0 can carry.
characters = st.characters(
    exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"
)


def texts(max_size: int = 256, *, alphabet: st.SearchStrategy[str] = characters) -> st.SearchStrategy[str]:
    """Texts that say something, without white space around them."""
    return (
        st.text(alphabet, min_size=1, max_size=max_size).map(lambda text: text.strip(" \t\r\n")).filter(bool)
    )


#: A component of an HL7 field before it is escaped; short, so that the field stays within 256 characters.
components = texts(20)
oids = st.lists(st.integers(0, 99_999), min_size=1, max_size=8).map(
    lambda arcs: "1." + ".".join(map(str, arcs))
)
uuids = st.uuids().map("urn:uuid:{}".format)
timestamps = st.builds(
    lambda moment, length: Timestamp(moment.strftime("%Y%m%d%H%M%S").zfill(14)[:length]),
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2199, 12, 31)),
    st.sampled_from((4, 6, 8, 10, 12, 14)),
)
cxs = st.builds(lambda identifier, authority: str(CX(identifier, authority)), components, oids)
reference_ids = st.builds(
    lambda identifier, type_code, authority: str(CXi(identifier, type_code, authority)),
    components,
    st.sampled_from((schemes.REFERENCE_ACCESSION, schemes.REFERENCE_ORDER, "urn:local:type")),
    st.one_of(st.just(""), oids),
)
names = texts(
    20,
    alphabet=st.characters(
        codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Zs", "Zl", "Zp"), exclude_characters="|^&~\\"
    ),
)
people = st.builds("{}^{}^{}^^^^^^&{}&ISO".format, names, names, names, oids)
organizations = st.one_of(
    names,
    st.builds("{}^^^^^^^^^{}".format, names, oids),
    st.builds("{}^^^^^&{}&ISO^^^^{}".format, names, oids, names.filter(lambda name: "." not in name)),
)
telecoms = st.one_of(
    st.builds("^NET^Internet^{}@example.org".format, names), st.builds("^WPN^PH^^49^30^{}".format, names)
)
codes = st.builds(Code, texts(40), texts(40), texts(80))
authors = st.builds(
    Author,
    person=st.one_of(st.just(""), people),
    institutions=st.lists(organizations, min_size=1, max_size=3).map(tuple),
    roles=st.lists(names, max_size=2).map(tuple),
    specialties=st.lists(st.one_of(names, cxs), max_size=2).map(tuple),
    telecommunications=st.lists(telecoms, max_size=2).map(tuple),
)
extra_slots = st.lists(
    st.builds(
        Slot,
        texts(40).map("urn:x-{}".format),
        st.lists(st.text(characters, max_size=60), min_size=1, max_size=3).map(tuple),
    ),
    max_size=3,
    unique_by=lambda slot: slot.name,
).map(tuple)
homes = st.one_of(st.just(""), oids.map("urn:oid:{}".format))
statuses = st.sampled_from(AvailabilityStatus)
versions = st.integers(1, 999_999_999)


def _several(of: st.SearchStrategy[Any], *, least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


def _maybe(of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), of)


def in_languages(max_size: int) -> st.SearchStrategy[str]:
    """A title or comments, of no language or of several."""
    language = st.sampled_from(("", "en-US", "de", "zh-Hant-TW"))
    pairs = st.lists(st.tuples(language, texts(min(max_size, 60))), min_size=1, max_size=3)
    named = pairs.filter(lambda strings: len(strings) > 1 or bool(strings[0][0]))
    return st.one_of(texts(max_size), named.map(lambda strings: LocalizedText(*strings)))


document_entries = st.builds(
    DocumentEntry,
    entry_uuid=uuids,
    unique_id=texts(256).filter(is_unique_id),
    patient_id=cxs,
    class_code=codes,
    type_code=codes,
    format_code=codes,
    healthcare_facility_type_code=codes,
    practice_setting_code=codes,
    confidentiality_codes=_several(codes, least=1),
    mime_type=st.sampled_from(("application/dicom", "text/plain; charset=utf-8")),
    language_code=st.sampled_from(("en-US", "de", "zh-Hant-TW")),
    source_patient_id=cxs,
    object_type=st.just(schemes.STABLE),
    creation_time=timestamps,
    authors=_several(authors),
    event_codes=_several(codes),
    title=_maybe(in_languages(128)),
    comments=_maybe(in_languages(1_024)),
    hash=_maybe(st.from_regex(r"[0-9a-fA-F]{40}", fullmatch=True)),
    size=st.one_of(st.none(), st.integers(0, 10**18 - 1)),
    repository_unique_id=_maybe(oids),
    home_community_id=homes,
    legal_authenticator=_maybe(people),
    service_start_time=st.one_of(st.none(), timestamps),
    service_stop_time=st.one_of(st.none(), timestamps),
    source_patient_info=_several(texts(60).map("PID-3|{}".format)),
    reference_ids=_several(reference_ids),
    uri=_maybe(texts(100)),
    document_availability=st.sampled_from(("", schemes.ONLINE, schemes.OFFLINE)),
    extra_slots=extra_slots,
    availability_status=statuses,
    logical_id=_maybe(uuids),
    version=versions,
)
submission_sets = st.builds(
    SubmissionSet,
    entry_uuid=uuids,
    unique_id=oids,
    patient_id=cxs,
    source_id=oids,
    submission_time=timestamps,
    content_type_code=codes,
    authors=_several(authors),
    intended_recipients=_several(
        st.one_of(
            organizations,
            st.builds("|{}".format, people),
            st.builds("||{}".format, telecoms),
            st.builds("{}|{}|{}".format, organizations, people, telecoms),
        )
    ),
    title=_maybe(in_languages(256)),
    comments=_maybe(in_languages(1_024)),
    home_community_id=homes,
    extra_slots=extra_slots,
    availability_status=statuses,
    logical_id=_maybe(uuids),
)
folders = st.builds(
    Folder,
    entry_uuid=uuids,
    unique_id=oids,
    patient_id=cxs,
    title=in_languages(256),
    codes=_several(codes, least=1),
    comments=_maybe(in_languages(1_024)),
    last_update_time=st.one_of(st.none(), timestamps),
    home_community_id=homes,
    extra_slots=extra_slots,
    availability_status=statuses,
    logical_id=_maybe(uuids),
    version=versions,
)
associations = st.builds(
    Association,
    entry_uuid=uuids,
    association_type=st.sampled_from(AssociationType).map(str),
    source_object=uuids,
    target_object=uuids,
    submission_set_status=st.sampled_from(("", schemes.ORIGINAL, schemes.REFERENCE)),
    documentation=_several(codes),
    home_community_id=homes,
    extra_slots=extra_slots,
    availability_status=statuses,
    logical_id=_maybe(uuids),
)

#: Ids as a submission may use them: symbolic or permanent.
object_ids = st.one_of(uuids, st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True))


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    """Submissions of any size and shape, with symbolic ids among the permanent ones; all statuses are
    Approved."""
    entries = draw(st.lists(document_entries, max_size=3))
    given_folders = draw(st.lists(folders, max_size=2))
    links = draw(st.lists(associations, max_size=4))
    count = 1 + len(entries) + len(given_folders) + len(links)
    ids = iter(draw(st.lists(object_ids, min_size=count, max_size=count, unique=True)))

    def placed(value: Any) -> Any:
        return replace(value, entry_uuid=next(ids), availability_status=AvailabilityStatus.APPROVED)

    return Submission(
        submission_set=placed(draw(submission_sets)),
        document_entries=tuple(map(placed, entries)),
        folders=tuple(map(placed, given_folders)),
        associations=tuple(map(placed, links)),
    )
