"""What both identity feeds do, ITI-8 and ITI-44 (ITI TF-2 3.8.4 and 3.44.4)."""

from __future__ import annotations

from registry.domain.patients import PatientRefused, check_merge
from registry.store import patients
from shared.store.engine import Transaction


async def add(transaction: Transaction, patient_id: str) -> None:
    """Make a patient known, once more or for the first time.

    Raises
    ------
    PatientRefused
        The id was merged away, and stays so.
    """
    if await patients.add_patient(transaction, patient_id):
        return
    known = await patients.find_patient(transaction, patient_id)
    if known is not None and not known.active:
        raise PatientRefused("the patient id was merged into another and stays so")


async def merge(transaction: Transaction, subsumed: str, survivor: str) -> None:
    """Give everything of `subsumed` to `survivor`.

    Raises
    ------
    MergeRefused
        One of them is not known, or was merged before.
    """
    known = await patients.lock_patients(transaction, (survivor, subsumed))
    check_merge(known.get(subsumed), known.get(survivor))
    await patients.merge_patients(transaction, subsumed, survivor)
