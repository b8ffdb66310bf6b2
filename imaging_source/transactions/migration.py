"""Migration of an archive into this source, study by study and a portion at a time: `POST /api/archives/…`.

What is kept here is the record of how far it came: whoever begins again goes on where it ended. A study
counts as migrated when all that its archive lists is kept here, every byte of it read back from the disk.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from imaging_source.archives.archive import ArchiveAway
from imaging_source.domain.intake import Refused
from imaging_source.unit import Unit
from shared.audit.events import Coded
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.http.problem import BadRequest, StorageFull, Unavailable
from shared.imaging.instance import Instance
from shared.imaging.query.levels import QueryLevel
from shared.imaging.query.matching import WrongKey, key_of
from shared.imaging.query.query import Query
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.rights import Right

MIGRATION: Final = Coded("archive-migrated", "xdsi", "Archive Migrated")
MOST_STUDIES: Final = 100_000
_STUDY_DATE: Final = 0x00080020


class _Question(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchivedStudiesRequest(_Question):
    """The studies of an archive, of some dates (`YYYYMMDD-YYYYMMDD`) or of all."""

    archive: str = Field(max_length=32)
    dates: str = Field("", max_length=17)


class MigrationRequest(_Question):
    """Migrate a portion of a study: at most so many of its instances and bytes, and one at least."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    most_instances: int = Field(200, ge=1, le=1_000)
    most_bytes: int = Field(256 * 1024**2, ge=1)


async def list_studies(unit: Unit, request: ArchivedStudiesRequest) -> dict[str, Any]:
    """The UIDs of the studies, and whether there are more."""
    key = key_of((_STUDY_DATE,), request.dates) if request.dates else None
    query = Query(level=QueryLevel.STUDY, keys=(key,) if key else (), include=frozenset({_STUDY_DATE}))
    uids = await unit.parts.archives.studies_of(request.archive, query, limit=MOST_STUDIES)
    return {"study_instance_uids": uids, "more": len(uids) >= MOST_STUDIES}


async def migrate(unit: Unit, request: MigrationRequest) -> dict[str, Any]:
    """Migrate a portion; `remaining` instances wait for the next one, and `failed` are told with why."""
    archives, instances = unit.parts.archives, unit.parts.instances
    study = request.study_instance_uid
    comparison = await archives.compare(study, anew=True)
    here = await instances.find_study(study)
    elsewhere = await archives.keep_of(here)
    due = [one for one in here if one.sop_instance_uid in elsewhere]
    portion: list[Instance] = []
    size = 0
    for one in due[: request.most_instances]:
        if portion and size + one.size > request.most_bytes:
            break
        portion.append(one)
        size += one.size
    failed = dict(await archives.keep(portion))
    failed |= dict.fromkeys(comparison.missing, comparison.reason)
    own = {one.sop_instance_uid for one in here} - elsewhere
    own |= {one.sop_instance_uid for one in portion} - failed.keys()
    return {
        "study_instance_uid": study,
        "listed": len(comparison.listed),
        "kept": len(own & comparison.listed) if comparison.listed else len(own),
        "bytes": sum(one.size for one in portion if one.sop_instance_uid not in failed),
        "remaining": len(due) - len(portion),
        "failed": failed,
        "reason": comparison.reason,
    }


_PROBLEMS: Final = {ArchiveAway: Unavailable, Refused: StorageFull, WrongKey: BadRequest}
SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Studies of an archive",
        routes=("POST /api/archives/studies",),
        right=Right.UPDATE,
        decode=JsonBody(ArchivedStudiesRequest),
        handle=list_studies,
        event=MIGRATION,
        encode=json_response,
        problems=_PROBLEMS,
    ),
    ServedRest(
        name="Migrate a study",
        routes=("POST /api/archives/migrate",),
        right=Right.UPDATE,
        decode=JsonBody(MigrationRequest),
        handle=migrate,
        event=MIGRATION,
        encode=json_response,
        problems=_PROBLEMS,
    ),
)
