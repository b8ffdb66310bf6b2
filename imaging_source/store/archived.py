"""Instances whose contents an archive keeps: which, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, select

from imaging_source.store.tables import archived_instance, erased_instance
from shared.imaging.instance import Instance
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list, insert_or_ignore

_UIDS: Final = "sop_instance_uids"
_COLUMNS = (archived_instance.c.sop_instance_uid, archived_instance.c.archive, archived_instance.c.digest)
_INSERT = insert_or_ignore(archived_instance).values(
    {column.name: bindparam(column.name) for column in archived_instance.c}
)
_DELETE = delete(archived_instance).where(archived_instance.c.sop_instance_uid == bindparam("uid"))
_OF_STUDY: Any = select(*_COLUMNS).where(archived_instance.c.study_instance_uid == bindparam("study"))
_BY_UID = select(*_COLUMNS).where(in_list(archived_instance.c.sop_instance_uid, _UIDS))
_ERASED = select(erased_instance.c.sop_instance_uid).where(in_list(erased_instance.c.sop_instance_uid, _UIDS))


@dataclass(frozen=True, slots=True)
class ArchiveCopy:
    """In which archive the contents of an instance are; `digest` is of what that told of it."""

    archive: str
    digest: str


async def note(transaction: Transaction, instance: Instance, copy: ArchiveCopy) -> None:
    """The contents of `instance` are in this archive from now on."""
    await forget(transaction, instance.sop_instance_uid)
    await transaction.execute(
        _INSERT,
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        archive=copy.archive,
        digest=copy.digest,
    )


async def forget(transaction: Transaction, sop_instance_uid: str) -> None:
    """The contents of an instance are here, or nowhere."""
    await transaction.execute(_DELETE, uid=sop_instance_uid)


async def of_study(reader: Reader, study_instance_uid: str) -> dict[str, ArchiveCopy]:
    """Those of a study, by SOP Instance UID."""
    return _copies(await reader.fetch(_OF_STUDY, study=study_instance_uid))


async def of_instances(reader: Reader, sop_instance_uids: Sequence[str]) -> dict[str, ArchiveCopy]:
    """Those of these instances, by SOP Instance UID."""
    return _copies(await reader.fetch(_BY_UID, **{_UIDS: list(sop_instance_uids)}))


async def erased(reader: Reader, sop_instance_uids: Sequence[str]) -> set[str]:
    """Those of these instances that were erased here: what an archive has of them is not taken again."""
    return {uid for (uid,) in await reader.fetch(_ERASED, **{_UIDS: list(sop_instance_uids)})}


def _copies(rows: Sequence[Any]) -> dict[str, ArchiveCopy]:
    return {uid: ArchiveCopy(archive, digest) for uid, archive, digest in rows}
