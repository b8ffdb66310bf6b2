"""Remove Documents [ITI-86] as the repository performs it (supplement RMD 3.86; dossier row E42)."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from sqlalchemy import select

from repository.background.janitor import Janitor
from repository.store.tables import outbox
from repository.transactions import iti41, iti43, iti86
from shared.audit.dicom_xml import parse
from shared.audit.events import Outcome
from shared.ebrim.model import Code
from shared.errors import Actor, Rejected
from shared.messages.documents import DocumentRequest
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.messages.iti86 import RemoveDocumentsRequest
from shared.messages.registry import Status
from shared.security.caller import User
from shared.soap.client import PeerUnclear
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.transactions.repository.conftest import PROVIDER, House

OPERATOR = replace(PROVIDER, community_node=True)


def a_user(*roles: Code):
    return replace(PROVIDER, user=User(name_id="a", issuer="urn:i", assertion_id="_1", roles=roles))


async def kept(house: House, octets: bytes = b"the bytes", message_id: str = "", **changes) -> str:
    entry = a_document_entry(hash="", size=None, repository_unique_id="", **changes)
    request = house.request(a_submission(entry), a=octets)
    await iti41.handle(house.unit(replace(PROVIDER, message_id=message_id)), request)
    return entry.unique_id


def named(house: House, unique_ids, repository: str = "") -> tuple[DocumentRequest, ...]:
    ours = repository or house.parts.settings.repository_unique_id
    return tuple(DocumentRequest(repository_unique_id=ours, document_unique_id=one) for one in unique_ids)


async def remove(house: House, *unique_ids: str, caller=OPERATOR, repository: str = "", unit=None):
    request = RemoveDocumentsRequest(documents=named(house, unique_ids, repository))
    return await iti86.handle(unit or house.unit(caller), request)


async def retrieve(house: House, *unique_ids: str):
    request = RetrieveDocumentSetRequest(documents=named(house, unique_ids))
    return await iti43.handle(house.unit(), request)


def codes(response) -> list[tuple[str, str]]:
    return [(error.code_for(Actor.REPOSITORY), error.location) for error in response.errors]


async def events(house: House):
    rows = await house.parts.database.fetch(select(outbox.c.octets).order_by(outbox.c.id))
    messages = [parse(bytes(octets)[bytes(octets).index(b"<AuditMessage") :]) for (octets,) in rows]
    return [one for one in messages if [code.code for code in one.event.event_types] == ["ITI-86"]]


async def test_what_was_removed_is_not_served(house: House):
    gone, stays = await kept(house, b"1"), await kept(house, b"2")

    response = await remove(house, gone)

    assert response.status is Status.SUCCESS
    assert codes(await retrieve(house, gone)) == [("XDSDocumentUniqueIdError", gone)]
    assert (await retrieve(house, stays)).status is Status.SUCCESS


async def test_what_can_be_removed_is_and_the_rest_is_named(house: House):
    gone = await kept(house)

    response = await remove(house, gone, "1.2.3")

    assert response.status is Status.PARTIAL_SUCCESS
    assert codes(response) == [("XDSDocumentUniqueIdError", "1.2.3")]
    assert codes(await retrieve(house, gone)) == [("XDSDocumentUniqueIdError", gone)]


async def test_a_request_in_which_nothing_matches_fails_and_removes_nothing(house: House):
    stays = await kept(house)

    response = await remove(house, stays, repository="1.9")

    assert response.status is Status.FAILURE
    assert codes(response) == [("XDSUnknownRepositoryId", stays)]
    assert (await retrieve(house, stays)).status is Status.SUCCESS


async def test_a_document_is_removed_once(house: House):
    gone = await kept(house)
    assert (await remove(house, gone, gone)).status is Status.SUCCESS

    assert codes(await remove(house, gone)) == [("XDSDocumentUniqueIdError", gone)]


@pytest.mark.parametrize("caller", [PROVIDER, a_user(), a_user(Code("RAD-PHYS", "2.999.40.1"))])
async def test_who_may_not_remove_learns_nothing(house: House, caller):
    stays = await kept(house)

    response = await remove(house, stays, "1.2.3", caller=caller)

    assert response.status is Status.FAILURE
    assert codes(response) == [("XDSRemoveDocumentsError", stays), ("XDSRemoveDocumentsError", "1.2.3")]
    assert (await retrieve(house, stays)).status is Status.SUCCESS


async def test_an_administrator_may_remove(house: House):
    gone = await kept(house)
    changed = house.parts.settings.model_copy(update={"administrator_roles": ("ADMIN^^2.999.40.1",)})
    house.parts = replace(house.parts, settings=changed)

    response = await remove(house, gone, caller=a_user(Code("ADMIN", "2.999.40.1")))

    assert response.status is Status.SUCCESS


async def test_consent_has_no_say(house: House):
    gone = await kept(house)
    house.consent.refused = frozenset({PATIENT})
    assert (await remove(house, gone)).status is Status.SUCCESS


async def test_a_document_whose_submission_is_in_doubt_stays(house: House):
    house.registry.answers = [PeerUnclear("http://127.0.0.1:8010/xds/registry", "no answer")]
    stays = await kept(house)

    assert codes(await remove(house, stays)) == [("XDSRemoveDocumentsError", stays)]
    assert (await retrieve(house, stays)).status is Status.SUCCESS


async def test_the_unique_id_of_a_removed_document_never_gets_other_bytes(house: House):
    gone = await kept(house, b"bytes", "urn:uuid:1")
    await remove(house, gone)

    with pytest.raises(Rejected) as rejected:
        await kept(house, b"other", "urn:uuid:2", unique_id=gone)

    assert [error.code_for(Actor.REPOSITORY) for error in rejected.value.errors] == ["XDSNonIdenticalHash"]


async def test_a_removed_document_that_is_provided_anew_is_served_again(house: House):
    gone = await kept(house, b"bytes", "urn:uuid:1")
    await remove(house, gone)

    await kept(house, b"bytes", "urn:uuid:2", unique_id=gone)

    assert (await retrieve(house, gone)).status is Status.SUCCESS
    assert (await remove(house, gone)).status is Status.SUCCESS


async def test_bytes_go_after_the_grace_time_unless_another_document_has_them(house: House):
    gone, alone = await kept(house, b"shared", "urn:uuid:1"), await kept(house, b"alone", "urn:uuid:2")
    stays = await kept(house, b"shared", "urn:uuid:3")
    await remove(house, gone, alone)
    blobs = [one for one in (house.parts.settings.folder / "blobs").rglob("*") if one.is_file()]
    long_ago = time.time() - 1_000_000
    for blob in blobs:
        os.utime(blob, (long_ago, long_ago))

    assert await Janitor(house.parts).sweep() == 0
    changed = house.parts.settings.model_copy(update={"grace_seconds": 0.0})
    assert await Janitor(replace(house.parts, settings=changed)).sweep() == 1

    assert [one.read_bytes() for one in blobs if one.exists()] == [b"shared"]
    assert (await retrieve(house, stays)).status is Status.SUCCESS


async def test_the_removal_is_recorded_with_it_for_each_patient_and_outcome(house: House):
    first, second = await kept(house, b"1"), await kept(house, b"2", "urn:uuid:2", patient_id=OTHER_PATIENT)
    unit = house.unit(OPERATOR)

    await remove(house, first, second, "1.2.3", unit=unit)

    assert unit.audited
    recorded = await events(house)
    assert [
        (
            one.event.event_id.code,
            one.event.action,
            one.event.outcome,
            [o.object_id for o in one.event.objects],
        )
        for one in recorded
    ] == [
        ("110110", "D", Outcome.SUCCESS, [PATIENT, first]),
        ("110110", "D", Outcome.SUCCESS, [OTHER_PATIENT, second]),
        ("110110", "D", Outcome.SERIOUS_FAILURE, ["1.2.3"]),
    ]
    document = recorded[0].event.objects[1]
    assert (document.type_code, document.role, document.life_cycle) == (2, 3, 15)
    assert dict(document.details)["Repository Unique Id"] == (
        house.parts.settings.repository_unique_id.encode()
    )


async def test_a_refused_caller_is_recorded_as_a_failure(house: House):
    stays = await kept(house)
    unit = house.unit()
    request = RemoveDocumentsRequest(documents=named(house, [stays]))

    response = await iti86.handle(unit, request)
    [event] = iti86.audit(request, response, PROVIDER, Outcome.SERIOUS_FAILURE)

    assert not unit.audited
    assert [one.object_id for one in event.objects] == [stays]
