"""Which instances of a study are shared: rejection notes and manifests (IOCM; DICOM PS3.16 CID 7010)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.dicom import json
from shared.dicom.json import Attributes
from shared.dicom.uids import KEY_OBJECT_SELECTION, is_uid
from shared.imaging.instance import Instance, Issuer

_SOP_INSTANCE_UID: Final = 0x00080018
_CODE_VALUE: Final = 0x00080100
_REFERENCED_SERIES: Final = 0x00081115
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_REFERENCED_SOP: Final = 0x00081199
_TITLE: Final = 0x0040A043
_EVIDENCE: Final = 0x0040A375

REJECTION_TITLES: Final = frozenset({"113001", "113037", "113038", "113039"})
"""Rejected for Quality, for Patient Safety, Incorrect Worklist Entry, Data Retention Policy Expired."""

MANIFEST_TITLES: Final = frozenset({"113030", "113031", "131560"})
"""Manifest, Signed Manifest, Manifest with Description."""


_NO_ISSUER: Final = Issuer()


class Conflict(StrEnum):
    """Why a newcomer is set aside: kept, and shared with nobody until a person decides."""

    OTHER_PATIENT = "other-patient"
    NOTE_OF_STRANGER = "note-of-stranger"

    @property
    def reason(self) -> str:
        """What is wrong, and what would help."""
        if self is Conflict.OTHER_PATIENT:
            return (
                "it names another patient than the instances of its study that came before; accept it if the"
                " study is that patient's, or have it corrected or rejected"
            )
        return (
            "it is a rejection note of a node without the right to reject (XDSI_RIGHTS__REJECT); accept it if"
            " what it names shall be hidden"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyObject:
    """What a Key Object Selection Document says: the code of its title and the instances that it names; of
    which study and patient it is itself."""

    sop_instance_uid: str
    title: str
    references: frozenset[str] = frozenset()
    study_instance_uid: str = ""
    patient_id: str = ""
    issuer_of_patient_id: Issuer = _NO_ISSUER

    @property
    def rejects(self) -> bool:
        """Whether it is a rejection note: what it names is hidden from everybody."""
        return self.title in REJECTION_TITLES

    def speaks_of(self, instance: Instance) -> bool:
        """Whether it names `instance`, and is of the same study and patient.

        A copy of the note stands in each study that it names (PS3.3 C.17.6.2.1), and speaks of that.
        """
        return (
            instance.sop_instance_uid in self.references
            and instance.study_instance_uid == self.study_instance_uid
            and instance.patient_id == self.patient_id
            and _agree(instance.issuer_of_patient_id, self.issuer_of_patient_id)
        )


def key_object(metadata: Attributes) -> KeyObject:
    """Read a Key Object Selection Document from its DICOM JSON."""
    return KeyObject(
        sop_instance_uid=json.text(metadata, _SOP_INSTANCE_UID),
        title=next((json.text(code, _CODE_VALUE) for code in json.items(metadata, _TITLE)), ""),
        references=frozenset(_references(metadata)),
    )


def _references(metadata: Attributes) -> Iterator[str]:
    for study in json.items(metadata, _EVIDENCE):
        for series in json.items(study, _REFERENCED_SERIES):
            for reference in json.items(series, _REFERENCED_SOP):
                yield json.text(reference, _REFERENCED_SOP_INSTANCE_UID)


def key_objects(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """The Key Object Selection Documents among `instances`; selection needs to know what they say."""
    return tuple(instance for instance in instances if instance.sop_class_uid == KEY_OBJECT_SELECTION)


def _agree(one: Issuer, other: Issuer) -> bool:
    """Whether two issuers may be one; who names none contradicts nobody."""
    names = [issuer.universal_id or issuer.local for issuer in (one, other)]
    return "" in names or names[0] == names[1]


def hidden(instances: Iterable[Instance], notes: Iterable[KeyObject]) -> frozenset[str]:
    """SOP Instance UIDs that nobody may retrieve: what rejection notes name of their own study and patient,
    and the notes themselves."""
    rejections = [note for note in notes if note.rejects]
    if not rejections:
        return frozenset()
    rejected_uids = {
        instance.sop_instance_uid
        for instance in instances
        if any(note.speaks_of(instance) for note in rejections)
    }
    return frozenset(rejected_uids | {note.sop_instance_uid for note in rejections})


def shareable(
    instances: Sequence[Instance], notes: Iterable[KeyObject], set_aside: frozenset[str] = frozenset()
) -> tuple[Instance, ...]:
    """What a manifest references: everything but what is hidden or set aside, and but manifests."""
    listed = tuple(notes)
    manifests = {note.sop_instance_uid for note in listed if note.title in MANIFEST_TITLES}
    left_out = hidden(instances, listed) | manifests | set_aside
    return tuple(
        instance
        for instance in instances
        if instance.sop_instance_uid not in left_out and is_uid(instance.sop_instance_uid)
    )
