"""Publications: every manifest that was made, as it is sent, and what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from imaging_source.store.imaging_reports import look_again
from imaging_source.store.tables import metadata
from shared.audit.outbox import audit_outbox
from shared.store.engine import Database, Row, Transaction
from shared.store.statements import by_name, in_list

# One row for each manifest. The manifest, its metadata and all its identifiers are frozen when the row is
# written, so that every attempt sends the same message; `replaces` is frozen with the first attempt, when it
# is known what became of the manifest before. `serial` numbers the manifests of a study. Times are
# milliseconds since 1970.
publication = Table(
    "publication",
    metadata,
    Column("publication_id", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("department_patient_id", Text, nullable=False),
    Column("confidentiality", Text, nullable=False),
    Column("class_code", Text, nullable=False),
    Column("type_code", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("entry_uuid", Text, nullable=False),
    Column("replacement_uuid", Text, nullable=False),
    Column("document_unique_id", Text, nullable=False),
    Column("submission_set_unique_id", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("submission", LargeBinary, nullable=False),
    Column("replaces", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("in_doubt", Integer, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("errors", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    # One manifest after the other: two that are published at once meet here.
    Index("publication_of_study", "study_instance_uid", "serial", unique=True),
    # What is to be sent now.
    Index("publication_due", "state", "due"),
)

# Studies whose manifests were made on demand, as these are described; a study that is published is described
# by that.
described_study = Table(
    "described_study",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("document_unique_id", Text, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("department_patient_id", Text, nullable=False),
    Column("confidentiality", Text, nullable=False),
    Column("class_code", Text, nullable=False),
    Column("type_code", Text, nullable=False),
)

#: Events of publications, committed with what they tell of.
audit_events = audit_outbox(metadata)


class PublicationState(StrEnum):
    """What is known of a publication.

    `replaced` was registered until a later manifest took its place, `withdrawn` until it was deprecated or
    removed, by whomever. `superseded` was overtaken by a change of its study, or of its patient, before it
    was registered; `abandoned` was tried for a day, and nobody knows whether it was registered: it waits for
    an operator, and later manifests of its study wait behind it.
    """

    WAITING = "waiting"
    PUBLISHED = "published"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class PublicationError:
    """One error or warning that came back, as the other side wrote it."""

    code: str
    context: str
    severity: str = "Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBundle:
    """The manifest as a FHIR document Bundle, which is registered with it."""

    document_unique_id: str
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPublication:
    """A manifest that is to be published; see the table."""

    publication_id: str
    study_instance_uid: str
    patient_id: str
    department_patient_id: str
    confidentiality: frozenset[str]
    class_code: str
    type_code: str
    digest: str
    message_id: str
    entry_uuid: str
    replacement_uuid: str
    document_unique_id: str
    submission_set_unique_id: str
    document: bytes
    submission: bytes
    bundle: NewBundle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationStatus:
    """A publication without its bytes; `due`, when it is tried next, `created` and `changed` are milliseconds
    since 1970."""

    publication_id: str
    study_instance_uid: str
    patient_id: str
    department_patient_id: str
    document_unique_id: str
    entry_uuid: str
    submission_set_unique_id: str
    replaces: str
    state: PublicationState
    attempts: int
    due: int
    created: int
    changed: int
    errors: tuple[PublicationError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedStudy:
    """What consent is asked about: how the current manifest of a study is registered, or about to be.

    `document_unique_id` is the manifest's, `patient_id` the CX of the affinity domain,
    `department_patient_id` the instances' Patient ID.
    """

    study_instance_uid: str
    document_unique_id: str
    patient_id: str
    department_patient_id: str
    confidentiality: frozenset[str]
    class_code: str
    type_code: str


_STATUS: Final = (
    publication.c.publication_id,
    publication.c.study_instance_uid,
    publication.c.patient_id,
    publication.c.department_patient_id,
    publication.c.document_unique_id,
    publication.c.entry_uuid,
    publication.c.submission_set_unique_id,
    publication.c.replaces,
    publication.c.state,
    publication.c.attempts,
    publication.c.due,
    publication.c.created,
    publication.c.changed,
    publication.c.errors,
)
_NEWEST_FIRST: Final = (
    publication.c.created.desc(),
    publication.c.serial.desc(),
    publication.c.publication_id,
)
_IN_STATES = in_list(publication.c.state, "states")
_LIST = select(*_STATUS).where(_IN_STATES).order_by(*_NEWEST_FIRST).limit(bindparam("limit"))
_LIST_OF_STUDY = (
    select(*_STATUS)
    .where(publication.c.study_instance_uid == bindparam("study_instance_uid"), _IN_STATES)
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("limit"))
)
_LATER = publication.alias("later")
# The last word on a study: nothing later counts.
_LAST = ~exists().where(
    _LATER.c.study_instance_uid == publication.c.study_instance_uid,
    _LATER.c.serial > publication.c.serial,
    _LATER.c.state != PublicationState.SUPERSEDED,
)
_LIST_LAST = select(*_STATUS).where(_IN_STATES, _LAST).order_by(*_NEWEST_FIRST).limit(bindparam("limit"))
_COUNT_LAST = select(publication.c.state, func.count()).where(_IN_STATES, _LAST).group_by(publication.c.state)
_ONE = select(*_STATUS).where(publication.c.publication_id == bindparam("publication_id"))
_DOCUMENT = select(publication.c.document).where(publication.c.publication_id == bindparam("publication_id"))
_OF_STUDIES = (
    select(
        publication.c.study_instance_uid,
        publication.c.document_unique_id,
        publication.c.patient_id,
        publication.c.department_patient_id,
        publication.c.confidentiality,
        publication.c.class_code,
        publication.c.type_code,
    )
    .where(in_list(publication.c.study_instance_uid, "study_instance_uids"), _IN_STATES)
    .order_by(publication.c.serial)
)
_DESCRIBED = select(*described_study.c).where(
    in_list(described_study.c.study_instance_uid, "study_instance_uids")
)
_FORGET_DESCRIBED = delete(described_study).where(described_study.c.study_instance_uid == bindparam("wanted"))
_INSERT_DESCRIBED = insert(described_study)
_OLDEST_WAITING = (
    select(publication.c.created)
    .where(publication.c.state == PublicationState.WAITING)
    .order_by(publication.c.created)
    .limit(1)
)


_END = (
    update(publication)
    .where(
        publication.c.study_instance_uid == bindparam("study"),
        publication.c.entry_uuid == bindparam("entry"),
        publication.c.state == PublicationState.PUBLISHED,
    )
    .values(state=bindparam("new_state"), changed=bindparam("now"))
)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


async def end_publication(
    transaction: Transaction, study_instance_uid: str, entry_uuid: str, state: PublicationState, *, now: int
) -> None:
    """Let a manifest that is registered under `entry_uuid` be so no more."""
    await transaction.execute(_END, study=study_instance_uid, entry=entry_uuid, new_state=state, now=now)
    await look_again(transaction, study_instance_uid, now)


async def find_publication(database: Database, publication_id: str) -> PublicationStatus | None:
    """One publication, or None when there is none of this id."""
    rows = await database.fetch(_ONE, publication_id=publication_id)
    return _status(rows[0]) if rows else None


async def find_document(database: Database, publication_id: str) -> bytes:
    """The manifest of a publication, which is there."""
    [(document,)] = await database.fetch(_DOCUMENT, publication_id=publication_id)
    return bytes(document)


async def find_last_publications(
    database: Database, *, states: Sequence[PublicationState], limit: int = 100
) -> list[PublicationStatus]:
    """The last publication of each study, as far as it is in one of `states`; the newest first."""
    rows = await database.fetch(_LIST_LAST, states=list(states), limit=limit)
    return [_status(row) for row in rows]


async def count_last_publications(
    database: Database, *, states: Sequence[PublicationState]
) -> Mapping[PublicationState, int]:
    """The number of studies whose last publication is in each of `states`."""
    counted: dict[str, int] = dict(await database.fetch(_COUNT_LAST, states=list(states)))
    return {state: counted.get(state, 0) for state in states}


async def find_publications(
    database: Database,
    *,
    study_instance_uid: str = "",
    states: Sequence[PublicationState] = tuple(PublicationState),
    limit: int = 100,
) -> list[PublicationStatus]:
    """Publications, the newest first; of one study, or of all without it."""
    if study_instance_uid:
        rows = await database.fetch(
            _LIST_OF_STUDY, study_instance_uid=study_instance_uid, states=list(states), limit=limit
        )
    else:
        rows = await database.fetch(_LIST, states=list(states), limit=limit)
    return [_status(row) for row in rows]


def _status(row: Row) -> PublicationStatus:
    values = by_name(_STATUS, row)
    errors = decode_errors(values.pop("errors"))
    return PublicationStatus(**{**values, "state": PublicationState(values["state"]), "errors": errors})


async def find_published_studies(
    database: Database, study_instance_uids: Sequence[str]
) -> Mapping[str, PublishedStudy]:
    """How these studies are published, by UID: as was registered last, else as waits to be registered, else
    as a manifest on demand was described."""
    studies: dict[str, PublishedStudy] = {}
    for states in ((PublicationState.WAITING, PublicationState.ABANDONED), (PublicationState.PUBLISHED,)):
        for row in await database.fetch(
            _OF_STUDIES, study_instance_uids=list(study_instance_uids), states=list(states)
        ):
            study = _published_study(row)
            studies[study.study_instance_uid] = study
    if missing := [uid for uid in study_instance_uids if uid not in studies]:
        for row in await database.fetch(_DESCRIBED, study_instance_uids=missing):
            study = _published_study(row)
            studies[study.study_instance_uid] = study
    return studies


def _published_study(row: Row) -> PublishedStudy:
    study, document, patient_id, department, confidentiality, class_code, type_code = row
    return PublishedStudy(
        study_instance_uid=study,
        document_unique_id=document,
        patient_id=patient_id,
        department_patient_id=department,
        confidentiality=frozenset(confidentiality.split("\n")) - {""},
        class_code=class_code,
        type_code=type_code,
    )


async def note_described(database: Database, study: PublishedStudy) -> None:
    """Remember how a manifest that is made on demand describes its study."""
    uid = study.study_instance_uid
    rows = await database.fetch(_DESCRIBED, study_instance_uids=[uid])
    if rows and _published_study(rows[0]) == study:
        return

    async def work(transaction: Transaction) -> None:
        await transaction.execute(_FORGET_DESCRIBED, wanted=uid)
        await transaction.execute(
            _INSERT_DESCRIBED,
            study_instance_uid=uid,
            document_unique_id=study.document_unique_id,
            patient_id=study.patient_id,
            department_patient_id=study.department_patient_id,
            confidentiality="\n".join(sorted(study.confidentiality)),
            class_code=study.class_code,
            type_code=study.type_code,
        )

    await database.write(work)


async def oldest_waiting(database: Database) -> int | None:
    """When the oldest publication that waits was made, in milliseconds since 1970; None when none waits."""
    rows = await database.fetch(_OLDEST_WAITING)
    return int(rows[0][0]) if rows else None


def encode_errors(errors: Sequence[PublicationError]) -> str:
    """`errors` as the table keeps them."""
    return json.dumps(
        [{"code": error.code, "context": error.context, "severity": error.severity} for error in errors],
        ensure_ascii=False,
    )


def decode_errors(encoded: str) -> tuple[PublicationError, ...]:
    """What `encode_errors` wrote."""
    return tuple(PublicationError(**error) for error in json.loads(encoded or "[]"))


def row_of(made: NewPublication, *, serial: int, now: int) -> dict[str, Any]:
    """The row of a publication that waits for its first attempt."""
    return {
        "publication_id": made.publication_id,
        "study_instance_uid": made.study_instance_uid,
        "serial": serial,
        "patient_id": made.patient_id,
        "department_patient_id": made.department_patient_id,
        "confidentiality": "\n".join(sorted(made.confidentiality)),
        "class_code": made.class_code,
        "type_code": made.type_code,
        "digest": made.digest,
        "message_id": made.message_id,
        "entry_uuid": made.entry_uuid,
        "replacement_uuid": made.replacement_uuid,
        "document_unique_id": made.document_unique_id,
        "submission_set_unique_id": made.submission_set_unique_id,
        "document": made.document,
        "submission": made.submission,
        "replaces": "",
        "state": PublicationState.WAITING,
        "attempts": 0,
        "in_doubt": 0,
        "due": now,
        "lease_until": 0,
        "errors": "[]",
        "created": now,
        "changed": now,
    }
