"""The consent policies of patients, as JSON texts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, insert, select, update

from registry.store.tables import consent
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list

_OF = (
    select(consent.c.patient_id, consent.c.policy)
    .where(in_list(consent.c.patient_id, "patients"))
    .order_by(consent.c.policy_id)
)
_OWNER = select(consent.c.patient_id).where(consent.c.policy_id == bindparam("policy_id"))
_INSERT = insert(consent)
_UPDATE = update(consent).where(consent.c.policy_id == bindparam("which")).values(policy=bindparam("policy"))
_REMOVE = delete(consent).where(
    consent.c.policy_id == bindparam("policy_id"), consent.c.patient_id == bindparam("patient_id")
)


async def find_policies(database: Reader, patients: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The policies of each of `patients` that has any, ordered, as JSON texts."""
    found: dict[str, list[str]] = {}
    for patient_id, policy in await database.fetch(_OF, patients=sorted(set(patients))):
        found.setdefault(patient_id, []).append(policy)
    return {patient_id: tuple(sorted(texts)) for patient_id, texts in found.items()}


async def find_owner(transaction: Transaction, policy_id: str) -> str | None:
    """The patient whose policy has this id, or None."""
    rows = await transaction.fetch(_OWNER, policy_id=policy_id)
    return rows[0][0] if rows else None


async def keep_policy(
    transaction: Transaction, *, policy_id: str, patient_id: str, policy: str, is_new: bool
) -> None:
    """Record a policy, or replace the one with its id."""
    if is_new:
        await transaction.execute(_INSERT, policy_id=policy_id, patient_id=patient_id, policy=policy)
    else:
        await transaction.execute(_UPDATE, which=policy_id, policy=policy)


async def remove_policy(transaction: Transaction, *, policy_id: str, patient_id: str) -> bool:
    """Remove a policy of a patient; False when there was none."""
    return bool(await transaction.execute(_REMOVE, policy_id=policy_id, patient_id=patient_id))
