"""What both identity feeds do, ITI-8 and ITI-44 (ITI TF-2 3.8.4 and 3.44.4)."""

from __future__ import annotations

from registry.domain.patients import PatientRefused, check_merge
from registry.store import merges, patients
from registry.unit import Unit
from shared.errors import Busy, UnavailableError
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
    patient = await patients.find_patient(transaction, patient_id)
    if patient is not None and not patient.active:
        raise PatientRefused("the patient id was merged into another and stays so")


async def merge(transaction: Transaction, subsumed: str, survivor: str) -> None:
    """Decide that everything of `subsumed` is `survivor`'s; `finish` makes it so.

    Raises
    ------
    MergeRefused
        One of them is not known, or was merged before.
    MergeUnderWay
        One of them is of another merge, which is not finished.
    """
    patients_locked = await patients.lock_patients(transaction, (survivor, subsumed))
    check_merge(patients_locked.get(subsumed), patients_locked.get(survivor))
    await merges.merge_patients(transaction, subsumed, survivor)


async def finish(unit: Unit, survivor: str) -> None:
    """Move what a merge that was decided has left to be moved.

    Raises
    ------
    Busy
        It could not be finished now; the registry goes on with it, and nobody sees half of it.
    """
    try:
        await unit.finish_merges(survivor)
    except UnavailableError as error:
        text = f"the merge is decided and not finished ({error.context}); send the message again"
        raise Busy(text) from error
