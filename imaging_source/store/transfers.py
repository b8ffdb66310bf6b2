"""What came and is in no audit event yet, kept in the transaction that made it visible."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import bindparam, delete, exists, insert, select, update

from imaging_source.domain.transfer import Fate, Received, Sender, events
from imaging_source.store.tables import study_sender, transfer, transfer_content
from shared.audit.events import AuditEvent
from shared.store.engine import Database, Transaction
from shared.store.statements import insert_or_ignore

Record = Callable[[Sequence[AuditEvent]], Awaitable[None]]

_KEYS: Final = ("transfer_id", "study_instance_uid", "patient_id", "sop_class_uid", "fate")

_BEGIN = insert_or_ignore(transfer).values(transfer_id=bindparam("transfer_id"), sender=bindparam("sender"))
_MORE = (
    update(transfer_content)
    .where(*(transfer_content.c[key] == bindparam(f"of_{key}") for key in _KEYS))
    .values(number=transfer_content.c.number + 1, last_at=bindparam("at"))
)
_FIRST = insert(transfer_content).values(
    **{key: bindparam(f"of_{key}") for key in _KEYS}, number=1, last_at=bindparam("at")
)
_SENT = insert_or_ignore(study_sender).values(
    study_instance_uid=bindparam("of_study_instance_uid"), sender=bindparam("sent_by")
)
_SENDERS = select(study_sender.c.sender).where(study_sender.c.study_instance_uid == bindparam("study"))
_PENDING = select(transfer.c.transfer_id)
_SENDER = select(transfer.c.sender).where(transfer.c.transfer_id == bindparam("transfer_id"))
_CONTENT = select(
    transfer_content.c.study_instance_uid,
    transfer_content.c.patient_id,
    transfer_content.c.sop_class_uid,
    transfer_content.c.fate,
    transfer_content.c.number,
    transfer_content.c.last_at,
).where(transfer_content.c.transfer_id == bindparam("transfer_id"))
_FORGET_CONTENT = delete(transfer_content).where(
    *(transfer_content.c[key] == bindparam(f"of_{key}") for key in _KEYS),
    transfer_content.c.number == bindparam("number"),
)
_FORGET = delete(transfer).where(
    transfer.c.transfer_id == bindparam("transfer_id"),
    ~exists().where(transfer_content.c.transfer_id == bindparam("transfer_id")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One association or request by which instances come; `may_reject` tells that rejection notes of its
    sender count, `may_replace` that what it brings is newer than what is here. `sent_by` is the name by
    which rules of publishing know the sender; empty where it has none."""

    sender: Sender
    sent_by: str = ""
    may_reject: bool = False
    may_replace: bool = True
    transfer_id: str = field(default_factory=lambda: secrets.token_hex(16))


async def note(
    transaction: Transaction,
    came_by: Transfer,
    *,
    study_instance_uid: str,
    patient_id: str,
    sop_class_uid: str,
    fate: Fate,
) -> None:
    """Count one instance of a transfer."""
    content = {
        "of_transfer_id": came_by.transfer_id,
        "of_study_instance_uid": study_instance_uid,
        "of_patient_id": patient_id,
        "of_sop_class_uid": sop_class_uid,
        "of_fate": fate.value,
        "at": datetime.now(UTC).isoformat(),
    }
    if not await transaction.execute(_MORE, **content):
        sender = came_by.sender.to_json()
        await transaction.execute(_BEGIN, transfer_id=came_by.transfer_id, sender=sender)
        await transaction.execute(_FIRST, **content)
        if came_by.sent_by and fate is not Fate.REFUSED:
            await transaction.execute(
                _SENT, of_study_instance_uid=study_instance_uid, sent_by=came_by.sent_by
            )


async def find_senders(database: Database, study_instance_uid: str) -> frozenset[str]:
    """Who sent instances of a study, as far as they have names."""
    rows = await database.fetch(_SENDERS, study=study_instance_uid)
    return frozenset(sender for (sender,) in rows)


async def conclude(database: Database, transfer_id: str, record: Record) -> None:
    """Record the audit events of a transfer that has ended, then forget it.

    A crash in between records them again: at least once, never not. What is counted meanwhile stays.

    Raises
    ------
    AuditUnavailable
        The events cannot be kept; the transfer stays and is concluded later.
    """
    senders = await database.fetch(_SENDER, transfer_id=transfer_id)
    if not senders:
        return
    content = [
        Received(
            study_instance_uid=study,
            patient_id=patient,
            sop_class_uid=sop_class,
            fate=Fate(fate),
            number=number,
            last_at=datetime.fromisoformat(last_at),
        )
        for study, patient, sop_class, fate, number, last_at in await database.fetch(
            _CONTENT, transfer_id=transfer_id
        )
    ]
    await record(tuple(events(Sender.from_json(senders[0][0]), content)))

    async def forget(transaction: Transaction) -> None:
        for each in content:
            await transaction.execute(
                _FORGET_CONTENT,
                of_transfer_id=transfer_id,
                of_study_instance_uid=each.study_instance_uid,
                of_patient_id=each.patient_id,
                of_sop_class_uid=each.sop_class_uid,
                of_fate=each.fate.value,
                number=each.number,
            )
        await transaction.execute(_FORGET, transfer_id=transfer_id)

    await database.write(forget)


async def conclude_all(database: Database, record: Record) -> None:
    """Conclude what processes that died left; for the start.

    Another one that lives goes on counting: its transfer then stands in the trail in two parts.
    """
    for (transfer_id,) in await database.fetch(_PENDING):
        await conclude(database, transfer_id, record)
