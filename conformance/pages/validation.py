"""The pages by which a file is judged: its form, and the report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from conformance.api import displayed, kind_of, trust_of
from conformance.findings import Report
from conformance.pages.page import PageUnit, page_served
from conformance.reports.findings import findings_page
from conformance.unit import SentFile
from conformance.validation import VALIDATORS
from shared.http.problem import BadRequest, TooLarge
from shared.http.raw_asgi import ClientGone
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import MULTIPART, FormFields, SentForm, from_our_origin
from shared.pages.page import HTML, Page, see
from shared.rest.message import HttpRequest, HttpResponse

_PIECE = 256 * 1024
#: Bytes of a form beside its file.
_FORM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLink:
    """The report that is opened in a browser."""

    browser: Browser
    report: str


async def decode_link(request: HttpRequest) -> ReportLink:
    """Which report is opened."""
    return ReportLink(browser=Browser.of(request), report=request.parameters["report"])


async def decode_form(request: HttpRequest) -> HttpRequest:
    """The form, which is read while it is performed: it holds a file of any length.

    Raises
    ------
    Forbidden
        A page of another site sent it.
    BadRequest
        It is no form with a file.
    """
    from_our_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MULTIPART:
        raise BadRequest(f"send the form as {MULTIPART}, with the file")
    return request


async def home(unit: PageUnit, browser: Browser) -> Page:
    """Give the form by which a file is judged."""
    return await unit.page("judge.html", browser, validators=VALIDATORS, most=_most(unit), wrong="")


async def judge(unit: PageUnit, request: HttpRequest) -> str:
    """Take the file of the form, and lead to its report."""
    most = unit.parts.bench.settings.max_file_bytes
    form = Request(request.scope, _limited(request.receive, most + _FORM_BYTES)).form(
        max_files=1, max_fields=5, max_part_size=_FORM_BYTES
    )
    try:
        async with form as fields:
            file = fields.get("file")
            of_form = FormFields(token=_text(fields.get("token")))
            unit.parts.forms.check(SentForm(browser=Browser.of(request), fields=of_form))
            if not isinstance(file, UploadFile) or not file.filename:
                raise BadRequest("no file was chosen; choose one, or drop it on the field")
            upload = SentFile(
                name=displayed(file.filename),
                kind=kind_of(_text(fields.get("validator"))),
                trust=trust_of(_text(fields.get("trust"))),
                chunks=_pieces(file),
            )
            judged = await unit.parts.bench.judge(unit.caller, upload)
    except HTTPException:  # what Starlette makes of a form that is broken or beyond the limits
        raise BadRequest("the form cannot be read") from None
    return f"/reports/{judged.id}"


async def report(unit: PageUnit, link: ReportLink) -> Page:
    """Show a report."""
    judged = await unit.parts.bench.report(link.report)
    findings = judged.report["findings"]
    counts = [
        (severity, sum(one["severity"] == severity for one in findings))
        for severity in ("error", "warning", "note")
    ]
    return await unit.page(
        "report.html",
        link.browser,
        id=judged.id,
        report=judged.report,
        counts=[one for one in counts if one[1]],
    )


async def report_file(unit: PageUnit, link: ReportLink) -> str:
    """Give a report as one HTML file, to hand on."""
    judged = await unit.parts.bench.report(link.report)
    return await asyncio.to_thread(findings_page, [Report.of(judged.report)])


def encode_file(html: str) -> HttpResponse:
    """The file, to be kept and not shown: it has a style of its own, which pages here may not."""
    headers = {"content-disposition": 'attachment; filename="report.html"'}
    return HttpResponse(media_type=HTML, headers=headers, pieces=(html.encode(),))


def _text(field: UploadFile | str | None) -> str:
    return field if isinstance(field, str) else ""


def _most(unit: PageUnit) -> str:
    return f"{unit.parts.bench.settings.max_file_bytes // 1024**2 or 1} MB"


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(_PIECE):
        yield piece


def _limited(receive: Receive, most: int) -> Receive:
    """The body, which ends with a problem where it is longer."""
    length = 0

    async def limited() -> Message:
        nonlocal length
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the connection ended before the request did")
        length += len(message.get("body", b""))
        if length > most:
            raise TooLarge("the file is longer than files may be here; xdsi validate takes any length")
        return message

    return limited


SERVED = (
    page_served(name="File to judge", routes=("GET /",), decode=decode_browser, handle=home),
    page_served(name="Judge file", routes=("POST /judge",), decode=decode_form, handle=judge, encode=see),
    page_served(name="Report", routes=("GET /reports/{report}",), decode=decode_link, handle=report),
    page_served(
        name="Report as a file",
        routes=("GET /reports/{report}/report.html",),
        decode=decode_link,
        handle=report_file,
        encode=encode_file,
    ),
)
