"""What metadata of a manifest say (RAD TF-3 4.68.4.1.2.3), and whether the manifest says the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from conformance import schemes
from conformance.codes import ACQUISITION_MODALITIES, DICOM_UID_REGISTRY, KEY_OBJECT_SELECTION, MODALITIES
from conformance.findings import Finding
from conformance.identifiers import OID
from conformance.readers.dicom import Item, read_dicom
from conformance.readers.xml import Element, place
from conformance.requirements import finding
from conformance.rules.kos import Manifest
from conformance.rules.mado import MODALITY, children, concept
from conformance.rules.metadata.ebrim import (
    classifications,
    identifier,
    slot,
    slot_place,
    slots,
)

DCM: Final = "1.2.840.10008.2.16.4"
STUDY_UID: Final = "urn:ihe:iti:xds:2016:studyInstanceUID"
ACCESSION: Final = "urn:ihe:iti:xds:2013:accession"


def is_manifest(entry: Element) -> bool:
    """Whether the metadata are those of a manifest, by their formatCode."""
    return any(
        (one.get("nodeRepresentation") or "").endswith(KEY_OBJECT_SELECTION)
        for one in classifications(entry, schemes.FORMAT_CODE)
    )


def manifest_entry(entry: Element) -> Iterator[Finding]:
    """A DocumentEntry of a manifest."""
    if entry.get("mimeType") != "application/dicom":
        yield finding("XDSI-META-001", place(entry, "@mimeType"), "another type", entry.get("mimeType"))
    for one in classifications(entry, schemes.FORMAT_CODE):
        code, scheme = one.get("nodeRepresentation") or "", slot(one, "codingScheme")
        if code != KEY_OBJECT_SELECTION or scheme != DICOM_UID_REGISTRY:
            yield finding("XDSI-META-002", place(one), "another code or scheme", f"{code}^^{scheme}")
    yield from _modalities(entry)
    unique_id = identifier(entry, "DocumentEntry", "uniqueId")
    if unique_id and not OID.match(unique_id):
        yield finding("XDSI-META-006", place(entry, "uniqueId"), "no plain OID", unique_id)
    references = slots(entry).get(schemes.REFERENCE_IDS, [])
    if not any(value.endswith(f"^{STUDY_UID}") for value in references):
        yield finding("XDSI-META-005", slot_place(entry, schemes.REFERENCE_IDS), "no Study Instance UID")
    if not slot(entry, "serviceStartTime") and entry.get("objectType") == schemes.STABLE:
        yield finding("XDSI-META-007", slot_place(entry, "serviceStartTime"), "serviceStartTime is absent")


def _modalities(entry: Element) -> Iterator[Finding]:
    has_modality = False
    for one in classifications(entry, schemes.EVENT_CODES):
        code, scheme = one.get("nodeRepresentation") or "", slot(one, "codingScheme")
        if scheme == "DCM":
            yield finding("XDSI-META-003", slot_place(one, "codingScheme"), "no OID", scheme, right=DCM)
        if scheme not in (DCM, "DCM"):
            continue
        if code in MODALITIES:
            has_modality = True
        if code in MODALITIES - ACQUISITION_MODALITIES:
            yield finding("XDSI-META-008", place(one), "a modality that acquires nothing", code)
    if not has_modality:
        yield finding("XDSI-META-004", place(entry, "eventCodeList"), "no modality")


def document(entry: Element, octets: bytes | None, size: int, sha1: str) -> Iterator[Finding]:
    """A document against its metadata: size, hash, and of a manifest what it says; `octets` is None when it
    is too long to be held."""
    stated_hash, stated_size = slot(entry, "hash"), slot(entry, "size")
    if stated_size and stated_size != str(size):
        yield finding("XDSI-DOC-003", slot_place(entry, "size"), "not the size", stated_size, right=str(size))
    if stated_hash and stated_hash.lower() != sha1:
        yield finding("XDSI-DOC-002", slot_place(entry, "hash"), "not the hash", stated_hash, right=sha1)
    if octets is None or not is_manifest(entry):
        return
    file = read_dicom(octets)
    if file.broken or file.data_set.text(0x00080016) != KEY_OBJECT_SELECTION:
        yield finding("XDSI-DOC-009", place(entry), "the document is no manifest that can be read")
        return
    yield from _same(entry, Manifest(file.data_set))


def digest(octets: bytes) -> str:
    """The hash of metadata: SHA-1 in lower-case hexadecimal digits."""
    return hashlib.sha1(octets, usedforsecurity=False).hexdigest()


def _same(entry: Element, manifest: Manifest) -> Iterator[Finding]:
    main = manifest.data_set
    uid, unique_id = main.text(0x00080018), identifier(entry, "DocumentEntry", "uniqueId")
    if uid != unique_id:
        yield finding(
            "XDSI-DOC-001", place(entry, "uniqueId"), "not the SOP Instance UID", unique_id, right=uid
        )
    yield from _times(entry, main)
    references = slots(entry).get(schemes.REFERENCE_IDS, [])
    studies = {value.partition("^")[0] for value in references if value.endswith(STUDY_UID)}
    for study in main.items(0x0040A375):
        if studies and study.text(0x0020000D) not in studies:
            at = slot_place(entry, schemes.REFERENCE_IDS)
            yield finding(
                "XDSI-DOC-006", at, "another study", " ".join(studies), right=study.text(0x0020000D)
            )
    accession = main.text(0x00080050)
    accessions = {value.partition("^")[0] for value in references if value.endswith(f"^{ACCESSION}")}
    if accession and accession not in accessions:
        at = slot_place(entry, schemes.REFERENCE_IDS)
        wrong = "not the Accession Number" if accessions else "no Accession Number"
        yield finding("XDSI-DOC-007", at, wrong, " ".join(accessions), right=accession)
    yield from _patient(entry, main)
    yield from _library(entry, manifest)


def _times(entry: Element, main: Item) -> Iterator[Finding]:
    pairs = (
        ("creationTime", 0x00080012, 0x00080013, "XDSI-DOC-004"),
        ("serviceStartTime", 0x00080020, 0x00080030, "XDSI-DOC-005"),
    )
    for name, date, time, id in pairs:
        stated, right = slot(entry, name), _utc(main, date, time)
        digits = min(len(stated), len(right), 12)
        if stated and right and stated[:digits] != right[:digits]:
            yield finding(id, slot_place(entry, name), "not the time of the manifest", stated, right=right)


def _utc(main: Item, date: int, time: int) -> str:
    """A date and time of the manifest in UTC; empty unless its zone is certain."""
    offset, day = main.text(0x00080201), main.text(date)
    moment = main.text(time).partition(".")[0].replace(":", "")
    if len(offset) != 5 or not offset[1:].isdigit() or len(day) != 8 or len(moment) not in (4, 6):
        return ""
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    zone = (
        timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes < 24 * 60 else UTC
    )
    try:
        local = datetime.strptime(day + moment.ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=zone)
        return f"{local.astimezone(UTC):%Y%m%d%H%M%S}"
    except (ValueError, OverflowError):
        return ""


def _patient(entry: Element, main: Item) -> Iterator[Finding]:
    stated, id = slot(entry, "sourcePatientId"), main.text(0x00100020)
    if id and stated and stated.partition("^")[0] != id:
        at = slot_place(entry, "sourcePatientId")
        yield finding("XDSI-DOC-010", at, "not the Patient ID of the manifest", stated, right=id)
    info = dict(value.split("|", 1) for value in slots(entry).get("sourcePatientInfo", []) if "|" in value)
    for label, number in (("PID-7", 0x00100030), ("PID-8", 0x00100040)):
        if info.get(label) and main.text(number) and info[label][:8] != main.text(number):
            at = slot_place(entry, "sourcePatientInfo")
            wrong = f"{label} is not that of the manifest"
            yield finding("XDSI-DOC-011", at, wrong, info[label], right=main.text(number))
    yield from _name(entry, info.get("PID-5", ""), main.text(0x00100010))


def _name(entry: Element, stated: str, name: str) -> Iterator[Finding]:
    """PID-5 as XPN has suffix and prefix in the other order than a name of DICOM."""
    group = [*name.partition("=")[0].split("^"), *("",) * 5]
    family, given_name, middle, prefix, suffix = group[:5]
    right = "^".join((family, given_name, middle, suffix, prefix)).rstrip("^")
    verbatim = "^".join(group[:5]).rstrip("^")
    if (prefix or suffix) and stated.rstrip("^") == verbatim != right:
        at = slot_place(entry, "sourcePatientInfo")
        yield finding("XDSI-DOC-012", at, "prefix and suffix as in DICOM", stated, right=right)


def _library(entry: Element, manifest: Manifest) -> Iterator[Finding]:
    """The modalities of a manifest with description."""
    stated = {one.get("nodeRepresentation") for one in classifications(entry, schemes.EVENT_CODES)}
    for library in manifest.data_set.items(0x0040A730):
        if concept(library) != "111028":
            continue
        for one in children(library, MODALITY):
            code = next((each.text(0x00080100) for each in one.items(0x0040A168)), "")
            if code in ACQUISITION_MODALITIES and code not in stated:
                yield finding("XDSI-DOC-008", place(entry, "eventCodeList"), "a modality is absent", code)
