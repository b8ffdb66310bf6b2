"""Reports as people read them: a CDA document as plain HTML, a PDF in the viewer of the browser, text as
text. What a report says is shown, and nothing of it runs or asks anybody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from consumer.domain.reports import PDF, TEXT, XML, FoundReport, mime_type_of
from consumer.pages.narrative import ClinicalDocument, read_clinical_document
from consumer.pages.page import PageUnit, page_served
from shared.ebrim.model import DocumentEntry
from shared.http.problem import NotFound, Unprocessable
from shared.pages.link import PageLink, decode_link
from shared.pages.page import Page
from shared.rest.message import HttpResponse

#: A PDF is shown within a page of ours; nothing that is in it may ask for anything.
_PDF_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'; "
    "base-uri 'none'"
)
_PDF_BEGINS: Final = b"%PDF-"
_WITHIN: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """What a page shows of a report: the document that it is, a text, or a PDF that has an address of its
    own. `name_of_images` is the patient's name (PN) in images beside it, where that is another one."""

    entry: FoundReport
    handle: str
    document: ClinicalDocument | None = None
    text: str = ""
    is_pdf: bool = False
    name_of_images: str = ""


def read_report(entry: DocumentEntry, octets: bytes, handle: str) -> ReadReport:
    """What is shown of a report; blocks.

    Raises
    ------
    Unprocessable
        It is not what its entry says, or of a kind that is not shown.
    """
    found_report, kind = FoundReport.of(entry), mime_type_of(entry)
    document = read_clinical_document(octets) if kind in XML else None
    if document is not None:
        kind, octets = document.media_type, document.body
    if kind == PDF:
        checked_pdf(octets)
    elif kind not in (TEXT, "") or (not kind and document is None):
        raise Unprocessable("a report of this kind is not shown here")
    return ReadReport(
        entry=found_report,
        handle=handle,
        document=document,
        text=octets.decode("utf-8", "replace") if kind == TEXT else "",
        is_pdf=kind == PDF,
    )


def checked_pdf(octets: bytes) -> bytes:
    """Octets that are a PDF, which begins within its first KiB (ISO 32000-1 annex H)."""
    if _PDF_BEGINS not in octets[:_WITHIN]:
        raise Unprocessable("the report is registered as PDF, and is none")
    return octets


async def report(unit: PageUnit, link: PageLink) -> Page:
    """Show a report (ITI-18, ITI-43)."""
    entry, octets = await unit.parts.workplace.report(unit.visitor, link.handle)
    read = await asyncio.to_thread(read_report, entry, octets, link.handle)
    return await unit.page("report.html", link.browser, report=read)


async def document(unit: PageUnit, link: PageLink) -> bytes:
    """Give the PDF that a report is, or that is within it (ITI-18, ITI-43)."""
    entry, octets = await unit.parts.workplace.report(unit.visitor, link.handle)
    if mime_type_of(entry) in XML:
        within = await asyncio.to_thread(read_clinical_document, octets)
        octets = within.body if within.media_type == PDF else b""
    elif mime_type_of(entry) != PDF:
        octets = b""
    if not octets:
        raise NotFound("this report is no PDF")
    return checked_pdf(octets)


def encode_document(octets: bytes) -> HttpResponse:
    """The PDF, for the frame of the page."""
    return HttpResponse(
        media_type=PDF,
        headers={
            "content-disposition": 'inline; filename="report.pdf"',
            "content-security-policy": _PDF_POLICY,
        },
        pieces=(octets,),
    )


SERVED = (
    page_served(
        name="Report of a patient", routes=("GET /reports/{handle}",), decode=decode_link, handle=report
    ),
    page_served(
        name="Document of a report",
        routes=("GET /reports/{handle}/document",),
        decode=decode_link,
        handle=document,
        encode=encode_document,
    ),
)
