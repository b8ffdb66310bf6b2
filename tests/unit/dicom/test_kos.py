"""Manifests of many references: read one after the other, counted before, refused beyond the limit."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.dicom import kos
from shared.dicom.kos import KosError, Manifest, TooManyReferences, read_manifest
from shared.dicom.part10 import file_meta
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, KEY_OBJECT_SELECTION

CT = "1.2.840.10008.5.1.4.1.1.2"
_SEQUENCE_END = 0xFFFEE0DD


class Writer:
    """Elements as other programs write them: in each encoding, with defined and undefined lengths."""

    def __init__(self, syntax: str, *, undefined: bool = False) -> None:
        self.syntax = syntax
        self.undefined = undefined
        self.implicit = syntax == IMPLICIT_LE
        self.order = ">" if syntax == EXPLICIT_BE else "<"

    def element(self, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        length = len(value) if length is None else length
        head = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit or tag >> 16 == 0xFFFE:
            return head + struct.pack(self.order + "I", length) + value
        if vr == b"SQ":
            return head + vr + bytes(2) + struct.pack(self.order + "I", length) + value
        return head + vr + struct.pack(self.order + "H", length) + value

    def uid(self, tag: int, value: str) -> bytes:
        octets = value.encode()
        return self.element(tag, b"UI", octets + bytes(len(octets) % 2))

    def sequence(self, tag: int, *items: bytes) -> bytes:
        if not self.undefined:
            return self.element(tag, b"SQ", b"".join(self.element(0xFFFEE000, b"", item) for item in items))
        ends = self.element(0xFFFEE00D, b"", b"")
        listed = b"".join(self.element(0xFFFEE000, b"", item + ends, 0xFFFFFFFF) for item in items)
        return self.element(tag, b"SQ", listed + self.element(_SEQUENCE_END, b"", b""), 0xFFFFFFFF)

    def reference(self, number: int) -> bytes:
        return self.uid(0x00081150, CT) + self.uid(0x00081155, f"1.2.3.{number}")

    def manifest(self, references: int, *, of_series: int = 1_000_000, content: bool = False) -> bytes:
        listed = [
            self.sequence(0x00081199, *map(self.reference, range(first, min(first + of_series, references))))
            + self.uid(0x0020000E, f"1.2.5.{first}")
            for first in range(0, references, of_series)
        ]
        study = self.sequence(0x00081115, *listed) + self.uid(0x0020000D, "1.2.4")
        data_set = (
            self.uid(0x00080016, KEY_OBJECT_SELECTION)
            + self.uid(0x00080018, "1.2.9")
            + self.uid(0x0020000D, "1.2.4")
            + self.sequence(0x0040A375, study)
        )
        if content:
            items = (self.sequence(0x00081199, self.reference(number)) for number in range(references))
            data_set += self.sequence(0x0040A730, *items)
        if self.syntax == DEFLATED_LE:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            data_set = packer.compress(data_set) + packer.flush()
        meta = file_meta(
            sop_class_uid=KEY_OBJECT_SELECTION, sop_instance_uid="1.2.9", transfer_syntax_uid=self.syntax
        )
        return meta + data_set


def uids(manifest: Manifest) -> list[str]:
    return [instance.sop_instance_uid for _, _, instance in manifest.instances]


SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)
Given = Callable[[bytes, Path], bytes | Path]


def as_bytes(octets: bytes, folder: Path) -> bytes | Path:
    return octets


def as_file(octets: bytes, folder: Path) -> bytes | Path:
    path = folder / "manifest.dcm"
    path.write_bytes(octets)
    return path


@pytest.mark.parametrize("given", [as_bytes, as_file])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_references_are_read_up_to_the_limit_and_one_more_is_too_many(
    tmp_path: Path, syntax: str, content: bool, undefined: bool, given: Given
):
    most = 30
    writer = Writer(syntax, undefined=undefined)

    octets = writer.manifest(most, of_series=7, content=content)
    manifest = read_manifest(given(octets, tmp_path), most=most)
    assert uids(manifest) == [f"1.2.3.{number}" for number in range(most)]
    assert {instance.sop_class_uid for _, _, instance in manifest.instances} == {CT}

    for number in (most + 1, 100 * most):
        octets = writer.manifest(number, of_series=7, content=content)
        with pytest.raises(TooManyReferences, match=f"more than {most}"):
            read_manifest(given(octets, tmp_path), most=most)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
def test_a_manifest_far_beyond_the_limit_is_refused_before_it_is_parsed(monkeypatch, syntax: str):
    monkeypatch.setattr(kos, "scan", lambda *_: pytest.fail("it was parsed"))

    with pytest.raises(TooManyReferences):
        read_manifest(Writer(syntax).manifest(300_000 // 30), most=1_000)


def test_a_deflated_one_is_refused_with_bounded_work(monkeypatch):
    looked_at = []
    scan = kos.scan
    monkeypatch.setattr(kos, "scan", lambda path, limits: looked_at.append(limits) or scan(path, limits))
    monkeypatch.setattr(kos, "_ELEMENTS_BESIDE", 1_000)

    with pytest.raises(TooManyReferences):
        read_manifest(Writer(DEFLATED_LE).manifest(20_000), most=100)
    assert looked_at[0].elements == 1_000 + 30 * 100


@pytest.mark.parametrize("of_series", [1_000_000, 100])
def test_memory_grows_with_what_is_returned_alone(tmp_path: Path, of_series: int):
    path = tmp_path / "manifest.dcm"
    path.write_bytes(Writer(EXPLICIT_LE).manifest(5_000, of_series=of_series))

    tracemalloc.start()
    try:
        manifest = read_manifest(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(uids(manifest)) == 5_000
    assert peak - kept < 2 * 1024**2
    assert kept < 5_000 * 400


def test_what_references_nothing_is_no_manifest():
    with pytest.raises(KosError, match="references no instance"):
        read_manifest(Writer(EXPLICIT_LE).manifest(0))
