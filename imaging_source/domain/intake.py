"""What an instance must be to be kept, what is noted of it, why it is refused (PS3.4 B.2.3, PS3.18 I.2).

One policy for every door: what identifies itself is kept. It names its SOP class, instance, study and series,
and its data set can be read to the end; what else is wrong with it is a `Tolerance`, of which the sender is
warned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from imaging_source.domain import legal
from imaging_source.domain.header import HEADER_TAGS, patient_issuer
from imaging_source.domain.instance import Instance
from imaging_source.domain.pixels import PixelData, pixel_data
from shared.dicom.character_sets import UNDECLARED
from shared.dicom.data_set import DataElement, LongSequence, Tolerance, Tolerated
from shared.dicom.json import CHARACTER_SET, Attributes, BulkUri, encode, number, pieces, text
from shared.dicom.part10 import (
    CANNOT_UNDERSTAND,
    MISMATCH,
    OUT_OF_RESOURCES,
    PIXEL_TAGS,
    SOP_CLASS_NOT_SUPPORTED,
    BeyondLimit,
    DataSet,
    DicomError,
    Part10,
    file_meta,
    uid_of,
)
from shared.dicom.uids import KEY_OBJECT_SELECTION, MEDIA_STORAGE_DIRECTORY, UNCOMPRESSED

__all__ = [
    "CANNOT_UNDERSTAND",
    "MISMATCH",
    "NOT_AUTHORIZED",
    "OUT_OF_RESOURCES",
    "PROCESSING_FAILURE",
    "SOP_CLASS_NOT_SUPPORTED",
    "WARNING",
    "BeyondLimits",
    "Claim",
    "InstanceDescription",
    "Refused",
    "StoredInstance",
    "TooLong",
    "describe",
    "identify",
    "metadata_pieces",
    "refusal",
    "right_meta",
    "tolerances",
]

PROCESSING_FAILURE: Final = 0x0110
#: Refused: Not Authorized (PS3.7 annex C).
NOT_AUTHORIZED: Final = 0x0124
WARNING: Final = 0xB007
"""Data Set does not match SOP Class: kept, with something in it that had to be tolerated."""

# Longer DICOM JSON is made from the file each time; but selection reads what key objects say.
_KEPT_METADATA: Final = 1024**2
_LONGEST_METADATA: Final = 64 * 1024**2

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


class BeyondLimits(Refused):
    """The instance asks for more than the settings allow."""

    def __init__(self, reason: str, claim: Claim | None = None) -> None:
        super().__init__(OUT_OF_RESOURCES, reason, claim)


class TooLong(BeyondLimits):
    """The instance is longer than the most that is accepted."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"longer than {max_bytes} bytes, the most that is accepted")


def refusal(error: DicomError, claim: Claim) -> Refused:
    """What a sender is told of a file that cannot be scanned."""
    if isinstance(error, BeyondLimit):
        return BeyondLimits(str(error), claim)
    return Refused(error.status, str(error), claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceDescription:
    """An instance with what is kept beside it: DICOM JSON of header and whole, and where its pixels are.

    `metadata` is empty when it is too long to be kept: `metadata_pieces` makes it from the file.
    """

    instance: Instance
    header: bytes
    metadata: bytes
    pixels: PixelData | None
    tolerated: Tolerated


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that is kept; `new` is False when the same content was kept before, or other content stays.

    `warnings` are sentences on what had to be tolerated of what came now.
    """

    instance: Instance
    new: bool = True
    warnings: tuple[str, ...] = ()


def identify(part10: Part10, claim: Claim) -> Claim:
    """The identity of a scanned file, which must be whole and as claimed.

    Raises
    ------
    Refused
        A UID is absent or malformed, or differs from what the request says; a DICOMDIR.
    """
    try:
        uids = {tag: uid_of(part10.data_set, tag) for tag in _REQUIRED}
    except DicomError as error:
        raise Refused(error.status, str(error), claim) from None
    identity = Claim(
        sop_class_uid=uids[0x00080016],
        sop_instance_uid=uids[0x00080018],
        study_instance_uid=uids[0x0020000D],
    )
    for problem in _problems(uids, list(_said_by_request(claim))):
        raise Refused(MISMATCH, problem, identity)
    if identity.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "a DICOMDIR is no instance of a study", identity)
    return identity


def tolerances(part10: Part10, identity: Claim) -> Tolerated:
    """What was tolerated of a file and of what stands before its data set."""
    if not _meta_differs(part10, identity):
        return part10.tolerated
    return {**part10.tolerated, Tolerance.META_DIFFERS: 0x00020003}


def right_meta(part10: Part10, identity: Claim) -> bytes | None:
    """What should stand before the data set of a file, where something else does; else None.

    Of two instances in one file, that of the data set is the one: anonymisers forget group 0002. A bare data
    set becomes a file, and a transfer syntax that is not that of the bytes is put right.
    """
    if _WRONG_META.isdisjoint(tolerances(part10, identity)):
        return None
    if Tolerance.OTHER_SYNTAX in part10.tolerated and part10.transfer_syntax_uid not in UNCOMPRESSED:
        return None
    return file_meta(
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
    )


_WRONG_META: Final = frozenset(
    {
        Tolerance.NO_PREAMBLE,
        Tolerance.NO_META,
        Tolerance.META_DIFFERS,
        Tolerance.META_REPEATED,
        Tolerance.OTHER_SYNTAX,
    }
)


def _meta_differs(part10: Part10, identity: Claim) -> bool:
    try:
        of_meta = uid_of(part10.meta, 0x00020002), uid_of(part10.meta, 0x00020003)
    except DicomError:
        return True
    return any(
        uid and uid != own
        for uid, own in zip(of_meta, (identity.sop_class_uid, identity.sop_instance_uid), strict=True)
    )


def _said_by_request(claim: Claim) -> Iterator[tuple[int, str, str]]:
    yield 0x00080016, claim.sop_class_uid, "the request"
    yield 0x00080018, claim.sop_instance_uid, "the request"
    yield 0x0020000D, claim.study_instance_uid, "the request"


def _problems(uids: dict[int, str], other_uids: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    yield from (f"{_REQUIRED[tag]} is absent or empty" for tag, uid in uids.items() if not uid)
    for tag, uid, source in other_uids:
        if uid and uid != uids[tag]:
            yield f"{_REQUIRED[tag]} differs from {source}"


def describe(
    part10: Part10,
    identity: Claim,
    *,
    file: str,
    size: int,
    sha256: str,
    received_at: datetime,
    tolerated: Tolerated | None = None,
    character_set: Sequence[str] = UNDECLARED,
) -> InstanceDescription:
    """Note of an identified file what index, manifest and metadata need.

    `tolerated` is what was tolerated of it before it was written anew; else that of `part10`.

    Raises
    ------
    Refused
        A Key Object Selection Document that is too long to be read for what it selects.
    """
    tolerances = dict(part10.tolerated if tolerated is None else tolerated)
    short: DataSet = {
        tag: element
        for tag, element in part10.data_set.items()
        if tag in HEADER_TAGS and not isinstance(element.value, LongSequence)
    }
    header = encode(
        {CHARACTER_SET: DataElement(CHARACTER_SET, "CS", b""), **short},
        _bulk_uri(part10, identity),
        only=HEADER_TAGS,
        big_endian=part10.big_endian,
        character_set=character_set,
        tolerated=tolerances,
    )
    metadata = _kept_metadata(part10, identity, character_set)
    noted = _noted(json.loads(header))
    instance = Instance(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=uid_of(part10.data_set, 0x0020000E),
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
        file=file,
        size=size,
        sha256=sha256,
        has_pixels=not PIXEL_TAGS.isdisjoint(part10.data_set),
        metadata_size=len(metadata),
        received_at=received_at,
        **noted,
    )
    return InstanceDescription(
        instance=instance,
        header=header,
        metadata=metadata,
        pixels=pixel_data(part10, instance.number_of_frames),
        tolerated=tolerances,
    )


def metadata_pieces(
    part10: Part10, identity: Claim, character_set: Sequence[str] = UNDECLARED
) -> Iterator[bytes]:
    """DICOM JSON of a whole scanned file, a piece at a time, with relative bulk data URIs."""
    return pieces(
        part10.data_set,
        _bulk_uri(part10, identity),
        big_endian=part10.big_endian,
        character_set=character_set,
    )


def _kept_metadata(part10: Part10, identity: Claim, character_set: Sequence[str]) -> bytes:
    selects = identity.sop_class_uid == KEY_OBJECT_SELECTION
    if not selects and any(isinstance(one.value, LongSequence) for one in part10.data_set.values()):
        return b""
    most = _LONGEST_METADATA if selects else _KEPT_METADATA
    gathered: list[bytes] = []
    length = 0
    for piece in metadata_pieces(part10, identity, character_set):
        gathered.append(piece)
        length += len(piece)
        if length > most:
            if selects:
                raise BeyondLimits(f"key objects of more than {most} bytes as JSON", identity)
            return b""
    return b"".join(gathered)


def _bulk_uri(part10: Part10, identity: Claim) -> BulkUri:
    place = (
        f"studies/{identity.study_instance_uid}/series/{uid_of(part10.data_set, 0x0020000E)}"
        f"/instances/{identity.sop_instance_uid}/bulkdata/"
    )

    def bulk_uri(tags: Sequence[str]) -> str:
        return place + "/".join(tags)

    return bulk_uri


def _noted(header: Attributes) -> dict[str, Any]:
    return {
        "patient_id": text(header, 0x00100020),
        "issuer_of_patient_id": patient_issuer(header),
        "accession_number": text(header, 0x00080050),
        "modality": legal.code_string(text(header, 0x00080060)),
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
