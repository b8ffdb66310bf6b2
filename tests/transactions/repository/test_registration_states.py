"""The state machine of a registration: whatever peers, retries, restores and time do, in whichever order,
nothing happens to a provision that its table does not say, and what the registry may show is never lost."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from repository.domain.provision import ContentDigest, Provision, ProvisionState
from repository.domain.registration import REGISTRATION, RegistrationEvent, may_happen
from repository.store import documents
from repository.store.replays import forget_portion
from repository.transactions import registration
from shared.ebrim.codec import encode_submission
from shared.errors import Actor
from shared.messages.registry import RegistryResponse, Status
from shared.soap.client import PeerUnclear, PeerUnreachable
from tests.support.databases import DatabasePlace
from tests.support.metadata import a_submission
from tests.support.registration_moves import ALLOWED, moves
from tests.transactions.repository.conftest import SUCCESS, House, a_house
from tests.transactions.repository.test_iti41 import a_provided_entry, refusal

URL = "http://127.0.0.1:8010/xds/registry"
ANSWERS = {
    "success": SUCCESS,
    "refused": refusal("XDSUnknownPatientId"),
    "duplicate": refusal("XDSDuplicateUniqueIdInRegistry"),
    "busy": refusal("XDSRegistryBusy"),
    "an error that may be of any moment": refusal("XDSRegistryError"),
    "unreachable": PeerUnreachable(URL, "refused"),
    "lost": PeerUnclear(URL, "closed"),
}
ATTEMPT = st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=2)


class Registrations(RuleBasedStateMachine):
    """Provisions of one document each, at a real database, with a registry that answers anything."""

    def __init__(self, house: House, runner: asyncio.Runner) -> None:
        super().__init__()
        self.house = house
        self.run = runner.run
        self.provisions: list[tuple[Provision, str]] = []
        self.new: list[tuple[Provision, str]] = []
        #: Of which the registry says that it has them, and did not say before that it refuses them.
        self.shown: set[str] = set()
        self.refused: set[str] = set()

    # --- what happens -------------------------------------------------------------------------------

    @rule()
    def provide(self) -> None:
        entry = a_provided_entry()
        provision = Provision(
            provision_id=str(uuid.uuid4()),
            message_id=str(uuid.uuid4()),
            digest="0" * 64,
            registration_message_id=uuid.uuid4().urn,
            registration=encode_submission(a_submission(entry)),
        )
        octets = ContentDigest(sha1="1" * 40, sha256=uuid.uuid4().hex * 2, size=1)

        async def insert(transaction: Any) -> None:
            await documents.insert_provision(transaction, provision, [(entry, octets)])

        self.run(self.house.parts.database.write(insert))
        self.provisions.append((provision, entry.unique_id))
        self.new.append((provision, entry.unique_id))

    @precondition(lambda self: self.new)
    @rule(names=ATTEMPT)
    def attempt_first(self, names: list[str]) -> None:
        self.attempt([self.new.pop()], names, first=True)

    @precondition(lambda self: self.provisions)
    @rule(data=st.data(), names=ATTEMPT, both=st.booleans())
    def attempt_again(self, data: st.DataObject, names: list[str], both: bool) -> None:
        which = data.draw(st.sampled_from(range(len(self.provisions))))
        one = self.provisions[which]
        self.new = [each for each in self.new if each != one]
        self.attempt([one, one] if both else [one], names, first=False)

    def attempt(self, which: list[tuple[Provision, str]], names: list[str], *, first: bool) -> None:
        """Attempts at the same time, all answered by the answers of `names` in turn."""
        self.house.registry.answers = [ANSWERS[name] for name in names]
        if first and names[0] == "duplicate":
            # It has another one of this id, and not this one: nothing was asked before.
            self.refused.add(which[0][0].provision_id)
        unit = self.house.unit

        async def together() -> list[registration.RegistrationOutcome]:
            return await asyncio.gather(
                *(registration.register(unit(), provision, first=first) for provision, _ in which)
            )

        self.note(which[0][0].provision_id, [outcome.response for outcome in self.run(together())])

    def note(self, provision_id: str, responses: list[RegistryResponse]) -> None:
        if provision_id in self.shown:
            return
        codes = {error.code_for(Actor.REGISTRY) for one in responses for error in one.errors}
        if "XDSUnknownPatientId" in codes:
            self.refused.add(provision_id)
        elif Status.SUCCESS in {one.status for one in responses} and provision_id not in self.refused:
            self.shown.add(provision_id)

    @rule()
    def restore_the_registry(self) -> None:
        self.run(self.house.parts.database.write(lambda one: documents.doubt_since(one, 0.0)))
        self.shown.clear()

    @rule()
    def let_time_pass(self) -> None:
        self.run(forget_portion(self.house.parts.database, before=time.time() + 1))

    # --- what holds ---------------------------------------------------------------------------------

    @invariant()
    def only_what_the_table_says_has_happened(self) -> None:
        assert self.run(moves(self.house.parts.database)) - ALLOWED == set()

    @invariant()
    def what_the_registry_shows_is_there(self) -> None:
        for provision, unique_id in self.provisions:
            if provision.provision_id in self.shown:
                assert self.run(documents.find_documents(self.house.parts.database, [unique_id]))


def test_only_what_the_table_says_happens_and_what_is_shown_is_never_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "_PAUSE", 0.0)
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="repository")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        house = runner.run(stack.enter_async_context(a_house(place, tmp_path)))
        try:
            run_state_machine_as_test(
                lambda: Registrations(house, runner),
                settings=settings(max_examples=20, stateful_step_count=12, deadline=None),
            )
        finally:
            runner.run(stack.aclose())


def test_every_state_is_reached_and_every_event_leads_somewhere():
    assert set(REGISTRATION) == set(RegistrationEvent)
    reached = {transition.target for transition in REGISTRATION.values()}
    assert reached == {*ProvisionState, None}


def test_what_has_no_outcome_is_left_by_the_word_of_the_registry_alone():
    by_the_registry = {RegistrationEvent.REGISTERED, RegistrationEvent.REFUSED}
    assert {event for event in RegistrationEvent if may_happen(event, ProvisionState.IN_DOUBT)} == (
        by_the_registry
    )


def test_what_is_settled_is_not_touched_again():
    assert [event for event in RegistrationEvent if may_happen(event, ProvisionState.SETTLED)] == []
