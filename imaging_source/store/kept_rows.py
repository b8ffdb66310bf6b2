"""Instances of studies and series whose rows were read lately, given again while the rows are the same.

A study is asked for by several requests in a row, and to read its rows costs more than all else that is
looked up for it. Whether they are the same the database says each time: by its version, or where that is
another one, by the identity, the contents and the arrival of every instance, joined to one text. No process
needs to tell another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import bindparam, select

from imaging_source.store.instance_rows import INSTANCE_COLUMNS
from imaging_source.store.tables import instance
from shared.imaging.instance import Instance
from shared.store.engine import Database, Reader, Row, Transaction
from shared.store.statements import lines

#: Of so many instances the rows are kept; a longer study or series is read each time.
MAX_KEPT: Final = 10_000

_IN_STUDY = instance.c.study_instance_uid == bindparam("study_instance_uid")
_IN_SERIES = instance.c.series_instance_uid == bindparam("series_instance_uid")
_STATE = select(lines(instance.c.sop_instance_uid + instance.c.sha256 + instance.c.received_at))
_ROWS = select(*INSTANCE_COLUMNS)


@dataclass(frozen=True, slots=True)
class _Statements:
    """What is asked for: the state of its rows, and the rows."""

    state: Any
    rows: Any


_OF_STUDY: Final = _Statements(_STATE.where(_IN_STUDY), _ROWS.where(_IN_STUDY))
_OF_SERIES: Final = _Statements(_STATE.where(_IN_STUDY, _IN_SERIES), _ROWS.where(_IN_STUDY, _IN_SERIES))


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int | None
    state: bytes
    instances: tuple[Instance, ...]

    def is_of(self, version: int | None) -> bool:
        """Whether nothing at all has changed."""
        return version is not None and version == self.version


class KeptRows:
    """Instances in the order of `in_order`, made of rows of `INSTANCE_COLUMNS` by `instance_of_row`."""

    def __init__(
        self,
        database: Database,
        instance_of_row: Callable[[Row], Instance],
        in_order: Callable[[Instance], tuple[Any, ...]],
    ) -> None:
        self._database = database
        self._instance_of_row = instance_of_row
        self._in_order = in_order
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._number = 0

    async def of_study(self, study_instance_uid: str) -> Sequence[Instance]:
        """The instances of a study."""
        key = (study_instance_uid, "")
        return await self._instances(key, _OF_STUDY, study_instance_uid=study_instance_uid)

    async def of_series(self, study_instance_uid: str, series_instance_uid: str) -> Sequence[Instance]:
        """The instances of a series of this study."""
        key = (study_instance_uid, series_instance_uid)
        return await self._instances(
            key, _OF_SERIES, study_instance_uid=study_instance_uid, series_instance_uid=series_instance_uid
        )

    async def _instances(
        self, key: tuple[str, str], statements: _Statements, **parameters: str
    ) -> Sequence[Instance]:
        version, entry = self._database.version(), self._entries.get(key)
        if entry is not None and entry.is_of(version):
            self._entries.move_to_end(key)
            return entry.instances
        if entry is not None and entry.state == await _state(self._database, statements, parameters):
            self._keep(key, replace(entry, version=version))
            return entry.instances

        async def work(transaction: Transaction) -> tuple[bytes, list[Row]]:
            # On one snapshot: what is kept under a state shall be what the rows were then.
            state = await _state(transaction, statements, parameters)
            return state, await transaction.fetch(statements.rows, **parameters)

        state, rows = await self._database.read(work)
        instances = tuple(sorted(map(self._instance_of_row, _with_shared_values(rows)), key=self._in_order))
        self._keep(key, _Entry(version, state, instances))
        return instances

    def _keep(self, key: tuple[str, str], entry: _Entry) -> None:
        if (before := self._entries.pop(key, None)) is not None:
            self._number -= len(before.instances)
        if not 0 < len(entry.instances) <= MAX_KEPT:
            return
        self._entries[key] = entry
        self._number += len(entry.instances)
        while self._number > MAX_KEPT:
            _, oldest = self._entries.popitem(last=False)
            self._number -= len(oldest.instances)


async def _state(reader: Reader, statements: _Statements, parameters: dict[str, str]) -> bytes:
    [(text,)] = await reader.fetch(statements.state, **parameters)
    return sha256((text or "").encode()).digest()


def _with_shared_values(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows whose equal values are one object each: those of a study are mostly alike."""
    values: dict[Any, Any] = {}
    return [tuple([values.setdefault(value, value) for value in row]) for row in rows]
