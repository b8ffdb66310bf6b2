"""One file from one transfer syntax to another, frame by frame; run in a process of its own.

Pixels are decoded or encoded without loss and no identifier changes. Decoders read what a stranger wrote: a
process that they bring down, or whose memory they exhaust, takes nothing else with it. What was made is
scanned, and says what it was made from, or it is not given.
"""

from __future__ import annotations

import resource
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from struct import pack
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from shared.dicom.content import content_digest
from shared.dicom.data_set import Bulk, DataSet, DicomError, LongSequence, Tolerance, name
from shared.dicom.encodings import TEXT_VRS, implicit_vr
from shared.dicom.part10 import PIXEL_DATA, PIXEL_TAGS, Part10, file_meta, inflated, scan
from shared.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    UNCOMPRESSED,
)
from shared.imaging import jpeg
from shared.imaging.pixels import PixelData, misled
from shared.telemetry.log import configure

_PLAIN: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE})
_COPY: Final = 1024**2
_LARGE: Final = 64 * 1024


def confine(service: str, max_memory_bytes: int, log_level: str) -> None:
    """Bound the memory of this process, and log as the `service` that asks does; at its start."""
    configure(service, level=log_level)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))


def transcode(source: Path, target: Path, to: str) -> None:
    """Write the instance in `source` to `target` in the transfer syntax `to`.

    Raises
    ------
    ValueError
        The pixels cannot be decoded, or are not what the attributes say; the data set cannot be told in `to`.
    OSError
        A file cannot be read or written.
    """
    part10 = scan(source)
    if to == IMPLICIT_LE:
        _check_vrs(part10.data_set)
    _make(source, part10, target, to)
    _check_made(part10, target, to)


def _check_vrs(data_set: DataSet) -> None:
    """Without VRs a reader takes those of the dictionary: they must be of the kind that the values have."""
    for tag, element in data_set.items():
        if _kind(element.vr) != _kind(known := implicit_vr(tag)) and "UN" not in (element.vr, known):
            raise ValueError(f"{name(tag)} is {element.vr} and not {known}, which Implicit VR cannot tell")
        if isinstance(element.value, tuple | LongSequence):
            for item in element.value:
                _check_vrs(item)


def _kind(vr: str) -> str:
    return "text" if vr in TEXT_VRS else "words" if vr in ("OB", "OW", "US", "SS") else vr


def _check_made(part10: Part10, target: Path, to: str) -> None:
    try:
        made = scan(target)
    except DicomError as error:
        raise ValueError(f"what was made cannot be read: {error}") from error
    if made.transfer_syntax_uid != to or not _BEARABLE.issuperset(made.tolerated):
        raise ValueError("what was made is not what its transfer syntax says")
    if content_digest(made, without=_OF_PIXELS) != content_digest(part10, without=_OF_PIXELS):
        raise ValueError("what was made does not say what it was made from")


# What a wrong VR means in Explicit VR, every reader can see; `_check_vrs` looks at the others.
_BEARABLE: Final = frozenset({Tolerance.WRONG_VR})
# What decoding and encoding change: how pixels lie, not which they are.
_OF_PIXELS: Final = frozenset({0x00280004, 0x00280006, 0x00280100, *PIXEL_TAGS})


def _make(source: Path, part10: Part10, target: Path, to: str) -> None:
    if part10.transfer_syntax_uid == DEFLATED_LE:
        _inflate(source, part10, target)
        if to == EXPLICIT_LE:
            return
        source = target.rename(target.with_suffix(".inflated"))
        part10 = scan(source)
    try:
        if to in _PLAIN:
            _decode(source, part10, target, to)
        else:
            _encode(source, part10, target, to)
    except (ValueError, KeyboardInterrupt, SystemExit):
        raise
    except OSError as error:
        # Of the system; pydicom says by one as well that it finds no element.
        if error.errno is not None:
            raise
        raise ValueError("the data set cannot be read element by element") from error
    except BaseException as error:
        # Decoders written in Rust panic, which is no Exception and cannot be pickled.
        raise ValueError(f"the pixels cannot be decoded: {type(error).__name__}") from error
    finally:
        if source.suffix == ".inflated":
            source.unlink()


def _inflate(source: Path, part10: Part10, target: Path) -> None:
    """The same data set, no longer deflated: Explicit VR Little Endian, as it is inside."""
    with source.open("rb") as file, target.open("wb") as out:
        out.write(_meta(part10, EXPLICIT_LE))
        file.seek(part10.data_set_offset)
        out.writelines(inflated(file))


def _meta(part10: Part10, to: str) -> bytes:
    return file_meta(
        sop_class_uid=_uid(part10, 0x00080016),
        sop_instance_uid=_uid(part10, 0x00080018),
        transfer_syntax_uid=to,
    )


def _uid(part10: Part10, tag: int) -> str:
    value = part10.data_set[tag].value
    assert isinstance(value, bytes)
    return value.rstrip(b"\0 ").decode("ascii")


# --- decoding ----------------------------------------------------------------------------------------


def _decode(source: Path, part10: Part10, target: Path, to: str) -> None:
    data_set = pydicom.dcmread(source, defer_size=_LARGE)
    pixels = part10.data_set.get(PIXEL_DATA)
    if pixels is None:
        with target.open("wb") as out:
            out.write(_meta(part10, to))
            _write(out, data_set, to)
        return
    assert isinstance(pixels.value, Bulk)
    vr = "OW" if to == IMPLICIT_LE or data_set.BitsAllocated > 8 else "OB"
    with source.open("rb") as file, target.open("wb") as out:
        if part10.transfer_syntax_uid in UNCOMPRESSED:
            if pixels.value.fragments is not None and not part10.encapsulated:
                raise ValueError("the pixels are in fragments, of a compression that nobody names")
            length, frames = _native(file, pixels.value)
            vr = pixels.vr if to == EXPLICIT_LE else vr
        else:
            decode: Callable[..., tuple[int, Iterator[bytes]]] = (
                _inflated_frames if part10.transfer_syntax_uid == DEFLATED_FRAMES else _decoded
            )
            if places := misled(part10, int(data_set.get("NumberOfFrames", None) or 1)):
                decode = partial(_decoded_apart, places)
            length, frames = decode(file, pixels.value, data_set)
        out.write(_meta(part10, to))
        _write(out, data_set[:PIXEL_DATA], to)
        out.write(_pixel_head(vr, length + length % 2, to))
        written = sum(out.write(frame) for frame in frames)
        if written != length:
            raise ValueError(f"{written} bytes of pixels where {length} are due")
        out.write(bytes(length % 2))
        _write(out, data_set[PIXEL_DATA + 1 :], to)


def _native(file: BinaryIO, pixels: Bulk) -> tuple[int, Iterator[bytes]]:
    """Pixels that are not compressed, whether in fragments or not."""
    ranges = pixels.fragments if pixels.fragments is not None else ((pixels.offset, pixels.length),)
    return sum(length for _, length in ranges), _pieces(file, ranges)


def _pieces(file: BinaryIO, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    for offset, length in ranges:
        file.seek(offset)
        rest = length
        while rest and (piece := file.read(min(rest, _COPY))):
            rest -= len(piece)
            yield piece


def _decoded(file: BinaryIO, pixels: Bulk, data_set: Dataset) -> tuple[int, Iterator[bytes]]:
    """Frames by pydicom's decoders; `data_set` then says what they are."""
    jpeg.install()
    syntax = data_set.file_meta.TransferSyntaxUID
    options = as_pixel_options(data_set)
    file.seek(pixels.offset)
    arrays = get_decoder(syntax).iter_array(
        file,
        as_rgb=True,
        pixel_keyword="PixelData",
        decoding_plugin=jpeg.NAME if syntax in jpeg.SYNTAXES else "",
        **options,
    )
    first, image_pixel = next(arrays)
    data_set.PhotometricInterpretation = image_pixel["photometric_interpretation"]
    if image_pixel["samples_per_pixel"] > 1:
        data_set.PlanarConfiguration = image_pixel["planar_configuration"]
    length = first.nbytes * options["number_of_frames"]
    return length, (array.tobytes() for array, _ in chain(((first, image_pixel),), arrays))


def _decoded_apart(
    places: PixelData, file: BinaryIO, _: Bulk, data_set: Dataset
) -> tuple[int, Iterator[bytes]]:
    """Frames each by itself, where the table of offsets would mislead."""
    count = int(data_set.NumberOfFrames)
    ranges = places.ranges_of(range(1, count + 1))
    if len(ranges) != count:
        raise ValueError("there are fewer compressed frames than the attributes say")
    stored = {
        keyword: data_set.get(keyword) for keyword in ("PhotometricInterpretation", "PlanarConfiguration")
    }

    def decoded(number: int) -> tuple[int, Iterator[bytes]]:
        # What decoding said of the frame before is no longer said of this one.
        for keyword, value in stored.items():
            if value is not None:
                setattr(data_set, keyword, value)
        data_set.NumberOfFrames = 1
        try:
            frame = encapsulate([b"".join(_pieces(file, ranges[number]))])
            return _decoded(BytesIO(frame), Bulk(0, len(frame)), data_set)
        finally:
            data_set.NumberOfFrames = count

    length, first = decoded(1)
    others = (octets for number in range(2, count + 1) for octets in decoded(number)[1])
    return length * count, chain(first, others)


def _inflated_frames(file: BinaryIO, pixels: Bulk, data_set: Dataset) -> tuple[int, Iterator[bytes]]:
    """Frames that are deflated each by itself (PS3.5 A.4.13)."""
    count = int(data_set.get("NumberOfFrames", None) or 1)
    bits = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * data_set.BitsAllocated
    if bits % 8 and count > 1:
        raise ValueError("the pixels of a frame end within a byte")
    length = (bits + 7) // 8
    file.seek(pixels.offset)
    frames = generate_frames(file, number_of_frames=count)
    return length * count, (_inflated_frame(frame, length) for frame in frames)


def _inflated_frame(frame: bytes, length: int) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(frame, length + 1)
    except zlib.error as error:
        raise ValueError("the pixels cannot be inflated") from error
    if len(inflated) != length or not inflater.eof:
        raise ValueError(f"the pixels of a frame are not {length} bytes")
    return inflated


def _pixel_head(vr: str, length: int, to: str) -> bytes:
    if length > 2**32 - 2:
        raise ValueError("the pixels are too long for a plain value field")
    if to == IMPLICIT_LE:
        return pack("<HHI", 0x7FE0, 0x0010, length)
    return pack("<HH2sHI", 0x7FE0, 0x0010, vr.encode(), 0, length)


def _write(out: BinaryIO, data_set: Dataset, to: str) -> None:
    file: Any = DicomFileLike(out)
    file.is_implicit_VR = to == IMPLICIT_LE
    file.is_little_endian = True
    write_dataset(file, data_set)


# --- encoding ----------------------------------------------------------------------------------------


def _encode(source: Path, part10: Part10, target: Path, to: str) -> None:
    """Compress without loss, or deflate; what is compressed already is decoded first."""
    plain = source
    if part10.transfer_syntax_uid not in _PLAIN:
        plain = target.with_suffix(".plain")
        _decode(source, part10, plain, EXPLICIT_LE)
    try:
        data_set = pydicom.dcmread(plain)
        if to == DEFLATED_LE:
            data_set.file_meta.TransferSyntaxUID = UID(to)
        elif data_set.get("PlanarConfiguration") == 1:
            # By pixel: what is by plane pydicom's RLE encoder takes for that.
            pixels, data_set.PlanarConfiguration = data_set.pixel_array, 0
            data_set.compress(to, pixels, generate_instance_uid=False)
        else:
            data_set.compress(to, generate_instance_uid=False)
        data_set.save_as(target, enforce_file_format=True)
    finally:
        if plain is not source:
            plain.unlink(missing_ok=True)
