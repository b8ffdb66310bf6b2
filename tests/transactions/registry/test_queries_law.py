"""The other queries by attributes find what a naive reading of their filters finds, too."""

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from registry.domain.multi_patient_queries import (
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
)
from registry.transactions import iti51
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Author, Timestamp
from tests.support.consent import deny
from tests.support.metadata import (
    DOMAIN,
    a_document_entry,
    a_folder,
    a_submission,
    a_submission_set,
    an_association,
)
from tests.support.registry import APPROVED
from tests.transactions.registry.test_find_documents_law import (
    among,
    before,
    clauses,
    codes,
    entries,
    expected,
    filters,
    like,
    not_before,
    patterns,
    people,
    raw,
    some,
    times,
)

D, S, F = "$XDSDocumentEntry", "$XDSSubmissionSet", "$XDSFolder"
LAW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_numbers = itertools.count()

folders = st.builds(a_folder, codes=st.lists(codes, min_size=1, max_size=2).map(tuple))
sets = st.builds(
    a_submission_set,
    source_id=st.sampled_from(["1.2.3", "1.2.4"]),
    submission_time=times,
    content_type_code=codes,
    authors=st.lists(
        people.map(lambda person: Author(person=person, institutions=("Clinic",))), max_size=2
    ).map(tuple),
)


def registered(submission_set, documents, held):
    """A submission with these ids and this patient, whose first folder holds the first document."""
    patient = submission_set.patient_id
    documents = [replace(a_document_entry(), **_attributes(each, patient)) for each in documents]
    held = [replace(a_folder(), codes=each.codes, patient_id=patient) for each in held]
    submission = a_submission(*documents, folders=held, patient_id=patient)
    new = replace(
        submission.submission_set,
        source_id=submission_set.source_id,
        submission_time=submission_set.submission_time,
        content_type_code=submission_set.content_type_code,
        authors=submission_set.authors,
    )
    if not held:
        return replace(submission, submission_set=new)
    membership = an_association(held[0].entry_uuid, documents[0].entry_uuid)
    collected = an_association(new.entry_uuid, membership.entry_uuid)
    return replace(
        submission, submission_set=new, associations=(*submission.associations, membership, collected)
    )


_KEPT = (
    "class_code",
    "type_code",
    "format_code",
    "practice_setting_code",
    "healthcare_facility_type_code",
    "confidentiality_codes",
    "event_codes",
    "authors",
    "creation_time",
    "service_start_time",
)


def _attributes(entry, patient):
    return {name: getattr(entry, name) for name in _KEPT} | {"patient_id": patient}


submissions = st.tuples(sets, st.lists(entries, min_size=1, max_size=3), st.lists(folders, max_size=2))


def a_patient():
    return f"LAW-Q{next(_numbers)}^^^&{DOMAIN}&ISO"


def ids(things):
    return {thing.entry_uuid for thing in things}


# --- submission sets and folders of one patient ----------------------------------------------------------

SET_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        f"{S}SourceId": some(st.sampled_from(["1.2.3", "1.2.4", "1.2.5"])),
        f"{S}SubmissionTimeFrom": times,
        f"{S}SubmissionTimeTo": times,
        f"{S}AuthorPerson": patterns.filter(bool),
        f"{S}ContentType": some(codes),
    },
)
NAIVE_SET = {
    f"{S}SourceId": lambda one, wanted: one.source_id in wanted,
    f"{S}SubmissionTimeFrom": lambda one, bound: not_before(one.submission_time, bound),
    f"{S}SubmissionTimeTo": lambda one, bound: before(one.submission_time, bound),
    f"{S}AuthorPerson": lambda one, pattern: any(
        like(nfc(author.person), nfc(pattern)) for author in one.authors
    ),
    f"{S}ContentType": lambda one, wanted: among(one.content_type_code, wanted),
}


@LAW
@given(st.lists(submissions, min_size=3, max_size=5), st.lists(SET_FILTERS, min_size=5, max_size=8))
async def test_find_submission_sets_equals_the_naive_filter(lenient_registry, given_ones, asked):
    patient = a_patient()
    known = [registered(replace(one, patient_id=patient), *rest) for one, *rest in given_ones]
    for submission in known:
        await lenient_registry.register(submission)
    for parameters in asked:
        found = await lenient_registry.query(
            queries.FIND_SUBMISSION_SETS,
            {f"{S}PatientId": patient, f"{S}Status": [APPROVED], **parameters},
        )
        assert ids(found.submission_sets) == {
            submission.submission_set.entry_uuid
            for submission in known
            if all(NAIVE_SET[name](submission.submission_set, value) for name, value in parameters.items())
        }


#: When folders were updated is the registry's to say: long before one bound, and long after the other.
updates = st.sampled_from(["2001", "2090"]).map(Timestamp)
FOLDER_TIMES = st.fixed_dictionaries(
    {}, optional={f"{F}LastUpdateTimeFrom": updates, f"{F}LastUpdateTimeTo": updates}
)


def folder_is_found(folder, parameters, code_clauses):
    from_, to = parameters.get(f"{F}LastUpdateTimeFrom"), parameters.get(f"{F}LastUpdateTimeTo")
    in_time = (from_ is None or from_.digits == "2001") and (to is None or to.digits == "2090")
    return in_time and all(any(among(code, clause) for code in folder.codes) for clause in code_clauses)


@LAW
@given(
    st.lists(submissions, min_size=3, max_size=5),
    st.lists(st.tuples(FOLDER_TIMES, clauses), min_size=5, max_size=8),
)
async def test_find_folders_equals_the_naive_filter(lenient_registry, given_ones, asked):
    patient = a_patient()
    known = [registered(replace(one, patient_id=patient), *rest) for one, *rest in given_ones]
    for submission in known:
        await lenient_registry.register(submission)
    for parameters, of_codes in asked:
        found = await lenient_registry.query(
            queries.FIND_FOLDERS,
            {f"{F}PatientId": patient, f"{F}Status": [APPROVED], **parameters},
            raw={f"{F}CodeList": raw(of_codes)} if of_codes else {},
        )
        assert ids(found.folders) == {
            folder.entry_uuid
            for submission in known
            for folder in submission.folders
            if folder_is_found(folder, parameters, of_codes)
        }


# --- everything of one patient ---------------------------------------------------------------------------


@LAW
@given(
    st.lists(submissions, min_size=2, max_size=4),
    st.lists(st.tuples(st.one_of(st.just([]), some(codes)), clauses), min_size=4, max_size=6),
)
async def test_get_all_equals_the_naive_filter(lenient_registry, given_ones, asked):
    patient = a_patient()
    known = [registered(replace(one, patient_id=patient), *rest) for one, *rest in given_ones]
    for submission in known:
        await lenient_registry.register(submission)
    for formats, confidentialities in asked:
        found = await lenient_registry.query(
            queries.GET_ALL,
            {
                "$patientId": patient,
                f"{D}Status": [APPROVED],
                f"{S}Status": [APPROVED],
                f"{F}Status": [APPROVED],
                f"{D}FormatCode": formats,
            },
            raw={f"{D}ConfidentialityCode": raw(confidentialities)} if confidentialities else {},
        )
        documents = {
            entry.entry_uuid
            for submission in known
            for entry in submission.document_entries
            if (not formats or among(entry.format_code, formats))
            and expected(entry, {}, [], confidentialities)
        }
        containers = {
            thing.entry_uuid
            for submission in known
            for thing in (submission.submission_set, *submission.folders)
        }
        assert ids(found.document_entries) == documents
        assert ids((*found.submission_sets, *found.folders)) == containers
        assert ids(found.associations) == {
            item.entry_uuid
            for submission in known
            for item in submission.associations
            if {item.source_object, item.target_object} & (documents | containers)
        }


# --- several patients, and all of them -------------------------------------------------------------------


@dataclass
class Everything:
    """What one registry was given over all examples, and whose policies refuse all of it."""

    submissions: list = field(default_factory=list)
    refused: set = field(default_factory=set)

    async def register(self, registry, given_ones):
        """Register for three new patients, the last of whom lets nobody see; return their ids."""
        patients = [a_patient(), a_patient(), a_patient()]
        for at, (one, *rest) in enumerate(given_ones):
            submission = registered(replace(one, patient_id=patients[at % 3]), *rest)
            await registry.register(submission)
            self.submissions.append(submission)
        await registry.add_policy(deny(patient_id=patients[2]))
        self.refused.add(patients[2])
        return patients

    def seen(self, patients):
        """The submissions of `patients`, or of all, that are not refused."""
        for submission in self.submissions:
            patient = submission.submission_set.patient_id
            if patient not in self.refused and (not patients or patient in patients):
                yield submission


LEADING = (f"{D}ClassCode", f"{D}HealthcareFacilityTypeCode")
which_patients = st.lists(st.integers(0, 2), max_size=3, unique=True)


@pytest.fixture
def everything():
    """One for all examples of a law, as the registry is."""
    return Everything()


@LAW
@given(
    st.lists(submissions, min_size=3, max_size=4),
    st.lists(st.tuples(which_patients, filters, clauses, clauses), min_size=6, max_size=8),
    st.lists(st.tuples(which_patients, FOLDER_TIMES, clauses), min_size=3, max_size=5),
)
async def test_multi_patient_queries_equal_the_naive_filter(
    lenient_registry, everything, given_ones, of_documents, of_folders
):
    patients = await everything.register(lenient_registry, given_ones)
    for chosen, parameters, events, confidentialities in of_documents:
        named = [patients[at] for at in chosen]
        if not (named or events or any(name in parameters for name in LEADING)):
            named = patients
        lists = {f"{D}EventCodeList": raw(events), f"{D}ConfidentialityCode": raw(confidentialities)}
        found = await lenient_registry.query(
            FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
            {f"{D}PatientId": named, f"{D}Status": [APPROVED], **parameters},
            raw={name: value for name, value in lists.items() if value},
            served=iti51.SERVED,
        )
        assert ids(found.document_entries) == {
            entry.entry_uuid
            for submission in everything.seen(named)
            for entry in submission.document_entries
            if expected(entry, parameters, events, confidentialities)
        }
    for chosen, parameters, of_codes in of_folders:
        named = [patients[at] for at in chosen] or ([] if of_codes else patients)
        found = await lenient_registry.query(
            FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
            {f"{F}PatientId": named, f"{F}Status": [APPROVED], **parameters},
            raw={f"{F}CodeList": raw(of_codes)} if of_codes else {},
            served=iti51.SERVED,
        )
        assert ids(found.folders) == {
            folder.entry_uuid
            for submission in everything.seen(named)
            for folder in submission.folders
            if folder_is_found(folder, parameters, of_codes)
        }
