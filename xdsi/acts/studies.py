"""The studies that are shared, as they lie on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xdsi.stage import Stage
from xdsi.story import DoesNotHold, Story, many


@dataclass(frozen=True)
class Study:
    """One study on disk: its UID, its patient's id at the hospital and its files by SOP Instance UID.

    `manifests` are those of its instances that are manifests themselves, which no manifest references.
    """

    uid: str
    patient_id: str
    files: dict[str, Path]
    manifests: set[str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def present_studies(story: Story, stage: Stage, folder: Path | None) -> list[Study]:
    """The studies that Hospital North has: those in `folder`, or the built-in one."""
    from xdsi.builtin_study import write_study

    with story.step("Hospital North has DICOM studies") as step:
        place = folder or stage.folder / "builtin-study"
        if folder is None:
            write_study(place)
        studies = _read(place)
        if not studies:
            raise DoesNotHold(f"no DICOM file in {place}")
        instances = sum(len(study.files) for study in studies)
        size = sum(study.size for study in studies) / 1024**2
        step.outcome = (
            f"{many(len(studies), 'study', 'studies')}, {many(instances, 'instance')}, {size:.1f} MiB"
        )
    return studies


def _read(folder: Path) -> list[Study]:
    from shared.dicom.part10 import DicomError, scan, uid_of
    from shared.dicom.uids import KEY_OBJECT_SELECTION

    studies: dict[str, Study] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            data_set = scan(path).data_set
        except DicomError:
            continue
        patient = data_set.get(0x00100020)
        patient_id = bytes(patient.value).decode("utf-8", "replace").strip(" \0") if patient else ""  # type: ignore[arg-type]
        study_uid, uid = uid_of(data_set, 0x0020000D), uid_of(data_set, 0x00080018)
        study = studies.setdefault(study_uid, Study(study_uid, patient_id, {}, set()))
        study.files[uid] = path
        if uid_of(data_set, 0x00080016) == KEY_OBJECT_SELECTION:
            study.manifests.add(uid)
    return list(studies.values())
