"""What On-Demand entries gave and the registry heard of, in order."""

from __future__ import annotations

from sqlalchemy import bindparam, exists, insert, select

from repository.domain.assembly import Snapshot
from repository.domain.provision import ProvisionState
from repository.store.tables import provided_document, provision, snapshot
from shared.store.engine import Reader, Transaction

_LATEST = (
    select(
        snapshot.c.provision_id,
        snapshot.c.number,
        snapshot.c.unique_id,
        snapshot.c.entry_uuid,
        provision.c.state,
        exists().where(
            provided_document.c.provision_id == snapshot.c.provision_id,
            provided_document.c.unique_id == snapshot.c.unique_id,
        ),
    )
    .join(provision, provision.c.provision_id == snapshot.c.provision_id)
    .where(snapshot.c.on_demand_unique_id == bindparam("wanted"))
    .order_by(snapshot.c.number.desc())
    .limit(1)
)
_INSERT = insert(snapshot)


async def latest_snapshot(reader: Reader, on_demand_unique_id: str) -> Snapshot | None:
    """The last snapshot of an On-Demand entry that the registry did not refuse."""
    rows = await reader.fetch(_LATEST, wanted=on_demand_unique_id)
    if not rows:
        return None
    provision_id, number, unique_id, entry_uuid, state, kept = rows[0]
    return Snapshot(
        provision_id=provision_id,
        number=number,
        unique_id=unique_id,
        entry_uuid=entry_uuid,
        state=ProvisionState(state),
        kept=bool(kept),
    )


async def insert_snapshot(transaction: Transaction, on_demand_unique_id: str, new: Snapshot) -> None:
    """Insert a snapshot whose provision is inserted already."""
    await transaction.execute(
        _INSERT,
        provision_id=new.provision_id,
        on_demand_unique_id=on_demand_unique_id,
        number=new.number,
        unique_id=new.unique_id,
        entry_uuid=new.entry_uuid,
    )
