"""Patient identity: which ids are known, and which were merged into which (ITI TF-2 3.8; ITI TF-3 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from shared.ebrim.identifiers import CX


class PatientRefused(Exception):
    """The feed's message would leave the state wrong; the text says why, and nothing was changed."""


class MergeRefused(PatientRefused):
    """The merge would leave the state wrong; the text says why, and nothing was changed."""


class MergeUnderWay(Exception):
    """Objects of `patient_id` are still being moved by a merge: nothing may be read or changed of them until
    it is finished, so that nobody sees half of it.
    """

    def __init__(self, patient_id: str) -> None:
        super().__init__("the patient is being merged")
        self.patient_id = patient_id


@dataclass(frozen=True, slots=True)
class Patient:
    """An id of the affinity domain in its one spelling; `survivor` is itself until it is merged away.

    `merging` tells that objects are still being moved to it, or from it.
    """

    patient_id: str
    survivor: str
    merging: bool = False

    @property
    def active(self) -> bool:
        """Whether the id stands for itself."""
        return self.patient_id == self.survivor


def canonical(patient_id: str, domain: str) -> str | None:
    """The one spelling of an id of the affinity domain `domain`, or None for any other."""
    try:
        parsed = CX.parse(patient_id)
    except ValueError:
        return None
    return str(parsed) if parsed.authority == domain else None


def check_merge(subsumed: Patient | None, survivor: Patient | None) -> None:
    """Both ids were fed before, are active, and are two (ITI TF-2 3.8.4.2.3, 3.44.4.2.3).

    Raises
    ------
    MergeRefused
    """
    if subsumed is None or survivor is None:
        which = "prior" if subsumed is None else "surviving"
        raise MergeRefused(f"the {which} patient id is not known; feed it first")
    if subsumed.patient_id == survivor.patient_id:
        raise MergeRefused("the prior and the surviving patient id are the same")
    for patient, which in ((subsumed, "prior"), (survivor, "surviving")):
        if not patient.active:
            raise MergeRefused(f"the {which} patient id was merged before")
