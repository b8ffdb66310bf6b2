"""What can be wrong with documents that come, each by a name under which scripts ask for it; for a repository
and for an imaging source alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

from pydicom import dcmread

from conformance.simulators.documents import DocumentActor, DocumentPart, DocumentReference
from conformance.simulators.world import World

Change = Callable[[list[DocumentPart], World], list[DocumentPart]]


def changed(actor: type[DocumentActor], change: Change) -> type[DocumentActor]:
    """The actor, whose answers are changed."""

    class WrongDocuments(actor):  # type: ignore[valid-type, misc]
        """Delivers something else than it should."""

        def delivered(self, references: list[DocumentReference]) -> list[DocumentPart]:
            """As it should be, and then changed."""
            return change(super().delivered(references), self.world)

    return WrongDocuments


def other_bytes(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """One byte near the end is another: the hash is wrong."""
    return [
        replace(one, content=one.content[:-2] + bytes([one.content[-2] ^ 1]) + one.content[-1:])
        for one in parts
    ]


def other_document(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """Another document comes under the id that was asked for."""
    return [replace(one, content=_other_instance(one.content)) for one in parts]


def other_id(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """The answer names another document than was asked for."""
    return [
        replace(one, reference=replace(one.reference, unique_id=f"{one.reference.unique_id}.9"))
        for one in parts
    ]


def part_lost(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """The last part that the answer names does not come."""
    return [*parts[:-1], replace(parts[-1], lost=True)] if parts else parts


def one_missing(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """The last document is left out, and the answer is a Success."""
    return parts[:-1]


def last_image_lost(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """The last image of the study never comes, whatever is asked for beside it."""
    lost = list(world.images)[-1]
    return [one for one in parts if one.reference.unique_id != lost]


def nothing(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """A Success without a document."""
    return []


def other_patient(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """The instance is of another patient."""
    return [replace(one, content=_of_other_patient(one.content)) for one in parts]


def no_dicom(parts: list[DocumentPart], world: World) -> list[DocumentPart]:
    """A web page comes in place of the document."""
    return [replace(one, content=b"<html>Session expired</html>") for one in parts]


def _other_instance(octets: bytes) -> bytes:
    dataset = dcmread(BytesIO(octets))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.9"
    return _written(dataset)


def _of_other_patient(octets: bytes) -> bytes:
    dataset = dcmread(BytesIO(octets))
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = "P2", "Other^Patient", "19990101"
    return _written(dataset)


def _written(dataset: object) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)  # type: ignore[attr-defined]
    return file.getvalue()
