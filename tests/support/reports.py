"""Reports as hospitals register them beside images: PDF, CDA and text, of one patient and study."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

from shared.ebrim import schemes
from shared.ebrim.model import Code
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from tests.support.community import call, cx
from tests.support.metadata import a_document_entry, a_submission
from xdsi.stage import Stage

_RAD = "1.3.6.1.4.1.19376.1.2.3"
FORMATS = {
    "application/pdf": Code("urn:ihe:rad:PDF", _RAD, "PDF"),
    "text/plain": Code("urn:ihe:rad:TEXT", _RAD, "Text"),
    "text/xml": Code("urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013", _RAD, "CDA"),
}


def a_pdf(words: str = "No fracture.") -> bytes:
    """A PDF of one page that says so, and tries to run a script."""
    text = f"BT /F1 24 Tf 40 100 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    octets, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(octets))
        octets += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return octets + head + table + trailer % (len(objects) + 1, len(octets))


def a_cda(narrative: str, *, title: str = "Report", name: str = "Roe") -> bytes:
    """A CDA document with one section of `narrative`, which is XML of its own."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <id root="2.25.1"/><title>{title}</title><effectiveTime value="20260301101500+0100"/>
  <recordTarget><patientRole><id root="2.25.2" extension="L-77"/><patient><name><given>Rick</given>
    <family>{name}</family></name><birthTime value="19560527"/></patient></patientRole></recordTarget>
  <author><assignedAuthor><assignedPerson><name><given>Ann</given><family>Writer</family></name>
    </assignedPerson></assignedAuthor></author>
  <component><structuredBody><component><section><title>Findings</title><text>{narrative}</text></section>
  </component></structuredBody></component>
</ClinicalDocument>""".encode()


def wrapped_in_cda(media_type: str, content: bytes) -> bytes:
    """A CDA document whose body is something else."""
    head, _, _ = a_cda("").decode().partition("<component>")
    text = f'<text mediaType="{media_type}" representation="B64">{b64encode(content).decode()}</text>'
    body = f"<component><nonXMLBody>{text}</nonXMLBody></component>"
    return f"{head}{body}</ClinicalDocument>".encode()


def a_report_entry(
    patient_id: str, mime_type: str, title: str, study_instance_uid: str = "", **more: Any
) -> Any:
    """The entry of a report, of one study where that is named."""
    references = (f"{study_instance_uid}^^^^{schemes.REFERENCE_STUDY_INSTANCE_UID}",)
    return a_document_entry(
        patient_id=patient_id,
        mime_type=mime_type,
        format_code=FORMATS[mime_type],
        title=title,
        reference_ids=references if study_instance_uid else (),
        event_codes=(),
        **more,
    )


def provide(
    stage: Stage, patient: str, mime_type: str, octets: bytes, *, title: str, study_instance_uid: str = ""
) -> None:
    """Send a report to the repository (ITI-41), from a node of Hospital North."""
    entry = a_report_entry(
        cx(patient), mime_type, title, study_instance_uid, hash="", size=None, repository_unique_id=""
    )
    request = ProvideAndRegisterRequest.of(
        a_submission(entry), [ProvidedDocument(id=entry.entry_uuid, content=octets)]
    )
    url = stage.url("repository", "/xds/repository")
    response = asyncio.run(call(stage, ITI41, url, request, who=stage.north))
    assert response.errors == (), response.errors
