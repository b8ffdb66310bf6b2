"""What is noted of an instance when it arrives: header, metadata as DICOM JSON, the place of its pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.dicom.character_sets import UNDECLARED
from shared.dicom.data_set import DataElement, LongSequence, Tolerated
from shared.dicom.json import CHARACTER_SET, Attributes, BulkUri, encode, items, number, pieces, text
from shared.dicom.part10 import PIXEL_TAGS, BeyondLimit, DataSet, Part10, uid_of
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging import legal
from shared.imaging.instance import Instance, Issuer
from shared.imaging.pixels import PixelData, pixel_data

HEADER_TAGS: Final = frozenset(
    {
        0x00080005,  # Specific Character Set
        0x00080016,  # SOP Class UID
        0x00080018,  # SOP Instance UID
        0x00080020,  # Study Date
        0x00080021,  # Series Date
        0x00080022,  # Acquisition Date
        0x00080023,  # Content Date
        0x0008002A,  # Acquisition DateTime
        0x00080030,  # Study Time
        0x00080031,  # Series Time
        0x00080032,  # Acquisition Time
        0x00080033,  # Content Time
        0x00080050,  # Accession Number
        0x00080051,  # Issuer of Accession Number Sequence
        0x00080060,  # Modality
        0x00080070,  # Manufacturer
        0x00080080,  # Institution Name
        0x00080090,  # Referring Physician's Name
        0x00080201,  # Timezone Offset From UTC
        0x00081030,  # Study Description
        0x00081032,  # Procedure Code Sequence
        0x0008103E,  # Series Description
        0x00081040,  # Institutional Department Name
        0x00082218,  # Anatomic Region Sequence
        0x00100010,  # Patient's Name
        0x00100020,  # Patient ID
        0x00100021,  # Issuer of Patient ID
        0x00100024,  # Issuer of Patient ID Qualifiers Sequence
        0x00100030,  # Patient's Birth Date
        0x00100040,  # Patient's Sex
        0x00101002,  # Other Patient IDs Sequence
        0x00180015,  # Body Part Examined
        0x00181030,  # Protocol Name
        0x0020000D,  # Study Instance UID
        0x0020000E,  # Series Instance UID
        0x00200010,  # Study ID
        0x00200011,  # Series Number
        0x00200013,  # Instance Number
        0x00280002,  # Samples per Pixel
        0x00280008,  # Number of Frames
        0x00280010,  # Rows
        0x00280011,  # Columns
        0x00280100,  # Bits Allocated
        0x00321060,  # Requested Procedure Description
        0x00321064,  # Requested Procedure Code Sequence
        0x00400244,  # Performed Procedure Step Start Date
        0x00400245,  # Performed Procedure Step Start Time
        0x00400026,  # Order Placer Identifier Sequence
        0x00400027,  # Order Filler Identifier Sequence
        0x00400275,  # Request Attributes Sequence
        0x00401001,  # Requested Procedure ID
        0x00402016,  # Placer Order Number / Imaging Service Request
        0x00402017,  # Filler Order Number / Imaging Service Request
        0x0040A043,  # Concept Name Code Sequence: the title of a document
        0x0040A370,  # Referenced Request Sequence
    }
)

# Longer DICOM JSON is made from the file each time; but selection reads what key objects say.
_KEPT_METADATA: Final = 1024**2
_LONGEST_METADATA: Final = 64 * 1024**2
_MAX_INTEGER: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is said to come: by the command of C-STORE, by the path of STOW-RS; empty where nothing is."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


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


def patient_issuer(attributes: Attributes) -> Issuer:
    """Issuer of Patient ID (0010,0021) with its qualifiers (0010,0024); empty when neither is there."""
    qualifiers = next(iter(items(attributes, 0x00100024)), {})
    return Issuer(text(attributes, 0x00100021), text(qualifiers, 0x00400032), text(qualifiers, 0x00400033))


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
    BeyondLimit
        A Key Object Selection Document that is too long to be read for what it selects.
    """
    tolerances = dict(part10.tolerated if tolerated is None else tolerated)
    short: DataSet = {
        tag: element
        for tag, element in part10.data_set.items()
        if tag in HEADER_TAGS and not isinstance(element.value, LongSequence)
    }
    bulk_uri = _bulk_uri(part10, identity)
    header = encode(
        {CHARACTER_SET: DataElement(CHARACTER_SET, "CS", b""), **short},
        bulk_uri,
        big_endian=part10.big_endian,
        character_set=character_set,
        tolerated=tolerances,
    )
    metadata = _kept_metadata(part10, identity, bulk_uri, character_set)
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
    return _pieces(part10, _bulk_uri(part10, identity), character_set)


def _pieces(part10: Part10, bulk_uri: BulkUri, character_set: Sequence[str]) -> Iterator[bytes]:
    return pieces(part10.data_set, bulk_uri, big_endian=part10.big_endian, character_set=character_set)


def _kept_metadata(part10: Part10, identity: Claim, bulk_uri: BulkUri, character_set: Sequence[str]) -> bytes:
    selects = identity.sop_class_uid == KEY_OBJECT_SELECTION
    if not selects and any(isinstance(one.value, LongSequence) for one in part10.data_set.values()):
        return b""
    most = _LONGEST_METADATA if selects else _KEPT_METADATA
    gathered: list[bytes] = []
    length = 0
    for piece in _pieces(part10, bulk_uri, character_set):
        gathered.append(piece)
        length += len(piece)
        if length > most:
            if selects:
                raise BeyondLimit(f"key objects of more than {most} bytes as JSON")
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
