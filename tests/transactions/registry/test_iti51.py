"""Queries about several patients, or about all of them; consent is asked for each object."""

import itertools
from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from registry.domain.multi_patient_queries import (
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS as DOCUMENTS,
)
from registry.domain.multi_patient_queries import (
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS as FOLDERS,
)
from registry.transactions import iti51
from shared.ebrim import schemes
from shared.ebrim.model import Author, Code, Timestamp
from shared.errors import Rejected, TooManyResults, XdsError
from shared.messages.iti18 import ReturnType
from tests.support.consent import deny, permit
from tests.support.metadata import (
    CT,
    DOMAIN,
    HOSPITAL,
    IMAGES,
    NORMAL,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import (
    APPROVED,
    CLINICIAN,
    DEPRECATED,
    Registry,
    a_clinician,
    codes,
    open_parts,
)

REF = ReturnType.OBJECT_REF
D, F = "$XDSDocumentEntry", "$XDSFolder"
BOTH = [PATIENT, OTHER_PATIENT]
APPROVED_ONES = {f"{D}Status": [APPROVED]}
MISSING = "XDSStoredQueryMissingParam"


def ids(things):
    return {thing.entry_uuid for thing in things}


async def query(registry, which, parameters=None, **options):
    return await registry.query(which, parameters, served=iti51.SERVED, **options)


async def find(registry, **parameters):
    named = {f"{D}{name}": value for name, value in parameters.items()}
    return ids((await query(registry, DOCUMENTS, APPROVED_ONES | named)).document_entries)


async def find_folders(registry, **parameters):
    named = {f"{F}{name}": value for name, value in parameters.items()}
    return ids((await query(registry, FOLDERS, {f"{F}Status": [APPROVED]} | named)).folders)


async def refused(registry, which, parameters=None, **options):
    with pytest.raises((Rejected, XdsError)) as refusal:
        await query(registry, which, parameters, **options)
    return codes(refusal.value)


class World:
    """Documents and folders of two patients; one of each is different from the others."""

    def __init__(self):
        self.other_code = Code("x", "1.2.3")
        self.mine = a_document_entry()
        self.theirs = a_document_entry(patient_id=OTHER_PATIENT)
        self.odd = a_document_entry(
            class_code=self.other_code,
            type_code=self.other_code,
            format_code=self.other_code,
            practice_setting_code=self.other_code,
            healthcare_facility_type_code=self.other_code,
            event_codes=(self.other_code, CT),
            confidentiality_codes=(self.other_code,),
            creation_time=Timestamp("2020"),
            service_start_time=Timestamp("2020"),
            service_stop_time=Timestamp("2020"),
            authors=(Author(person="^Odd^One", institutions=("Clinic",)),),
        )
        self.my_folder = a_folder()
        self.their_folder = a_folder(patient_id=OTHER_PATIENT, codes=(self.other_code, CT))

    async def register(self, registry):
        await registry.register(a_submission(self.mine, folders=[self.my_folder]))
        await registry.register(a_submission(self.theirs, folders=[self.their_folder]))
        await registry.register(a_submission(self.odd))


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


# --- what is found ---------------------------------------------------------------------------------------


async def test_documents_of_the_patients_that_are_named(registry, world):
    assert await find(registry, PatientId=[PATIENT]) == ids([world.mine, world.odd])
    assert await find(registry, PatientId=BOTH) == ids([world.mine, world.odd, world.theirs])
    assert await find(registry, PatientId=[f"NOBODY^^^&{DOMAIN}&ISO", OTHER_PATIENT]) == ids([world.theirs])


async def test_documents_of_all_patients_by_each_parameter_that_may_stand_alone(registry, world):
    everybodys = ids([world.mine, world.theirs])
    assert await find(registry, ClassCode=[IMAGES]) == everybodys
    assert await find(registry, HealthcareFacilityTypeCode=[HOSPITAL]) == everybodys
    assert await find(registry, EventCodeList=[CT]) == everybodys | ids([world.odd])
    for name in ("ClassCode", "HealthcareFacilityTypeCode", "EventCodeList"):
        assert await find(registry, **{name: [world.other_code]}) == ids([world.odd])
        assert await find(registry, **{name: [Code("y", "1.2.3")]}) == set()


async def test_slots_of_one_name_must_all_be_met(registry, world):
    raw = {f"{D}EventCodeList": ((f"('{CT}')",), (f"('{world.other_code}')",))}
    found = await query(registry, DOCUMENTS, APPROVED_ONES, raw=raw)
    assert ids(found.document_entries) == ids([world.odd])
    raw = {f"{F}CodeList": ((f"('{CT}')",), (f"('{world.other_code}')",))}
    found = await query(registry, FOLDERS, {f"{F}Status": [APPROVED]}, raw=raw)
    assert ids(found.folders) == ids([world.their_folder])


@pytest.mark.parametrize(
    ("name", "value", "odd"),
    [
        ("TypeCode", [Code("x", "1.2.3")], True),
        ("PracticeSettingCode", [Code("x", "1.2.3")], True),
        ("FormatCode", [Code("x", "1.2.3")], True),
        ("ConfidentialityCode", [NORMAL], False),
        ("AuthorPerson", ["%Odd%"], True),
        ("CreationTimeFrom", Timestamp("2021"), False),
        ("CreationTimeTo", Timestamp("2021"), True),
        ("ServiceStartTimeFrom", Timestamp("2021"), False),
        ("ServiceStartTimeTo", Timestamp("2021"), True),
        ("Type", [schemes.STABLE], None),
    ],
)
async def test_the_other_parameters_narrow(registry, world, name, value, odd):
    for leading in ({"PatientId": BOTH}, {"EventCodeList": [CT]}):
        everything = ids([world.mine, world.theirs, world.odd])
        expected = {None: everything, True: ids([world.odd]), False: everything - ids([world.odd])}[odd]
        assert await find(registry, **leading, **{name: value}) == expected


async def test_a_service_that_has_not_stopped_is_not_filtered_by_its_stop(registry, world):
    assert await find(registry, PatientId=BOTH, ServiceStopTimeFrom=Timestamp("2021")) == ids(
        [world.mine, world.theirs]
    )
    assert len(await find(registry, PatientId=BOTH, ServiceStopTimeTo=Timestamp("2021"))) == 3


async def test_folders_of_the_patients_that_are_named_or_by_their_codes(registry, world):
    assert await find_folders(registry, PatientId=BOTH) == ids([world.my_folder, world.their_folder])
    assert await find_folders(registry, PatientId=[PATIENT]) == ids([world.my_folder])
    assert await find_folders(registry, CodeList=[CT]) == ids([world.their_folder])
    assert await find_folders(registry, PatientId=BOTH, CodeList=[CT]) == ids([world.their_folder])
    assert await find_folders(registry, PatientId=BOTH, LastUpdateTimeFrom=Timestamp("2090")) == set()
    assert len(await find_folders(registry, PatientId=BOTH, LastUpdateTimeTo=Timestamp("2090"))) == 2


async def test_a_status_and_a_type_are_filters_as_in_one_patients_query(registry, world):
    on_demand = a_document_entry(
        object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None, patient_id=OTHER_PATIENT
    )
    await registry.store_as_is(on_demand)
    assert on_demand.entry_uuid not in await find(registry, PatientId=BOTH)
    assert await find(registry, PatientId=BOTH, Type=[schemes.ON_DEMAND]) == ids([on_demand])
    deprecated = {f"{D}Status": [DEPRECATED], f"{D}PatientId": BOTH}
    assert not await query(registry, DOCUMENTS, deprecated)


async def test_references_are_given_and_several_patients_are_no_mistake(registry, world):
    parameters = APPROVED_ONES | {f"{D}PatientId": BOTH}
    whole = await query(registry, DOCUMENTS, parameters)
    references = await query(registry, DOCUMENTS, parameters, return_type=REF)
    assert {entry.patient_id for entry in whole.document_entries} == set(BOTH)
    assert set(references.object_refs) == ids(whole.document_entries)


# --- consent ---------------------------------------------------------------------------------------------


async def test_each_document_is_decided_by_its_own_patients_policies(registry, world):
    await registry.add_policy(deny(patient_id=OTHER_PATIENT))
    for leading in ({"PatientId": BOTH}, {"EventCodeList": [CT]}):
        assert await find(registry, **leading) == ids([world.mine, world.odd])
    assert await find_folders(registry, PatientId=BOTH) == ids([world.my_folder])


async def test_each_document_is_decided_by_itself(registry, world):
    radiologist, surgeon = a_clinician("RAD-PHYS"), a_clinician("SURGEON")
    await registry.add_policy(
        deny(patient_id=PATIENT, roles=["SURGEON^^2.999.40.1"], confidentiality=[str(world.other_code)])
    )
    await registry.add_policy(permit(patient_id=OTHER_PATIENT, roles=["SURGEON^^2.999.40.1"]))
    parameters = APPROVED_ONES | {f"{D}PatientId": BOTH}
    seen = await query(registry, DOCUMENTS, parameters, caller=surgeon, return_type=REF)
    assert set(seen.object_refs) == ids([world.mine, world.theirs])
    seen = await query(registry, DOCUMENTS, parameters, caller=radiologist, return_type=REF)
    assert world.odd.entry_uuid in seen.object_refs


async def test_a_folder_of_refused_documents_is_not_told_of(registry):
    document, folder = a_document_entry(confidentiality_codes=(CT,)), a_folder()
    submission = a_submission(document, folders=[folder])
    membership = an_association(folder.entry_uuid, document.entry_uuid)
    own = an_association(submission.submission_set.entry_uuid, membership.entry_uuid)
    await registry.register(replace(submission, associations=(*submission.associations, membership, own)))
    assert await find_folders(registry, PatientId=BOTH) == ids([folder])
    await registry.add_policy(deny(patient_id=PATIENT, confidentiality=[str(CT)]))
    assert await find_folders(registry, PatientId=BOTH) == set()


# --- what a request must be ------------------------------------------------------------------------------

TIMES = ("CreationTime", "ServiceStartTime", "ServiceStopTime")
SINGLE = [(DOCUMENTS, f"{D}{name}{end}") for name in TIMES for end in ("From", "To")] + [
    (FOLDERS, f"{F}LastUpdateTime{end}") for end in ("From", "To")
]
LISTS = [
    (DOCUMENTS, f"{D}{name}")
    for name in (
        "PatientId",
        "ClassCode",
        "TypeCode",
        "PracticeSettingCode",
        "HealthcareFacilityTypeCode",
        "AuthorPerson",
        "FormatCode",
        "Status",
        "Type",
    )
] + [(FOLDERS, f"{F}PatientId"), (FOLDERS, f"{F}Status")]
CODED = [
    (DOCUMENTS, f"{D}{name}")
    for name in (
        "ClassCode",
        "TypeCode",
        "PracticeSettingCode",
        "HealthcareFacilityTypeCode",
        "EventCodeList",
        "ConfidentialityCode",
        "FormatCode",
    )
] + [(FOLDERS, f"{F}CodeList")]


def complete(which):
    prefix = D if which is DOCUMENTS else F
    return {f"{prefix}PatientId": [PATIENT], f"{prefix}Status": [APPROVED]}


@pytest.mark.parametrize(
    ("which", "parameters", "expected"),
    [
        ("urn:uuid:00000000-0000-0000-0000-000000000000", {}, ["XDSUnknownStoredQuery"]),
        # By reference id, and the other way round: of one implementation alone.
        ("urn:uuid:1191642d-86c4-42d8-b784-f95445f9f0d5", {}, ["XDSUnknownStoredQuery"]),
        (DOCUMENTS, {}, [MISSING] * 2),
        (DOCUMENTS, APPROVED_ONES, [MISSING]),
        (DOCUMENTS, APPROVED_ONES | {f"{D}TypeCode": [IMAGES]}, [MISSING]),
        (DOCUMENTS, {f"{D}PatientId": BOTH}, [MISSING]),
        (DOCUMENTS, {f"{D}PatientId": BOTH, f"{D}Status": ["urn:nonsense"]}, [MISSING]),
        (FOLDERS, {}, [MISSING] * 2),
        (FOLDERS, {f"{F}Status": [APPROVED]}, [MISSING]),
        (FOLDERS, {f"{F}CodeList": [CT]}, [MISSING]),
    ],
)
async def test_mistakes_in_a_request_have_their_codes(registry, which, parameters, expected):
    assert await refused(registry, which, parameters) == expected


async def test_each_query_belongs_to_its_own_transaction(registry):
    for query_id in queries.STORED_QUERIES:
        assert await refused(registry, query_id) == ["XDSUnknownStoredQuery"]
    for which in (DOCUMENTS, FOLDERS):
        with pytest.raises(XdsError) as refusal:
            await registry.query(which, complete(which))
        assert codes(refusal.value) == ["XDSUnknownStoredQuery"]


async def test_each_parameter_is_read_as_the_table_says(registry):
    """Section 25 for these two queries: single ones, lists that are not repeated, and codes."""
    wrong = []
    for which, name in SINGLE:
        for raw in (("(20240101,20250101)",),), (("20240101",), ("20250101",)):
            given = await refused(registry, which, complete(which), raw={name: raw})
            wrong += [(name, raw, given)] if given != ["XDSStoredQueryParamNumber"] else []
        given = await refused(registry, which, complete(which), raw={name: (("yesterday",),)})
        wrong += [(name, given)] if given != ["XDSRegistryError"] else []
    for which, name in LISTS:
        values = {"Status": f"'{APPROVED}'", "Type": f"'{schemes.STABLE}'", "PatientId": f"'{PATIENT}'"}
        value = next((value for end, value in values.items() if name.endswith(end)), "'a^^1.2'")
        assert (
            await query(registry, which, complete(which), raw={name: ((f"({value},{value})",),)}) is not None
        )
        given = await refused(registry, which, complete(which), raw={name: ((f"({value})",),) * 2})
        wrong += [(name, given)] if given != ["XDSRegistryError"] else []
        if not name.endswith("Status"):
            given = await refused(registry, which, complete(which), raw={name: (("()",),)})
            wrong += [(name, given)] if given != ["XDSRegistryError"] else []
    for which, name in CODED:
        for value in ("('bare')", "('a^^1.2'", "('^^1.2')"):
            given = await refused(registry, which, complete(which), raw={name: ((value,),)})
            wrong += [(name, value, given)] if given != ["XDSRegistryError"] else []
    assert wrong == []


async def test_a_wrong_patient_id_and_a_wrong_return_type_are_refused(registry):
    raw = {f"{D}PatientId": (("'nobody'",),)}
    assert await refused(registry, DOCUMENTS, APPROVED_ONES, raw=raw) == ["XDSRegistryError"]
    assert await refused(
        registry, DOCUMENTS, complete(DOCUMENTS), return_type=ReturnType.REGISTRY_OBJECT
    ) == ["XDSRegistryError"]


async def test_metadata_level_2_opens_what_level_1_hides(registry):
    offline = a_document_entry(document_availability=schemes.OFFLINE)
    await registry.register(a_submission(offline))
    assert await find(registry, PatientId=BOTH) == set()
    level = {"$MetadataLevel": 2}
    found = await query(registry, DOCUMENTS, complete(DOCUMENTS) | level)
    assert ids(found.document_entries) == ids([offline])
    assert await refused(registry, DOCUMENTS, complete(DOCUMENTS) | {"$MetadataLevel": 3}) == [
        "XDSRegistryError"
    ]


# --- limits ----------------------------------------------------------------------------------------------


@pytest.fixture
async def small(database_place):
    """A registry with an answer of three objects, and of five references."""
    registry = Registry(await open_parts(database_place, query_limit=3, reference_limit=5))
    await registry.add_patient(*BOTH)
    yield registry
    await registry.parts.recorder.close()
    await registry.parts.database.close()


async def test_the_limits_of_an_answer(small):
    entries = [a_document_entry(patient_id=patient) for patient, _ in itertools.product(BOTH, range(3))]
    parameters = APPROVED_ONES | {f"{D}EventCodeList": [CT]}
    for entry in entries[:3]:
        await small.register(a_submission(entry))
    assert len((await query(small, DOCUMENTS, parameters)).document_entries) == 3
    for entry in entries[3:5]:
        await small.register(a_submission(entry))
    assert await refused(small, DOCUMENTS, parameters) == ["XDSTooManyResults"]
    assert len((await query(small, DOCUMENTS, parameters, return_type=REF)).object_refs) == 5
    await small.register(a_submission(entries[5]))
    assert await refused(small, DOCUMENTS, parameters, return_type=REF) == ["XDSTooManyResults"]


async def test_refused_objects_do_not_count_until_there_are_too_many_to_look_at(small):
    """An answer is whole or none: what could not be looked at might have been permitted."""
    await small.add_policy(deny(patient_id=PATIENT))
    mine = [a_folder() for _ in range(12)]
    await small.register(a_submission(folders=mine[:11]))
    theirs = a_folder(patient_id=OTHER_PATIENT)
    await small.register(a_submission(a_document_entry(patient_id=OTHER_PATIENT), folders=[theirs]))
    await small.register(a_submission(*[a_document_entry() for _ in range(11)]))
    assert await find_folders(small, PatientId=BOTH) == ids([theirs])
    assert len(await find(small, PatientId=BOTH)) == 1

    await small.register(a_submission(*[a_document_entry() for _ in range(4)], folders=mine[11:]))
    more = [a_folder() for _ in range(4)]
    await small.register(a_submission(folders=more))
    with pytest.raises(TooManyResults):
        await find_folders(small, PatientId=BOTH)
    with pytest.raises(TooManyResults):
        await find(small, PatientId=BOTH)


OF_ONE_PATIENT = pytest.mark.parametrize(
    ("which", "parameters"),
    [
        (queries.FIND_FOLDERS, {f"{F}PatientId": PATIENT, f"{F}Status": [APPROVED]}),
        (
            queries.FIND_SUBMISSION_SETS,
            {"$XDSSubmissionSetPatientId": PATIENT, "$XDSSubmissionSetStatus": [APPROVED]},
        ),
        (
            queries.GET_ALL,
            {
                "$patientId": PATIENT,
                f"{D}Status": [APPROVED],
                "$XDSSubmissionSetStatus": [APPROVED],
                f"{F}Status": [APPROVED],
            },
        ),
    ],
)


@OF_ONE_PATIENT
async def test_that_holds_for_the_queries_about_one_patient_too(small, which, parameters):
    await small.add_policy(permit(patient_id=PATIENT, confidentiality=["N"]))
    await small.register(a_submission(a_document_entry()))
    for _ in range(16):
        await small.register(a_submission(folders=[a_folder()]))
    with pytest.raises(TooManyResults):
        await small.query(which, parameters)


@OF_ONE_PATIENT
async def test_of_whom_nothing_may_be_seen_it_is_not_told_how_much_there_is(small, which, parameters):
    await small.add_policy(deny(patient_id=PATIENT))
    for _ in range(16):
        await small.register(a_submission(a_document_entry(), folders=[a_folder()]))
    assert not await small.query(which, parameters)


async def recorded(registry):
    """How many events came since the last look."""
    return len(await registry.parts.recorder.spool.reader("test").next(1000))


async def test_more_patients_than_the_limit_are_refused_and_recorded_once(registry):
    many = [f"P-{number}^^^&{DOMAIN}&ISO" for number in range(iti51.MAX_PATIENTS + 1)]
    assert not await query(registry, DOCUMENTS, APPROVED_ONES | {f"{D}PatientId": many[1:]})
    assert await recorded(registry) == iti51.MAX_PATIENTS
    assert await refused(registry, DOCUMENTS, APPROVED_ONES | {f"{D}PatientId": many}) == ["XDSRegistryError"]
    assert await recorded(registry) == 1


# --- the trail -------------------------------------------------------------------------------------------


async def test_a_query_is_recorded_for_each_patient_that_it_names(registry):
    await query(registry, DOCUMENTS, APPROVED_ONES | {f"{D}PatientId": BOTH})
    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert [b"P-1001" in event for event in events] == [True, False]
    assert [b"P-2002" in event for event in events] == [False, True]
    for event in events:
        assert b'csd-code="ITI-51"' in event
        assert b'csd-code="110112"' in event
        assert b'EventOutcomeIndicator="0"' in event
        assert b'ParticipantObjectID="urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"' in event
        assert b'type="QueryEncoding"' in event
        assert CLINICIAN.user.name_id.encode() in event


async def test_a_query_that_names_nobody_is_recorded_without_a_patient(registry):
    await query(registry, DOCUMENTS, APPROVED_ONES | {f"{D}EventCodeList": [CT]})
    await refused(registry, DOCUMENTS)
    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert [event.count(b"<ParticipantObjectIdentification") for event in events] == [1, 1]
    assert [b'EventOutcomeIndicator="8"' in event for event in events] == [False, True]
