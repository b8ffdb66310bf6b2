"""Which contents have a row: those of instances, and those of other versions of them.

What an archive keeps has a row too, and is not among those that are walked: its copy may be gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import bindparam, exists, literal, select, union

from imaging_source.store.tables import archived_instance, erased_instance, instance, other_version
from shared.store.engine import Reader

_AT_ONCE = 1000
_TABLES = (instance, other_version)


def _of(*columns: str, criteria: Any) -> Any:
    return union(*(select(*(table.c[name] for name in columns)).where(criteria(table)) for table in _TABLES))


_BETWEEN = _of(
    "sha256",
    criteria=lambda table: (table.c.sha256 >= bindparam("first")) & (table.c.sha256 <= bindparam("last")),
)
_ANY = _of("sop_instance_uid", criteria=lambda table: table.c.sha256 == bindparam("sha256"))
_FILES = (
    _of(
        "sha256",
        "size",
        "sop_instance_uid",
        criteria=lambda table: (
            (table.c.sha256 > bindparam("after"))
            & (table.c.sha256 <= bindparam("last"))
            & ~exists().where(archived_instance.c.sop_instance_uid == table.c.sop_instance_uid)
        ),
    )
    .order_by("sha256")
    .limit(_AT_ONCE)
)
_OF_STUDY = _of(
    "sha256", "size", criteria=lambda table: table.c.study_instance_uid == bindparam("study_instance_uid")
)
_ERASED = select(literal(1)).where(erased_instance.c.sha256 == bindparam("sha256")).limit(1)


async def have_row(reader: Reader, sha256: str) -> bool:
    """Whether something keeps these contents."""
    return bool(await reader.fetch(_ANY, sha256=sha256))


async def with_row(reader: Reader, first: str, last: str) -> set[str]:
    """The digests between two, both included, of contents that something keeps."""
    return {sha256 for (sha256,) in await reader.fetch(_BETWEEN, first=first, last=last)}


async def of_study(reader: Reader, study_instance_uid: str) -> list[tuple[str, int]]:
    """Digest and size of all contents of a study; empty when it is unknown."""
    rows = await reader.fetch(_OF_STUDY, study_instance_uid=study_instance_uid)
    return [(str(sha256), int(size)) for sha256, size in rows]


async def were_erased(reader: Reader, sha256: str) -> bool:
    """Whether an instance that was erased had these contents."""
    return bool(await reader.fetch(_ERASED, sha256=sha256))


async def walk(reader: Reader, after: str, last: str) -> AsyncIterator[tuple[str, int, str]]:
    """Digest, size and SOP Instance UID of all contents behind `after` and up to `last`, by digest."""
    while rows := await reader.fetch(_FILES, after=after, last=last):
        for sha256, size, sop_instance_uid in rows:
            yield str(sha256), int(size), str(sop_instance_uid)
        after = rows[-1][0]
