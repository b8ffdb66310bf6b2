"""Reports are read from messages of HL7 v2: which document, whose, and how it stands."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_source.domain.imaging_reports import ReportKind, ReportStatus
from imaging_source.domain.orders import decode
from imaging_source.domain.report_entries import moment
from imaging_source.transactions.clinical_documents import read_clinical_document
from shared.hl7v2.message import MessageRefused
from shared.hl7v2.text import plain
from tests.support.orders import IMPRESSION, encapsulated, mdm, oru
from tests.support.reports import a_cda, a_pdf

PRELIMINARY, FINAL = ReportStatus.PRELIMINARY, ReportStatus.FINAL
CORRECTED, CANCELLED = ReportStatus.CORRECTED, ReportStatus.CANCELLED


def reports(octets: bytes):
    return decode(octets, read_document=read_clinical_document).reports


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (r"Nothing \T\ nobody", "Nothing & nobody"),
        (r"a\.br\b\.sp2\c", "a\nb\n\nc"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"\E\ \F\ \S\ \R\ ", "\\ | ^ ~ "),
        (r"a\X0D0A\b\XC3BC\ \XFC\ ", "a\nbü ü "),
        (r"\XZZ\ \C2842\ \M26\ ", "\ufffd \ufffd \ufffd "),
        ("a~b", "a\nb"),
        ("5 ^ 6 & 7", "5 ^ 6 & 7"),
        ("a\\b", "a\\b"),
        ("\x00\x1bx", "x"),
    ],
)
def test_formatted_text_is_what_people_read(field: str, text: str):
    assert plain(field) == text


@given(st.text())
def test_whatever_a_field_holds_is_text_that_xml_carries(field: str):
    assert not set(plain(field)) & {chr(code) for code in range(32) if code not in (9, 10)}


@pytest.mark.parametrize(
    ("status", "observed", "expected"),
    [
        ("F", "F", FINAL),
        ("U", "F", FINAL),
        ("C", "C", CORRECTED),
        ("F", "C", CORRECTED),
        ("F", "P", PRELIMINARY),
        ("P", "P", PRELIMINARY),
        ("S", "F", PRELIMINARY),
        ("R", "F", PRELIMINARY),
        ("F", "D", CANCELLED),
        ("F", "W", CANCELLED),
        ("X", "F", CANCELLED),
    ],
)
def test_result_and_observation_say_how_a_report_stands(status: str, observed: str, expected: ReportStatus):
    [report] = reports(oru(status, observations=[encapsulated(a_pdf(), status=observed)]))

    assert report.status is expected


@pytest.mark.parametrize("status", ["I", "O", "Y", "Z", ""])
def test_another_result_says_nothing_of_a_report(status: str):
    assert reports(oru(status)) == ()


def test_a_notice_that_images_are_there_is_no_report():
    link = "OBX|2|RP|113014^DICOM Study^DCM||https://pacs/studies/2.25.11||||||O"

    assert reports(oru("R", observations=[link])) == ()


@pytest.mark.parametrize(
    ("event", "status", "expected"),
    [
        ("T02", "LA", FINAL),
        ("T02", "", FINAL),
        ("T02", "DI", PRELIMINARY),
        ("T04", "AU", FINAL),
        ("T11", "LA", CANCELLED),
    ],
)
def test_the_event_says_how_a_document_stands(event: str, status: str, expected: ReportStatus):
    [report] = reports(mdm(event, status))

    assert report.status is expected


@pytest.mark.parametrize("event", ["T06", "T08", "T10"])
def test_an_event_names_what_it_is_to_another_document(event: str):
    [report] = reports(mdm(event, number="56^RM^2.999.14^ISO", parent="55^RM^2.999.14^ISO"))
    other = "MDM NORTH 55^RM^2.999.14^ISO"

    assert (report.parent, report.replaces) == ((other, "") if event == "T06" else ("", other))


@pytest.mark.parametrize("media_type", ["application^pdf", "Application^PDF", "AP^PDF", "^PDF"])
def test_a_pdf_is_known_in_any_spelling(media_type: str):
    [report] = reports(oru(observations=[encapsulated(a_pdf(), media_type)]))

    assert [one.kind for one in report.contents] == [ReportKind.PDF]
    assert report.contents[0].octets == a_pdf()


def test_base64_may_be_broken_into_lines():
    [report] = reports(
        oru(observations=[encapsulated(a_pdf()).replace("^JVBE", r"^JV\.br\BE").replace("xL", "x L", 1)])
    )

    assert report.contents[0].octets == a_pdf()


def test_a_document_goes_before_the_text_beside_it_and_a_pointer_is_passed_over():
    pointer = "OBX|9|RP|18748-4^Report^LN||https://rm/report.pdf||||||F"
    [report] = reports(oru(observations=[IMPRESSION, encapsulated(a_pdf()), pointer]))

    assert [one.kind for one in report.contents] == [ReportKind.PDF]


def test_every_document_of_a_report_counts():
    cda = encapsulated(a_cda("<paragraph>x</paragraph>"), "text^x-hl7-cda-level-one")
    [report] = reports(oru(observations=[encapsulated(a_pdf()), cda]))

    assert [one.kind for one in report.contents] == [ReportKind.PDF, ReportKind.CDA]


def test_who_signed_is_named_as_metadata_name_people():
    [result], [document] = reports(oru()), reports(mdm())

    assert result.author == result.signer == "4711^Beck^Olaf"
    assert document.author == "4711^Beck^Olaf"


@pytest.mark.parametrize(
    ("time", "zone", "utc"),
    [
        ("20260302115500+0100", UTC, "20260302105500"),
        ("202603021155", ZoneInfo("Europe/Vienna"), "202603021055"),
        ("20260302115500.1234-0500", UTC, "20260302165500"),
        ("20260302", ZoneInfo("Europe/Vienna"), "20260302"),
        ("2026030211", UTC, "20260302"),
        ("20261399", UTC, ""),
        ("yesterday", UTC, ""),
        ("", UTC, ""),
    ],
)
def test_a_time_is_in_utc_with_the_precision_that_it_has(time: str, zone, utc: str):
    assert moment(time, zone) == utc


@given(st.binary(max_size=300))
def test_whatever_stands_in_a_report_is_read_or_refused(rest: bytes):
    with suppress(MessageRefused):
        reports(oru() + b"OBX|3|ED|R||" + rest + b"||||||F\r" + rest)


@given(st.text(max_size=120))
def test_whatever_a_document_holds_is_read_or_refused(data: str):
    with suppress(MessageRefused):
        reports(oru(observations=[f"OBX|3|ED|R||RM^text^x-hl7-cda-level-one^A^{data}||||||F"]))
