"""Other data sets under the UID of an instance: kept beside it, and given to nobody."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import bindparam, delete, select

from imaging_source.domain.transfer import Fate
from imaging_source.store.tables import other_version
from shared.imaging.instance import Instance
from shared.store.engine import Reader, Transaction
from shared.store.statements import insert_or_ignore

_INSERT = insert_or_ignore(other_version).values(
    {column.name: bindparam(column.name) for column in other_version.c}
)
_FORGET = delete(other_version).where(
    other_version.c.sop_instance_uid == bindparam("uid"), other_version.c.sha256 == bindparam("digest")
)

_OF_FATE = select(other_version.c.sha256, other_version.c.size, other_version.c.noted_at).where(
    other_version.c.sop_instance_uid == bindparam("uid"), other_version.c.fate == bindparam("fate")
)


async def note(transaction: Transaction, other: Instance, fate: Fate, *, at: datetime | None = None) -> None:
    """Keep a data set that is not the instance, or is so no more; since `at`, or now."""
    await transaction.execute(
        _INSERT,
        sop_instance_uid=other.sop_instance_uid,
        sha256=other.sha256,
        study_instance_uid=other.study_instance_uid,
        size=other.size,
        fate=_name(fate),
        noted_at=(at or datetime.now(UTC)).isoformat(),
    )


async def coerced_from(reader: Reader, sop_instance_uid: str) -> list[tuple[str, int, datetime]]:
    """Digest and size of what an instance was coerced from, and when."""
    rows = await reader.fetch(_OF_FATE, uid=sop_instance_uid, fate=_name(Fate.COERCED))
    return [(sha256, size, datetime.fromisoformat(noted_at)) for sha256, size, noted_at in rows]


def _name(fate: Fate) -> str:
    return fate.name.lower().replace("_", "-")


async def forget(transaction: Transaction, current: Instance) -> None:
    """A data set that was kept beside is the instance now."""
    await transaction.execute(_FORGET, uid=current.sop_instance_uid, digest=current.sha256)
