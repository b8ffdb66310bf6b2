"""Answers that were kept for retries of ITI-41, and are let go of when they are old: a portion at a time."""

from __future__ import annotations

from sqlalchemy import Integer, bindparam, delete, exists, literal, select, update

from repository.domain.registration import REGISTRATION, RegistrationEvent
from repository.store.documents import state_allows
from repository.store.tables import assembly, provided_document, provision, snapshot
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list

#: Provisions that one write lets go of at most.
PORTION = 100

_OLDEST = (
    select(provision.c.provision_id)
    .where(
        provision.c.state == bindparam("state"),
        provision.c.created < bindparam("before"),
        # What is made when it is asked for is made after what was registered.
        ~exists().where(assembly.c.provision_id == provision.c.provision_id),
    )
    .order_by(provision.c.created)
    .limit(bindparam("most", type_=Integer))
)
_THESE = in_list(provision.c.provision_id, "ids")
_DROP = delete(provision).where(
    _THESE,
    state_allows(RegistrationEvent.DROPPED),
    ~exists().where(provided_document.c.provision_id == provision.c.provision_id),
    ~exists().where(snapshot.c.provision_id == provision.c.provision_id),
)
# The outcome is looked at once more: only what has one goes.
_SETTLE = (
    update(provision)
    .where(_THESE, state_allows(RegistrationEvent.EXPIRED))
    .values(
        state=REGISTRATION[RegistrationEvent.EXPIRED].target,
        message_id=provision.c.provision_id,
        digest=literal(""),
        registration=literal(b""),
        answer=literal(b""),
    )
)


async def forget_portion(database: Database, *, before: float) -> int:
    """Forget message and answer of some provisions with an outcome that were made before a moment (seconds
    since 1970); count them. Their documents stay, and what holds none goes whole.
    """
    ids: list[str] = []
    for state in REGISTRATION[RegistrationEvent.EXPIRED].states:
        rows = await database.fetch(_OLDEST, state=state, before=before, most=PORTION - len(ids))
        ids += [provision_id for (provision_id,) in rows]
    if not ids:
        return 0

    async def work(transaction: Transaction) -> int:
        dropped = await transaction.execute(_DROP, ids=ids)
        return dropped + await transaction.execute(_SETTLE, ids=ids)

    return await database.write(work)
