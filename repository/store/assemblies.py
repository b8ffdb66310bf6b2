"""What is to be made when it is asked for, and the updates that tell the registry what was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from repository.domain.assembly import Assembly, AssemblyKind
from repository.domain.provision import ProvisionState
from repository.store.tables import assembly, provision
from shared.store.engine import Reader, Row, Transaction
from shared.store.statements import in_list

_COLUMNS = (
    assembly.c.unique_id,
    assembly.c.provision_id,
    assembly.c.kind,
    assembly.c.study_instance_uid,
    assembly.c.entry_uuid,
    assembly.c.patient_id,
    assembly.c.source_patient_id,
    assembly.c.confidentiality,
    assembly.c.class_code,
    assembly.c.type_code,
)
_INSERT = insert(assembly)
_FIND = select(*_COLUMNS).where(in_list(assembly.c.unique_id, "unique_ids"))
_HOLD = select(assembly.c.unique_id).where(assembly.c.unique_id == bindparam("wanted")).with_for_update()
_OF_STUDY = select(*_COLUMNS).where(
    assembly.c.study_instance_uid == bindparam("study_instance_uid"),
    assembly.c.patient_id == bindparam("patient_id"),
    assembly.c.kind == AssemblyKind.ON_DEMAND,
)
_SET_UPDATE = (
    update(assembly)
    .where(assembly.c.unique_id == bindparam("wanted"))
    .values(update_message_id=bindparam("new_message_id"), update_message=bindparam("new_message"))
)
_OPEN_UPDATES = (
    select(assembly.c.unique_id, assembly.c.update_message_id, assembly.c.update_message)
    .join(provision, provision.c.provision_id == assembly.c.provision_id)
    # Before its entry is registered there is nothing to update.
    .where(assembly.c.update_message_id > "", provision.c.state == ProvisionState.REGISTERED)
    .order_by(assembly.c.update_message_id)
    .limit(100)
)
_FORGET = delete(assembly).where(assembly.c.unique_id == bindparam("wanted"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpdate:
    """An ITI-57 that was not answered yet; every attempt repeats `message_id`."""

    unique_id: str
    message_id: str
    submission: bytes


async def insert_assembly(transaction: Transaction, new: Assembly) -> None:
    """Insert a registered document that has no bytes yet."""
    await transaction.execute(
        _INSERT,
        unique_id=new.unique_id,
        provision_id=new.provision_id,
        kind=new.kind,
        study_instance_uid=new.study_instance_uid,
        entry_uuid=new.entry_uuid,
        patient_id=new.patient_id,
        source_patient_id=new.source_patient_id,
        confidentiality="\n".join(sorted(new.confidentiality)),
        class_code=new.class_code,
        type_code=new.type_code,
        update_message_id="",
        update_message=b"",
    )


async def hold_assembly(transaction: Transaction, unique_id: str) -> bool:
    """Let nobody else keep what is made of this document until the transaction ends; False when it is not to
    be made any more."""
    return bool(await transaction.fetch(_HOLD, wanted=unique_id))


async def find_assemblies(reader: Reader, unique_ids: Sequence[str]) -> dict[str, Assembly]:
    """Those of `unique_ids` whose documents are to be made."""
    rows = await reader.fetch(_FIND, unique_ids=list(unique_ids))
    return {row[0]: _assembly(row) for row in rows}


async def find_on_demand(reader: Reader, study_instance_uid: str, patient_id: str) -> Assembly | None:
    """The On-Demand entry of a study for a patient, if there is one."""
    rows = await reader.fetch(_OF_STUDY, study_instance_uid=study_instance_uid, patient_id=patient_id)
    return _assembly(rows[0]) if rows else None


def _assembly(row: Row) -> Assembly:
    unique_id, provision_id, kind, study, entry_uuid, patient_id, source_id, confidentiality, *codes = row
    return Assembly(
        unique_id=unique_id,
        provision_id=provision_id,
        kind=AssemblyKind(kind),
        study_instance_uid=study,
        entry_uuid=entry_uuid,
        patient_id=patient_id,
        source_patient_id=source_id,
        confidentiality=frozenset(confidentiality.split("\n")) - {""},
        class_code=codes[0],
        type_code=codes[1],
    )


async def set_update(transaction: Transaction, unique_id: str, message_id: str, submission: bytes) -> None:
    """The document of a delayed entry was made: tell the registry by this update."""
    await transaction.execute(
        _SET_UPDATE, wanted=unique_id, new_message_id=message_id, new_message=submission
    )


async def open_updates(reader: Reader) -> list[OpenUpdate]:
    """At most 100 updates of registered entries that were not answered yet."""
    return [
        OpenUpdate(unique_id=unique_id, message_id=message_id, submission=bytes(submission))
        for unique_id, message_id, submission in await reader.fetch(_OPEN_UPDATES)
    ]


async def forget_assembly(transaction: Transaction, unique_id: str) -> None:
    """Nothing is left to be made or told."""
    await transaction.execute(_FORGET, wanted=unique_id)
