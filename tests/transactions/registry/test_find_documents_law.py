"""FindDocuments finds what a naive reading of its filters finds, whatever is registered and asked."""

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from shared.ebrim.identifiers import new_oid, new_uuid, nfc
from shared.ebrim.model import Author, Code, Timestamp
from tests.support.metadata import DOMAIN, a_document_entry, a_submission
from tests.support.registry import APPROVED

P = "$XDSDocumentEntry"
_numbers = itertools.count()

# Few values, so that queries meet entries; some differ in case, normal form or scheme alone.
codes = st.builds(
    Code, st.sampled_from(["a", "A", "b", "ü", "u\u0308", "it's"]), st.sampled_from(["1.2", "1.3"])
)
people = st.sampled_from(
    ["^Roe^Ann", "^ROE^Ann", "^R_e^Ann", "^Ro%", "1^Doe^J", "^Müller^U", "^Mu\u0308ller^U"]
)
times = st.sampled_from(
    ["2023", "202401", "20240101", "2024010112", "20240101120000", "2024013123", "2025"]
).map(Timestamp)
maybe = st.one_of(st.none(), times)
entries = st.builds(
    a_document_entry,
    class_code=codes,
    type_code=codes,
    format_code=codes,
    practice_setting_code=codes,
    healthcare_facility_type_code=codes,
    confidentiality_codes=st.lists(codes, min_size=1, max_size=2).map(tuple),
    event_codes=st.lists(codes, max_size=2).map(tuple),
    authors=st.lists(
        people.map(lambda person: Author(person=person, institutions=("Clinic",))), max_size=2
    ).map(tuple),
    creation_time=times,
    service_start_time=maybe,
    service_stop_time=st.none(),
)
patterns = st.one_of(people, st.sampled_from(["%", "^R%", "%Ann", "^_oe^Ann", "%ü%", "\\%", "^Roe", ""]))


def some(values):
    return st.lists(values, min_size=1, max_size=2)


FILTERS = {
    f"{P}ClassCode": some(codes),
    f"{P}TypeCode": some(codes),
    f"{P}FormatCode": some(codes),
    f"{P}PracticeSettingCode": some(codes),
    f"{P}HealthcareFacilityTypeCode": some(codes),
    f"{P}CreationTimeFrom": times,
    f"{P}CreationTimeTo": times,
    f"{P}ServiceStartTimeFrom": times,
    f"{P}ServiceStartTimeTo": times,
    f"{P}ServiceStopTimeTo": times,
    f"{P}AuthorPerson": some(patterns.filter(bool)),
}
# One or two filters: more find nothing, and what finds nothing proves nothing.
filters = st.lists(st.sampled_from(sorted(FILTERS)), max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: FILTERS[name] for name in names})
)
clauses = st.one_of(st.just([]), st.just([]), st.lists(some(codes), min_size=1, max_size=2))


# --- the naive reading -----------------------------------------------------------------------------------


def among(code, wanted):
    return any((nfc(code.value), code.scheme) == (nfc(each.value), each.scheme) for each in wanted)


def like(text, pattern):
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:])


def not_before(moment, bound):
    return moment is None or moment.earliest >= bound.earliest


def before(moment, bound):
    return moment is None or moment.earliest < bound.earliest


NAIVE = {
    f"{P}ClassCode": lambda entry, wanted: among(entry.class_code, wanted),
    f"{P}TypeCode": lambda entry, wanted: among(entry.type_code, wanted),
    f"{P}FormatCode": lambda entry, wanted: among(entry.format_code, wanted),
    f"{P}PracticeSettingCode": lambda entry, wanted: among(entry.practice_setting_code, wanted),
    f"{P}HealthcareFacilityTypeCode": lambda entry, wanted: among(
        entry.healthcare_facility_type_code, wanted
    ),
    f"{P}CreationTimeFrom": lambda entry, bound: not_before(entry.creation_time, bound),
    f"{P}CreationTimeTo": lambda entry, bound: before(entry.creation_time, bound),
    f"{P}ServiceStartTimeFrom": lambda entry, bound: not_before(entry.service_start_time, bound),
    f"{P}ServiceStartTimeTo": lambda entry, bound: before(entry.service_start_time, bound),
    f"{P}ServiceStopTimeTo": lambda entry, bound: before(entry.service_stop_time, bound),
    f"{P}AuthorPerson": lambda entry, wanted: any(
        like(nfc(author.person), nfc(pattern)) for author in entry.authors for pattern in wanted
    ),
}


def expected(entry, parameters, event_clauses, confidentiality_clauses):
    return (
        all(NAIVE[name](entry, value) for name, value in parameters.items())
        and all(any(among(code, clause) for code in entry.event_codes) for clause in event_clauses)
        and all(
            any(among(code, clause) for code in entry.confidentiality_codes)
            for clause in confidentiality_clauses
        )
    )


def raw(listed):
    quoted = (",".join("'" + str(code).replace("'", "''") + "'" for code in clause) for clause in listed)
    return tuple((f"({clause})",) for clause in quoted)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    registered=st.lists(entries, min_size=4, max_size=8),
    asked=st.lists(st.tuples(filters, clauses, clauses), min_size=6, max_size=10),
)
async def test_find_documents_equals_the_naive_filter(lenient_registry, registered, asked):
    patient = f"LAW-{next(_numbers)}^^^&{DOMAIN}&ISO"
    registered = [
        replace(entry, patient_id=patient, entry_uuid=new_uuid(), unique_id=new_oid()) for entry in registered
    ]
    await lenient_registry.register(a_submission(*registered))
    for parameters, events, confidentialities in asked:
        lists = {
            f"{P}EventCodeList": raw(events),
            f"{P}ConfidentialityCode": raw(confidentialities),
        }
        found = await lenient_registry.query(
            queries.FIND_DOCUMENTS,
            {f"{P}PatientId": patient, f"{P}Status": [APPROVED], **parameters},
            raw={name: value for name, value in lists.items() if value},
        )
        wanted = {
            entry.entry_uuid for entry in registered if expected(entry, parameters, events, confidentialities)
        }
        assert {entry.entry_uuid for entry in found.document_entries} == wanted
