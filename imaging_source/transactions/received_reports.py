"""Reports of a message, made ready to be kept: Send Imaging Result [RAD-128] and MDM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from imaging_source.domain.imaging_reports import (
    ReportContent,
    ReportedPatient,
    ReportStatus,
    SentReport,
    derived_unique_id,
)
from imaging_source.domain.orders import DepartmentMessage
from imaging_source.domain.report_entries import DescribedReport, moment, type_code
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store import imaging_reports
from imaging_source.store.imaging_reports import NewReport
from imaging_source.store.publications import now_ms
from imaging_source.transactions.clinical_documents import WrappedText, wrap_text
from shared.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class ReadyReport:
    """A report of a message, and its documents; none of one that is cancelled."""

    report: SentReport
    documents: tuple[NewReport, ...]


def ready(
    settings: ImagingSourceSettings, message: DepartmentMessage, now: datetime
) -> tuple[ReadyReport, ...]:
    """The reports of a message that are kept here."""
    return tuple(
        ReadyReport(
            report,
            tuple(
                _document(settings, message, report, content, part, now)
                for part, content in enumerate(report.contents, 1)
            ),
        )
        for report in message.reports
        if report.status is not ReportStatus.PRELIMINARY or settings.publishing.reports.preliminary
    )


async def keep(transaction: Transaction, reports: Sequence[ReadyReport]) -> None:
    """Keep them, in the transaction of their acknowledgement."""
    now = now_ms()
    for each in reports:
        for document in each.documents:
            await imaging_reports.keep(transaction, document, now)
        # Of a correction with fewer documents the others are no more.
        await imaging_reports.cancel(transaction, each.report.key, now, beyond=len(each.documents))


def _document(
    settings: ImagingSourceSettings,
    message: DepartmentMessage,
    report: SentReport,
    content: ReportContent,
    part: int,
    now: datetime,
) -> NewReport:
    zone = settings.publishing.zone
    numbered = report.number if part == 1 and report.number and not content.text else ""
    described = DescribedReport(
        kind=content.kind,
        unique_id=content.unique_id or numbered or derived_unique_id(report.key, part, content.digest),
        title=content.title or (report.procedure.display_name if report.procedure else ""),
        created=moment(content.effective_time, zone) or moment(report.created, zone) or f"{now:%Y%m%d%H%M%S}",
        code=content.code,
        author=report.author,
        signer=report.signer,
        confidentiality=report.confidentiality,
        placer=report.placer,
        procedure=report.procedure,
    )
    document = content.octets
    if content.text and message.subject is not None:
        document = _wrapped(settings, described, message.subject, content.text)
    return NewReport(
        report_id=str(uuid4()),
        sent_key=report.key,
        replaces=report.replaces,
        part=part,
        parent=report.parent,
        status=report.status,
        patients=message.patients,
        study_instance_uid=report.study_instance_uid,
        accession_number=report.accession_number,
        description=described,
        digest=content.digest,
        document=document,
    )


def _wrapped(
    settings: ImagingSourceSettings, report: DescribedReport, subject: ReportedPatient, text: str
) -> bytes:
    publishing = settings.publishing
    coding = publishing.coding
    issuer = publishing.issuers(settings.affinity_domain).patient_id
    parts = [*report.author.split("^"), "", "", ""]
    return wrap_text(
        WrappedText(
            unique_id=report.unique_id,
            title=report.title or "Imaging report",
            code=type_code(report, publishing.reports.coding),
            confidentiality=coding.confidentiality[0],
            language=coding.language,
            created=report.created,
            patient=replace(subject, authority=subject.authority or issuer),
            author_family=parts[1],
            author_given=parts[2],
            custodian=(publishing.institution, publishing.institution_oid),
            text=text,
        )
    )
