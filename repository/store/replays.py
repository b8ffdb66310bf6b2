"""Answers that were kept for retries of ITI-41, and are let go of when they are old: a portion at a time."""

from __future__ import annotations

from sqlalchemy import Integer, bindparam, delete, exists, literal, select, update

from repository.domain.provision import ProvisionState
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
# The outcome is looked at once more: only what has one goes.
_CONCLUDED = in_list(provision.c.state, "concluded")
_THESE = in_list(provision.c.provision_id, "ids")
_DROP = delete(provision).where(
    _THESE,
    provision.c.state == ProvisionState.REFUSED,
    ~exists().where(provided_document.c.provision_id == provision.c.provision_id),
    ~exists().where(snapshot.c.provision_id == provision.c.provision_id),
)
_SETTLE = (
    update(provision)
    .where(_THESE, _CONCLUDED)
    .values(
        state=ProvisionState.SETTLED,
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
    for state in (ProvisionState.REGISTERED, ProvisionState.REFUSED):
        rows = await database.fetch(_OLDEST, state=state, before=before, most=PORTION - len(ids))
        ids += [provision_id for (provision_id,) in rows]
    if not ids:
        return 0

    async def work(transaction: Transaction) -> int:
        dropped = await transaction.execute(_DROP, ids=ids)
        concluded = [ProvisionState.REGISTERED, ProvisionState.REFUSED]
        return dropped + await transaction.execute(_SETTLE, ids=ids, concluded=concluded)

    return await database.write(work)
