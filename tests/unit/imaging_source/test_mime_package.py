"""CDA documents within MIME packages (RFC 2046, RFC 2557): read within limits, or refused with the reason."""

from __future__ import annotations

from base64 import encodebytes
from contextlib import suppress
from quopri import encodestring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_source.domain.imaging_reports import ReportKind, UnreadableReport
from imaging_source.domain.mime_package import unpacked
from imaging_source.domain.orders import decode
from imaging_source.transactions.clinical_documents import read_clinical_document
from tests.support.orders import encapsulated, oru
from tests.support.reports import a_cda

CDA = a_cda("Kein Bruch: größer")
HEAD = b'MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary="xx"; type="text/xml"\r\n\r\n'


def a_part(octets: bytes = CDA, encoding: bytes = b"8bit", media_type: bytes = b"text/xml") -> bytes:
    return b"Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s" % (media_type, encoding, octets)


def a_package(*parts: bytes, head: bytes = HEAD, end: bytes = b"\r\n--xx--\r\n") -> bytes:
    return head + b"".join(b"\r\n--xx\r\n" + part for part in parts) + end


@pytest.mark.parametrize(
    "package",
    [
        a_package(a_part()),
        a_package(a_part(encodebytes(CDA), b"base64")),
        a_package(a_part(encodestring(CDA), b"Quoted-Printable")),
        a_package(a_part(media_type=b"application/x-hl7-cda-level-one+xml")),
        a_package(a_part()).replace(b"\r\n", b"\n"),
        a_package(a_part(), end=b""),
        HEAD.replace(b"MIME-Version: 1.0\r\n", b"") + b"--xx\r\n" + a_part() + b"\r\n--xx--",
        a_package(a_part()) + b"what follows is no part",
        a_package(b"Content-Type: text/xml\r\n\r\n" + CDA),
        b"MIME-Version: 1.0\r\n" + a_part(encodebytes(CDA), b"base64"),
    ],
)
def test_the_document_within_a_package_is_read(package: bytes):
    assert unpacked(package).replace(b"\r\n", b"\n").strip() == CDA


def test_what_is_no_package_is_read_as_it_is():
    assert unpacked(CDA) == CDA


@pytest.mark.parametrize(
    ("package", "told"),
    [
        (a_package(a_part(), a_part(b"GIF89a", media_type=b"image/gif")), "parts beside the CDA document"),
        (a_package(*[a_part()] * 10_000), "parts beside the CDA document"),
        (a_package(a_package(a_part()).replace(b"xx", b"zz")), "holds another one"),
        (a_package(), "no part|does not end"),
        (a_package(a_part(), head=HEAD.replace(b'boundary="xx"; ', b"")), "names no boundary"),
        (a_package(a_part(), head=HEAD.replace(b"xx", b"x" * 71)), "names no boundary"),
        (a_package(a_part(), head=HEAD.replace(b"xx", b"yy")), "holds no part"),
        (a_package(a_part(b"****", b"base64")), "is not base64"),
        (a_package(a_part(encoding=b"x-gzip64")), "is encoded otherwise"),
        (a_package(a_part(b"%PDF-", media_type=b"application/pdf")), "is no XML"),
        (b"MIME-Version: 1.0\r\n" + b"X: y\r\n" * 100_000, "does not end"),
        (b"MIME-Version: 1.0", "does not end"),
    ],
)
def test_what_cannot_be_read_of_a_package_is_refused_with_the_reason(package: bytes, told: str):
    with pytest.raises(UnreadableReport, match=told):
        unpacked(package)


@given(st.binary(max_size=300))
def test_whatever_a_package_holds_is_read_or_refused(octets: bytes):
    for package in (HEAD + octets, b"Content-Type:" + octets, a_package(octets)):
        with suppress(UnreadableReport):
            unpacked(package)


@pytest.mark.parametrize("media_type", ["multipart^x-hl7-cda-level-one", "multipart^related"])
def test_a_message_brings_a_document_in_a_package(media_type: str):
    message = oru(observations=[encapsulated(a_package(a_part()), media_type)])

    [report] = decode(message, read_document=read_clinical_document).reports

    [content] = report.contents
    assert (content.kind, content.octets.strip()) == (ReportKind.CDA, CDA)
