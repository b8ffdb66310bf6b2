"""A retry of ITI-41 is answered as before for some days; what was kept for it goes then, documents stay."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from repository.background.janitor import Janitor
from repository.domain.provision import ProvisionState
from repository.store import replays
from repository.store.documents import find_documents
from repository.store.tables import provision
from repository.transactions import iti41
from shared.errors import RelayedError, Severity
from shared.messages.registry import RegistryResponse, Status
from shared.soap.client import PeerUnclear
from tests.support.metadata import a_document_entry, a_submission
from tests.transactions.repository.conftest import PROVIDER, SUCCESS, House

LOST = PeerUnclear("http://127.0.0.1:8010/xds/registry", "no answer")


def refusal(code: str) -> RegistryResponse:
    error = RelayedError(code, "as the registry says", severity=Severity.ERROR, location="x")
    return RegistryResponse(status=Status.FAILURE, errors=(error,))


def a_provision():
    return a_submission(a_document_entry(hash="", size=None, repository_unique_id=""))


async def provide(house: House, submission, message_id: str = PROVIDER.message_id) -> RegistryResponse:
    request = house.request(submission, document=submission.submission_set.unique_id.encode())
    return await iti41.handle(house.unit(replace(PROVIDER, message_id=message_id)), request)


async def forget(house: House, *, after_days: float) -> int:
    """How much a janitor forgets after so many days; what was kept now is older than minus one day."""
    return await janitor_of(house, after_days).forget()


def janitor_of(house: House, after_days: float) -> Janitor:
    settings = house.parts.settings.model_copy(update={"replay_days": after_days})
    return Janitor(replace(house.parts, settings=settings))


async def stored(house: House, submission) -> int:
    (entry,) = submission.document_entries
    return len((await find_documents(house.parts.database, [entry.unique_id])).get(entry.unique_id, []))


async def test_a_retry_within_the_days_registers_nothing_and_a_later_one_is_new(house: House):
    submission = a_provision()
    await provide(house, submission)
    assert await forget(house, after_days=1) == 0
    assert (await provide(house, submission)).status is Status.SUCCESS
    assert len(house.registry.heard) == 1

    assert await forget(house, after_days=-1) == 1
    assert await stored(house, submission) == 1
    house.registry.answers = [refusal("XDSDuplicateUniqueIdInRegistry")]
    assert (await provide(house, submission)).status is Status.FAILURE
    assert len(house.registry.heard) == 2
    assert await stored(house, submission) == 1


async def test_of_a_registered_submission_the_message_and_its_answer_go(house: House):
    await provide(house, a_provision())
    assert await forget(house, after_days=-1) == 1

    rows = await house.parts.database.fetch(
        select(provision.c.registration, provision.c.answer, provision.c.state)
    )
    assert [(bytes(message), bytes(answer), state) for message, answer, state in rows] == [
        (b"", b"", ProvisionState.SETTLED)
    ]
    assert await forget(house, after_days=-1) == 0


async def test_of_a_refused_one_nothing_is_left_unless_its_documents_are(house: House):
    house.registry.answers = [refusal("XDSUnknownPatientId")]
    await provide(house, a_provision(), "urn:uuid:1")
    # Its first attempt may have been carried out, so that its document may be visible.
    kept = a_provision()
    house.registry.answers = [LOST, refusal("XDSDuplicateUniqueIdInRegistry")]
    await provide(house, kept, "urn:uuid:2")
    assert await house.states() == [ProvisionState.REFUSED] * 2

    assert await forget(house, after_days=-1) == 2
    assert await house.states() == [ProvisionState.SETTLED]
    assert await stored(house, kept) == 1


async def test_what_has_no_outcome_yet_is_never_forgotten(house: House):
    house.registry.answers = [LOST]
    submission = a_provision()
    await provide(house, submission)
    assert await forget(house, after_days=-1) == 0
    house.registry.answers = [SUCCESS]
    assert (await provide(house, submission)).status is Status.SUCCESS
    assert {message_id for message_id, _ in house.registry.heard} == {house.registry.heard[0][0]}


async def test_the_janitor_forgets_by_itself(house: House):
    await provide(house, a_provision())
    janitor = janitor_of(house, -1)
    await janitor.start()
    async with asyncio.timeout(10):
        while await house.states() != [ProvisionState.SETTLED]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await janitor.stop()


async def test_many_go_in_small_portions(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replays, "PORTION", 3)
    monkeypatch.setattr("repository.background.janitor.PAUSE_SECONDS", 0)
    for number in range(8):
        await provide(house, a_provision(), f"urn:uuid:{number}")
    portions = []
    forget_portion = replays.forget_portion

    async def watched(database, *, before):
        portions.append(await forget_portion(database, before=before))
        return portions[-1]

    monkeypatch.setattr(replays, "forget_portion", watched)
    assert await forget(house, after_days=-1) == 8
    assert portions == [3, 3, 2, 0]
