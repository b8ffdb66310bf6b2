"""Restricted Update Document Set [ITI-92]: what it changes, and what it refuses to, by which code."""

from dataclasses import replace

import pytest
from lxml import etree

from registry.settings import RegistrySettings
from shared.ebrim import schemes
from shared.ebrim.codec import decode_submission
from shared.ebrim.model import AssociationType, Code, Timestamp
from shared.errors import Rejected
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, CLINICIAN, DEPRECATED, Registry, codes, is_success
from tests.support.updates import (
    a_status,
    a_version,
    an_update,
    everything,
    new_version,
    objects_of,
    refusal,
    refused,
    slots,
    submitted,
    update,
    versions_of,
)

T = AssociationType
UPDATE_ERROR = "XDSMetadataUpdateError"
OPERATION_ERROR = "XDSMetadataUpdateOperationError"
VERSION_ERROR = "XDSMetadataVersionError"
ANNOTATION = "XDSMetadataAnnotationError"
IDENTIFIER = "XDSMetadataIdentifierError"
UNMODIFIABLE = "UnmodifiableMetadataError"
OBJECT_TYPE = "XDSObjectTypeError"
RECONCILIATION = "XDSPatientIDReconciliationError"
METADATA = "XDSRegistryMetadataError"
NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"


class World:
    """A document in a folder, one that was replaced, one of two versions, and two of one uniqueId."""

    def __init__(self):
        self.document, self.old, self.updated, self.new = (a_document_entry() for _ in range(4))
        self.twin = a_document_entry()
        self.other_twin = replace(a_document_entry(), unique_id=self.twin.unique_id)
        self.folder = a_folder()
        first = a_submission(self.document, self.old, self.updated, self.twin, folders=[self.folder])
        self.membership = an_association(self.folder.entry_uuid, self.document.entry_uuid)
        collected = an_association(first.submission_set.entry_uuid, self.membership.entry_uuid)
        self.first = replace(first, associations=(*first.associations, self.membership, collected))
        self.set = self.first.submission_set
        self.second = a_submission(
            self.new, associations=[an_association(self.new.entry_uuid, self.old.entry_uuid, T.RPLC)]
        )
        self.second_version = new_version(self.updated, title="second")
        self.on_demand = a_document_entry(
            object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None
        )

    async def register(self, registry):
        for submission in (self.first, self.second, a_submission(self.other_twin)):
            await registry.register(submission)
        await update(registry, a_version(self.second_version), restricted=True)
        await registry.store_as_is(replace(self.on_demand, logical_id=self.on_demand.entry_uuid))


@pytest.fixture
async def world(registry):
    world = World()
    await world.register(registry)
    return world


async def restricted(registry, message, **options):
    return await update(registry, message, restricted=True, **options)


# --- what it does ---------------------------------------------------------------------------------------


async def test_a_new_version_follows_with_all_that_the_old_one_was_joined_with(registry, world):
    sent = new_version(world.document, title="corrected", hash="3" * 40, size=5, mime_type="text/plain")
    assert is_success(await restricted(registry, a_version(sent)))

    old, new = await versions_of(registry, world.document)
    assert (new.title, new.hash, new.version) == ("corrected", "3" * 40, 2)
    assert (str(old.availability_status), str(new.availability_status)) == (DEPRECATED, APPROVED)
    joined = {(item.source_object, item.target_object) for item in (await everything(registry)).associations}
    assert (world.folder.entry_uuid, new.entry_uuid) in joined


async def test_a_deprecated_document_is_updated_and_stays_deprecated(registry, world):
    assert is_success(await restricted(registry, a_version(new_version(world.old, title="corrected"))))

    found = await versions_of(registry, world.old)
    assert [str(item.availability_status) for item in found] == [DEPRECATED, DEPRECATED]
    shown = {item.entry_uuid for item in (await everything(registry, level=1)).document_entries}
    assert shown & {item.entry_uuid for item in found} == {found[1].entry_uuid}


async def test_an_on_demand_entry_is_updated(registry, world):
    assert is_success(await restricted(registry, a_version(new_version(world.on_demand, title="new"))))
    assert [item.title for item in await versions_of(registry, world.on_demand)] == ["CT chest", "new"]


async def test_without_lid_the_unique_id_tells_the_lineage(registry, world):
    sent = new_version(world.document, logical_id="", title="new")
    assert is_success(await restricted(registry, a_version(sent)))
    assert [item.version for item in await versions_of(registry, world.document)] == [1, 2]


# --- rules ----------------------------------------------------------------------------------------------


def document(w, **changes):
    return new_version(w.document, **changes)


BROKEN = {
    # what the message says of itself
    "E04": ({METADATA}, lambda w: a_version(document(w, hash=""))),
    "E09": (
        {METADATA},
        lambda w: a_version(
            document(w, service_start_time=Timestamp("2025"), service_stop_time=Timestamp("2024"))
        ),
    ),
    "E50": (
        {"XDSInvalidRequestException"},
        lambda w: a_version(document(w, logical_id=w.document.entry_uuid, entry_uuid=w.document.entry_uuid)),
    ),
    "E51": ({ANNOTATION}, lambda w: replace(an_update(a_version(document(w))), associations=())),
    "E52 no PreviousVersion": ({ANNOTATION}, lambda w: a_version(document(w), previous=None)),
    "E52 no number": ({ANNOTATION}, lambda w: a_version(document(w), previous="v1")),
    "E52 no propagation": ({ANNOTATION}, lambda w: a_version(document(w), propagation="no")),
    "E52 AssociationPropagation": ({ANNOTATION}, lambda w: a_version(document(w), propagation="maybe")),
    "E52 Reference": (
        {ANNOTATION},
        lambda w: a_version(document(w), submission_set_status=schemes.REFERENCE),
    ),
    "E52 foreign slot": (
        {ANNOTATION},
        lambda w: a_version(document(w), extra_slots=slots(PreviousVersion="1", NewStatus=APPROVED)),
    ),
    "E58 another patient than the set": (
        {RECONCILIATION},
        lambda w: an_update(a_version(document(w)), patient_id=OTHER_PATIENT),
    ),
    "E60": ({OPERATION_ERROR}, lambda w: an_update(a_version(document(w)), a_version(document(w)))),
    "E61": (
        {UNMODIFIABLE},
        lambda w: an_update(a_version(document(w)), a_status(w.old.entry_uuid, DEPRECATED, APPROVED)),
    ),
    "E62": (
        {UPDATE_ERROR},
        lambda w: an_update(
            a_version(document(w)),
            submitted(an_association(w.folder.entry_uuid, w.updated.entry_uuid)),
        ),
    ),
    "E64": ({OBJECT_TYPE}, lambda w: a_version(new_version(w.folder))),
    "a relationship": (
        {OPERATION_ERROR},
        lambda w: (
            lambda message: replace(
                message,
                associations=(
                    *message.associations,
                    an_association(w.document.entry_uuid, w.old.entry_uuid, T.APND),
                ),
            )
        )(an_update(a_version(document(w)))),
    ),
    "no operation": ({OPERATION_ERROR}, lambda w: an_update()),
    # what the registry knows
    "E14": (
        {"XDSDuplicateUniqueIdInRegistry"},
        lambda w: an_update(a_version(document(w)), unique_id=w.set.unique_id),
    ),
    "E19": (
        {"XDSUnknownPatientId", RECONCILIATION},
        lambda w: a_version(document(w, patient_id=f"NOBODY^^^&{DOMAIN}&ISO")),
    ),
    "E30": ({METADATA}, lambda w: a_version(document(w, entry_uuid=w.old.entry_uuid))),
    "E53 not current": ({VERSION_ERROR}, lambda w: a_version(new_version(w.updated), previous="1")),
    "E53 not current, deprecated": ({VERSION_ERROR}, lambda w: a_version(new_version(w.old), previous="2")),
    "E53 no version": ({VERSION_ERROR}, lambda w: a_version(document(w, logical_id=NOWHERE))),
    "E53 no lid, unknown uniqueId": (
        {VERSION_ERROR},
        lambda w: a_version(document(w, logical_id="", unique_id="1.2.3")),
    ),
    "E56": ({IDENTIFIER}, lambda w: a_version(document(w, unique_id="1.2.3"))),
    "E56 no lid, several": ({IDENTIFIER}, lambda w: a_version(new_version(w.twin, logical_id=""))),
    "E57": (
        {OBJECT_TYPE, UNMODIFIABLE},
        lambda w: a_version(
            document(w, object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None)
        ),
    ),
    "E58": ({RECONCILIATION}, lambda w: a_version(document(w, patient_id=OTHER_PATIENT))),
    "E59 sourcePatientId": (
        {UNMODIFIABLE},
        lambda w: a_version(document(w, source_patient_id="L-78^^^&1.3.6.1.4.1.21367.9.60&ISO")),
    ),
    "E59 repositoryUniqueId": (
        {UNMODIFIABLE},
        lambda w: a_version(document(w, repository_unique_id="1.2.3")),
    ),
    "E59 documentAvailability": (
        {UNMODIFIABLE},
        lambda w: a_version(document(w, document_availability=schemes.OFFLINE)),
    ),
    "E60 by uniqueId": (
        {OPERATION_ERROR},
        lambda w: an_update(a_version(document(w, logical_id="")), a_version(document(w))),
    ),
}
FIRST_KNOWN = "E14"


def snapshot(found):
    return {(thing.entry_uuid, thing.availability_status) for thing in objects_of(found)}


@pytest.mark.parametrize("place", ["message", "registry"])
async def test_every_broken_rule_has_its_code_names_the_object_and_leaves_nothing(registry, world, place):
    before = snapshot(await everything(registry))
    names = list(BROKEN)
    half = names.index(FIRST_KNOWN)
    wrong = {}
    for name in names[:half] if place == "message" else names[half:]:
        expected, break_rule = BROKEN[name]
        found = await refusal(registry, break_rule(world), restricted=True)
        if set(codes(found)) != expected:
            wrong[name] = (expected, codes(found), [error.context for error in found.errors])
        for error in found.errors:
            if error.location.split("/")[0] not in error.context:
                wrong[f"{name}: id"] = error.context
    assert wrong == {}
    assert snapshot(await everything(registry)) == before


def test_the_table_has_every_rule_of_restricted_updates():
    tried = {name.split()[0] for name in BROKEN} | {"E65", "E55"}
    assert tried >= {f"E{number}" for number in range(50, 66)} - {"E54", "E63"}


async def test_an_absent_availability_is_online(registry, world):
    sent = document(world, document_availability=schemes.ONLINE)
    assert is_success(await restricted(registry, a_version(sent)))


async def test_a_message_without_submission_set_is_refused(registry):
    nothing = etree.fromstring(
        '<rim:RegistryObjectList xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"/>'
    )
    with pytest.raises(Rejected) as raised:
        await restricted(registry, decode_submission(nothing))
    assert codes(raised.value) == [UPDATE_ERROR]


# --- policy, trail, retries -----------------------------------------------------------------------------


def with_settings(registry, **changes):
    settings = registry.parts.settings.model_copy(update=changes)
    return Registry(replace(registry.parts, settings=settings))


async def test_what_local_policy_fixes_does_not_change(registry, world):
    strict = with_settings(registry, fixed_attributes=("hash", "confidentialityCode"))
    code = (Code("R", "2.16.840.1.113883.5.25", "restricted"),)
    for changes in ({"hash": "3" * 40}, {"confidentiality_codes": code}):
        message = a_version(document(world, **changes))
        assert await refused(strict, message, restricted=True) == ["LocalPolicyRestrictionError"]
    assert is_success(await restricted(strict, a_version(document(world, title="new"))))


def test_a_policy_names_attributes_that_there_are():
    with pytest.raises(ValueError, match="unknown: colour"):
        RegistrySettings.model_validate({"fixed_attributes": ["hash", "colour"]})


async def test_local_policy_lets_the_community_update_and_its_administrators(registry, world):
    with pytest.raises(Rejected) as raised:
        await restricted(registry, a_version(document(world)), caller=CLINICIAN)
    assert codes(raised.value) == ["LocalPolicyRestrictionError"]

    roles = with_settings(registry, administrator_roles=("RAD-PHYS^^2.999.40.1",))
    assert is_success(await restricted(roles, a_version(document(world)), caller=CLINICIAN))


async def test_the_event_names_the_community_of_the_submission_set(registry, world):
    message = an_update(a_version(document(world)), home_community_id="urn:oid:1.2.3")
    await restricted(registry, message)

    event = (await registry.outbox())[-1]
    assert b'csd-code="ITI-92"' in event
    assert b'EventActionCode="U"' in event
    assert message.submission_set.unique_id.encode() in event
    assert b'type="urn:ihe:iti:xca:2010:homeCommunityId"' in event


async def test_a_retry_is_answered_as_before(registry, world):
    message = an_update(a_version(document(world)))
    first = await restricted(registry, message, message_id="urn:uuid:1")
    assert await restricted(registry, message, message_id="urn:uuid:1") == first
    assert len(await versions_of(registry, world.document)) == 2
