"""Studies and series as they are searched, kept with the instances and in the same transaction.

The first visible instance says what a study and a series are. What is hidden or shown by a rejection note, or
by a decision about what is set aside, makes the rows of its study anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, literal, or_, select

from imaging_source.store.instance_rows import INSTANCE_COLUMNS, instance_of
from imaging_source.store.rejections import hidden_of_study
from imaging_source.store.tables import instance, series, set_aside, study, uncatalogued_study
from shared.dicom.json import Attributes, text
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.instance import Instance
from shared.imaging.query.levels import QueryLevel, of_level
from shared.imaging.query.matching import folded, plain_name, sortable_date
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list, insert_or_ignore

_AT_ONCE: Final = 100

_UID: Any = bindparam("uid")
_HAS_SERIES = select(literal(1)).where(
    series.c.study_instance_uid == _UID, series.c.series_instance_uid == bindparam("series_uid")
)
_HAS_REMARKS = select(literal(1)).where(
    or_(
        exists().where(set_aside.c.study_instance_uid == _UID),
        exists().where(
            instance.c.study_instance_uid == _UID, instance.c.sop_class_uid == KEY_OBJECT_SELECTION
        ),
    )
)
_INSERT_STUDY = insert_or_ignore(study).values({column.name: bindparam(column.name) for column in study.c})
_INSERT_SERIES = insert_or_ignore(series).values({column.name: bindparam(column.name) for column in series.c})
_OF_STUDY = (
    select(*INSTANCE_COLUMNS)
    .where(instance.c.study_instance_uid == _UID)
    .order_by(instance.c.received_at, instance.c.sop_instance_uid)
)
_HEADERS = select(instance.c.sop_instance_uid, instance.c.header).where(
    in_list(instance.c.sop_instance_uid, "sop_instance_uids")
)
_FORGET = tuple(
    delete(table).where(table.c.study_instance_uid == _UID) for table in (study, series, uncatalogued_study)
)
_UNCATALOGUED = select(uncatalogued_study.c.study_instance_uid).limit(bindparam("limit"))
# What a release without these tables took in beside this one.
_OVERLOOKED = (
    select(instance.c.study_instance_uid)
    .where(
        instance.c.received_at > bindparam("since"),
        ~exists().where(
            series.c.study_instance_uid == instance.c.study_instance_uid,
            series.c.series_instance_uid == instance.c.series_instance_uid,
        ),
        ~exists().where(set_aside.c.sop_instance_uid == instance.c.sop_instance_uid),
    )
    .distinct()
    .limit(bindparam("limit"))
)


async def enter(transaction: Transaction, newcomer: Instance, header: bytes) -> None:
    """Enter the series and the study of an instance that is new, where they are not known yet."""
    uid = newcomer.study_instance_uid
    if await transaction.fetch(_HAS_SERIES, uid=uid, series_uid=newcomer.series_instance_uid):
        return
    if await transaction.fetch(_HAS_REMARKS, uid=uid):
        await renew(transaction, uid)
        return
    attributes = json.loads(header)
    await transaction.execute(_INSERT_SERIES, **_series_values(newcomer, attributes))
    await transaction.execute(_INSERT_STUDY, **_study_values(newcomer, attributes))


async def renew(transaction: Transaction, study_instance_uid: str) -> None:
    """Make the rows of a study anew, by what of it is visible now; without anything it has none."""
    rows = await transaction.fetch(_OF_STUDY, uid=study_instance_uid)
    # Where the files are is nothing that is asked here.
    instances = [instance_of(row, str) for row in rows]
    hidden = await hidden_of_study(transaction, study_instance_uid, instances)
    visible = [one for one in instances if one.sop_instance_uid not in hidden]
    for statement in _FORGET:
        await transaction.execute(statement, uid=study_instance_uid)
    if not visible:
        return
    first = {one.series_instance_uid: one for one in reversed(visible)}
    headers = await _headers(transaction, list(first.values()))
    for one in first.values():
        await transaction.execute(_INSERT_SERIES, **_series_values(one, headers[one.sop_instance_uid]))
    of_study = headers[visible[0].sop_instance_uid]
    await transaction.execute(_INSERT_STUDY, **_study_values(visible[0], of_study))


async def _headers(transaction: Transaction, instances: Sequence[Instance]) -> dict[str, Attributes]:
    rows = await transaction.fetch(_HEADERS, sop_instance_uids=[one.sop_instance_uid for one in instances])
    return {uid: json.loads(octets) for uid, octets in rows}


async def fill(database: Database, since: str) -> bool:
    """Enter some of the studies that are not entered, and what came after `since` (ISO 8601, in UTC) and was
    overlooked; whether all are entered that were there when the tables were made."""

    async def work(transaction: Transaction) -> bool:
        rows = await transaction.fetch(_UNCATALOGUED, limit=_AT_ONCE)
        overlooked = await transaction.fetch(_OVERLOOKED, since=since, limit=_AT_ONCE)
        for (uid,) in {*rows, *overlooked}:
            await renew(transaction, uid)
        return len(rows) < _AT_ONCE

    overlooked = await database.fetch(_OVERLOOKED, since=since, limit=1)
    if overlooked or not await is_filled(database):
        return await database.write(work)
    return True


async def is_filled(database: Database) -> bool:
    """Whether every study that was there when the tables were made is entered."""
    return not await database.fetch(_UNCATALOGUED, limit=1)


# --- rows --------------------------------------------------------------------------------------------


def _study_values(first: Instance, attributes: Attributes) -> dict[str, Any]:
    return {
        "study_instance_uid": first.study_instance_uid,
        "received_at": first.received_at.isoformat(),
        "sop_instance_uid": first.sop_instance_uid,
        "patient_id": first.patient_id,
        "patient_name": _searchable(text(attributes, 0x00100010)),
        "accession_number": first.accession_number,
        "study_date": sortable_date(text(attributes, 0x00080020)),
        "attributes": _encoded(attributes, QueryLevel.STUDY),
    }


def _series_values(first: Instance, attributes: Attributes) -> dict[str, Any]:
    return {
        "study_instance_uid": first.study_instance_uid,
        "series_instance_uid": first.series_instance_uid,
        "received_at": first.received_at.isoformat(),
        "sop_instance_uid": first.sop_instance_uid,
        "modality": text(attributes, 0x00080060).strip(),
        "attributes": _encoded(attributes, QueryLevel.SERIES),
    }


def _searchable(name: str) -> str:
    """A name as it is looked up: folded, and with an equals sign before that of several groups."""
    plain = folded(plain_name(name))
    return f"={plain}" if "=" in plain else plain


def _encoded(attributes: Attributes, level: QueryLevel) -> bytes:
    return json.dumps(of_level(attributes, level), ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
