"""What an instance must be to be kept, what is noted of it, why it is refused (PS3.4 B.2.3, PS3.18 I.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from imaging_source.domain.header import HEADER_TAGS, patient_issuer
from imaging_source.domain.instance import Instance
from imaging_source.domain.pixels import PixelData, pixel_data
from shared.dicom.json import Attributes, encode, number, text
from shared.dicom.part10 import (
    CANNOT_UNDERSTAND,
    MISMATCH,
    PIXEL_TAGS,
    SOP_CLASS_NOT_SUPPORTED,
    DicomError,
    Part10,
    uid_of,
)
from shared.dicom.uids import MEDIA_STORAGE_DIRECTORY

__all__ = [
    "CANNOT_UNDERSTAND",
    "MISMATCH",
    "NOT_AUTHORIZED",
    "OUT_OF_RESOURCES",
    "PROCESSING_FAILURE",
    "SOP_CLASS_NOT_SUPPORTED",
    "Claim",
    "Described",
    "Refused",
    "TooLong",
    "describe",
    "identify",
]

PROCESSING_FAILURE: Final = 0x0110
#: Refused: Not Authorized (PS3.7 annex C).
NOT_AUTHORIZED: Final = 0x0124
OUT_OF_RESOURCES: Final = 0xA700

_MAX_INTEGER: Final = 2**31 - 1
_REQUIRED: Final = {
    0x00080016: "SOP Class UID (0008,0016)",
    0x00080018: "SOP Instance UID (0008,0018)",
    0x0020000D: "Study Instance UID (0020,000D)",
    0x0020000E: "Series Instance UID (0020,000E)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is said to come: by the command of C-STORE, by the path of STOW-RS; empty where nothing is."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


class Refused(Exception):
    """An instance is not kept; `reason` tells what is wrong, in 64 characters where possible, without values.

    `status` is the DIMSE status and STOW-RS failure reason, `claim` what is known of the instance.
    """

    def __init__(self, status: int, reason: str, claim: Claim | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.claim = claim or Claim()


class TooLong(Refused):
    """The instance is longer than the most that is accepted."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(OUT_OF_RESOURCES, f"longer than {max_bytes} bytes, the most that is accepted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An instance with what is kept beside it: DICOM JSON of header and whole, and where its pixels are."""

    instance: Instance
    header: bytes
    metadata: bytes
    pixels: PixelData | None


def identify(part10: Part10, claim: Claim) -> Claim:
    """The identity of a scanned file, which must be whole and as claimed.

    Raises
    ------
    Refused
        A UID is absent or malformed, or differs from what the request or group 0002 says; a DICOMDIR.
    """
    try:
        uids = {tag: uid_of(part10.data_set, tag) for tag in _REQUIRED}
        said = [*_said_by_meta(part10), *_said_by_request(claim)]
    except DicomError as error:
        raise Refused(error.status, str(error), claim) from None
    identity = Claim(
        sop_class_uid=uids[0x00080016],
        sop_instance_uid=uids[0x00080018],
        study_instance_uid=uids[0x0020000D],
    )
    for problem in _problems(uids, said):
        raise Refused(MISMATCH, problem, identity)
    if identity.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "a DICOMDIR is no instance of a study", identity)
    return identity


def _said_by_meta(part10: Part10) -> Iterator[tuple[int, str, str]]:
    yield 0x00080016, uid_of(part10.meta, 0x00020002), "group 0002"
    yield 0x00080018, uid_of(part10.meta, 0x00020003), "group 0002"


def _said_by_request(claim: Claim) -> Iterator[tuple[int, str, str]]:
    yield 0x00080016, claim.sop_class_uid, "the request"
    yield 0x00080018, claim.sop_instance_uid, "the request"
    yield 0x0020000D, claim.study_instance_uid, "the request"


def _problems(uids: dict[int, str], said: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    yield from (f"{_REQUIRED[tag]} is absent or empty" for tag, uid in uids.items() if not uid)
    for tag, uid, source in said:
        if uid and uid != uids[tag]:
            yield f"{_REQUIRED[tag]} differs from {source}"


def describe(
    part10: Part10, identity: Claim, *, file: str, size: int, sha256: str, received_at: datetime
) -> Described:
    """Note of an identified file what index, manifest and metadata need."""
    data_set, big_endian = part10.data_set, part10.big_endian
    series_instance_uid = uid_of(data_set, 0x0020000E)
    place = (
        f"studies/{identity.study_instance_uid}/series/{series_instance_uid}"
        f"/instances/{identity.sop_instance_uid}/bulkdata/"
    )

    def bulk_uri(tags: Sequence[str]) -> str:
        return place + "/".join(tags)

    header = encode(data_set, bulk_uri, only=HEADER_TAGS, big_endian=big_endian)
    metadata = encode(data_set, bulk_uri, big_endian=big_endian)
    noted = _noted(json.loads(header))
    instance = Instance(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
        file=file,
        size=size,
        sha256=sha256,
        has_pixels=not PIXEL_TAGS.isdisjoint(data_set),
        metadata_size=len(metadata),
        received_at=received_at,
        **noted,
    )
    return Described(
        instance=instance,
        header=header,
        metadata=metadata,
        pixels=pixel_data(part10, instance.number_of_frames),
    )


def _noted(header: Attributes) -> dict[str, Any]:
    return {
        "patient_id": text(header, 0x00100020),
        "issuer_of_patient_id": patient_issuer(header),
        "accession_number": text(header, 0x00080050),
        "modality": text(header, 0x00080060),
        "series_number": _integer(header, 0x00200011),
        "instance_number": _integer(header, 0x00200013),
        "number_of_frames": _integer(header, 0x00280008) or 1,
        "rows": _integer(header, 0x00280010),
        "columns": _integer(header, 0x00280011),
        "samples_per_pixel": _integer(header, 0x00280002) or 1,
        "bits_allocated": _integer(header, 0x00280100),
    }


def _integer(header: Attributes, tag: int) -> int | None:
    # What fits no 32-bit column is as good as absent: IS is bound to that range (PS3.5 6.2).
    value = number(header, tag)
    return value if value is not None and abs(value) <= _MAX_INTEGER else None
