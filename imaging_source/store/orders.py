"""What messages said of studies and patients, kept with their acknowledgements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Integer, bindparam, delete, insert, or_, select, update

from imaging_source.domain.orders import OrderedStudy, OrderState, PatientIdentifier
from imaging_source.store.tables import corrected_study, hl7_message, instance, study, study_order
from shared.imaging.instance import Issuer
from shared.store.engine import Database, Reader, Transaction
from shared.store.statements import in_list, insert_or_ignore

#: How long a message that comes again is acknowledged as before.
MESSAGES_KEPT: Final = timedelta(days=7)
#: How long it is remembered how the order of a study stands.
ORDERS_KEPT: Final = timedelta(days=90)
#: How long, and how often, a manifest is compared with a registry that may hear of its patient later than we.
CORRECTIONS_KEPT: Final = timedelta(minutes=2)
CORRECTIONS_PAUSE: Final = timedelta(seconds=15)
_AT_ONCE: Final = 50

_BEFORE = select(hl7_message.c.acknowledgement).where(
    hl7_message.c.control_id == bindparam("control_id"), hl7_message.c.digest == bindparam("digest")
)
_KEEP = insert(hl7_message)
_FORGET_MESSAGES = delete(hl7_message).where(hl7_message.c.created < bindparam("before"))
_FORGET_ORDERS = delete(study_order).where(study_order.c.received_at < bindparam("before"))
_CHANGE = (
    update(study_order)
    .where(
        study_order.c.name == bindparam("which"),
        # What is reported was completed before, whatever order the messages have.
        or_(study_order.c.state != OrderState.REPORTED.value, bindparam("ends", type_=Integer) == 1),
    )
    .values(state=bindparam("new_state"), patients=bindparam("new_patients"), received_at=bindparam("moment"))
)
_NEW = insert_or_ignore(study_order).values(
    name=bindparam("which"),
    state=bindparam("new_state"),
    patients=bindparam("new_patients"),
    received_at=bindparam("moment"),
)
_ORDERS = select(study_order.c.name, study_order.c.state, study_order.c.patients, study_order.c.received_at)
_OF_NAMES = _ORDERS.where(in_list(study_order.c.name, "names"))
_STUDY = select(
    study.c.study_instance_uid,
    study.c.accession_number,
    instance.c.patient_id,
    instance.c.issuer_local,
    instance.c.issuer_universal_id,
).where(study.c.sop_instance_uid == instance.c.sop_instance_uid)
_BY_UID = _STUDY.where(study.c.study_instance_uid == bindparam("uid"))
_BY_ACCESSION = _STUDY.where(study.c.accession_number == bindparam("accession")).limit(_AT_ONCE)
_OF_PATIENT = _STUDY.where(study.c.patient_id == bindparam("patient"))
_CORRECT = insert_or_ignore(corrected_study).values(
    study_instance_uid=bindparam("uid"), noted_at=bindparam("moment"), due_at=bindparam("moment")
)
_AGAIN = (
    update(corrected_study)
    .where(corrected_study.c.study_instance_uid == bindparam("uid"))
    .values(noted_at=bindparam("moment"), due_at=bindparam("moment"))
)
_DUE = (
    select(corrected_study.c.study_instance_uid, corrected_study.c.noted_at)
    .where(corrected_study.c.due_at <= bindparam("now"))
    .order_by(corrected_study.c.due_at)
    .limit(_AT_ONCE)
)
_ONE = (
    corrected_study.c.study_instance_uid == bindparam("uid"),
    corrected_study.c.noted_at == bindparam("moment"),
)
_LATER = update(corrected_study).where(*_ONE).values(due_at=bindparam("later"))
_DONE = delete(corrected_study).where(*_ONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHere:
    """A study that is here, with what messages name it by."""

    study_instance_uid: str
    accession_number: str
    patient_id: str
    issuer_of_patient_id: Issuer

    def is_of(self, patients: Sequence[PatientIdentifier]) -> bool:
        """Whether its patient is one of `patients`."""
        return any(one.may_be(self.patient_id, self.issuer_of_patient_id) for one in patients)


# --- messages -----------------------------------------------------------------------------------------


async def find_acknowledgement(reader: Reader, control_id: str, digest: str) -> bytes | None:
    """The acknowledgement that these bytes were given before, or None."""
    rows = await reader.fetch(_BEFORE, control_id=control_id, digest=digest)
    return bytes(rows[0][0]) if rows else None


async def keep_acknowledgement(
    transaction: Transaction, control_id: str, digest: str, acknowledgement: bytes, now: datetime
) -> None:
    """Keep the acknowledgement of a message for its retry, and forget what is old."""
    await transaction.execute(_FORGET_MESSAGES, before=(now - MESSAGES_KEPT).isoformat())
    await transaction.execute(_FORGET_ORDERS, before=(now - ORDERS_KEPT).isoformat())
    await transaction.execute(
        _KEEP,
        control_id=control_id,
        digest=digest,
        acknowledgement=acknowledgement,
        created=now.isoformat(),
    )


# --- orders -------------------------------------------------------------------------------------------


async def keep_order(
    transaction: Transaction, order: OrderedStudy, patients: Sequence[PatientIdentifier], now: datetime
) -> None:
    """Let the order of a study stand as this message says, under its UID, or else its accession number: of
    which there may be several studies."""
    values = {
        "which": _names(order.study_instance_uid, order.accession_number)[0],
        "new_state": order.state.value,
        "new_patients": json.dumps([astuple(one) for one in patients]).encode(),
        "moment": now.isoformat(),
    }
    ends = int(order.state in (OrderState.REPORTED, OrderState.CANCELLED))
    if not await transaction.execute(_CHANGE, **values, ends=ends):
        await transaction.execute(_NEW, **values)


async def find_order(database: Database, study_instance_uid: str) -> OrderState | None:
    """How the order of a study stands that is here, as the last message of its patient said; None where
    none did."""
    for here in await find_studies(
        database, OrderedStudy(state=OrderState.OPEN, study_instance_uid=study_instance_uid)
    ):
        rows = await database.fetch(_OF_NAMES, names=_names(here.study_instance_uid, here.accession_number))
        newest_first = sorted(rows, key=lambda row: str(row[3]), reverse=True)
        for _, state, patients, _ in newest_first:
            if here.is_of([PatientIdentifier(*one) for one in json.loads(patients)]):
                return OrderState(state)
    return None


async def find_studies(database: Database, order: OrderedStudy) -> list[StudyHere]:
    """The studies here that an order is of: the one of its UID, or those of its accession number."""
    if order.study_instance_uid:
        rows = await database.fetch(_BY_UID, uid=order.study_instance_uid)
    else:
        rows = await database.fetch(_BY_ACCESSION, accession=order.accession_number)
    return [_here(*row) for row in rows]


def _here(study: str, accession: str, patient_id: str, local: str, universal_id: str) -> StudyHere:
    return StudyHere(
        study_instance_uid=study,
        accession_number=accession,
        patient_id=patient_id,
        issuer_of_patient_id=Issuer(local, universal_id),
    )


def _names(study_instance_uid: str, accession_number: str) -> list[str]:
    by_study = [f"study {study_instance_uid}"] if study_instance_uid else []
    return [*by_study, f"accession {accession_number}"] if accession_number else by_study


# --- patients -----------------------------------------------------------------------------------------


async def correct(
    transaction: Transaction,
    patients: Sequence[PatientIdentifier],
    study_instance_uids: Sequence[str],
    now: datetime,
) -> None:
    """Let the manifests of these patients, and of these studies, be compared now."""
    uids = set(study_instance_uids)
    for patient in patients:
        of_patient = [_here(*row) for row in await transaction.fetch(_OF_PATIENT, patient=patient.value)]
        uids |= {here.study_instance_uid for here in of_patient if here.is_of([patient])}
    for uid in sorted(uids):
        values = {"uid": uid, "moment": now.isoformat()}
        if not await transaction.execute(_AGAIN, **values):
            await transaction.execute(_CORRECT, **values)


async def find_corrected(database: Database, now: datetime) -> list[tuple[str, datetime]]:
    """Studies that are to be looked at now, each with when its patient was corrected."""
    rows = await database.fetch(_DUE, now=now.isoformat())
    return [(uid, datetime.fromisoformat(noted)) for uid, noted in rows]


async def end_correction(
    database: Database, study_instance_uid: str, noted_at: datetime, now: datetime, *, changed: bool
) -> None:
    """Look again later, as long as the registry may hear of the patient still, unless something `changed`."""

    async def work(transaction: Transaction) -> None:
        values = {"uid": study_instance_uid, "moment": noted_at.isoformat()}
        if changed or now - noted_at > CORRECTIONS_KEPT:
            await transaction.execute(_DONE, **values)
        else:
            await transaction.execute(_LATER, later=(now + CORRECTIONS_PAUSE).isoformat(), **values)

    await database.write(work)
