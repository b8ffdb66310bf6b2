"""A DICOM file: what it is, and the rules that hold for it."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.codes import KEY_OBJECT_SELECTION, MANIFEST_WITH_DESCRIPTION, TEMPORARY_TITLE
from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.dicom import DicomFile, read_dicom
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules import dicom, kos


def judged(source: Source) -> Judgement:
    """What the file is, for people, and what is wrong with it."""
    file = read_dicom(source.buffer())
    if file.data_set.text(0x00080016) != KEY_OBJECT_SELECTION and file.data_set.text(0x00080060) != "KO":
        return Judgement("DICOM instance", _instance(file))
    manifest = kos.Manifest(file.data_set)
    if manifest.title.value in (MANIFEST_WITH_DESCRIPTION, TEMPORARY_TITLE):
        return Judgement("MADO manifest (KOS)", _mado(file, manifest))
    return Judgement("XDS-I.b manifest (KOS)", _manifest(file, manifest))


def _instance(file: DicomFile) -> Iterator[Finding]:
    yield from dicom.encoding(file)
    if not file.broken:
        yield finding(
            "DCM-015", file.data_set.place(0x00080016), "no manifest", file.data_set.text(0x00080016)
        )


def _manifest(file: DicomFile, manifest: kos.Manifest) -> Iterator[Finding]:
    yield from dicom.encoding(file)
    yield from dicom.values(file.data_set)
    for rule in kos.RULES:
        yield from rule(manifest)


def _mado(file: DicomFile, manifest: kos.Manifest) -> Iterator[Finding]:
    from conformance.rules import mado

    yield from dicom.encoding(file)
    yield from dicom.values(file.data_set)
    for rule in (kos.modules, kos.evidence, kos.content, kos.requests, *mado.RULES):
        yield from rule(manifest)
