"""Which instances of a study are shared: rejection notes and manifests (IOCM; DICOM PS3.16 CID 7010)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from imaging_source.domain.instance import Instance
from shared.dicom import json
from shared.dicom.json import Attributes
from shared.dicom.uids import KEY_OBJECT_SELECTION

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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyObject:
    """What a Key Object Selection Document says: the code of its title and the instances that it names."""

    sop_instance_uid: str
    title: str
    references: frozenset[str] = frozenset()

    @property
    def rejects(self) -> bool:
        """Whether it is a rejection note: what it names is hidden from everybody."""
        return self.title in REJECTION_TITLES


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


def hidden(notes: Iterable[KeyObject]) -> frozenset[str]:
    """SOP Instance UIDs that nobody may retrieve: what rejection notes name, and the notes themselves."""
    rejections = [note for note in notes if note.rejects]
    return frozenset(note.sop_instance_uid for note in rejections).union(
        *(note.references for note in rejections)
    )


def shareable(instances: Iterable[Instance], notes: Iterable[KeyObject]) -> tuple[Instance, ...]:
    """What a manifest references: everything but what is hidden, and but manifests."""
    listed = tuple(notes)
    left_out = hidden(listed) | {note.sop_instance_uid for note in listed if note.title in MANIFEST_TITLES}
    return tuple(instance for instance in instances if instance.sop_instance_uid not in left_out)
