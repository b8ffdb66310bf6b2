"""Instances leave: their rows at once, and a note by which their contents are known until they leave too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, literal, select

from imaging_source.store import instance_rows
from imaging_source.store.publications import described_study, publication
from imaging_source.store.tables import (
    archived_instance,
    committed_instance,
    drift,
    erased_instance,
    instance,
    other_version,
    published_bundle,
    set_aside,
    study_patient,
    study_sender,
)
from shared.imaging.instance import Instance
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list, insert_or_ignore

_UIDS = "sop_instance_uids"
_VERSIONS = select(other_version.c.sop_instance_uid, other_version.c.sha256).where(
    in_list(other_version.c.sop_instance_uid, _UIDS)
)
_INSERT = insert_or_ignore(erased_instance).values(
    {column.name: bindparam(column.name) for column in erased_instance.c}
)
_FORGET = tuple(
    delete(table).where(in_list(table.c.sop_instance_uid, _UIDS))
    for table in (other_version, set_aside, archived_instance, committed_instance)
)
_ANY = select(literal(1)).where(instance.c.study_instance_uid == bindparam("study")).limit(1)
# What is left of a study that has no instance: whose it was, who sent it, and its manifests.
_TABLES: tuple[Any, ...] = (
    study_patient,
    study_sender,
    described_study,
    drift,
    published_bundle,
    publication,
)
_FORGET_STUDY = tuple(
    delete(table).where(table.c.study_instance_uid == bindparam("study")) for table in _TABLES
)
_LATER = instance.alias("later")
_OLD = (
    select(instance.c.study_instance_uid)
    .where(
        instance.c.received_at < bindparam("before"),
        ~exists().where(
            _LATER.c.study_instance_uid == instance.c.study_instance_uid,
            _LATER.c.received_at >= bindparam("before"),
        ),
    )
    .distinct()
    .limit(bindparam("limit"))
)


async def erase(transaction: Transaction, instances: Sequence[Instance]) -> frozenset[str]:
    """Remove the rows of instances of one study, and of their versions; the digests of their contents."""
    study = instances[0].study_instance_uid
    uids = [one.sop_instance_uid for one in instances]
    contents = [(one.sop_instance_uid, one.sha256) for one in instances]
    contents += [(uid, sha256) for uid, sha256 in await transaction.fetch(_VERSIONS, **{_UIDS: uids})]
    now = datetime.now(UTC).isoformat()
    for uid, sha256 in contents:
        await transaction.execute(
            _INSERT, sop_instance_uid=uid, sha256=sha256, study_instance_uid=study, erased_at=now
        )
    for one in instances:
        await instance_rows.remove(transaction, one)
    for statement in _FORGET:
        await transaction.execute(statement, **{_UIDS: uids})
    if not await transaction.fetch(_ANY, study=study):
        for statement in _FORGET_STUDY:
            await transaction.execute(statement, study=study)
    return frozenset(sha256 for _, sha256 in contents)


async def studies_before(database: Database, moment: datetime, *, limit: int) -> list[str]:
    """Studies of which every instance came before `moment`, in UTC."""
    rows = await database.fetch(_OLD, before=moment.isoformat(), limit=limit)
    return [study for (study,) in rows]
