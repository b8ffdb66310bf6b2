"""Other data sets under the UID of an instance: kept beside it, and given to nobody."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import bindparam, delete

from imaging_source.domain.transfer import Fate
from imaging_source.store.tables import other_version
from shared.imaging.instance import Instance
from shared.store.engine import Transaction
from shared.store.statements import insert_or_ignore

_INSERT = insert_or_ignore(other_version).values(
    {column.name: bindparam(column.name) for column in other_version.c}
)
_FORGET = delete(other_version).where(
    other_version.c.sop_instance_uid == bindparam("uid"), other_version.c.sha256 == bindparam("digest")
)


async def note(transaction: Transaction, other: Instance, fate: Fate) -> None:
    """Keep a data set that is not the instance, or is so no more."""
    await transaction.execute(
        _INSERT,
        sop_instance_uid=other.sop_instance_uid,
        sha256=other.sha256,
        study_instance_uid=other.study_instance_uid,
        size=other.size,
        fate=fate.name.lower().replace("_", "-"),
        noted_at=datetime.now(UTC).isoformat(),
    )


async def forget(transaction: Transaction, current: Instance) -> None:
    """A data set that was kept beside is the instance now."""
    await transaction.execute(_FORGET, uid=current.sop_instance_uid, digest=current.sha256)
