"""Instances that come as metadata and bulk data (PS3.18 10.5.2, 8.7.3.3): each made a Part 10 file.

Explicit VR Little Endian, or the transfer syntax of the compressed bulk data of its pixels. Text is UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from pydicom import dcmwrite
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_buffer
from pydicom.tag import Tag

from imaging_source.domain.intake import PROCESSING_FAILURE, Refused
from shared.attempts import attempted
from shared.dicom import json as dicom_json
from shared.dicom.json import Attributes
from shared.dicom.part10 import CANNOT_UNDERSTAND
from shared.dicom.uids import (
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE,
    is_uid,
)
from shared.http.media_type import decode_media_type
from shared.imaging.description import Claim

_PIXEL_DATA: Final = "7FE00010"
#: Transfer syntaxes of compressed pixels whose part names none (PS3.18 table 8.7.3-2 and its neighbours).
_DEFAULTS: Final = {
    "image/jls": JPEG_LS_LOSSLESS,
    "image/jp2": JPEG_2000_LOSSLESS,
    "image/jphc": HTJ2K_LOSSLESS,
    "image/dicom-rle": RLE,
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
#: By the start of frame of a JPEG stream (ISO/IEC 10918-1 table B.1).
_STARTS_OF_FRAME: Final = {0xC0: JPEG_BASELINE, 0xC1: JPEG_EXTENDED, 0xC3: JPEG_LOSSLESS_SV1}
_JPEG_HEAD: Final = 64 * 1024
# Written as they came, from the file of their part.
_STREAMED: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One value that came in a part of its own: its Content-Type, and the file that it is in."""

    media_type: str
    path: Path


class Sink(Protocol):
    """Takes a file as it is made."""

    def write(self, octets: bytes | memoryview) -> None:
        """Append `octets`."""
        ...


class _File(RawIOBase):
    """A sink as a file that is written from its beginning to its end."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, octets: Any) -> int:
        self._sink.write(octets)
        self._at += len(octets)
        return len(octets)

    def tell(self) -> int:
        return self._at


BulkParts = Mapping[str, Sequence[BulkPart]]
"""By Content-Location; several at one are the frames of compressed pixels, in their order."""


def decode_json(octets: bytes) -> list[Attributes]:
    """The instances of a part of application/dicom+json.

    Raises
    ------
    Refused
        It is no array of objects.
    """
    instances = attempted(lambda: json.loads(octets))
    instances = [instances] if isinstance(instances, dict) else instances
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise Refused(CANNOT_UNDERSTAND, "the metadata are no array of data sets in the DICOM JSON model")
    return instances


def claim_of(attributes: Attributes) -> Claim:
    """What metadata say that they are, as far as it can be read."""
    uids = [attempted(partial(dicom_json.text, attributes, tag)) for tag in _IDENTITY]
    sop_class, sop_instance, study = (uid if isinstance(uid, str) and is_uid(uid) else "" for uid in uids)
    return Claim(sop_class_uid=sop_class, sop_instance_uid=sop_instance, study_instance_uid=study)


_IDENTITY: Final = (0x00080016, 0x00080018, 0x0020000D)


def write_part10(target: Sink, attributes: Attributes, parts: BulkParts, *, most: int) -> None:
    """Write one instance; blocks.

    Parameters
    ----------
    most
        Bytes of one value that has to be in memory.

    Raises
    ------
    Refused
        It cannot be made: the metadata are malformed, or name bulk data that did not come.
    """
    claim = claim_of(attributes)
    for problem in _problems(attributes, parts, most):
        raise Refused(PROCESSING_FAILURE, problem, claim)
    with ExitStack() as files:
        # What is wrong with metadata shows in many ways.
        error = attempted(lambda: _write(_File(target), attributes, parts, files))
        if isinstance(error, Refused | OSError):
            raise error
        if isinstance(error, Exception):
            raise Refused(
                CANNOT_UNDERSTAND, "the metadata are no data set of the DICOM JSON model", claim
            ) from None


def _problems(attributes: Attributes, parts: BulkParts, most: int) -> Iterator[str]:
    for depth, tag, element in _elements(attributes, 1):
        if depth > _DEEPEST:
            yield "sequences are nested too deep"
            return
        if not isinstance(element, dict) or "BulkDataURI" not in element:
            continue
        values = parts.get(str(element["BulkDataURI"]), ())
        if not values:
            yield f"the bulk data of ({tag[:4]},{tag[4:]}) did not come"
        elif len(values) > 1 and not (_is_compressed(values[0]) and tag == _PIXEL_DATA):
            yield f"the bulk data of ({tag[:4]},{tag[4:]}) came more than once"
        elif element.get("vr") not in _STREAMED and values[0].path.stat().st_size > most:
            yield f"the bulk data of ({tag[:4]},{tag[4:]}) are too long"


def _elements(attributes: Attributes, depth: int) -> Iterator[tuple[int, str, Any]]:
    for tag, element in attributes.items():
        yield depth, tag, element
        if depth <= _DEEPEST and isinstance(element, dict) and element.get("vr") == "SQ":
            for item in element.get("Value") or ():
                if isinstance(item, dict):
                    yield from _elements(item, depth + 1)


def _write(file: _File, attributes: Attributes, parts: BulkParts, files: ExitStack) -> None:
    pixels = attributes.get(_PIXEL_DATA, {})
    compressed = [part for part in parts.get(str(pixels.get("BulkDataURI", "")), ()) if _is_compressed(part)]
    data_set = _data_set(attributes, parts, files)
    data_set.SpecificCharacterSet = "ISO_IR 192"
    if compressed:
        frames = [files.enter_context(part.path.open("rb")) for part in compressed]
        data_set.PixelData = encapsulate_buffer(frames)
        data_set["PixelData"].VR = "OB"
        data_set["PixelData"].is_undefined_length = True
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = _transfer_syntax(compressed[0]) if compressed else EXPLICIT_LE
    data_set.file_meta = meta
    dcmwrite(cast(BinaryIO, file), data_set, enforce_file_format=True)


def _data_set(attributes: Attributes, parts: BulkParts, files: ExitStack) -> Dataset:
    data_set = Dataset()
    for key, element in attributes.items():
        tag, vr = Tag(int(key, 16)), element["vr"]
        if tag.group < 8 or tag.element == 0:
            continue
        if vr == "SQ":
            items = [_data_set(item or {}, parts, files) for item in element.get("Value") or ()]
            data_set.add(DataElement(tag, vr, items))
        elif "BulkDataURI" in element:
            data_set[tag] = _bulk(tag, vr, parts[element["BulkDataURI"]][0], files)
        else:
            data_set.add(DataElement.from_json(Dataset, key, vr, *_plain(element)))
    return data_set


def _plain(element: Mapping[str, Any]) -> tuple[Any, str]:
    name = "InlineBinary" if "InlineBinary" in element else "Value"
    value = element.get(name, "" if name == "InlineBinary" else [])
    return value, name


def _bulk(tag: Any, vr: str, part: BulkPart, files: ExitStack) -> DataElement | RawDataElement:
    if vr in _STREAMED:
        return DataElement(tag, vr, files.enter_context(part.path.open("rb")))
    octets = part.path.read_bytes()
    octets += b"\0" * (len(octets) % 2)
    return RawDataElement(tag, vr, len(octets), octets, 0, False, True)


def _is_compressed(part: BulkPart) -> bool:
    return decode_media_type(part.media_type).name.startswith(("image/", "video/"))


def _transfer_syntax(part: BulkPart) -> str:
    media_type = decode_media_type(part.media_type)
    if is_uid(uid := media_type.parameter("transfer-syntax")):
        return uid
    if media_type.name == "image/jpeg":
        return _jpeg(part.path)
    try:
        return _DEFAULTS[media_type.name]
    except KeyError:
        raise Refused(PROCESSING_FAILURE, "the media type of the pixels has no transfer syntax") from None


def _jpeg(path: Path) -> str:
    """The transfer syntax of a JPEG stream, by its start of frame."""
    with path.open("rb") as file:
        head = file.read(_JPEG_HEAD)
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _STARTS_OF_FRAME:
            return _STARTS_OF_FRAME[marker]
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    raise Refused(PROCESSING_FAILURE, "the pixels are no JPEG of a process that DICOM has")
