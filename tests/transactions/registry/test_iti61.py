"""Registration of On-Demand entries: the rules that it shares with ITI-42, and those of its own."""

from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from registry.settings import RegistrySettings
from registry.transactions import iti61, served_by
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, AvailabilityStatus, Timestamp
from shared.errors import Rejected
from shared.messages.iti42 import RegisterRequest
from tests.support.metadata import PATIENT, a_document_entry, a_folder, a_submission, an_association
from tests.support.registry import APPROVED, DEPRECATED, codes, is_success
from tests.transactions.registry.test_rules import BROKEN, METADATA, World, all_ids

T = AssociationType
FIND = {
    "$XDSDocumentEntryPatientId": PATIENT,
    "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
    "$XDSDocumentEntryType": [schemes.ON_DEMAND],
}


def on_demand(entry=None, **changes):
    """An entry as it is registered on demand."""
    entry = entry or a_document_entry()
    return replace(
        entry,
        **{"object_type": schemes.ON_DEMAND, "creation_time": None, "hash": "", "size": None} | changes,
    )


def with_on_demand(submission):
    """`submission` with all its entries on demand."""
    return replace(submission, document_entries=tuple(map(on_demand, submission.document_entries)))


async def register(registry, submission, **options):
    return await registry.perform(iti61.SERVED, RegisterRequest.of(submission), **options)


async def refused(registry, submission):
    with pytest.raises(Rejected) as refusal:
        await register(registry, submission)
    return codes(refusal.value)


async def found(registry):
    entries = (await registry.query(queries.FIND_DOCUMENTS, FIND)).document_entries
    return {entry.entry_uuid: entry for entry in entries}


async def test_an_on_demand_entry_is_registered_and_found_as_what_it_is(registry):
    entry, folder = on_demand(), a_folder()
    assert is_success(await register(registry, a_submission(entry, folders=[folder])))

    kept = (await found(registry))[entry.entry_uuid]
    assert replace(kept, logical_id="") == entry
    stable_only = {**FIND, "$XDSDocumentEntryType": [schemes.STABLE]}
    assert not await registry.query(queries.FIND_DOCUMENTS, stable_only)


#: Rows of ITI-42 that ask for what an On-Demand entry must not have, or are about Stable entries.
_OF_STABLE = {
    "E04 no hash",
    "E04 no size",
    "E04 no creationTime",
    "E07 On-Demand",
    "E15 hash",
    "E16 size",
}


@pytest.mark.parametrize("place", ["message", "registry"])
async def test_every_rule_that_both_share_has_its_code_and_leaves_nothing(registry, place):
    world = World()
    await world.register(registry)
    before = await all_ids(registry)
    names = list(BROKEN)
    half = names.index("E14 set as set")
    wrong = {}
    for name in names[:half] if place == "message" else names[half:]:
        if name in _OF_STABLE:
            continue
        code, break_rule = BROKEN[name]
        given = await refused(registry, with_on_demand(break_rule(world)))
        if set(given) != {code}:
            wrong[name] = (code, given)
    assert wrong == {}
    assert await all_ids(registry) == before
    assert await found(registry) == {}


OWN = {
    "E08 Stable": lambda w: a_submission(a_document_entry()),
    "E08 Stable without content": lambda w: a_submission(on_demand(object_type=schemes.STABLE)),
    "E08 creationTime": lambda w: a_submission(on_demand(creation_time=Timestamp("2024"))),
    "E08 hash": lambda w: a_submission(on_demand(hash="0" * 40)),
    "E08 size": lambda w: a_submission(on_demand(size=0)),
    "E08 one of two": lambda w: a_submission(on_demand(), on_demand(size=1)),
    "E04 no repositoryUniqueId": lambda w: a_submission(on_demand(repository_unique_id="")),
    "E17 that of a set": lambda w: a_submission(on_demand(unique_id=w.set.unique_id)),
    "E17 that of a folder": lambda w: a_submission(on_demand(unique_id=w.folder.unique_id)),
    "E18 that of a Stable entry": lambda w: a_submission(on_demand(unique_id=w.document.unique_id)),
    "E18 that of a deprecated Stable entry": lambda w: a_submission(on_demand(unique_id=w.old.unique_id)),
    "E28 a snapshot on demand": lambda w: (
        lambda entry: a_submission(
            entry,
            associations=[an_association(entry.entry_uuid, w.on_demand.entry_uuid, T.IS_SNAPSHOT_OF)],
        )
    )(on_demand()),
}


async def test_every_rule_of_its_own_has_its_code_and_leaves_nothing(registry):
    world = World()
    await world.register(registry)
    world.on_demand = on_demand()
    await register(registry, a_submission(world.on_demand))
    before = await all_ids(registry)

    wrong = {name: given for name, make in OWN.items() if (given := await refused(registry, make(world)))}
    assert {name: set(given) for name, given in wrong.items()} == {name: {METADATA} for name in OWN}
    assert await all_ids(registry) == before
    assert list(await found(registry)) == [world.on_demand.entry_uuid]


async def test_each_attribute_that_has_no_place_is_named(registry):
    entry = on_demand(creation_time=Timestamp("2024"), hash="0" * 40, size=3)
    with pytest.raises(Rejected) as refusal:
        await register(registry, a_submission(entry))
    assert [error.location for error in refusal.value.errors] == [
        f"{entry.entry_uuid}/{name}" for name in ("creationTime", "hash", "size")
    ]


async def test_the_unique_id_of_another_on_demand_entry_is_taken_and_makes_a_second_entry(registry):
    first = on_demand()
    second = on_demand(unique_id=first.unique_id)
    await register(registry, a_submission(first))
    assert is_success(await register(registry, a_submission(second)))
    assert set(await found(registry)) == {first.entry_uuid, second.entry_uuid}


async def test_a_stable_document_cannot_take_the_unique_id_of_an_on_demand_entry(registry):
    first = on_demand()
    await register(registry, a_submission(first))
    assert await registry.refused(a_submission(a_document_entry(unique_id=first.unique_id))) == [
        "XDSNonIdenticalHash"
    ]


async def test_an_on_demand_entry_is_replaced_by_another(registry):
    old, new = on_demand(), on_demand()
    await register(registry, a_submission(old))
    replacing = an_association(new.entry_uuid, old.entry_uuid, T.RPLC)
    await register(registry, a_submission(new, associations=[replacing]))

    kept = await found(registry)
    assert kept[old.entry_uuid].availability_status is AvailabilityStatus.DEPRECATED
    assert kept[new.entry_uuid].availability_status is AvailabilityStatus.APPROVED


async def test_a_snapshot_of_it_is_registered_by_iti_42(registry):
    entry, snapshot = on_demand(), a_document_entry()
    await register(registry, a_submission(entry))
    of = an_association(snapshot.entry_uuid, entry.entry_uuid, T.IS_SNAPSHOT_OF)
    assert is_success(await registry.register(a_submission(snapshot, associations=[of])))


async def test_a_message_that_comes_again_is_answered_as_before(registry):
    submission = a_submission(on_demand())
    first = await register(registry, submission, message_id="urn:uuid:1")
    assert await register(registry, submission, message_id="urn:uuid:1") == first
    assert len(await found(registry)) == 1


async def test_it_is_recorded_under_its_own_number(registry):
    submission = a_submission(on_demand())
    await register(registry, submission)
    await refused(registry, a_submission())

    (event,) = await registry.outbox()
    ((_, failure),) = await registry.parts.recorder.spool.reader("test").next(10)
    for octets, outcome in ((event, b"0"), (failure, b"8")):
        assert b'csd-code="ITI-61"' in octets
        assert b'csd-code="110107"' in octets
        assert b'EventActionCode="C"' in octets
        assert b'EventOutcomeIndicator="%s"' % outcome in octets
        assert b"P-1001^^^&amp;" in octets
    assert submission.submission_set.unique_id.encode() in event


def test_the_action_of_the_answer_can_be_set():
    def answered(**changes):
        settings = RegistrySettings.model_validate(changes)
        (served,) = (each for each in served_by(settings) if each.transaction.number == "ITI-61")
        return served.transaction.response_action

    assert answered() == "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse"
    other = "urn:ihe:iti:2010:RegisterOnDemandDocumentEntryResponse"
    assert answered(on_demand_response_action=other) == other
