"""Reports are read from ORU^R01 and MDM (RAD TF-2 4.28, 4.128; HL7 v2.5.1 chapters 7 and 9).

The document that comes is taken as it is, PDF or CDA (OBX-2 = ED); where there is none the text is (TX, FT).
Tolerated: media types in any spelling, blanks and line ends within base64, a document without author or
number. Not taken: what is no PDF or CDA beside one that is; a pointer (RP), which would have to be followed.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final

from imaging_source.domain.department_fields import LONGEST_ID, component, first, names_study, wrong
from imaging_source.domain.imaging_reports import (
    OrderNumber,
    ReadDocument,
    ReportContent,
    ReportKind,
    ReportStatus,
    SentReport,
    UnreadableReport,
)
from imaging_source.domain.mime_package import unpacked
from shared.ebrim.identifiers import escape_component, is_oid
from shared.ebrim.model import Code
from shared.hl7v2.message import Hl7Message, Segment, field_of
from shared.hl7v2.text import plain

MOST_CONTENTS: Final = 16
_PRELIMINARY, _FINAL = ReportStatus.PRELIMINARY, ReportStatus.FINAL
_CORRECTED, _CANCELLED = ReportStatus.CORRECTED, ReportStatus.CANCELLED
#: OBR-25 and OBX-11 (HL7 tables 0123 and 0085); what is not named says nothing of a report.
_RESULTS: Final = {
    **{"F": _FINAL, "U": _FINAL, "C": _CORRECTED, "X": _CANCELLED},
    **dict.fromkeys(("P", "S", "R", "A"), _PRELIMINARY),
}
_DELETED: Final = frozenset({"D", "W", "X", "N"})
#: TXA-17 of a document that is authenticated, or says nothing of it (HL7 table 0271).
_AUTHENTICATED: Final = frozenset({"", "AU", "LA"})
_ADDENDUM, _CANCELLING = "T06", "T11"
_REPLACING: Final = frozenset({"T08", "T10"})
_WITHOUT_CONTENT: Final = frozenset({"T01", "T03", "T05", "T07", "T09"})
_PDF_BEGINS, _PDF_ENDS = b"%PDF-", b"%%EOF"
# ISO 32000-1 annex H: a header within the first KiB is read, and so is its trailer within the last.
_WITHIN: Final = 1024
_TEXT_LINES: Final = frozenset({"TX", "FT"})
_PARTS_OF_ED: Final = 5
_CDA: Final = re.compile("cda|xml|multipart/related")
_RESTRICTED: Final = frozenset({"V", "R"})

#: Tells of a report's segments which study it is of: UID and accession number.
StudyOf = Callable[[Sequence[Segment]], tuple[str, str]]


def sent_reports(message: Hl7Message, study_of: StudyOf, read: ReadDocument) -> tuple[SentReport, ...]:
    """The reports of a message that say something of a document.

    Raises
    ------
    MessageRefused
        A document is not what it is said to be; a final report has none that can be taken.
    """
    if message.kind == "MDM":
        return tuple(_of_document(message, study_of, read))
    return tuple(
        one for group in _result_groups(message) for one in _of_result(message, group, study_of, read)
    )


def _result_groups(message: Hl7Message) -> list[list[Segment]]:
    """The segments of each OBR, with the ORC before it."""
    result_groups: list[list[Segment]] = []
    common: list[Segment] = []
    for segment in message.segments:
        if segment[0] == "ORC":
            common = [segment]
        elif segment[0] == "OBR":
            result_groups.append([*common, segment])
            common = []
        elif result_groups and not common:
            result_groups[-1].append(segment)
    return result_groups


def _named_segment(group: Sequence[Segment], name: str) -> Segment:
    return next((one for one in group if one[0] == name), [name])


# --- ORU ----------------------------------------------------------------------------------------------


def _of_result(
    message: Hl7Message, group: Sequence[Segment], study_of: StudyOf, read: ReadDocument
) -> Iterator[SentReport]:
    request, common = _named_segment(group, "OBR"), _named_segment(group, "ORC")
    status = _RESULTS.get(field_of(request, 25).strip())
    if status is None:
        return
    number = _number(request, common, 3) or _number(request, common, 2)
    contents = (
        () if status is _CANCELLED else tuple(_contents(group, read, is_final=status is not _PRELIMINARY))
    )
    if status is not _CANCELLED and not contents:
        if not _is_withdrawn(group):
            return
        status = _CANCELLED
    study, accession = ("", "") if number and status is _CANCELLED else study_of(group)
    name = number.value if number else accession or study
    if status in (_FINAL, _PRELIMINARY):
        status = _observed_status(group, status)
    yield SentReport(
        key=_key("ORU", message.header.facility, name, first(field_of(request, 4))),
        status=status,
        study_instance_uid=study,
        accession_number=accession,
        placer=_number(request, common, 2),
        procedure=_procedure(request),
        created=first(field_of(request, 22)) or _observed_at(group) or _sent_at(message),
        author=_interpreter(field_of(request, 32)) or _observer(group),
        signer=_interpreter(field_of(request, 32)) if status is not _PRELIMINARY else "",
        contents=contents,
    )


def _observations(group: Sequence[Segment]) -> Iterator[Segment]:
    """The OBX that may be a report, or a part of one."""
    kinds = _TEXT_LINES | {"ED", "RP"}
    for one in group:
        if one[0] == "OBX" and field_of(one, 2).strip().upper() in kinds and not names_study(one):
            yield one


def _is_withdrawn(group: Sequence[Segment]) -> bool:
    """Whether there were documents, and each of them is deleted or wrong."""
    statuses = [field_of(one, 11).strip() for one in _observations(group)]
    return bool(statuses) and _DELETED.issuperset(statuses)


def _observed_status(group: Sequence[Segment], status: ReportStatus) -> ReportStatus:
    """What the observations say more than the result: that one is corrected, or preliminary yet."""
    observed = {_RESULTS.get(field_of(one, 11).strip()) for one in _observations(group)}
    if _PRELIMINARY in observed:
        return _PRELIMINARY
    return _CORRECTED if _CORRECTED in observed and status is _FINAL else status


def _observed_at(group: Sequence[Segment]) -> str:
    return next((first(field_of(one, 14)) for one in _observations(group) if field_of(one, 14)), "")


def _observer(group: Sequence[Segment]) -> str:
    return next((_person(field_of(one, 16)) for one in _observations(group) if field_of(one, 16)), "")


# --- MDM ----------------------------------------------------------------------------------------------


def _of_document(message: Hl7Message, study_of: StudyOf, read: ReadDocument) -> Iterator[SentReport]:
    event, notes = message.header.event, message.named("TXA")
    if event in _WITHOUT_CONTENT:
        return
    if len(notes) != 1:
        raise wrong(100, "TXA", "a document has one TXA")
    [notice] = notes
    number, parent = field_of(notice, 12).strip(), field_of(notice, 13).strip()
    if event in _REPLACING | {_CANCELLING, _ADDENDUM} and not number:
        raise wrong(101, "TXA-12", "the document has no number; give it in TXA-12")
    if event == _ADDENDUM and not parent:
        raise wrong(101, "TXA-13", "an addendum names its document in TXA-13")
    facility, segments = message.header.facility, message.segments
    is_cancelled = event == _CANCELLING or field_of(notice, 19).strip() == "CA"
    final = _CORRECTED if event in _REPLACING else _FINAL
    status = final if field_of(notice, 17).strip() in _AUTHENTICATED else _PRELIMINARY
    contents = () if is_cancelled else tuple(_contents(segments, read, is_final=status is final))
    if not is_cancelled and not contents:
        return
    study, accession = ("", "") if is_cancelled else study_of(segments)
    request = _named_segment(segments, "OBR")
    signer = _person(field_of(notice, 22))
    yield SentReport(
        key=_key("MDM", facility, number or accession or study),
        status=_CANCELLED if is_cancelled else status,
        study_instance_uid=study,
        accession_number=accession,
        parent=_key("MDM", facility, parent) if event == _ADDENDUM else "",
        replaces=_key("MDM", facility, parent) if event in _REPLACING and parent else "",
        number=_document_unique_id(number),
        placer=_number(request, _named_segment(segments, "ORC"), 2) or _order_number(field_of(notice, 14)),
        procedure=_procedure(request),
        created=component(field_of(notice, 22), 15) or first(field_of(notice, 6)) or _sent_at(message),
        author=_person(field_of(notice, 9)) or signer,
        signer=signer if status is not _PRELIMINARY else "",
        confidentiality=_restriction(field_of(notice, 18).strip()),
        contents=contents,
    )


def _restriction(code: str) -> str:
    """TXA-18 where it says more than usual control (HL7 table 0272)."""
    return code if code in _RESTRICTED else ""


def _document_unique_id(number: str) -> str:
    """TXA-12 as a uniqueId, where it is an OID's: `number^namespace^OID^ISO`."""
    value, root = component(number, 1), component(number, 3)
    unique_id = f"{root}.{value}"
    return unique_id if is_oid(root) and value.isdigit() and is_oid(unique_id) else ""


# --- documents ----------------------------------------------------------------------------------------


def _contents(group: Sequence[Segment], read: ReadDocument, *, is_final: bool) -> Iterator[ReportContent]:
    """The documents of a report; its text where there are none.

    Raises
    ------
    MessageRefused
        A document is not what it is said to be; of a final report there is something, and nothing of it can
        be taken.
    """
    present = [one for one in _observations(group) if field_of(one, 11).strip() not in _DELETED]
    encapsulated = [one for one in present if field_of(one, 2).strip().upper() == "ED"]
    documents = [document for one in encapsulated if (document := _encapsulated(field_of(one, 5), read))]
    if len(documents) > MOST_CONTENTS:
        raise wrong(104, "OBX-5", f"a report has at most {MOST_CONTENTS} documents")
    if documents:
        yield from documents
    elif text := _text(present):
        yield ReportContent(kind=ReportKind.TEXT, text=text)
    elif not is_final:
        return
    elif encapsulated:
        raise wrong(102, "OBX-5", "a report is a PDF or a CDA document (OBX-2 = ED), or text (TX, FT)")
    elif present and all(field_of(one, 2).strip().upper() == "RP" for one in present):
        text = "a pointer (OBX-2 = RP) is not followed; send the report itself, as ED, or as text (TX, FT)"
        raise wrong(102, "OBX-5", text)


def _text(present: Sequence[Segment]) -> str:
    """The lines of a text, below the headings by which OBX-3 tells them apart."""
    lines = [one for one in present if field_of(one, 2).strip().upper() in _TEXT_LINES]
    parts = [(heading, list(each)) for heading, each in groupby(lines, lambda one: field_of(one, 3))]
    texts = []
    for heading, each in parts:
        title = component(heading, 2) or component(heading, 1)
        body = "\n".join(plain(field_of(one, 5)) for one in each)
        texts.append(f"{title}\n{body}" if len(parts) > 1 and title else body)
    return "\n\n".join(texts).strip()


def _encapsulated(field: str, read: ReadDocument) -> ReportContent | None:
    """A document of a kind that is registered; None of another."""
    components = field.partition("~")[0].split("^", 4)
    if len(components) < _PARTS_OF_ED:
        raise wrong(102, "OBX-5", "a document is source^type^subtype^encoding^data (ED)")
    _, kind, subtype, encoding, data = components
    media_type = f"{kind}/{subtype}".lower()
    is_pdf, is_cda = "pdf" in media_type, _CDA.search(media_type)
    if not (is_pdf or is_cda):
        return None
    octets = _decoded(encoding.strip().lower(), data)
    if is_pdf:
        return _pdf(octets)
    try:
        return read(unpacked(octets))
    except UnreadableReport as error:
        raise wrong(102, "OBX-5", str(error)) from None


def _pdf(octets: bytes) -> ReportContent:
    if _PDF_BEGINS not in octets[:_WITHIN]:
        raise wrong(102, "OBX-5", "the document is said to be a PDF, and is none")
    if _PDF_ENDS not in octets[-_WITHIN:]:
        raise wrong(102, "OBX-5", "the PDF is cut off: it has no end (%%EOF)")
    return ReportContent(kind=ReportKind.PDF, octets=octets)


def _decoded(encoding: str, data: str) -> bytes:
    try:
        if encoding == "base64":
            return b64decode("".join(plain(data).split()), validate=True)
        if encoding == "hex":
            return bytes.fromhex(plain(data))
    except ValueError:
        raise wrong(102, "OBX-5", f"the data are not {encoding}") from None
    if encoding != "a":
        raise wrong(103, "OBX-5", "the encoding (OBX-5.4) is Base64, Hex or A")
    return plain(data).encode()


# --- fields -------------------------------------------------------------------------------------------


def _key(kind: str, *parts: str) -> str:
    return " ".join((kind, *(part.strip()[: 4 * LONGEST_ID] for part in parts))).rstrip()


def _number(request: Segment, common: Segment, field: int) -> OrderNumber | None:
    """The placer's (2) or filler's (3) number of OBR, else of ORC."""
    return _order_number(field_of(request, field)) or _order_number(field_of(common, field))


def _order_number(field: str) -> OrderNumber | None:
    value, namespace, oid = (component(field, at)[:LONGEST_ID] for at in (1, 2, 3))
    return OrderNumber(value=value, namespace=namespace, oid=oid if is_oid(oid) else "") if value else None


def _procedure(request: Segment) -> Code | None:
    value, text, scheme = (component(field_of(request, 4), at) for at in (1, 2, 3))
    return Code(value, scheme, text or value) if value else None


def _sent_at(message: Hl7Message) -> str:
    # MSH-1 is the separator itself.
    return first(field_of(message.segments[0], 6))


def _person(field: str) -> str:
    """XCN of metadata: id, names, suffix and prefix, without the authority, which is seldom an OID."""
    parts = [escape_component(component(field, at)) for at in range(1, 7)]
    return "^".join(parts).rstrip("^") if parts[0] or parts[1] else ""


def _interpreter(field: str) -> str:
    """OBR-32: a name whose parts are subcomponents (NDL)."""
    name = field.partition("~")[0].partition("^")[0]
    return _person(name.replace("&", "^")) if "&" in name else _person(field)
