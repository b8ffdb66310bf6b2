"""Whatever a query asks for or leaves aside: what it shows is what may be seen by what is in the registry."""

import itertools
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.domain import stored_queries as queries
from registry.domain.multi_patient_queries import (
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
)
from registry.transactions import iti18, iti51
from shared.ebrim import schemes
from shared.ebrim.model import (
    Association,
    AssociationType,
    AvailabilityStatus,
    Code,
    DocumentEntry,
    Folder,
    SubmissionSet,
)
from shared.messages.iti18 import ReturnType
from tests.support.consent import deny, permit
from tests.support.metadata import (
    DOMAIN,
    MANIFEST,
    NORMAL,
    a_document_entry,
    a_folder,
    a_submission_set,
    an_association,
)
from tests.support.registry import APPROVED, CLINICIAN, DEPRECATED
from tests.support.updates import new_version

D, S, F = "$XDSDocumentEntry", "$XDSSubmissionSet", "$XDSFolder"
T = AssociationType
RESTRICTED = Code("R", NORMAL.scheme)
OTHER_FORMAT = Code("other", "2.999.1")
BOTH = [APPROVED, DEPRECATED]
_numbers = itertools.count()

#: What a patient may have given, and for which codes a document may then be seen.
POLICIES = {
    "nothing": (lambda of: [], lambda codes: True),
    "no restricted ones": (
        lambda of: [deny(patient_id=of, confidentiality=[str(RESTRICTED)])],
        lambda codes: RESTRICTED not in codes,
    ),
    "normal ones alone": (
        lambda of: [permit(patient_id=of, confidentiality=[str(NORMAL)])],
        lambda codes: bool(codes) and set(codes) == {NORMAL},
    ),
    "closed": (lambda of: [deny(patient_id=of)], lambda codes: False),
}


@dataclass
class World:
    """What two patients have, and what they gave."""

    given: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)
    owners: dict = field(default_factory=dict)

    def add(self, patient, *values):
        for value in values:
            self.objects[value.entry_uuid] = value
            self.owners[value.entry_uuid] = patient

    def of(self, kind, patient=None):
        return [
            value
            for value in self.objects.values()
            if isinstance(value, kind) and patient in (None, self.owners[value.entry_uuid])
        ]

    async def store(self, registry):
        for patient, name in self.given.items():
            for policy in POLICIES[name][0](patient):
                await registry.add_policy(policy)
            mine = [value for uuid, value in self.objects.items() if self.owners[uuid] == patient]
            await registry.store_as_is(*sorted(mine, key=lambda value: isinstance(value, Association)))

    def permits(self, patient, codes):
        return POLICIES[self.given[patient]][1](codes)

    # The rules, told a second time: what may be seen by what there is.

    def sees(self, uuid, trail=()):
        value = self.objects.get(uuid)
        if value is None or uuid in trail:
            return False
        trail = (*trail, uuid)
        if isinstance(value, DocumentEntry):
            latest = max(
                (
                    each
                    for each in self.of(DocumentEntry)
                    if value.logical_id and each.logical_id == value.logical_id
                ),
                key=lambda each: each.version,
                default=value,
            )
            return all(
                self.permits(self.owners[each.entry_uuid], each.confidentiality_codes)
                for each in (value, latest)
            )
        if isinstance(value, Association):
            return self.sees(value.source_object, trail) and self.sees(value.target_object, trail)
        owner = self.owners[uuid]
        held = [
            each
            for each in self.of(Association)
            if each.source_object == uuid and each.association_type == T.HAS_MEMBER
        ]
        if not held:
            return self.permits(owner, ())
        now = [each for each in held if str(each.availability_status) == APPROVED] or held
        seen = [each.target_object for each in now if self.sees(each.target_object, trail)]
        own = [
            each
            for each in seen
            if self.owners[each] == owner and not isinstance(self.objects[each], Association)
        ]
        return bool(own) or bool(seen and self.permits(owner, ()))

    def visible(self, kind):
        return {value.entry_uuid for value in self.of(kind) if self.sees(value.entry_uuid)}


CODES = [(NORMAL,), (RESTRICTED,), (NORMAL, RESTRICTED)]
STATUSES = list(AvailabilityStatus)


def a_world(chance):
    """Documents of two patients with versions and codes, and what holds and joins them, now or once."""
    world = World()
    number = next(_numbers)
    patients = [f"V{number}-{at}^^^&{DOMAIN}&ISO" for at in range(2)]
    for patient in patients:
        world.given[patient] = chance.choice(sorted(POLICIES))
        for _ in range(chance.randint(1, 3)):
            first = a_document_entry(
                patient_id=patient,
                confidentiality_codes=chance.choice(CODES),
                format_code=chance.choice([MANIFEST, OTHER_FORMAT]),
                document_availability=chance.choice(["", schemes.OFFLINE]),
            )
            first = replace(first, logical_id=first.entry_uuid, version=1)
            if chance.random() < 0.4:
                second = new_version(first, version=2, confidentiality_codes=chance.choice(CODES))
                # As an update leaves the old one: hidden from metadata level 1.
                old = replace(
                    first,
                    availability_status=AvailabilityStatus.DEPRECATED,
                    document_availability=schemes.OFFLINE,
                )
                world.add(patient, old, second)
            else:
                world.add(patient, first)
        world.add(patient, *(a_folder(patient_id=patient) for _ in range(chance.randint(1, 2))))
    for patient in patients:
        _join(world, patient, chance)
    return world


def _join(world, patient, chance):
    documents, folders = world.of(DocumentEntry, patient), world.of(Folder, patient)
    sets = [a_submission_set(patient_id=patient) for _ in range(chance.randint(1, 2))]
    world.add(patient, *sets)
    # A set may refer to what is another patient's, and holds folders; a folder holds documents.
    choices = [*((folder, documents) for folder in folders)]
    choices += [(each, [*world.of(DocumentEntry), *folders]) for each in sets]
    for holder, choice in choices:
        for member in chance.sample(choice, chance.randint(0, min(3, len(choice)))):
            world.add(patient, joined(holder, member, T.HAS_MEMBER, chance))
    if len(documents) > 1:
        world.add(patient, joined(*chance.sample(documents, 2), T.APND, chance))
    for held in chance.sample(world.of(Association), min(2, len(world.of(Association)))):
        world.add(patient, joined(sets[0], held, T.HAS_MEMBER, chance))


def joined(source, target, association_type, chance):
    return an_association(
        source.entry_uuid,
        target.entry_uuid,
        association_type,
        availability_status=chance.choice(STATUSES),
    )


def asked(world, chance):
    """Every query, with parameters of every kind: patients, ids, and what narrows."""

    def narrowed():
        level = chance.choice([None, 1, 2])
        parameters = {
            f"{D}FormatCode": chance.choice([None, [MANIFEST], [OTHER_FORMAT]]),
            f"{D}ConfidentialityCode": chance.choice([None, [NORMAL], [RESTRICTED], [NORMAL, RESTRICTED]]),
            f"{D}Type": chance.choice([None, None, [schemes.STABLE], [schemes.ON_DEMAND]]),
            "$MetadataLevel": level,
            "$XDSAssociationStatus": level == 2 and chance.choice([None, [APPROVED], [DEPRECATED], BOTH]),
        }
        return {name: value for name, value in parameters.items() if value}

    def some(kind):
        ids = [value.entry_uuid for value in world.of(kind)]
        return chance.sample(ids, chance.randint(1, len(ids)))

    def statuses():
        return chance.choice([[APPROVED], [DEPRECATED], BOTH])

    patient, both = chance.choice(sorted(world.given)), sorted(world.given)
    every = {f"{D}Status": statuses(), f"{S}Status": statuses(), f"{F}Status": statuses()}
    related = {"$AssociationTypes": [str(T.APND), str(T.RPLC)]}
    for query, parameters in (
        (queries.FIND_DOCUMENTS, {f"{D}PatientId": patient, f"{D}Status": statuses()}),
        (queries.FIND_FOLDERS, {f"{F}PatientId": patient, f"{F}Status": statuses()}),
        (queries.FIND_SUBMISSION_SETS, {f"{S}PatientId": patient, f"{S}Status": statuses()}),
        (queries.GET_ALL, {"$patientId": patient, **every}),
        (queries.GET_DOCUMENTS, {f"{D}EntryUUID": some(DocumentEntry)}),
        (queries.GET_FOLDERS, {f"{F}EntryUUID": some(Folder)}),
        (queries.GET_ASSOCIATIONS, {"$uuid": some(object)}),
        (queries.GET_DOCUMENTS_AND_ASSOCIATIONS, {f"{D}EntryUUID": some(DocumentEntry)}),
        (queries.GET_SUBMISSION_SETS, {"$uuid": some(object)}),
        (queries.GET_SUBMISSION_SET_AND_CONTENTS, {f"{S}EntryUUID": some(SubmissionSet)[0]}),
        (queries.GET_FOLDER_AND_CONTENTS, {f"{F}EntryUUID": some(Folder)[0]}),
        (queries.GET_FOLDERS_FOR_DOCUMENT, {f"{D}EntryUUID": some(DocumentEntry)[0]}),
        (queries.GET_RELATED_DOCUMENTS, {f"{D}EntryUUID": some(DocumentEntry)[0], **related}),
        (FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, {f"{D}PatientId": both, f"{D}Status": statuses()}),
        (FIND_FOLDERS_FOR_MULTIPLE_PATIENTS, {f"{F}PatientId": both, f"{F}Status": statuses()}),
    ):
        for _ in range(3):
            yield query, {**narrowed(), **parameters}


chances = st.integers(0, 2**32).map(Random)
LAW = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@LAW
@given(chances)
async def test_no_parameter_shows_what_may_not_be_seen(registry, chance):
    world = a_world(chance)
    await world.store(registry)
    allowed = world.visible(object)
    for query, parameters in asked(world, chance):
        served = iti51.SERVED if "Multiple" in query.name else iti18.SERVED
        found = await registry.query(
            query, parameters, caller=CLINICIAN, return_type=ReturnType.OBJECT_REF, served=served
        )
        assert set(found.object_refs) <= allowed, query.name


@LAW
@given(chances)
async def test_what_may_be_seen_is_shown_to_whom_asks_for_all_of_it(registry, chance):
    world = a_world(chance)
    await world.store(registry)

    async def shown(query, parameters, kind):
        found = await registry.query(
            query,
            {"$MetadataLevel": 2, **parameters},
            caller=CLINICIAN,
            return_type=ReturnType.OBJECT_REF,
        )
        return {each for each in found.object_refs if isinstance(world.objects[each], kind)}

    documents = [value.entry_uuid for value in world.of(DocumentEntry)]
    assert await shown(queries.GET_DOCUMENTS, {f"{D}EntryUUID": documents}, DocumentEntry) == world.visible(
        DocumentEntry
    )
    folders = [value.entry_uuid for value in world.of(Folder)]
    assert await shown(queries.GET_FOLDERS, {f"{F}EntryUUID": folders}, Folder) == world.visible(Folder)
    everything = {"$uuid": sorted(world.objects), "$XDSAssociationStatus": BOTH}
    assert await shown(queries.GET_ASSOCIATIONS, everything, Association) == world.visible(Association)
