"""What is noted of an instance when it arrives: header, metadata as DICOM JSON, the place of its pixels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from shared.dicom.character_sets import UNDECLARED
from shared.dicom.data_set import LongSequence, Tolerance, Tolerated
from shared.dicom.json import (
    CHARACTER_SET,
    Attributes,
    BulkUri,
    MemberEncoder,
    items,
    number,
    pieces,
    text,
    written_tags,
)
from shared.dicom.part10 import PIXEL_TAGS, BeyondLimit, Part10, uid_of
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging import legal
from shared.imaging.header_tags import HEADER_TAGS
from shared.imaging.instance import Instance, Issuer
from shared.imaging.pixels import PixelData, pixel_data
from shared.imaging.query.levels import QueryLevel, level_of

_OF_INSTANCE: Final = frozenset(tag for tag in HEADER_TAGS if level_of(tag) is QueryLevel.INSTANCE)
#: Of which `_noted` reads, and which the instances of a series mostly have in common.
_NOTED: Final = (
    0x00080050,
    0x00080060,
    0x00100020,
    0x00100021,
    0x00100024,
    0x00200011,
    0x00280002,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
)
_INSTANCE_NUMBER: Final = 0x00200013
_NO_CHARACTER_SET: Final = '"00080005":{"vr":"CS"}'

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

    `attributes` are those of the header that are of the instance itself and of no level above.
    `metadata` is empty when it is too long to be kept: `metadata_pieces` makes it from the file.
    """

    instance: Instance
    header: bytes
    attributes: bytes
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
    header, metadata = _members(part10, identity, character_set, tolerances)
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
        instance_number=_integer(json.loads(_object([header.get(_INSTANCE_NUMBER, "")])), _INSTANCE_NUMBER),
        **_noted(tuple([header[tag] for tag in _NOTED if tag in header])),
    )
    return InstanceDescription(
        instance=instance,
        header=_object(header.values()),
        attributes=_object([text for tag, text in header.items() if tag in _OF_INSTANCE]),
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


def _members(
    part10: Part10, identity: Claim, character_set: Sequence[str], tolerated: dict[Tolerance, int]
) -> tuple[dict[int, str], bytes]:
    """The members of the header, by tag, and the whole of the metadata where it is kept: each element is
    written once. `tolerated` takes what was tolerated of the text of the header.
    """
    data_set, bulk_uri = part10.data_set, _bulk_uri(part10, identity)
    of_header = MemberEncoder(bulk_uri, part10.big_endian, tolerated)
    of_others = MemberEncoder(bulk_uri, part10.big_endian, {})
    encodings = of_header.encodings(data_set, character_set)
    header = {CHARACTER_SET: _NO_CHARACTER_SET}
    selects = identity.sop_class_uid == KEY_OBJECT_SELECTION
    # The braces are one more than the commas.
    room = (_LONGEST_METADATA if selects else _KEPT_METADATA) - 1
    is_kept = selects or not any(isinstance(one.value, LongSequence) for one in data_set.values())
    whole: list[str] = []
    for tag in written_tags(data_set):
        _, vr, value = data_set[tag]
        is_noted = tag in HEADER_TAGS and not isinstance(value, LongSequence)
        if not (is_noted or is_kept):
            continue
        encoder = of_header if is_noted else of_others
        if isinstance(value, bytes):
            member = encoder.member(tag, vr, value, encodings)
        else:
            written = encoder.pieces(tag, vr, value, encodings)
            member = "".join(written if is_noted else _bounded(written, room))
        if is_noted:
            header[tag] = member
        if is_kept:
            whole.append(member)
            room -= len(member.encode()) + 1
            is_kept = room >= 0
            if not is_kept and selects:
                raise BeyondLimit(f"key objects of more than {_LONGEST_METADATA} bytes as JSON")
    return header, _object(whole) if is_kept else b""


def _bounded(pieces: Iterable[str], most: int) -> Iterator[str]:
    """The pieces of a member, up to the first that is too many."""
    for piece in pieces:
        yield piece
        most -= len(piece)
        if most < 0:
            return


def _object(members: Iterable[str]) -> bytes:
    return f"{{{','.join(members)}}}".encode()


def _bulk_uri(part10: Part10, identity: Claim) -> BulkUri:
    place = (
        f"studies/{identity.study_instance_uid}/series/{uid_of(part10.data_set, 0x0020000E)}"
        f"/instances/{identity.sop_instance_uid}/bulkdata/"
    )

    def bulk_uri(tags: Sequence[str]) -> str:
        return place + "/".join(tags)

    return bulk_uri


@lru_cache(maxsize=256)
def _noted(members: tuple[str, ...]) -> Mapping[str, Any]:
    """What an instance notes of those members of its header that are of `_NOTED`."""
    header: Attributes = json.loads(_object(members))
    return {
        "patient_id": text(header, 0x00100020),
        "issuer_of_patient_id": patient_issuer(header),
        "accession_number": text(header, 0x00080050),
        "modality": legal.code_string(text(header, 0x00080060)),
        "series_number": _integer(header, 0x00200011),
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
