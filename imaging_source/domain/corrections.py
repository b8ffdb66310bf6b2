"""Another data set under a SOP Instance UID that is known: what is done with it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.instance import Instance

#: Of what is kept beside, to its sender.
KEPT_BESIDE: Final = "another data set has this SOP Instance UID: that stays, and this one is kept beside it"
#: Of what took a place, to its sender.
REPLACED: Final = "it took the place of another data set under this SOP Instance UID, which is kept"


class CorrectionPolicy(StrEnum):
    """What comes of another data set under a known UID, which DICOM has no name for (PS3.3 C.12.1.1.1: an
    instance that changes gets another UID); whatever it is, its sender is told."""

    REFUSE = "refuse"
    KEEP_FIRST = "keep-first"
    REPLACE = "replace"


def objection(earlier: Instance, other: Instance) -> str:
    """Why `other` may not take the place of `earlier`; empty when it may."""
    if KEY_OBJECT_SELECTION in (earlier.sop_class_uid, other.sop_class_uid):
        return "key objects are not replaced; send the corrected one under another UID"
    names = (
        ("SOP Class UID", earlier.sop_class_uid, other.sop_class_uid),
        ("Study Instance UID", earlier.study_instance_uid, other.study_instance_uid),
        ("Series Instance UID", earlier.series_instance_uid, other.series_instance_uid),
        ("Patient ID", earlier.patient_id, other.patient_id),
        ("issuer of Patient ID", earlier.issuer_of_patient_id, other.issuer_of_patient_id),
    )
    return next((f"another {name} under this SOP Instance UID" for name, a, b in names if a != b), "")
