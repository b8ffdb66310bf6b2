"""Clients that do everything to a few documents of a registry at once, while it is killed, and note it all.

A few documents are contended for at a time; when they have had their share, the next few follow, so that
each history stays short enough to be judged. Who gets no answer sends the same message again, or goes on to
other things and never learns what became of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from registry.domain import stored_queries as queries
from shared.ebrim.identifiers import new_oid
from shared.ebrim.model import AssociationType, AvailabilityStatus, DocumentEntry, Submission
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.soap.client import PeerUnclear, PeerUnreachable
from tests.support.document_model import (
    DOCUMENT,
    Done,
    FindApproved,
    Get,
    Refused,
    Register,
    Remove,
    Saw,
    SetApproved,
    Shown,
    Unknown,
)
from tests.support.linearizability import NEVER, Operation, unexplained
from tests.support.metadata import DOMAIN, a_document_entry, a_submission, an_association
from tests.support.registry_process import RegistryClient, RegistryProcess, error_codes
from tests.support.updates import APPROVED, DEPRECATED, a_status, an_update

CLIENTS = 5
AT_ONCE = 3  # documents
SHARE = 30  # operations for each of them, on average
#: "Not now", of which also an outcome that the registry does not know is one.
PASSING = frozenset({"XDSRegistryBusy", "XDSRegistryNotAvailable"})
AWAY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sent:
    """One entry, and the submission that was sent to register it."""

    entry: DocumentEntry
    submission: Submission

    @property
    def removal(self) -> tuple[str, ...]:
        """The ids of all that came with the entry."""
        associations = (item.entry_uuid for item in self.submission.associations)
        return (self.submission.submission_set.entry_uuid, self.entry.entry_uuid, *associations)


@dataclass
class Contended:
    """One document uniqueId, two contents that claim it, and what was sent under it."""

    patient_id: str
    unique_id: str = field(default_factory=new_oid)
    sent: list[Sent] = field(default_factory=list)


@dataclass
class Histories:
    """Everything that was done, by uniqueId."""

    operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, unique_id: str, what: Any, outcome: Any, called: float, returned: float = NEVER) -> None:
        """One operation with its outcome."""
        self.operations[unique_id].append(
            Operation(what=what, outcome=outcome, called=called, returned=returned)
        )
        self.counts[f"{type(what).__name__} {type(outcome).__name__}"] += 1

    @property
    def unknown(self) -> int:
        """Operations of which nobody knows whether they happened."""
        return sum(number for kind, number in self.counts.items() if kind.endswith(" Unknown"))

    def violations(self) -> dict[str, list[Operation]]:
        """By uniqueId, what no order of operations explains."""
        judged = {uid: unexplained(history, DOCUMENT) for uid, history in self.operations.items()}
        return {uid: operations for uid, operations in judged.items() if operations}


class Contenders:
    """The clients; one seed for all choices of one run."""

    def __init__(self, client: RegistryClient, operations: int, seed: int) -> None:
        self.histories = Histories()
        self.done = 0
        self._client = client
        self._operations = operations
        self._choice = random.Random(seed)
        self._documents: list[Contended] = []
        self._all: list[Contended] = []
        self._awaited = 0
        self._reached = asyncio.Event()

    async def work(self) -> None:
        """Do so many operations as were asked for, then look once more at everything."""
        await asyncio.gather(*(self._one_client() for _ in range(CLIENTS)))
        for document in self._all:
            await self._get(document)

    async def reach(self, operation: int) -> None:
        """Wait until the operation of this number begins."""
        self._awaited, self._reached = operation, asyncio.Event()
        if self.done < operation:
            await self._reached.wait()

    def _begun(self) -> None:
        self.done += 1
        if self.done >= self._awaited:
            self._reached.set()

    async def _one_client(self) -> None:
        while self.done < self._operations:
            if self.done >= len(self._all) * SHARE:
                self._next_documents()
            self._begun()
            await self._something(self._choice.choice(self._documents))

    def _next_documents(self) -> None:
        patient_id = f"{uuid4().hex}^^^&{DOMAIN}&ISO"
        self._documents = [Contended(patient_id) for _ in range(AT_ONCE)]
        self._all += self._documents

    async def _something(self, document: Contended) -> None:
        (do,) = self._choice.choices(
            (self._register, self._replace, self._set_approved, self._remove, self._get, self._find),
            (25, 15, 15, 15, 20, 10),
        )
        if do in (self._replace, self._set_approved, self._remove) and not document.sent:
            do = self._register
        await do(document)

    # --- changes -----------------------------------------------------------------------------------------

    def _entry(self, document: Contended) -> DocumentEntry:
        content = self._choice.choices(("1" * 40, "2" * 40), (4, 1))[0]
        return a_document_entry(unique_id=document.unique_id, patient_id=document.patient_id, hash=content)

    def _some(self, document: Contended) -> Sent:
        """Rather one of the last; the others are mostly gone."""
        return self._choice.choice(document.sent[-4:])

    async def _register(self, document: Contended) -> None:
        entry = self._entry(document)
        await self._submitted(document, entry, a_submission(entry), "")

    async def _replace(self, document: Contended) -> None:
        entry, old = self._entry(document), self._some(document).entry.entry_uuid
        replacing = an_association(entry.entry_uuid, old, AssociationType.RPLC)
        await self._submitted(document, entry, a_submission(entry, associations=[replacing]), old)

    async def _submitted(
        self, document: Contended, entry: DocumentEntry, submission: Submission, replaces: str
    ) -> None:
        document.sent.append(Sent(entry, submission))
        what = Register(entry.entry_uuid, entry.hash, replaces)
        await self._change(document, what, ITI42, RegisterRequest.of(submission))

    async def _set_approved(self, document: Contended) -> None:
        entry, approved = self._some(document).entry.entry_uuid, self._choice.random() < 0.35
        before, after = (DEPRECATED, APPROVED) if approved else (APPROVED, DEPRECATED)
        message = an_update(a_status(entry, before, after), patient_id=document.patient_id)
        await self._change(document, SetApproved(entry, approved), ITI57, UpdateRequest.of(message))

    async def _remove(self, document: Contended) -> None:
        sent = self._some(document)
        request = RemoveMetadataRequest(ids=sent.removal)
        await self._change(document, Remove(sent.entry.entry_uuid), ITI62, request)

    async def _change(self, document: Contended, what: Any, transaction: Any, request: Any) -> None:
        message_id = f"urn:uuid:{uuid4()}"
        note = self.histories.note
        called, in_doubt = time.monotonic(), False
        while True:
            began = time.monotonic()
            try:
                codes = error_codes(await self._client.call(transaction, request, message_id))
            except PeerUnreachable:
                await self._away()
                continue
            except PeerUnclear:
                codes = PASSING
            if not codes & PASSING:
                break
            in_doubt = True
            if self._choice.random() < 0.5:
                note(document.unique_id, what, Unknown(), called)
                return
            await self._away()
        if codes and in_doubt:
            # An attempt that is still under way somewhere may come through all the same.
            note(document.unique_id, what, Unknown(), called)
        returned = time.monotonic()
        for code in sorted(codes):
            note(document.unique_id, what, Refused(code), began, returned)
        if not codes:
            note(document.unique_id, what, Done(), called, returned)

    # --- queries -----------------------------------------------------------------------------------------

    async def _get(self, document: Contended) -> None:
        called, found = await self._found(
            queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [document.unique_id]}
        )
        self._saw(document, Get(), found, called)

    async def _find(self, document: Contended) -> None:
        """One answer shows something of each document of the patient."""
        asked = {
            "$XDSDocumentEntryPatientId": document.patient_id,
            "$XDSDocumentEntryStatus": [APPROVED],
        }
        called, found = await self._found(queries.FIND_DOCUMENTS, asked)
        for each in self._all:
            if each.patient_id == document.patient_id:
                self._saw(each, FindApproved(), found, called)

    async def _found(
        self, query: queries.StoredQuery, parameters: Any
    ) -> tuple[float, Sequence[DocumentEntry]]:
        while True:
            called = time.monotonic()
            try:
                return called, (await self._client.query(query, parameters)).document_entries
            except (PeerUnreachable, PeerUnclear):
                await self._away()

    def _saw(self, document: Contended, what: Any, found: Sequence[DocumentEntry], called: float) -> None:
        shown = frozenset(
            Shown(item.entry_uuid, item.hash, item.availability_status is AvailabilityStatus.APPROVED)
            for item in found
            if item.unique_id == document.unique_id
        )
        self.histories.note(document.unique_id, what, Saw(shown), called, time.monotonic())

    async def _away(self) -> None:
        self.histories.counts["away"] += 1
        await asyncio.sleep(AWAY_SECONDS)


async def killed_while(
    registry: RegistryProcess, contenders: Contenders, kills: int, operations: int, seed: int
) -> None:
    """Kill the registry so many times at random moments of the work, and start it again each time."""
    choice = random.Random(seed)
    # Work follows the last kill, too.
    moments = sorted(choice.sample(range(operations // 20, operations * 19 // 20), kills))
    for moment in moments:
        await contenders.reach(moment)
        await asyncio.sleep(choice.uniform(0, 0.02))
        await asyncio.to_thread(registry.kill_and_start)
