"""The index of documents, and the provisions that brought them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, insert, or_, select, update

from repository.domain.provision import ContentDigest, Provision, ProvisionState
from repository.domain.registration import REGISTRATION, RegistrationEvent
from repository.store.tables import (
    assembly,
    document,
    provided_document,
    provision,
    removed_document,
    snapshot,
)
from shared.ebrim.model import DocumentEntry
from shared.errors import NonIdenticalHash, NonIdenticalSize, Rejected
from shared.store.engine import Database, Reader, Transaction
from shared.store.scrub import legs
from shared.store.statements import in_list


def state_allows(event: RegistrationEvent) -> ColumnElement[bool]:
    """That a provision is in a state in which `event` may happen."""
    return or_(*(provision.c.state == state for state in REGISTRATION[event].states))


_FIND_BYTES = select(document.c.sha256, document.c.sha1, document.c.size).where(
    document.c.unique_id == bindparam("unique_id")
)
_INSERT_DOCUMENT = insert(document)
_INSERT_PROVISION = insert(provision)
_INSERT_PROVIDED = insert(provided_document)
_PROVISION_COLUMNS = (
    provision.c.provision_id,
    provision.c.message_id,
    provision.c.digest,
    provision.c.registration_message_id,
    provision.c.registration,
    provision.c.state,
    provision.c.answer,
)
_FIND_PROVISION = select(*_PROVISION_COLUMNS).where(
    provision.c.message_id == bindparam("message_id"), provision.c.digest == bindparam("digest")
)
_UNDECIDED = and_(
    or_(provision.c.state == ProvisionState.PENDING, provision.c.state == ProvisionState.IN_DOUBT),
    provision.c.created < bindparam("before"),
)
_FIND_UNDECIDED = select(*_PROVISION_COLUMNS).where(_UNDECIDED).order_by(provision.c.created).limit(100)
_COUNT_UNDECIDED = select(func.count()).select_from(provision).where(_UNDECIDED)
_ANSWERS = {
    event: update(provision)
    .where(provision.c.provision_id == bindparam("wanted"), state_allows(event))
    .values(state=REGISTRATION[event].target, answer=bindparam("new_answer"))
    for event in (RegistrationEvent.REGISTERED, RegistrationEvent.REFUSED)
}
_DOUBT = (
    update(provision)
    .where(provision.c.provision_id == bindparam("wanted"), state_allows(RegistrationEvent.DOUBTED))
    .values(state=REGISTRATION[RegistrationEvent.DOUBTED].target)
)
_HOLD_STATE = (
    select(provision.c.state).where(provision.c.provision_id == bindparam("wanted")).with_for_update()
)
_DOUBT_SINCE = (
    update(provision)
    .where(state_allows(RegistrationEvent.RESTORED), provision.c.created >= bindparam("since"))
    .values(state=REGISTRATION[RegistrationEvent.RESTORED].target)
)
_PROVIDED_BY = select(provided_document.c.unique_id).where(
    provided_document.c.provision_id == bindparam("provision_id")
)
_FORGET_PROVIDED = delete(provided_document).where(
    provided_document.c.provision_id == bindparam("provision_id")
)
_FORGET_ASSEMBLY = delete(assembly).where(assembly.c.provision_id == bindparam("provision_id"))
_FORGET_SNAPSHOT = delete(snapshot).where(snapshot.c.provision_id == bindparam("provision_id"))
_FORGET_PROVISION = delete(provision).where(
    provision.c.provision_id == bindparam("provision_id"), state_allows(RegistrationEvent.NEVER_HEARD)
)
_FORGET_DOCUMENT = delete(document).where(
    document.c.unique_id == bindparam("unique_id"),
    ~exists().where(provided_document.c.unique_id == document.c.unique_id),
    ~exists().where(removed_document.c.unique_id == document.c.unique_id),
)
_FIND_DOCUMENTS = (
    select(
        document.c.unique_id,
        document.c.sha256,
        document.c.size,
        provided_document.c.mime_type,
        provided_document.c.patient_id,
        provided_document.c.confidentiality,
        provided_document.c.class_code,
        provided_document.c.type_code,
    )
    .join(provided_document, provided_document.c.unique_id == document.c.unique_id)
    .where(in_list(document.c.unique_id, "unique_ids"))
)
_REFERENCED = select(document.c.sha256).where(
    in_list(document.c.sha256, "digests"),
    or_(
        exists().where(provided_document.c.unique_id == document.c.unique_id),
        exists().where(
            removed_document.c.unique_id == document.c.unique_id,
            removed_document.c.removed > bindparam("removed_after"),
        ),
    ),
)
_FIND_PROVIDED = (
    select(provided_document.c.unique_id, provided_document.c.patient_id, provision.c.state)
    .join(provision, provision.c.provision_id == provided_document.c.provision_id)
    .where(in_list(provided_document.c.unique_id, "unique_ids"))
)
_FIND_BY_ID = select(*_PROVISION_COLUMNS).where(provision.c.provision_id == bindparam("provision_id"))
_FIND_SIZE = select(document.c.size).where(document.c.sha256 == bindparam("sha256")).limit(1)
_IS_PROVIDED = exists().where(provided_document.c.unique_id == document.c.unique_id)
_FIND_BLOBS = (
    select(document.c.sha256, document.c.size)
    .where(_IS_PROVIDED, document.c.sha256 > bindparam("after"), document.c.sha256 <= bindparam("last"))
    .distinct()
    .order_by(document.c.sha256)
    .limit(1000)
)
_COUNT_BLOBS = select(func.count(document.c.sha256.distinct()), func.sum(document.c.size)).where(_IS_PROVIDED)
_FIND_UNMADE = (
    select(assembly.c.unique_id, assembly.c.patient_id, provision.c.state)
    .join(provision, provision.c.provision_id == assembly.c.provision_id)
    .where(in_list(assembly.c.unique_id, "unique_ids"))
)
_WITHDRAW_UNMADE = delete(assembly).where(assembly.c.unique_id == bindparam("unique_id"))
_WITHDRAW = delete(provided_document).where(provided_document.c.unique_id == bindparam("unique_id"))
_UNMARK_REMOVED = delete(removed_document).where(removed_document.c.unique_id == bindparam("unique_id"))
_MARK_REMOVED = insert(removed_document)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """One document as one submission described it; codes are spelled `value^^scheme`."""

    unique_id: str
    sha256: str
    size: int
    mime_type: str
    patient_id: str
    confidentiality: frozenset[str]
    class_code: str
    type_code: str


async def insert_provision(
    transaction: Transaction, new: Provision, documents: Sequence[tuple[DocumentEntry, ContentDigest]]
) -> None:
    """Insert a pending provision with its documents.

    Raises
    ------
    Rejected
        A uniqueId is stored here with other bytes: NonIdenticalHash or NonIdenticalSize for each.
    """
    errors = []
    for entry, content in documents:
        rows = await transaction.fetch(_FIND_BYTES, unique_id=entry.unique_id)
        if not rows:
            await transaction.execute(
                _INSERT_DOCUMENT,
                unique_id=entry.unique_id,
                sha256=content.sha256,
                sha1=content.sha1,
                size=content.size,
            )
        elif rows[0][0] != content.sha256:
            kind = NonIdenticalSize if rows[0][2] != content.size else NonIdenticalHash
            errors.append(
                kind(
                    f"a document {entry.unique_id} with other bytes is stored here", location=entry.unique_id
                )
            )
    if errors:
        raise Rejected(*errors)
    await transaction.execute(
        _INSERT_PROVISION,
        provision_id=new.provision_id,
        message_id=new.message_id,
        digest=new.digest,
        registration_message_id=new.registration_message_id,
        registration=new.registration,
        state=REGISTRATION[RegistrationEvent.PROVIDED].target,
        answer=new.answer,
        created=time.time(),
    )
    for entry, _ in documents:
        await _insert_provided(transaction, new.provision_id, entry)


async def _insert_provided(transaction: Transaction, provision_id: str, entry: DocumentEntry) -> None:
    await transaction.execute(
        _INSERT_PROVIDED,
        provision_id=provision_id,
        unique_id=entry.unique_id,
        patient_id=entry.patient_id,
        confidentiality="\n".join(map(str, entry.confidentiality_codes)),
        class_code=str(entry.class_code),
        type_code=str(entry.type_code),
        mime_type=entry.mime_type,
    )


async def find_bytes(transaction: Transaction, unique_id: str) -> ContentDigest | None:
    """The bytes that this uniqueId is bound to, if any."""
    rows = await transaction.fetch(_FIND_BYTES, unique_id=unique_id)
    return ContentDigest(sha256=rows[0][0], sha1=rows[0][1], size=rows[0][2]) if rows else None


async def insert_late(
    transaction: Transaction, provision_id: str, entry: DocumentEntry, content: ContentDigest
) -> None:
    """Insert the document of a provision that came without it."""
    await transaction.execute(
        _INSERT_DOCUMENT,
        unique_id=entry.unique_id,
        sha256=content.sha256,
        sha1=content.sha1,
        size=content.size,
    )
    await _insert_provided(transaction, provision_id, entry)


async def provision_of(reader: Reader, provision_id: str) -> Provision | None:
    """One provision, if it is still known."""
    rows = await reader.fetch(_FIND_BY_ID, provision_id=provision_id)
    return _provision(rows[0]) if rows else None


async def find_provision(database: Database, *, message_id: str, digest: str) -> Provision | None:
    """The provision of this very message, if it came before."""
    rows = await database.fetch(_FIND_PROVISION, message_id=message_id, digest=digest)
    return _provision(rows[0]) if rows else None


async def find_undecided(database: Database, *, older_than_seconds: float) -> list[Provision]:
    """At most 100 provisions without an outcome, oldest first."""
    rows = await database.fetch(_FIND_UNDECIDED, before=time.time() - older_than_seconds)
    return [_provision(row) for row in rows]


async def count_undecided(database: Database, *, older_than_seconds: float) -> int:
    """How many provisions have no outcome."""
    [(number,)] = await database.fetch(_COUNT_UNDECIDED, before=time.time() - older_than_seconds)
    return int(number)


def _provision(row: tuple[object, ...]) -> Provision:
    provision_id, message_id, digest, registration_message_id, registration, state, answer = row
    return Provision(
        provision_id=str(provision_id),
        message_id=str(message_id),
        digest=str(digest),
        registration_message_id=str(registration_message_id),
        registration=bytes(registration),  # type: ignore[call-overload]
        state=ProvisionState(str(state)),
        answer=bytes(answer),  # type: ignore[call-overload]
    )


async def set_state(
    transaction: Transaction, provision_id: str, event: RegistrationEvent, answer: bytes
) -> bool:
    """Record what became of a provision, REGISTERED or REFUSED, and the answer that a retry is to get; False
    where this cannot happen to it any more."""
    return bool(await transaction.execute(_ANSWERS[event], wanted=provision_id, new_answer=answer))


async def doubt(transaction: Transaction, provision_id: str) -> ProvisionState | None:
    """The registry may hear of a provision from now on by an attempt that is not its first; the state, or
    None when the provision was forgotten."""
    await transaction.execute(_DOUBT, wanted=provision_id)
    return await hold_state(transaction, provision_id)


async def hold_state(transaction: Transaction, provision_id: str) -> ProvisionState | None:
    """The state of a provision, which nobody else changes until the transaction ends; None when it was
    forgotten."""
    rows = await transaction.fetch(_HOLD_STATE, wanted=provision_id)
    return ProvisionState(rows[0][0]) if rows else None


async def doubt_since(transaction: Transaction, moment: float) -> None:
    """Ask the registry again about what it registered since `moment`, seconds since 1970."""
    await transaction.execute(_DOUBT_SINCE, since=moment)


async def release_documents(transaction: Transaction, provision_id: str) -> None:
    """Let go of the documents of a refused provision; bytes that another submission provided stay."""
    unique_ids = [row[0] for row in await transaction.fetch(_PROVIDED_BY, provision_id=provision_id)]
    await transaction.execute(_FORGET_PROVIDED, provision_id=provision_id)
    await transaction.execute(_FORGET_ASSEMBLY, provision_id=provision_id)
    await transaction.execute(_FORGET_SNAPSHOT, provision_id=provision_id)
    for unique_id in unique_ids:
        await transaction.execute(_FORGET_DOCUMENT, unique_id=unique_id)


async def forget_provision(transaction: Transaction, provision_id: str) -> None:
    """Remove a provision that the registry never heard of, as if the message had not come."""
    await release_documents(transaction, provision_id)
    await transaction.execute(_FORGET_PROVISION, provision_id=provision_id)


async def find_documents(database: Database, unique_ids: Sequence[str]) -> dict[str, list[StoredDocument]]:
    """The stored documents of these uniqueIds; one item for each submission that provided it."""
    documents: dict[str, list[StoredDocument]] = {}
    for (
        unique_id,
        sha256,
        size,
        mime_type,
        patient_id,
        confidentiality,
        class_code,
        type_code,
    ) in await database.fetch(_FIND_DOCUMENTS, unique_ids=list(unique_ids)):
        documents.setdefault(unique_id, []).append(
            StoredDocument(
                unique_id=unique_id,
                sha256=sha256,
                size=size,
                mime_type=mime_type,
                patient_id=patient_id,
                confidentiality=frozenset(confidentiality.split("\n")) - {""},
                class_code=class_code,
                type_code=type_code,
            )
        )
    return documents


async def referenced(database: Database, digests: list[str], *, grace_seconds: float) -> set[str]:
    """Those of `digests` that a document refers to, or one that was removed less than `grace_seconds` ago."""
    rows = await database.fetch(_REFERENCED, digests=digests, removed_after=time.time() - grace_seconds)
    return {row[0] for row in rows}


async def find_provided(
    transaction: Transaction, unique_ids: Sequence[str]
) -> dict[str, list[tuple[str, ProvisionState]]]:
    """For each of `unique_ids` that is stored, or made on demand: patient and state of every submission that
    provided it."""
    provisions: dict[str, list[tuple[str, ProvisionState]]] = {}
    for statement in (_FIND_PROVIDED, _FIND_UNMADE):
        for unique_id, patient_id, state in await transaction.fetch(statement, unique_ids=list(unique_ids)):
            provisions.setdefault(unique_id, []).append((patient_id, ProvisionState(state)))
    return provisions


async def remove_document(transaction: Transaction, unique_id: str) -> None:
    """Serve the document of `unique_id` no more; its uniqueId stays bound to its bytes, if it has any."""
    await transaction.execute(_WITHDRAW_UNMADE, unique_id=unique_id)
    if not await transaction.execute(_WITHDRAW, unique_id=unique_id):
        return
    await transaction.execute(_UNMARK_REMOVED, unique_id=unique_id)
    await transaction.execute(_MARK_REMOVED, unique_id=unique_id, removed=time.time())


async def find_size(index: Reader, sha256: str) -> int | None:
    """The size of the documents of this digest, if there are any."""
    rows = await index.fetch(_FIND_SIZE, sha256=sha256)
    return int(rows[0][0]) if rows else None


async def find_blobs(index: Reader, first: str = "") -> AsyncIterator[tuple[str, int]]:
    """Digest and size of everything that is served, each once, by digest, from `first` on and around."""
    for after, last in legs(first):
        while rows := await index.fetch(_FIND_BLOBS, after=after, last=last):
            for sha256, size in rows:
                yield sha256, size
            after = rows[-1][0]


async def count_blobs(index: Reader) -> tuple[int, int]:
    """How many blobs are served, and the bytes of all documents."""
    [(number, size)] = await index.fetch(_COUNT_BLOBS)
    return int(number), int(size or 0)
