"""How a patient of others, and the order, are called here (RAD TF, Import Reconciliation)."""

from __future__ import annotations

from dataclasses import dataclass


class WrongIdentity(ValueError):
    """A local identifier is not as it should be; the text says what would be right and repeats nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIdentity:
    """How the patient, and the order where there is one, are called here.

    What is empty is not known here: of the patient it stays what it was, but not the issuer of an id that
    is replaced; without an accession number the study has none here.
    """

    patient_id: str
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""

    def __post_init__(self) -> None:
        texts = (self.patient_id, self.issuer, self.name, self.accession_number)
        if not self.patient_id.strip():
            raise WrongIdentity("the local patient id is needed")
        if any(len(one) > 64 or not one.isprintable() or "\\" in one for one in texts):
            raise WrongIdentity("local identifiers have at most 64 characters, and no backslash")
        if len(self.accession_number) > 16:
            raise WrongIdentity("an accession number has at most 16 characters")
        if self.birth_date and not (len(self.birth_date) == 8 and self.birth_date.isdecimal()):
            raise WrongIdentity("a birth date is YYYYMMDD")
        if self.sex not in ("", "M", "F", "O"):
            raise WrongIdentity("sex is M, F or O")
