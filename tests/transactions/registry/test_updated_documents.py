"""What those who keep copies of metadata are told: the entries that updated documents have now."""

from __future__ import annotations

from registry.store.updates import find_updated_documents
from registry.transactions.iti8 import FeedReceiver
from shared.consent.policy import Entry
from shared.ebrim.model import Code
from shared.security.caller import Node
from shared.security.rights import Rights
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.support.updates import a_version, new_version, update
from xdsi.patient import message as adt

RESTRICTED = (Code("R", "2.16.840.1.113883.5.25"),)


async def updated(registry, patient=PATIENT):
    return await find_updated_documents(registry.parts.database, patient)


def entry(value, patient=PATIENT, codes=None):
    confidentiality = frozenset(map(str, codes or value.confidentiality_codes))
    return Entry(patient, confidentiality, str(value.class_code), str(value.type_code))


async def test_what_was_only_registered_or_replaced_is_not_told(registry):
    await registry.register(a_submission(a_document_entry(), a_document_entry()))
    assert await updated(registry) == {}


async def test_the_latest_version_is_told_with_its_codes(registry):
    document, other = a_document_entry(), a_document_entry()
    await registry.register(a_submission(document, other))
    second = new_version(document, confidentiality_codes=RESTRICTED)
    await update(registry, a_version(second))
    assert await updated(registry) == {document.unique_id: (entry(second),)}

    await update(registry, a_version(new_version(second, title="third"), "2"))
    assert await updated(registry) == {document.unique_id: (entry(second),)}
    assert await updated(registry, OTHER_PATIENT) == {}


async def test_every_entry_of_an_updated_document_is_told(registry):
    document = a_document_entry()
    again = a_document_entry(unique_id=document.unique_id, hash=document.hash, size=document.size)
    await registry.register(a_submission(document))
    await registry.register(a_submission(again))
    second = new_version(document, confidentiality_codes=RESTRICTED)
    await update(registry, a_version(second))

    assert set((await updated(registry))[document.unique_id]) == {entry(second), entry(again)}


async def test_a_document_that_was_given_to_another_patient_is_told_to_both(registry):
    document = a_document_entry()
    await registry.register(a_submission(document))
    await update(registry, a_version(new_version(document, patient_id=OTHER_PATIENT)))

    moved = {document.unique_id: (entry(document, OTHER_PATIENT),)}
    assert await updated(registry) == moved
    assert await updated(registry, OTHER_PATIENT) == moved


async def test_a_merge_takes_updated_documents_along(registry):
    document = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(document))
    await update(registry, a_version(new_version(document, confidentiality_codes=RESTRICTED)))
    feed = FeedReceiver(registry.parts, "registry", Rights(registry.parts.settings))
    await feed.acknowledge(adt("A40", patient=PATIENT, prior=OTHER_PATIENT), Node(address="127.0.0.1"))

    assert await updated(registry) == {document.unique_id: (entry(document, PATIENT, RESTRICTED),)}
