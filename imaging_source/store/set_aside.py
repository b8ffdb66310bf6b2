"""Instances that are kept and shared with nobody until a person decides: newcomers that are in conflict with
their study. Whose a study is, its first instance says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from imaging_source.domain.selection import Conflict
from imaging_source.store.tables import instance, set_aside, study_patient
from shared.imaging.instance import Issuer
from shared.store.engine import Reader, Transaction
from shared.store.statements import insert_or_ignore

_OWNER = select(study_patient.c.patient_id, study_patient.c.issuer).where(
    study_patient.c.study_instance_uid == bindparam("study")
)
_OWN = insert_or_ignore(study_patient)
_CHANGE_OWNER = (
    update(study_patient)
    .where(study_patient.c.study_instance_uid == bindparam("study"))
    .values(patient_id=bindparam("new_patient_id"), issuer=bindparam("new_issuer"))
)
_NAMED = (
    instance.c.sop_instance_uid,
    instance.c.patient_id,
    instance.c.issuer_local,
    instance.c.issuer_universal_id,
)
_OF_STUDY = (
    select(*_NAMED)
    .where(instance.c.study_instance_uid == bindparam("study"))
    .order_by(instance.c.received_at, instance.c.sop_instance_uid)
)
_FIRST = _OF_STUDY.limit(1)
_SET_ASIDE = insert(set_aside)
_OF_CONFLICT = select(set_aside.c.sop_instance_uid).where(
    set_aside.c.study_instance_uid == bindparam("study"), set_aside.c.conflict == bindparam("conflict")
)
_ONE = select(set_aside.c.study_instance_uid, set_aside.c.conflict).where(
    set_aside.c.sop_instance_uid == bindparam("sop_instance_uid")
)
_RELEASE = delete(set_aside).where(set_aside.c.sop_instance_uid == bindparam("which"))
_ALL = (
    select(set_aside.c.study_instance_uid, set_aside.c.sop_instance_uid, set_aside.c.conflict)
    .order_by(set_aside.c.study_instance_uid, set_aside.c.sop_instance_uid)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class NamedPatient:
    """A Patient ID and whose it is: an OID, or else a local name."""

    patient_id: str
    issuer: str

    @classmethod
    def of(cls, patient_id: str, issuer: Issuer, default: Issuer) -> NamedPatient:
        """The patient whom an instance names; `default` issued what names no issuer."""
        authority = default if issuer == Issuer() else issuer
        return cls(patient_id, authority.universal_id or authority.local)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An instance that is set aside, and why."""

    study_instance_uid: str
    sop_instance_uid: str
    conflict: Conflict


async def judge(
    transaction: Transaction,
    study: str,
    sop_instance_uid: str,
    patient: NamedPatient,
    default: Issuer,
    *,
    stranger_rejects: bool,
) -> bool:
    """Set a new instance aside when it is in conflict with its study; whether anything changed by it."""
    owner = await _owner(transaction, study, default)
    first_named = not owner.patient_id and bool(patient.patient_id)
    if first_named:
        await _give(transaction, study, patient, default)
    elif owner != patient:
        await _put(transaction, study, sop_instance_uid, Conflict.OTHER_PATIENT)
        return True
    if stranger_rejects:
        await _put(transaction, study, sop_instance_uid, Conflict.NOTE_OF_STRANGER)
    return first_named or stranger_rejects


async def accept(transaction: Transaction, sop_instance_uid: str, default: Issuer) -> str:
    """A person decides for an instance that is set aside: a note counts, or the study is its patient's from
    now on; the study, or empty when nothing is set aside under this UID."""
    rows = await transaction.fetch(_ONE, sop_instance_uid=sop_instance_uid)
    if not rows:
        return ""
    study, conflict = rows[0]
    if conflict == Conflict.NOTE_OF_STRANGER:
        await transaction.execute(_RELEASE, which=sop_instance_uid)
    else:
        patients = await _patients(transaction, study, default)
        await _give(transaction, study, patients[sop_instance_uid], default)
    return str(study)


async def forget(transaction: Transaction, sop_instance_uid: str) -> None:
    """An instance is set aside no more: it is not here, or is judged anew."""
    await transaction.execute(_RELEASE, which=sop_instance_uid)


async def settle(transaction: Transaction, study: str, default: Issuer) -> None:
    """Set aside what is in conflict with its study and came before conflicts were looked for."""
    await _give(transaction, study, await _owner(transaction, study, default), default)


async def find_set_aside(reader: Reader, *, limit: int) -> Sequence[SetAside]:
    """What is set aside, by study."""
    rows = await reader.fetch(_ALL, limit=limit)
    return [SetAside(study, sop, Conflict(conflict)) for study, sop, conflict in rows]


async def _owner(transaction: Transaction, study: str, default: Issuer) -> NamedPatient:
    if rows := await transaction.fetch(_OWNER, study=study):
        return NamedPatient(*rows[0])
    [(_, patient_id, local, universal_id)] = await transaction.fetch(_FIRST, study=study)
    first = NamedPatient.of(patient_id, Issuer(local, universal_id), default)
    await transaction.execute(
        _OWN, study_instance_uid=study, patient_id=first.patient_id, issuer=first.issuer
    )
    # Of two first instances that come at once, one was earlier.
    [row] = await transaction.fetch(_OWNER, study=study)
    return NamedPatient(*row)


async def _patients(transaction: Transaction, study: str, default: Issuer) -> dict[str, NamedPatient]:
    rows = await transaction.fetch(_OF_STUDY, study=study)
    return {
        sop: NamedPatient.of(patient_id, Issuer(local, universal_id), default)
        for sop, patient_id, local, universal_id in rows
    }


async def _give(transaction: Transaction, study: str, patient: NamedPatient, default: Issuer) -> None:
    """Let a study be of `patient`: what names another is set aside, and nothing else is."""
    await transaction.execute(
        _CHANGE_OWNER, study=study, new_patient_id=patient.patient_id, new_issuer=patient.issuer
    )
    aside = {
        sop for (sop,) in await transaction.fetch(_OF_CONFLICT, study=study, conflict=Conflict.OTHER_PATIENT)
    }
    for sop, patient_of_instance in (await _patients(transaction, study, default)).items():
        if patient_of_instance == patient and sop in aside:
            await transaction.execute(_RELEASE, which=sop)
        elif patient_of_instance != patient and sop not in aside:
            await transaction.execute(_RELEASE, which=sop)
            await _put(transaction, study, sop, Conflict.OTHER_PATIENT)


async def _put(transaction: Transaction, study: str, sop_instance_uid: str, conflict: Conflict) -> None:
    values: dict[str, Any] = {
        "sop_instance_uid": sop_instance_uid,
        "study_instance_uid": study,
        "conflict": str(conflict),
    }
    await transaction.execute(_SET_ASIDE, **values)
