"""Foreign instances under local identifiers, as they are imported (RAD TF, Import Reconciliation; PS3.3
C.12.1.1.9): what is replaced stands in the Original Attributes Sequence.

UIDs, dates of acquisition, equipment, institution and pixels stay what they are.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Final

from pydicom import Dataset
from pydicom.sequence import Sequence

from shared.imaging.local_identity import LocalIdentity

_UTF_8: Final = "ISO_IR 192"
_OF_PATIENT: Final = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
}
#: Of the order of the other hospital; here there is none, or one of our own.
_OF_ORDER: Final = (
    "IssuerOfAccessionNumberSequence",
    "ReferencedRequestSequence",
    "RequestAttributesSequence",
    "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
_ANOTHER_PATIENT_SEQUENCE: Final = "IssuerOfPatientIDQualifiersSequence"
_SYSTEM: Final = "XDSI"


def coerce(data_set: Dataset, local: LocalIdentity, *, source: str, at: datetime) -> None:
    """Put `local` in the place of what a data set says, which is kept in an item of its own.

    `source` is from where it came, `at` (aware) when it is imported.
    """
    if not all(one.isascii() for one in (local.name, local.issuer, local.patient_id, local.accession_number)):
        _to_utf_8(data_set)
    original = Dataset()
    foreign = _foreign_id(data_set, local)
    for keyword, value in _replaced(local):
        _replace(data_set, keyword, value, original)
    for keyword in (*_OF_ORDER, _ANOTHER_PATIENT_SEQUENCE):
        if keyword in data_set:
            _replace(data_set, keyword, None, original)
    if foreign is not None:
        _append(data_set, "OtherPatientIDsSequence", foreign)
    _append(data_set, "OriginalAttributesSequence", _original(original, source, at))
    _append(data_set, "ContributingEquipmentSequence", _equipment(at))


def _to_utf_8(data_set: Dataset) -> None:
    data_set.decode()
    data_set.SpecificCharacterSet = _UTF_8


def _replaced(local: LocalIdentity) -> list[tuple[str, str]]:
    values = [(keyword, getattr(local, name)) for name, keyword in _OF_PATIENT.items()]
    known = [(keyword, value) for keyword, value in values if value or keyword == "IssuerOfPatientID"]
    return [*known, ("AccessionNumber", local.accession_number)]


def _replace(data_set: Dataset, keyword: str, value: str | None, original: Dataset) -> None:
    """Set or remove an attribute; the old value, where it is another one, goes to `original`."""
    old = next((data_set[one] for one in (keyword,) if one in data_set), None)
    if old is not None and value is not None and str(old.value or "") == value:
        return
    if old is not None:
        original.add(deepcopy(old))
    if value is None or (not value and keyword == "IssuerOfPatientID"):
        if old is not None:
            delattr(data_set, keyword)
    elif value or old is not None:
        setattr(data_set, keyword, value)


def _foreign_id(data_set: Dataset, local: LocalIdentity) -> Dataset | None:
    """The id that the other hospital knows the patient by, as a further id."""
    old, issuer = str(data_set.get("PatientID") or ""), str(data_set.get("IssuerOfPatientID") or "")
    if not old or (old, issuer) == (local.patient_id, local.issuer):
        return None
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = old, "TEXT"
    if issuer:
        item.IssuerOfPatientID = issuer
    if _ANOTHER_PATIENT_SEQUENCE in data_set:
        item.add(deepcopy(data_set[_ANOTHER_PATIENT_SEQUENCE]))
    return item


def _append(data_set: Dataset, keyword: str, item: Dataset) -> None:
    items = list(data_set[keyword].value or ()) if keyword in data_set else []
    setattr(data_set, keyword, Sequence([*items, item]))


def _original(modified: Dataset, source: str, at: datetime) -> Dataset:
    item = Dataset()
    item.SourceOfPreviousValues = source[:64]
    item.AttributeModificationDateTime = _moment(at)
    item.ModifyingSystem = _SYSTEM
    item.ReasonForTheAttributeModification = "COERCE"
    item.ModifiedAttributesSequence = Sequence([modified])
    return item


def _equipment(at: datetime) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109103", "DCM"
    purpose.CodeMeaning = "Modifying Equipment"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    item.Manufacturer = _SYSTEM
    item.ContributionDateTime = _moment(at)
    item.ContributionDescription = "Identifiers coerced at import"
    return item


def _moment(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S%z}"
