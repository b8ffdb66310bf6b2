"""What is said of a report when it is registered beside its images: its metadata (RAD TF-3 4.68.4.1.2.3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from imaging_source.domain import publishing
from imaging_source.domain.coding import Coding, Issuers, ReportCoding
from imaging_source.domain.imaging_reports import OrderNumber, ReportKind
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.publishing import Names
from shared.ebrim.identifiers import CXi, is_oid, is_xcn, new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    Author,
    Code,
    DocumentEntry,
    Submission,
    Timestamp,
)

_TS: Final = re.compile(r"(\d{4,14})(?:\.\d+)?([+-]\d{4})?")
_TITLE_LENGTH: Final = 128
_TO_THE_MINUTE: Final = 12
_CONFIDENTIALITY: Final = "2.16.840.1.113883.5.25"
_RESTRICTIONS: Final = {
    code: Code(code, _CONFIDENTIALITY, name) for code, name in (("R", "restricted"), ("V", "very restricted"))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedReport:
    """What is kept of a report beside its document; `created` is DTM in UTC, `author` and `signer` are XCN,
    `confidentiality` is a code of HL7 table 0272 or empty."""

    kind: ReportKind
    unique_id: str
    title: str
    created: str
    code: Code | None = None
    author: str = ""
    signer: str = ""
    confidentiality: str = ""
    placer: OrderNumber | None = None
    procedure: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Entries to which a report stands in a relation: that which it is appended to, and those whose place it
    takes; by entryUUID."""

    appended_to: str = ""
    replaces: Sequence[str] = ()


def moment(time: str, zone: tzinfo) -> str:
    """A TS of HL7 as DTM in UTC, `zone` where it names none, with the precision that it has; empty where it
    is none. A date alone stays that date."""
    match = _TS.fullmatch(time)
    if match is None:
        return ""
    digits, offset = match.groups()
    digits = digits[: len(digits) // 2 * 2]
    if len(digits) < _TO_THE_MINUTE:
        return digits[:8] if _is_time(digits[:8]) else ""
    if not _is_time(digits):
        return ""
    local = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=_zone(offset) or zone)
    return f"{local.astimezone(UTC):%Y%m%d%H%M%S}"[: len(digits)]


def _is_time(digits: str) -> bool:
    try:
        datetime.strptime(digits + "00000101000000"[len(digits) :], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _zone(offset: str | None) -> tzinfo | None:
    if not offset:
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def type_code(report: DescribedReport, coding: ReportCoding) -> Code:
    """typeCode: what the site's table says of the procedure, else the document's own, else the default."""
    if report.procedure is not None:
        name = f"{report.procedure.scheme}:{report.procedure.value}"
        if mapped := coding.type_codes.get(name):
            return mapped
    return report.code or coding.type_code


def reference_ids(report: DescribedReport, header: StudyHeader, issuers: Issuers) -> tuple[str, ...]:
    """referenceIdList: those of the manifest, in the same words, and the order that the report names."""
    return tuple(
        dict.fromkeys((*publishing.reference_ids(header, issuers), *map(str, _orders(report, issuers))))
    )


def _orders(report: DescribedReport, issuers: Issuers) -> Iterator[CXi]:
    if (placer := report.placer) is None:
        return
    if placer.oid:
        yield CXi(placer.value, publishing.ORDER, placer.oid)
    elif is_oid(issuers.placer_order_number):
        yield CXi(placer.value, publishing.ORDER, issuers.placer_order_number)


def submission(
    report: DescribedReport,
    header: StudyHeader,
    *,
    names: Names,
    document: bytes,
    patient_id: str,
    now: datetime,
    coding: Coding,
    report_coding: ReportCoding,
    issuers: Issuers,
    zone: tzinfo,
    links: Links,
) -> Submission:
    """Describe a report of a study for RAD-68, and how it stands to what is registered.

    `now` (aware) is the moment of submission; `patient_id` that of the manifest.
    """
    made_by = publishing.author(header, coding)
    author = replace(made_by, person=report.author) if is_xcn(report.author) else Author(
        institutions=made_by.institutions
    )  # fmt: skip
    source_id = publishing.source_patient_id(header, issuers, patient_id)
    restriction = _RESTRICTIONS.get(report.confidentiality)
    entry = DocumentEntry(
        entry_uuid=names.entry_uuid,
        unique_id=names.document_unique_id,
        patient_id=patient_id,
        mime_type=report.kind.mime_type,
        format_code=report_coding.formats[report.kind],
        class_code=report_coding.class_code,
        type_code=type_code(report, report_coding),
        healthcare_facility_type_code=coding.facility,
        practice_setting_code=coding.practice_setting,
        confidentiality_codes=(restriction,) if restriction else coding.confidentiality,
        language_code=coding.language,
        source_patient_id=source_id,
        source_patient_info=publishing.source_patient_info(header, source_id),
        creation_time=Timestamp(report.created),
        service_start_time=publishing.start_time(header, zone),
        event_codes=publishing.event_codes(header, coding),
        reference_ids=reference_ids(report, header, issuers),
        authors=(author,) if author.person or author.institutions else (),
        legal_authenticator=report.signer if is_xcn(report.signer) else "",
        hash=hashlib.sha1(document, usedforsecurity=False).hexdigest(),
        size=len(document),
        title=(report.title or publishing.title(header))[:_TITLE_LENGTH].rstrip(),
    )
    return publishing.sole_document(
        entry,
        names,
        moment=now,
        content_type_code=coding.content_type_code,
        made_by=made_by,
        relations=_relations(names.entry_uuid, links),
    )


def _relations(entry_uuid: str, links: Links) -> Iterator[Association]:
    related = [(AssociationType.RPLC, each) for each in links.replaces]
    if links.appended_to:
        related.append((AssociationType.APND, links.appended_to))
    for kind, target in related:
        yield Association(
            entry_uuid=new_uuid(),
            association_type=kind,
            source_object=entry_uuid,
            target_object=target,
        )
